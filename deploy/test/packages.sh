#!/usr/bin/env bash
# Builds the packages and looks at them and at the units: deploy/test/packages.sh [BINARY]
# Installs lintian, rpm, systemd and binutils where they are missing and may be. Fails on the first fault.
set -euo pipefail
cd "$(dirname "$0")/../.."

missing=()
for pair in lintian:lintian rpm:rpm systemd-analyze:systemd strip:binutils; do
  command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
done
if [ "${#missing[@]}" != 0 ]; then
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}"; } >/dev/null 2>&1 ||
    { echo "packages: SKIPPED, cannot install ${missing[*]}"; exit 0; }
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() { printf 'packages: FAILED, %s\n' "$*"; exit 1; }

deploy/package.sh "$@"
deb=$(echo target/dist/trunkline_*_"$(dpkg --print-architecture)".deb)
rpm=$(echo target/dist/trunkline-*."$(uname -m)".rpm)

echo "-- lintian: no errors"
lintian --allow-root --fail-on error "$deb"

echo "-- units"
# verify wants the binary, the manual page and the users where the units say they are; copies of the units point
# at what was just built.
for unit in deploy/systemd/*.service deploy/systemd/*.socket; do
  sed "s#/usr/bin/trunkline#$PWD/target/dist/stage/trunkline#; /^Documentation=/d" "$unit" >"$work/${unit##*/}"
done
for unit in "$work"/*; do
  name=${unit##*/}
  # A template is looked at as one of its instances.
  case "$name" in *@.*) cp "$unit" "$work/${name/@./@east.}" ;; esac
done
for unit in trunkline.service trunkline-admin.socket trunkline-http.socket trunkline@east.service trunkline-admin@east.socket; do
  said=$(systemd-analyze verify "$work/$unit" 2>&1) || fail "$unit: $said"
  # Also a key that is not known is a fault; words about units that are not ours are not.
  if printf '%s\n' "$said" | grep trunkline; then
    fail "systemd-analyze verify says something about $unit"
  fi
done
for unit in deploy/systemd/*.service; do
  # Tenths: at most 1.5.
  systemd-analyze security --offline=true --threshold=15 "$unit" >"$work/security" || { cat "$work/security"; fail "$unit is more exposed than 1.5"; }
  tail -n 1 "$work/security"
done

echo "-- what is in them"
dpkg-deb --fsys-tarfile "$deb" | tar -t >"$work/deb"
rpm -qlp "$rpm" >"$work/rpm"
for path in usr/bin/trunkline etc/trunkline/trunkline.toml systemd/system/trunkline.service systemd/system/trunkline.socket \
  usr/lib/sysusers.d/trunkline.conf usr/lib/tmpfiles.d/trunkline.conf usr/share/man/man1/trunkline.1 \
  usr/share/bash-completion/completions/trunkline usr/share/doc/trunkline/docs/install.md; do
  for list in deb rpm; do
    grep -q "$path" "$work/$list" || fail "$path is not in the $list"
  done
done
[ "$(rpm -qpc "$rpm")" = /etc/trunkline/trunkline.toml ] || fail "the rpm's configuration is not marked as such"
[ "$(dpkg-deb --info "$deb" conffiles)" = /etc/trunkline/trunkline.toml ] || fail "the deb's configuration is no conffile"
[ "$(wc -l <config/minimal.toml)" = 6 ] || fail "config/minimal.toml has not six lines"
MANWIDTH=100 man --warnings -l target/dist/stage/trunkline.1 >/dev/null 2>"$work/man" || true
[ ! -s "$work/man" ] || { cat "$work/man"; echo "packages: the manual page has warnings (no fault)"; }
echo "packages: ok"
