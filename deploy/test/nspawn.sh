#!/usr/bin/env bash
# Installs the package in a Debian that is booted with systemd, and does to it what happens to a service in a year:
#   deploy/test/nspawn.sh [DEB]
# Without DEB the package is built. What it needs: booted.sh.
# shellcheck disable=SC2016 # what is in single quotes is for the shell in the root
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=deploy/test/booted.sh
. deploy/test/booted.sh

deb=${1:-}
if [ -z "$deb" ]; then
  deploy/package.sh
  deb=$(echo target/dist/trunkline_*_"$(dpkg --print-architecture)".deb)
fi
boot root
cp "$here/knock.py" "$deb" "$root/root/"
deb=/root/$(basename "$deb")

connects() { in_root python3 /root/knock.py connects /run/trunkline/events.sock "$1"; }
# The sandbox has every id of FILE.
all_delivered() {
  eventually "$1" "curl -sf http://127.0.0.1:9900/sandbox/events >/tmp/taken &&
    [ \$(grep -oFf $2 /tmp/taken | sort -u | wc -l) = \$(sort -u $2 | wc -l) ]"
}

step "install"
said=$(in_root dpkg -i "$deb" 2>&1) || fail "$said"
has "the installation says what to do" "systemctl start trunkline" "$said"
is "not started without configuration" inactive "$(active trunkline.service)"
is "no socket without configuration" inactive "$(active trunkline.socket)"
for unit in trunkline.service trunkline.socket trunkline-admin.socket; do
  is "$unit is enabled" enabled "$(in_root systemctl is-enabled "$unit")"
done
is "six lines of configuration" 6 "$(sh_root 'wc -l </etc/trunkline/trunkline.toml')"
is "manual page" 0 "$(code 'test -s /usr/share/man/man1/trunkline.1.gz')"

step "a host that is rebooted before it is configured"
in_root systemctl start trunkline.socket
emit='trunkline emit userRoutingStatusEvents agentId=uuid:anna status=Idle sourceId=uuid:pbx'
sh_root "$emit --timeout 60s >/root/early 2>&1; echo \$? >/root/early.code" &
early=$!
eventually "the journal names the key" "journalctl -u trunkline --no-pager | grep -q 'upstream.client_id: found'"
is "it is tried again" activating "$(active trunkline.service)"
is "the socket is up" active "$(active trunkline.socket)"

step "start without a secret"
sh_root 'systemd-run -q --unit=sandbox trunkline sandbox'
cat >"$root/etc/trunkline/trunkline.toml" <<'TOML'
[upstream]
api_url = "http://127.0.0.1:9900"
login_url = "http://127.0.0.1:9900"
client_id = "sandbox"
TOML
eventually "mended, it runs by itself, without a secret" "systemctl is-active trunkline"
wait "$early"
is "who waited all the while is accepted" 0 "$(sh_root 'cat /root/early.code')"
is "accepts without a secret" 0 "$(code "$emit --timeout 5s")"
eventually "says that it may not log in" "trunkline status | grep -qi unauthorized"

step "the secret"
sh_root 'echo sandbox >/etc/trunkline/client_secret; chmod 600 /etc/trunkline/client_secret; systemctl restart trunkline'
eventually "delivers once it has the secret" "trunkline status --quiet --healthy && trunkline status --json | grep -q '^  \"queue_events\": 0'"
is "owner of the secret" "root 600" "$(sh_root 'stat -c "%U %a" /etc/trunkline/client_secret')"
is "who may hand over" "trunkline trunkline 660" "$(sh_root 'stat -c "%U %G %a" /run/trunkline/events.sock')"
is "who may operate" "trunkline trunkline-admin 660" "$(sh_root 'stat -c "%U %G %a" /run/trunkline/admin.sock')"
is "systemd made the sockets" "LISTEN_FDS=2" "$(sh_root 'tr "\0" "\n" </proc/$(systemctl show -P MainPID trunkline)/environ | grep LISTEN_FDS=')"
sh_root 'useradd -G trunkline producer; useradd stranger; useradd -G trunkline-admin oncall'
emit="$emit --timeout 5s"
is "a user of the group may hand over" 0 "$(code "setpriv --reuid producer --regid producer --init-groups $emit")"
is "another may not" 77 "$(code "setpriv --reuid stranger --regid stranger --init-groups $emit")"
is "a producer may not operate" 77 "$(code 'setpriv --reuid producer --regid producer --init-groups trunkline pause')"
is "an operator may" 0 "$(code 'setpriv --reuid oncall --regid oncall --init-groups trunkline status')"

# loaded SECONDS COMMAND: producers go on while COMMAND runs
loaded() {
  in_root python3 /root/knock.py load /run/trunkline/events.sock "$1" /root/ids >"$work/load" &
  local load=$!
  sleep 2
  sh_root "$2"
  wait "$load"
  cat "$work/load"
}
nobody_refused() {
  has "events were accepted" '"accepted"' "$1"
  for bad in ConnectionRefusedError FileNotFoundError PermissionError "not taken"; do
    case "$1" in *"$bad"*) fail "producers saw $bad: $1" ;; esac
  done
  checks=$((checks + 1))
  printf 'ok: no producer was refused: %s\n' "$1"
}

step "no network yet"
sh_root 'printf "[Unit]\nBefore=network-online.target\n[Service]\nType=oneshot\nExecStart=sleep 300\n" >/run/systemd/system/late-network.service
mkdir -p /run/systemd/system/network-online.target.wants; ln -s ../late-network.service /run/systemd/system/network-online.target.wants/
systemctl daemon-reload; systemctl stop network-online.target; systemctl start --no-block network-online.target; systemctl restart trunkline'
is "the network is waited for" activating "$(active late-network.service)"
is "events are accepted meanwhile" 0 "$(code "$emit")"
sh_root 'systemctl stop late-network.service; rm -r /run/systemd/system/late-network.service /run/systemd/system/network-online.target.wants; systemctl daemon-reload' >/dev/null 2>&1

step "both doors"
is "a line by send" 0 "$(code "echo '{\"userRoutingStatusEvents\":[{\"eventId\":\"5f0c6a7e-2f65-4d1c-8d33-4d1f6f1c0001\",\"agentId\":\"f7b7474c-53c3-4579-8f46-42982e159731\",\"status\":\"Idle\",\"sourceId\":\"f7b7474c-53c3-4579-8f46-42982e159732\"}]}' | trunkline send")"
echo "5f0c6a7e-2f65-4d1c-8d33-4d1f6f1c0001" >"$root/root/doors"
sh_root 'echo door-token >/etc/trunkline/http_token; chown root:trunkline /etc/trunkline/http_token; chmod 640 /etc/trunkline/http_token'
printf '[ingest.http]\nlisten = "127.0.0.1:8480"\ntoken_file = "/etc/trunkline/http_token"\n' >>"$root/etc/trunkline/trunkline.toml"
nobody_refused "$(loaded 8 'systemctl enable trunkline-http.socket 2>/dev/null; systemctl restart trunkline')"
is "three sockets are handed over" "LISTEN_FDS=3" "$(sh_root 'tr "\0" "\n" </proc/$(systemctl show -P MainPID trunkline)/environ | grep LISTEN_FDS=')"
has "HTTP takes an event" '{"errors":[]}' "$(sh_root "curl -s -H 'Authorization: Bearer door-token' -H 'Content-Type: application/json' http://127.0.0.1:8480/api/v2/events/users/routingstatus -d '{\"userRoutingStatusEvents\":[{\"eventId\":\"5f0c6a7e-2f65-4d1c-8d33-4d1f6f1c0002\",\"agentId\":\"f7b7474c-53c3-4579-8f46-42982e159731\",\"status\":\"Idle\",\"sourceId\":\"f7b7474c-53c3-4579-8f46-42982e159732\"}]}'")"
echo "5f0c6a7e-2f65-4d1c-8d33-4d1f6f1c0002" >>"$root/root/doors"
all_delivered "both are delivered" /root/doors
has "trace tells of it" delivered "$(sh_root 'trunkline trace 5f0c6a7e-2f65-4d1c-8d33-4d1f6f1c0001')"

step "restart under load"
nobody_refused "$(loaded 14 'for i in 1 2 3; do systemctl restart trunkline; sleep 2; done')"
all_delivered "all that was accepted is delivered" /root/ids

step "upgrade under load"
before=$(show ActiveEnterTimestampMonotonic trunkline.socket) pid=$(show MainPID trunkline.service)
nobody_refused "$(loaded 12 "dpkg -i $deb >/dev/null 2>&1")"
[ "$pid" != "$(show MainPID trunkline.service)" ] || fail "the upgrade did not restart the service"
is "the upgrade left the socket alone" "$before" "$(show ActiveEnterTimestampMonotonic trunkline.socket)"
all_delivered "all that was accepted is delivered" /root/ids

step "kill -9 under load"
nobody_refused "$(loaded 14 'systemctl kill -s KILL trunkline.service')"
eventually "it is back" "systemctl is-active trunkline"
all_delivered "all that was accepted is delivered" /root/ids

step "a daemon that hangs is ended by the watchdog"
mkdir -p "$root/run" && sh_root 'mkdir -p /run/systemd/system/trunkline.service.d
printf "[Service]\nWatchdogSec=4s\nTimeoutAbortSec=2s\n" >/run/systemd/system/trunkline.service.d/watchdog.conf; systemctl daemon-reload; systemctl restart trunkline'
pid=$(show MainPID trunkline.service)
in_root kill -STOP "$pid"
eventually "another process runs" "p=\$(systemctl show -P MainPID trunkline); [ \$p != 0 ] && [ \$p != $pid ] && systemctl is-active trunkline"
has "the journal says why" "Watchdog timeout" "$(sh_root 'journalctl -u trunkline --no-pager -o cat | grep -i watchdog')"
sh_root 'rm -r /run/systemd/system/trunkline.service.d; systemctl daemon-reload; systemctl restart trunkline'

step "a bad configuration, a restart, and producers"
sh_root 'cp /etc/trunkline/trunkline.toml /root/good.toml; echo "nonsense = 1" >>/etc/trunkline/trunkline.toml'
is "reload refuses it" 1 "$(code 'systemctl reload trunkline')"
is "and changes nothing" active "$(active trunkline.service)"
is "config check names it" 78 "$(code 'trunkline config check')"
sh_root 'systemctl restart trunkline' >/dev/null 2>&1 || true
is "status ends soon" 69 "$(code 'timeout 20 trunkline status')"
has "and says what it may be" "its configuration was refused" "$(cat "$work/out")"
is "30 connects while it does not start" '{"connected": 30}' "$(connects 30)"
sleep 12
is "30 more after two failed starts" '{"connected": 30}' "$(connects 30)"
is "the socket is up" active "$(active trunkline.socket)"
in_root timeout 100 python3 /root/knock.py load /run/trunkline/events.sock 1 /root/ids >"$work/load" &
waiting=$!
sleep 1
in_root cp /root/good.toml /etc/trunkline/trunkline.toml
wait "$waiting"
nobody_refused "$(cat "$work/load")"
all_delivered "mended, all flows without reset-failed" /root/ids

step "the configuration goes away"
sh_root 'mv /etc/trunkline/trunkline.toml /root/away.toml; systemctl restart trunkline' >/dev/null 2>&1 || true
is "10 connects without a configuration" '{"connected": 10}' "$(connects 10)"
ticks=$(sh_root 'a=$(awk "{print \$14+\$15}" /proc/1/stat); sleep 4; b=$(awk "{print \$14+\$15}" /proc/1/stat); echo $((b - a))')
[ "$ticks" -lt 100 ] || fail "systemd is busy: $ticks hundredths of a second of CPU in 4 s"
sh_root 'mv /root/away.toml /etc/trunkline/trunkline.toml'
eventually "back with the configuration" "systemctl is-active trunkline && $emit"

step "reload"
sh_root 'printf "[log]\nlevel = \"debug\"\n" >>/etc/trunkline/trunkline.toml'
pid=$(show MainPID trunkline.service)
is "reload applies" 0 "$(code 'systemctl reload trunkline')"
is "in the same process" "$pid" "$(show MainPID trunkline.service)"

step "two organisations on one host"
sh_root 'cat >/etc/trunkline/east.toml <<T
[upstream]
api_url = "http://127.0.0.1:9900"
login_url = "http://127.0.0.1:9900"
client_id = "sandbox"
[queue]
dir = "/var/lib/trunkline-east"
[ingest.stream]
path = "/run/trunkline-east/events.sock"
[admin]
listen = "unix:/run/trunkline-east/admin.sock"
T
install -m 600 /etc/trunkline/client_secret /etc/trunkline/east.client_secret; systemctl enable --now trunkline@east 2>/dev/null'
is "the instance runs" active "$(active trunkline@east.service)"
is "who may operate it" "trunkline-admin 660" "$(sh_root 'stat -c "%G %a" /run/trunkline-east/admin.sock')"
is "it takes an event" 0 "$(code "$emit --config /etc/trunkline/east.toml")"
eventually "and delivers" "trunkline status --config /etc/trunkline/east.toml --quiet --healthy"
is "and reloads" 0 "$(code 'systemctl reload trunkline@east')"

step "remove"
sh_root 'systemctl stop sandbox; for i in 1 2 3; do '"$emit"'; done' >/dev/null
said=$(in_root dpkg --remove trunkline 2>&1) || fail "$said"
has "says where the queue is" "the queue stays in /var/lib/trunkline (" "$said"
has "and the other one" "the queue stays in /var/lib/trunkline-east" "$said"
is "the queue is there" 0 "$(code 'test -d /var/lib/trunkline/lanes')"
is "no socket is left" 0 "$(code '! test -e /run/trunkline/events.sock && ! test -e /run/trunkline-east/events.sock')"
is "no process is left" 1 "$(code 'pgrep -u trunkline')"

step "install again"
in_root dpkg -i "$deb" >/dev/null 2>&1 || fail "it does not install again"
is "starts, as it is configured" active "$(active trunkline.service)"
is "the instance too" active "$(active trunkline@east.service)"
sh_root 'systemd-run -q --unit=sandbox2 trunkline sandbox'
eventually "what was queued is delivered" "trunkline status --json | grep -q '^  \"queue_events\": 0' && curl -s http://127.0.0.1:9900/sandbox/events | grep -q agentId"

step "purge, the queue on a file system of its own"
sh_root 'systemctl stop trunkline.socket trunkline-admin.socket trunkline-http.socket trunkline.service 2>/dev/null
rm -r /var/lib/trunkline/*; mount -t tmpfs -o uid=$(id -u trunkline) tmpfs /var/lib/trunkline; mkdir /var/lib/trunkline/lanes'
said=$(in_root dpkg --purge trunkline 2>&1) || fail "$said"
is "its mount point is empty" 0 "$(code '! ls -A /var/lib/trunkline | grep .')"
is "no link is left" 0 "$(code '! find /etc/systemd/system -name "*trunkline*" | grep .')"
for gone in /var/lib/trunkline-east /etc/trunkline/client_secret /etc/trunkline/trunkline.toml /run/trunkline; do
  is "$gone is gone" 1 "$(code "test -e $gone")"
done
is "the user is gone" 2 "$(code 'getent passwd trunkline')"
is "the groups are gone" 2 "$(code 'getent group trunkline || getent group trunkline-admin')"
is "no unit is left" 0 "$(code '! systemctl list-unit-files --no-legend "trunkline*" | grep .')"

printf '\nnspawn: %s checks passed\n' "$checks"
