#!/usr/bin/env bash
# Builds the .deb and the .rpm into target/dist: deploy/package.sh [--arch x86_64|aarch64] [BINARY]
#
# Without BINARY one is built that runs from glibc 2.28 on (Debian 10, RHEL 8), if cargo-zigbuild is there, else one
# for this machine's glibc and newer. glibc and not static musl: the daemon built on musl's allocator needs a
# third more CPU for an event, and musl knows users and groups from /etc/passwd and /etc/group alone.
# For another architecture than this machine's cargo-zigbuild is needed.
# Packages need cargo-deb and cargo-generate-rpm; what is missing is installed by cargo.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
stage=target/dist/stage
mkdir -p "$stage"

die() { printf 'package.sh: %s\n' "$*" >&2; exit 1; }

here=$(uname -m)
arch=$here
if [ "${1:-}" = --arch ]; then
  arch=${2:-}
  shift 2
fi
case "$arch" in
  x86_64) debian=amd64 ;;
  aarch64) debian=arm64 ;;
  *) die "--arch is '$arch'; it can be x86_64 or aarch64" ;;
esac
triple=$arch-unknown-linux-gnu
binary=${1:-}
if [ -z "$binary" ]; then
  if command -v cargo-zigbuild >/dev/null; then
    rustup target add "$triple"
    cargo zigbuild --release --locked --bin trunkline --target "$triple.2.28"
    binary="$target/$triple/release/trunkline"
  elif [ "$arch" = "$here" ]; then
    echo "package.sh: no cargo-zigbuild (pip install cargo-zigbuild ziglang): the package will need this machine's glibc"
    cargo build --release --locked --bin trunkline
    binary="$target/release/trunkline"
  else
    die "no cargo-zigbuild, which a package for $arch needs here (pip install cargo-zigbuild ziglang)"
  fi
fi
for tool in cargo-deb cargo-generate-rpm; do
  command -v "$tool" >/dev/null || cargo install --locked "$tool"
done

deploy/strip.sh "$binary" "$stage/trunkline"
glibc=$(readelf --dyn-syms --wide "$stage/trunkline" | grep -o 'GLIBC_[0-9.]*' | sort -Vu | tail -n 1 | cut -d_ -f2 || true)
echo "the binary needs glibc ${glibc:-none}"
# Manual page and completions come from the program itself, so from one that runs here.
speaks=$stage/trunkline
if [ "$arch" != "$here" ]; then
  speaks=$target/$here-unknown-linux-gnu/release/trunkline
  cargo zigbuild --release --locked --bin trunkline --target "$here-unknown-linux-gnu.2.28"
fi
"$speaks" man >"$stage/trunkline.1" || die "no manual page: this binary has no command 'man'"
for shell in bash zsh fish; do
  "$speaks" completions "$shell" >"$stage/trunkline.$shell" || die "no completions for $shell"
done

# Both tools look for the assets from the directory of Cargo.toml.
variant=()
if [ "$(printf '%s\n' "${glibc:-0}" 2.28 | sort -V | tail -n 1)" != 2.28 ]; then
  variant=(--variant native)
fi
rm -f target/dist/*_"$debian".deb target/dist/*."$arch".rpm
cargo deb --target "$triple" --no-build --no-strip --quiet "${variant[@]}" --output target/dist/
# gzip: what RHEL 8 reads.
cargo generate-rpm --arch "$arch" --output target/dist/ --payload-compress gzip \
  --set-metadata "requires = { systemd = '>= 239', ca-certificates = '*', glibc = '>= ${glibc:-2.28}' }"
ls -l target/dist/*_"$debian".deb target/dist/*."$arch".rpm
