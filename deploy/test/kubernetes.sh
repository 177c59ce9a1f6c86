#!/usr/bin/env bash
# Renders the kustomizations, checks them against the published schemas of three versions and against our own rules, and
# has the daemon check its configuration. Needs no cluster.
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

for variant in base overlays/statefulset; do
  rendered="$work/${variant##*/}.yaml"
  render "$root/deploy/kubernetes/$variant" >"$rendered"
  for version in $versions; do
    "$tools/bin/kubernetes-validate" --strict --quiet -k "$version" "$rendered"
  done
  "$tools/bin/python" "$root/deploy/test/kubernetes_rules.py" "$rendered" >"$work/trunkline.toml"
  if [ -x "$trunkline" ]; then
    # The id is the user's to set: as it comes, the configuration is refused for it alone.
    TRUNKLINE__UPSTREAM__CLIENT_ID=yours "$trunkline" config check --config "$work/trunkline.toml" >/dev/null
  else
    echo "kubernetes: the configuration is not checked, no $trunkline"
  fi
  echo "$variant: ok"
done
echo "kubernetes: ok, against the schemas of $versions"
