#!/usr/bin/env bash
# Builds the image and runs it: not root, nothing writable but the two volumes, no name in /etc/hosts, TLS by a CA of
# the test's. A producer of another uid hands events over through the shared directory; the sandbox must get them.
#
# Needs root, buildah, python3, openssl, unshare. No container engine: the image's root is entered with chroot, in name spaces of
# its own, as buildah itself does with --isolation chroot.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
max_bytes=20000000

skip() { printf 'container: SKIPPED, %s\n' "$*"; exit 0; }
die() { printf 'container: FAILED: %s\n' "$*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || skip "not root"
unshare --mount --net true 2>/dev/null || skip "no name spaces to be had here"
missing=""
for tool in buildah:buildah openssl:openssl python3:python3 ip:iproute2 curl:curl jq:jq musl-gcc:musl-tools; do
  command -v "${tool%%:*}" >/dev/null || missing="$missing ${tool##*:}"
done
if [ -n "$missing" ]; then
  # shellcheck disable=SC2086 # several packages
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends ca-certificates $missing; } \
    >/dev/null 2>&1 || skip "cannot install$missing"
fi

work=$(mktemp -d)
pids=()
storage="--storage-driver vfs --root $work/storage --runroot $work/runroot"
finish() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  # shellcheck disable=SC2086 # flags are several words
  buildah $storage rm --all >/dev/null 2>&1 || true
  umount --recursive --lazy "$work/root" "$work/application" 2>/dev/null || true
  rm -rf --one-file-system "$work"
}

# The first time without name spaces: building wants the network.
if [ -z "${CONTAINER_TEST_BINARY:-}" ]; then
  trap finish EXIT
  target="$(uname -m)-unknown-linux-musl"
  binary=${TRUNKLINE_STATIC:-}
  if [ -z "$binary" ]; then
    rustup target add "$target" >/dev/null 2>&1 || skip "the target $target cannot be had"
    ( cd "$root" && cargo build --release --locked --target "$target" )
    binary="${CARGO_TARGET_DIR:-$root/target}/$target/release/trunkline"
  fi
  status=0
  CONTAINER_TEST_BINARY=$(realpath "$binary") unshare --mount --net --fork "$0" || status=$?
  exit "$status"
fi
trap finish EXIT
export TRUNKLINE_STATIC=$CONTAINER_TEST_BINARY
ip link set lo up

step() { printf -- '-- %s\n' "$*"; }
until_ok() { # SECONDS COMMAND…
  local end=$((SECONDS + $1)); shift
  until "$@"; do [ "$SECONDS" -lt "$end" ] || return 1; sleep 0.2; done
}

step "build"
BUILDER=buildah BUILDER_FLAGS=$storage "$root/deploy/docker/build.sh" localhost/trunkline:test >/dev/null 2>"$work/build.log" \
  || { cat "$work/build.log" >&2; grep -q 'not permitted' "$work/build.log" && skip "buildah cannot work here"; die "no image"; }
# shellcheck disable=SC2086
buildah $storage from --name it localhost/trunkline:test >/dev/null
# shellcheck disable=SC2086
buildah $storage run --isolation chroot it -- /usr/bin/trunkline --version
# shellcheck disable=SC2086
config=$(buildah $storage inspect --type image localhost/trunkline:test | jq .Docker.config)
[ "$(jq -r .User <<<"$config")" = 10001:10001 ] || die "the image's user is $(jq -r .User <<<"$config")"
# shellcheck disable=SC2086
image=$(buildah $storage mount it)
bytes=$(du --apparent-size --summarize --bytes "$image" | cut -f1)
echo "$bytes bytes"
[ "$bytes" -le "$max_bytes" ] || die "over $max_bytes bytes"
roots=$(grep -c 'BEGIN CERTIFICATE' "$image/etc/ssl/certs/ca-certificates.crt")
[ "$roots" -ge 100 ] || die "only $roots roots"

step "a name server, TLS and the sandbox on the host's loopback"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj "/CN=test CA" \
  -keyout "$work/ca.key" -out "$work/ca.pem" 2>/dev/null
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=api.trunkline.test" -keyout "$work/key" -out "$work/csr" 2>/dev/null
openssl x509 -req -in "$work/csr" -CA "$work/ca.pem" -CAkey "$work/ca.key" -CAcreateserial -days 1 -out "$work/cert" \
  -extfile <(echo "subjectAltName=DNS:api.trunkline.test,DNS:login.trunkline.test") 2>/dev/null
python3 "$root/deploy/test/names_and_tls.py" trunkline.test "$work/cert" "$work/key" 9943 9900 >"$work/names.log" 2>&1 & pids+=($!)
"$CONTAINER_TEST_BINARY" sandbox --listen 127.0.0.1:9900 >/dev/null 2>&1 & pids+=($!)
until_ok 10 grep -q ready "$work/names.log" || { cat "$work/names.log" >&2; die "no name server"; }
until_ok 10 curl -sf -o /dev/null http://127.0.0.1:9900/sandbox/stats || die "no sandbox"

step "run: uid 10001, a read-only root"
mkdir "$work/root" "$work/etc" "$work/run" "$work/queue"
cp "$work/ca.pem" "$work/etc/ca.pem"
echo sandbox >"$work/etc/client_secret"
cat >"$work/etc/trunkline.toml" <<TOML
[upstream]
api_url = "https://api.trunkline.test:9943"
login_url = "https://login.trunkline.test:9943"
client_id = "sandbox"
ca_file = "ca.pem"
[ingest.stream]
group = "10000"
[queue]
dir = "/var/lib/trunkline/queue"
TOML
chmod 755 "$work" && chmod -R a+rX "$work/etc"
# As Kubernetes gives an emptyDir with an fsGroup.
chgrp 10000 "$work/run" "$work/queue" && chmod 2777 "$work/run" "$work/queue"
mount --make-rprivate /
mkdir -p "$image"/{proc,etc/trunkline}
: >"$image/etc/resolv.conf"
mount --bind "$image" "$work/root"
mount -o remount,bind,ro "$work/root"
echo "nameserver 127.0.0.1" >"$work/resolv.conf"
mount --bind "$work/resolv.conf" "$work/root/etc/resolv.conf"
mount --bind "$work/etc" "$work/root/etc/trunkline"
mount -o remount,bind,ro "$work/root/etc/trunkline"
mount --bind "$work/run" "$work/root/run/trunkline"
mount --bind "$work/queue" "$work/root/var/lib/trunkline"
mount -t proc proc "$work/root/proc"

inside=(setpriv --no-new-privs env -i "$(command -v chroot)" --userspec=10001:10001 --groups=10000 "$work/root")
mapfile -t command < <(jq -r '(.Entrypoint + .Cmd)[]' <<<"$config")
mapfile -t health < <(jq -r '.Healthcheck.Test[1:][]' <<<"$config")
[ "${health[*]}" = "/usr/bin/trunkline status --quiet --live" ] || die "the health check is ${health[*]}"
"${inside[@]}" "${command[@]}" >"$work/daemon.log" 2>&1 & daemon=$!; pids+=("$daemon")
until_ok 20 test -S "$work/run/events.sock" || { cat "$work/daemon.log" >&2; die "it does not start"; }
grep -q '^Uid:.10001.10001.10001.10001$' "/proc/$daemon/status" || die "it does not run as 10001"
grep -q '^CapEff:.0000000000000000$' "/proc/$daemon/status" || die "it has capabilities"
# Root's own hand: the mount refuses, not the permissions.
if touch "/proc/$daemon/root/etc/written" 2>/dev/null; then die "the root file system can be written to"; fi

step "deliver: a producer of another uid, its mount of the socket read-only"
mkdir "$work/application"
mount --bind "$work/run" "$work/application"
mount -o remount,bind,ro "$work/application"
event='{"userRoutingStatusEvents":[{"agentId":"f7b7474c-53c3-4579-8f46-42982e159731","status":"Idle","sourceId":"pbx-1"}]}'
install -m 755 "$CONTAINER_TEST_BINARY" "$work/trunkline"
producer() { setpriv --reuid 10002 --regid 10002 "$@" "$work/trunkline" send --socket "$work/application/events.sock" --reconnect-for 2s; }
echo "$event" | producer --groups 10000
if echo "$event" | producer --clear-groups >/dev/null 2>&1; then die "who is not in the socket's group is let in"; fi
taken() { [ "$(curl -sf http://127.0.0.1:9900/sandbox/stats | jq .events)" = 1 ]; }
until_ok 20 taken || { cat "$work/daemon.log" >&2; die "the event did not arrive"; }
echo "delivered over TLS to a name from the name server"

step "health check"
quiet() { "$@" >/dev/null 2>&1; }
until_ok 20 quiet "${inside[@]}" "${health[@]}" || { cat "$work/daemon.log" >&2; "${inside[@]}" "${health[@]}" || true; die "the health check says no"; }
"${inside[@]}" "${command[@]:0:1}" status --quiet --ready || die "--ready says no"

step "stop"
kill -TERM "$daemon"
status=0; wait "$daemon" || status=$?
[ "$status" = 0 ] || { cat "$work/daemon.log" >&2; die "exit $status after SIGTERM"; }
status=0; "${inside[@]}" "${health[@]}" >/dev/null 2>&1 || status=$?
[ "$status" = 69 ] || die "the health check of a stopped daemon exits with $status"
echo "container: ok, $bytes bytes"
