#!/usr/bin/env bash
# Builds the .deb and the .rpm into target/dist: deploy/package.sh [BINARY]
#
# Without BINARY one is built that runs from glibc 2.28 on (Debian 10, RHEL 8), if cargo-zigbuild is there, else one
# for this machine's glibc and newer. glibc and not static musl: the daemon built on musl's allocator needs a
# third more CPU for an event, and musl knows users and groups from /etc/passwd and /etc/group alone.
# Packages need cargo-deb and cargo-generate-rpm; what is missing is installed by cargo.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
stage=target/dist/stage
mkdir -p "$stage"

die() { printf 'package.sh: %s\n' "$*" >&2; exit 1; }

binary=${1:-}
if [ -z "$binary" ]; then
  triple="$(uname -m)-unknown-linux-gnu"
  if command -v cargo-zigbuild >/dev/null; then
    cargo zigbuild --release --locked --bin trunkline --target "$triple.2.28"
    binary="$target/$triple/release/trunkline"
  else
    echo "package.sh: no cargo-zigbuild (pip install cargo-zigbuild ziglang): the package will need this machine's glibc"
    cargo build --release --locked --bin trunkline
    binary="$target/release/trunkline"
  fi
fi
for tool in cargo-deb cargo-generate-rpm; do
  command -v "$tool" >/dev/null || cargo install --locked "$tool"
done

install -m 755 "$binary" "$stage/trunkline"
strip --strip-unneeded "$stage/trunkline"
glibc=$(objdump -T "$stage/trunkline" | grep -o 'GLIBC_[0-9.]*' | sort -Vu | tail -n 1 | cut -d_ -f2 || true)
echo "the binary needs glibc ${glibc:-none}"
"$stage/trunkline" man >"$stage/trunkline.1" || die "no manual page: this binary has no command 'man'"
for shell in bash zsh fish; do
  "$stage/trunkline" completions "$shell" >"$stage/trunkline.$shell" || die "no completions for $shell"
done

# Both tools look for the assets from the directory of Cargo.toml.
variant=()
if [ "$(printf '%s\n' "${glibc:-0}" 2.28 | sort -V | tail -n 1)" != 2.28 ]; then
  variant=(--variant native)
fi
rm -f target/dist/*.deb target/dist/*.rpm
cargo deb --no-build --no-strip --quiet "${variant[@]}" --output target/dist/
# gzip: what RHEL 8 reads.
cargo generate-rpm --output target/dist/ --payload-compress gzip \
  --set-metadata "requires = { systemd = '>= 239', ca-certificates = '*', glibc = '>= ${glibc:-2.28}' }"
ls -l target/dist/*.deb target/dist/*.rpm
