#!/usr/bin/env bash
# Builds the container image: deploy/docker/build.sh [NAME:TAG]
#
# TRUNKLINE_STATIC=FILE  take this static binary instead of building one
# TRUNKLINE_PLATFORM=linux/arm64  what that binary is for; not set: this machine
# CA_BUNDLE=FILE         take these roots instead of those of Debian's package ca-certificates
# BUILDER=docker         buildah (the default where it is installed), docker or podman; BUILDER_FLAGS go before its command
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
here="$root/deploy/docker"
image=${1:-localhost/trunkline:latest}
target="$(uname -m)-unknown-linux-musl"

die() { printf 'build.sh: %s\n' "$*" >&2; exit 1; }

binary=${TRUNKLINE_STATIC:-}
if [ -z "$binary" ]; then
  command -v musl-gcc >/dev/null || die "no musl-gcc: install Debian's package musl-tools"
  ( cd "$root" && rustup target add "$target" && cargo build --release --locked --target "$target" )
  binary="${CARGO_TARGET_DIR:-$root/target}/$target/release/trunkline"
fi
# A binary that asks for a loader would not start in an image that has none.
if readelf --program-headers "$binary" | grep INTERP >/dev/null; then
  die "$binary is not static"
fi

context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
mkdir "$context/empty"
cp -r "$here/etc" "$context/"
# The package's own files, not /etc/ssl/certs: that has the roots too that somebody added to this host.
if [ -n "${CA_BUNDLE:-}" ]; then
  cp "$CA_BUNDLE" "$context/ca-certificates.crt"
elif compgen -G '/usr/share/ca-certificates/mozilla/*.crt' >/dev/null; then
  cat /usr/share/ca-certificates/mozilla/*.crt >"$context/ca-certificates.crt"
else
  die "no /usr/share/ca-certificates/mozilla: set CA_BUNDLE to a PEM file with the public CAs"
fi
cp "$binary" "$context/trunkline"
find "$context" -type d -exec chmod 755 {} + -o -type f -exec chmod 644 {} +
chmod 755 "$context/trunkline"

builder=${BUILDER:-}
for known in buildah docker podman; do
  [ -n "$builder" ] || ! command -v "$known" >/dev/null || builder=$known
done
platform=()
[ -z "${TRUNKLINE_PLATFORM:-}" ] || platform=(--platform "$TRUNKLINE_PLATFORM")
# shellcheck disable=SC2086 # flags are several words
case "$builder" in
  # OCI's own format has no place for the health check.
  buildah) buildah ${BUILDER_FLAGS:-} bud --quiet --format docker --isolation chroot "${platform[@]}" --tag "$image" --file "$here/Dockerfile" "$context" ;;
  podman) podman ${BUILDER_FLAGS:-} build --quiet --format docker "${platform[@]}" --tag "$image" --file "$here/Dockerfile" "$context" ;;
  docker) docker ${BUILDER_FLAGS:-} build --quiet "${platform[@]}" --tag "$image" --file "$here/Dockerfile" "$context" ;;
  '') die "no buildah, docker or podman" ;;
  *) die "BUILDER is $builder; it can be buildah, docker or podman" ;;
esac
printf 'built %s\n' "$image"
