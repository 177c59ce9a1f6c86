#!/usr/bin/env bash
# Builds all that a release has into target/dist: deploy/release.sh
#   .deb and .rpm, two archives with the binary (glibc 2.28 and newer; static musl), the SBOM, SHA256SUMS, and the
#   container image as an archive where buildah is installed.
# Needs musl-tools, and cargo-zigbuild with zig for the wide binary (pip install cargo-zigbuild ziglang).
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
dist=$PWD/target/dist
arch=$(uname -m)
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)

die() { printf 'release.sh: %s\n' "$*" >&2; exit 1; }

# A release is what was committed.
[ -z "$(git status --porcelain)" ] || [ "${TRUNKLINE_RELEASE_DIRTY:-}" = 1 ] || die "there are changes that are not committed"
command -v cargo-zigbuild >/dev/null || die "no cargo-zigbuild: a release runs on RHEL 8 too (pip install cargo-zigbuild ziglang)"
command -v musl-gcc >/dev/null || die "no musl-gcc: install Debian's package musl-tools"
command -v cargo-cyclonedx >/dev/null || cargo install --locked cargo-cyclonedx
rm -rf "$dist"
mkdir -p "$dist"
# All that has a time in it says when the last commit was made.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
# Nor does it say on whose machine.
cargo_home=${CARGO_HOME:-$HOME/.cargo}
export RUSTFLAGS="${RUSTFLAGS:-} --remap-path-prefix=$cargo_home=/cargo --remap-path-prefix=$PWD=/trunkline"

deploy/package.sh
glibc="$target/$arch-unknown-linux-gnu/release/trunkline"
needs=$(objdump -T "$glibc" | grep -o 'GLIBC_[0-9.]*' | sort -Vu | tail -n 1)
[ "$(printf '%s\n' "$needs" GLIBC_2.28 | sort -V | tail -n 1)" = GLIBC_2.28 ] || die "the binary needs $needs"

rustup target add "$arch-unknown-linux-musl"
cargo build --release --locked --bin trunkline --target "$arch-unknown-linux-musl"
static="$target/$arch-unknown-linux-musl/release/trunkline"

archive() { # NAME BINARY
  local top="trunkline-$version-$1"
  mkdir -p "$dist/$top"
  install -m 755 "$2" "$dist/$top/trunkline"
  strip --strip-unneeded "$dist/$top/trunkline"
  cp -r README.md CHANGELOG.md LICENSE config docs "$dist/$top/"
  mkdir "$dist/$top/deploy"
  cp -r deploy/systemd "$dist/$top/deploy/"
  tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" -C "$dist" -czf "$dist/$top.tar.gz" "$top"
  rm -r "${dist:?}/$top"
}
archive "$arch-linux-glibc2.28" "$glibc"
archive "$arch-linux-static" "$static"

if command -v buildah >/dev/null && [ -x deploy/docker/build.sh ]; then
  TRUNKLINE_STATIC=$static BUILDER=buildah BUILDER_FLAGS="${BUILDER_FLAGS:---storage-driver vfs}" deploy/docker/build.sh "localhost/trunkline:$version"
  # shellcheck disable=SC2086 # flags are several words
  buildah ${BUILDER_FLAGS:---storage-driver vfs} push --quiet "localhost/trunkline:$version" "docker-archive:$dist/trunkline-$version-$arch-image.tar:localhost/trunkline:$version"
else
  echo "release.sh: no buildah, so no container image"
fi

# What the binary is made of: the crates that are linked for this platform, without those of the tests.
cargo cyclonedx --format json --target "$arch-unknown-linux-gnu" --no-build-deps --override-filename "trunkline-$version.cdx" --quiet
sed "s#file://$PWD#file:///trunkline#g" "trunkline-$version.cdx.json" >"$dist/trunkline-$version.cdx.json"
rm "trunkline-$version.cdx.json"
rm -rf "$dist/stage"
( cd "$dist" && sha256sum -- * >SHA256SUMS && sha256sum --check --quiet SHA256SUMS )
ls -l "$dist"
