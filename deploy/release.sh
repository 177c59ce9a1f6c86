#!/usr/bin/env bash
# Builds all that a release has into target/dist: deploy/release.sh
#   For x86_64 and aarch64: .deb and .rpm, two archives with the binary (glibc 2.28 and newer; static musl), and the
#   container image as an archive where buildah is installed. Then the SBOM and SHA256SUMS.
# Needs cargo-zigbuild with zig (pip install cargo-zigbuild ziglang).
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
dist=$PWD/target/dist
arches="x86_64 aarch64"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)

die() { printf 'release.sh: %s\n' "$*" >&2; exit 1; }

# A release is what was committed.
[ -z "$(git status --porcelain)" ] || [ "${TRUNKLINE_RELEASE_DIRTY:-}" = 1 ] || die "there are changes that are not committed"
command -v cargo-zigbuild >/dev/null || die "no cargo-zigbuild: a release runs on RHEL 8 too (pip install cargo-zigbuild ziglang)"
command -v cargo-cyclonedx >/dev/null || cargo install --locked cargo-cyclonedx
rm -rf "$dist"
mkdir -p "$dist"
# All that has a time in it says when the last commit was made.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
# Nor does it say on whose machine.
cargo_home=${CARGO_HOME:-$HOME/.cargo}
export RUSTFLAGS="${RUSTFLAGS:-} --remap-path-prefix=$cargo_home=/cargo --remap-path-prefix=$PWD=/trunkline"

archive() { # NAME BINARY
  local top="trunkline-$version-$1"
  mkdir -p "$dist/$top"
  deploy/strip.sh "$2" "$dist/$top/trunkline"
  cp -r README.md CHANGELOG.md LICENSE config docs "$dist/$top/"
  cp -r examples "$dist/$top/"
  mkdir "$dist/$top/deploy"
  cp -r deploy/systemd deploy/prometheus deploy/grafana deploy/kubernetes "$dist/$top/deploy/"
  tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" -C "$dist" -czf "$dist/$top.tar.gz" "$top"
  rm -r "${dist:?}/$top"
}
image() { # ARCH BINARY
  local flags=${BUILDER_FLAGS:---storage-driver vfs} name=localhost/trunkline:$version-$1 platform=amd64
  [ "$1" = x86_64 ] || platform=arm64
  TRUNKLINE_STATIC=$2 TRUNKLINE_PLATFORM=linux/$platform BUILDER=buildah BUILDER_FLAGS=$flags deploy/docker/build.sh "$name"
  # shellcheck disable=SC2086 # flags are several words
  buildah $flags push --quiet "$name" "docker-archive:$dist/trunkline-$version-$1-image.tar:$name"
}
for arch in $arches; do
  deploy/package.sh --arch "$arch"
  glibc="$target/$arch-unknown-linux-gnu/release/trunkline"
  needs=$(readelf --dyn-syms --wide "$glibc" | grep -o 'GLIBC_[0-9.]*' | sort -Vu | tail -n 1)
  [ "$(printf '%s\n' "$needs" GLIBC_2.28 | sort -V | tail -n 1)" = GLIBC_2.28 ] || die "the binary for $arch needs $needs"
  rustup target add "$arch-unknown-linux-musl"
  cargo zigbuild --release --locked --bin trunkline --target "$arch-unknown-linux-musl"
  static="$target/$arch-unknown-linux-musl/release/trunkline"
  archive "$arch-linux-glibc2.28" "$glibc"
  archive "$arch-linux-static" "$static"
  if command -v buildah >/dev/null; then
    image "$arch" "$static"
  else
    echo "release.sh: no buildah, so no container image for $arch"
  fi
done

# What the binary is made of: the crates that are linked for Linux (the same ones for both), without those of the tests.
cargo cyclonedx --format json --target x86_64-unknown-linux-gnu --no-build-deps --override-filename "trunkline-$version.cdx" --quiet
sed "s#file://$PWD#file:///trunkline#g" "trunkline-$version.cdx.json" >"$dist/trunkline-$version.cdx.json"
rm "trunkline-$version.cdx.json"
rm -rf "$dist/stage"
( cd "$dist" && sha256sum -- * >SHA256SUMS && sha256sum --check --quiet SHA256SUMS )
ls -l "$dist"
