#!/usr/bin/env bash
# Renders the kustomizations, and the one that docs/kubernetes.md has its reader write; checks them against the published
# schemas of three versions and against our own rules, and has the daemon check its configuration. Needs no cluster.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
trunkline=${TRUNKLINE:-${CARGO_TARGET_DIR:-$root/target}/release/trunkline}
# The first with native sidecars on by default, one in wide use, the newest schema.
versions="1.29.0 1.33.0 1.37.0"
# Kept between runs, as cargo's.
tools="${CARGO_TARGET_DIR:-$root/target}/kubernetes"

skip() { printf 'kubernetes: SKIPPED, %s\n' "$*"; exit 0; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$tools"
if ! "$tools/bin/kubernetes-validate" --version >/dev/null 2>&1; then
  python3 -m venv "$tools" 2>/dev/null || skip "no venv"
  "$tools/bin/pip" install --quiet kubernetes-validate PyYAML || skip "no kubernetes-validate to be had"
fi
if command -v kustomize >/dev/null; then
  render() { kustomize build "$1"; }
elif command -v kubectl >/dev/null && kubectl kustomize --help >/dev/null 2>&1; then
  render() { kubectl kustomize "$1"; }
else
  skip "neither kustomize nor kubectl"
fi

# valid MANIFESTS: prints the daemon's configuration
valid() {
  for version in $versions; do
    "$tools/bin/kubernetes-validate" --strict --quiet -k "$version" "$1"
  done
  "$tools/bin/python" "$root/deploy/test/kubernetes_rules.py" "$1"
}
for variant in base overlays/statefulset; do
  rendered="$work/${variant##*/}.yaml"
  render "$root/deploy/kubernetes/$variant" >"$rendered"
  valid "$rendered" >"$work/trunkline.toml"
  if [ -x "$trunkline" ]; then
    # The id is the user's to set: as it comes, the configuration is refused for it alone.
    TRUNKLINE__UPSTREAM__CLIENT_ID=yours "$trunkline" config check --config "$work/trunkline.toml" >/dev/null
  else
    echo "kubernetes: the configuration is not checked, no $trunkline"
  fi
  echo "$variant: ok"
done

# The page's second and third step, word for word; the editor is the reader's.
if [ -x "$trunkline" ]; then
  mkdir "$work/page" "$work/bin"
  cp -r "$root/deploy" "$work/page/"
  ln -s "$(realpath "$trunkline")" "$work/bin/trunkline"
  # shellcheck disable=SC2016 # for the editor to expand
  printf '#!/bin/sh\nsed -i "s/00000000-0000-4000-8000-000000000000/yours/; s/eu-central-1/us-east-1/" "$1"\n' >"$work/bin/editor"
  chmod +x "$work/bin/editor"
  awk '/^   ```$/ { wanted = 0 } wanted { print substr($0, 4) } /^[0-9]\. / { step = $1 } /^   ```sh$/ { wanted = (step == "2." || step == "3.") }' \
    "$root/docs/kubernetes.md" >"$work/page/steps"
  ( cd "$work/page" && PATH="$work/bin:$PATH" EDITOR=editor bash -e ./steps >/dev/null )
  render "$work/page/mine" >"$work/page.yaml"
  valid "$work/page.yaml" >"$work/trunkline.toml"
  for written in 'image: registry.example/trunkline:0.1.0' 'image: registry.example/yours:1.0' 'client_id = "yours"' 'kind: StatefulSet'; do
    grep -q "$written" "$work/page.yaml" || { echo "kubernetes: FAILED, '$written' is not in what docs/kubernetes.md makes"; exit 1; }
  done
  echo "docs/kubernetes.md: ok"
fi
echo "kubernetes: ok, against the schemas of $versions"
