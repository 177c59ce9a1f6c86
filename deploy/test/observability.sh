#!/usr/bin/env bash
# Checks and tests the alerts, then lets a real Prometheus scrape a real run against the sandbox, and asks it everything
# that the dashboard asks. Needs Debian's package prometheus, and a built trunkline (TRUNKLINE=FILE).
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
trunkline=$(realpath "${TRUNKLINE:-${CARGO_TARGET_DIR:-$root/target}/release/trunkline}")

skip() { printf 'observability: SKIPPED, %s\n' "$*"; exit 0; }
die() { printf 'observability: FAILED: %s\n' "$*" >&2; exit 1; }
step() { printf -- '-- %s\n' "$*"; }

missing=""
for tool in prometheus:prometheus promtool:prometheus python3:python3 curl:curl; do
  command -v "${tool%%:*}" >/dev/null || missing="$missing ${tool##*:}"
done
if [ -n "$missing" ]; then
  # shellcheck disable=SC2086 # several packages
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing; } \
    >/dev/null 2>&1 || skip "cannot install$missing"
fi

work=$(mktemp -d)
pids=()
finish() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT
until_ok() { # SECONDS COMMAND…
  local end=$((SECONDS + $1)); shift
  until "$@"; do [ "$SECONDS" -lt "$end" ] || return 1; sleep 0.2; done
}
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

step "alerts and scrape sample"
cd "$root/deploy/prometheus"
promtool check rules alerts.yml
promtool test rules alerts_test.yml
promtool check config scrape.yml
# shellcheck disable=SC2013 # none has a space
for anchor in $(grep -o 'runbook_url: .*' alerts.yml | sed 's/.*#//'); do
  # A heading's anchor is its text, small, with hyphens.
  sed -n 's/^#\+ //p' "$root/docs/runbook.md" | tr 'A-Z ' 'a-z-' | tr -cd 'a-z0-9\n-' | grep -qx -- "$anchor" \
    || die "docs/runbook.md has no section $anchor"
done
# shellcheck disable=SC2013 # none has a space
for alert in $(sed -n 's/.*- alert: //p' alerts.yml); do
  grep -q "$alert" alerts_test.yml || die "no test has $alert"
done

step "a run: sandbox, daemon, Prometheus"
cd "$work"
"$trunkline" sandbox --listen 127.0.0.1:0 --reject-event-rate 0.05 --seed 7 >sandbox.toml 2>sandbox.log & pids+=($!)
until_ok 10 grep -q admin.sock sandbox.toml || { cat sandbox.log >&2; die "no sandbox"; }
metrics="127.0.0.1:$(free_port)"
sed "s/^\[admin\]/&\nmetrics_listen = \"$metrics\"/" sandbox.toml >trunkline.toml
"$trunkline" run --config trunkline.toml >daemon.log 2>&1 & pids+=($!)
until_ok 20 curl -sf -o /dev/null "http://$metrics/metrics" || { cat daemon.log >&2; die "no metrics at $metrics"; }
# 3 is a matter of taste in names, and names are our interface; 1 is a text that can't be read.
status=0; curl -sf "http://$metrics/metrics" | promtool check metrics >lint.log 2>&1 || status=$?
[ "$status" = 0 ] || [ "$status" = 3 ] || { cat lint.log >&2; die "promtool can't read the metrics"; }

sed -e "s/127.0.0.1:9464/$metrics/" -e 's/scrape_interval: 15s/scrape_interval: 1s/' "$root/deploy/prometheus/scrape.yml" >prometheus.yml
printf 'global:\n  evaluation_interval: 1s\n' >>prometheus.yml
cp "$root/deploy/prometheus/alerts.yml" .
prometheus="127.0.0.1:$(free_port)"
start=$(date +%s)
prometheus --config.file=prometheus.yml --storage.tsdb.path=data --web.listen-address="$prometheus" >prometheus.log 2>&1 & pids+=($!)
until_ok 30 curl -sf -o /dev/null "http://$prometheus/-/ready" || { cat prometheus.log >&2; die "no Prometheus"; }

# Half a minute of traffic, with what makes the rarer metrics appear: a refusal, a repeat, a time ahead of us, a new value.
agent="f7b7474c-53c3-4579-8f46-42982e159731"
ahead=$(date -u -d '+10 minutes' +%Y-%m-%dT%H:%M:%S.000Z)
line() { printf '{"userRoutingStatusEvents":[{"agentId":"%s","status":"%s","sourceId":"pbx-1"%s}]}\n' "$@"; }
{
  line "$agent" Idle ", \"eventDateTime\":\"$ahead\""
  line "$agent" Idle ", \"eventId\":\"1b671a64-40d5-491e-99b0-da01ff1f3341\""
  line "$agent" Idle ", \"eventId\":\"1b671a64-40d5-491e-99b0-da01ff1f3341\""
  line "$agent" NewToThisBuild ""
  echo '{"userRoutingStatusEvents":[{"status":"Idle"}]}'
} >rare.ndjson
"$trunkline" send --config trunkline.toml rare.ndjson >/dev/null 2>&1 || [ $? = 1 ] || die "cannot send"
for _ in $(seq 30); do
  for key in $(seq 20); do line "$(printf '00000000-0000-4000-8000-%012d' "$key")" Idle ""; done >traffic.ndjson
  "$trunkline" send --config trunkline.toml traffic.ndjson >/dev/null
  sleep 1
done

step "every query"
python3 "$root/deploy/test/observability_queries.py" "http://$prometheus" "$start" "$root/deploy/grafana/trunkline.json" \
  "$root/deploy/prometheus/alerts.yml" || { tail -20 daemon.log >&2; exit 1; }
echo "observability: ok"
