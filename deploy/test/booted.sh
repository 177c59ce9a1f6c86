# Sourced by the tests that need a Debian booted with systemd: boot, run commands inside, and say what held.
# Each has its own root, copied from one that debootstrap makes. TRUNKLINE_TEST_ROOT=DIR keeps that one between runs.
# Needs root and Debian 12 or newer; installs debootstrap and systemd-container. Where the machine does not allow it: SKIPPED, exit 0.
# shellcheck shell=bash
test=$(basename "$0" .sh)
# shellcheck disable=SC2034 # for those who source this
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

skip() { printf '%s: SKIPPED, %s\n' "$test" "$*"; exit 0; }

[ "$(id -u)" = 0 ] || skip "not root"
if ! command -v debootstrap >/dev/null || ! command -v systemd-nspawn >/dev/null; then
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq debootstrap systemd-container; } >/dev/null 2>&1 || true
fi
for tool in debootstrap systemd-nspawn; do
  command -v "$tool" >/dev/null || skip "no $tool to be had"
done

work=$(mktemp -d)
root=
nspawn=
leader=
checks=0

shut_down() {
  # Only what was started here, by its number.
  if [ -n "$nspawn" ] && kill "$nspawn" 2>/dev/null; then
    wait "$nspawn" 2>/dev/null || true
  fi
  nspawn=
  [ -z "$root" ] || rm -rf --one-file-system "$root"
  root=
}
cleanup() {
  shut_down
  rm -rf --one-file-system "$work"
}
trap cleanup EXIT

base=${TRUNKLINE_TEST_ROOT:-$work/base}
if [ ! -x "$base/lib/systemd/systemd" ]; then
  echo "$test: makes a Debian root"
  packages=systemd,dbus,ca-certificates,curl,python3,python3-apt,procps,init-system-helpers,sudo,openssl,rpm
  rm -rf --one-file-system "$base"
  debootstrap --variant=minbase --include="$packages" bookworm "$base" >"$work/debootstrap.log" 2>&1 ||
    skip "debootstrap failed: $(tail -n 1 "$work/debootstrap.log")"
fi

# boot NAME: a fresh root in $root, booted, with a network of its own: only loopback, so that no port of this machine matters.
boot() {
  root=$work/$1
  cp -a "$base" "$root"
  systemd-nspawn --register=no --keep-unit --private-network -b --console=pipe -D "$root" </dev/null >"$work/boot.log" 2>&1 &
  nspawn=$!
  local state
  for _ in $(seq 60); do
    leader=$(pgrep -P "$nspawn" | head -n 1 || true)
    state=
    [ -z "$leader" ] || state=$(nsenter -t "$leader" -a systemctl is-system-running 2>/dev/null || true)
    case "$state" in running | degraded) return ;; esac
    kill -0 "$nspawn" 2>/dev/null || skip "systemd-nspawn does not run here: $(tail -n 1 "$work/boot.log")"
    sleep 0.5
  done
  skip "no systemd came up: $(tail -n 1 "$work/boot.log")"
}

in_root() { nsenter -t "$leader" -a env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"; }
sh_root() { in_root bash -c "$1"; }

step() { printf '\n== %s\n' "$*"; }
fail() {
  printf 'FAILED: %s\n' "$*"
  [ -z "$root" ] || in_root journalctl --no-pager -o cat -n 40 -u 'trunkline*' || true
  exit 1
}
# is WHAT EXPECTED FOUND
is() {
  [ "$2" = "$3" ] || fail "$1: expected '$2', found '$3'"
  checks=$((checks + 1))
  printf 'ok: %s\n' "$1"
}
# has WHAT PART TEXT
has() {
  case "$3" in *"$2"*) ;; *) fail "$1: '$2' is not in: $3" ;; esac
  checks=$((checks + 1))
  printf 'ok: %s\n' "$1"
}
# eventually WHAT COMMAND: within a minute
eventually() {
  for _ in $(seq 120); do
    if sh_root "$2" >/dev/null 2>&1; then
      checks=$((checks + 1))
      printf 'ok: %s\n' "$1"
      return
    fi
    sleep 0.5
  done
  fail "$1: not within a minute"
}
# code COMMAND: its exit code; what it said is in $work/out
code() { local code=0; sh_root "$1" >"$work/out" 2>&1 || code=$?; echo "$code"; }
active() { in_root systemctl is-active "$1" || true; }
show() { in_root systemctl show -P "$1" "$2"; }
