#!/usr/bin/env bash
# Follows the documentation word for word, each page on a fresh Debian that is booted with systemd: deploy/test/pages.sh [DEB]
#
# The commands are read from the pages; only what a reader has to fill in is filled in. The API is a sandbox behind
# the names and port of a region, with a certificate that the root's CA store knows.
# Without DEB the package is built. What it needs: booted.sh; ansible-core from PyPI for docs/ansible.md, which is passed over without.
# shellcheck disable=SC2016 # what is in single quotes is for the shell in the root
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=deploy/test/booted.sh
. deploy/test/booted.sh

if [ -z "${1:-}" ]; then
  deploy/package.sh
fi
deb=${1:-$(echo target/dist/trunkline_*_"$(dpkg --print-architecture)".deb)}
rpm=$(echo target/dist/trunkline-*."$(uname -m)".rpm)
dpkg-deb -x "$deb" "$work/unpacked"
binary=$work/unpacked/usr/bin/trunkline

agent=f7b7474c-53c3-4579-8f46-42982e159731
pbx=f7b7474c-53c3-4579-8f46-42982e159732
# What a reader fills in.
filled() {
  sed "s/YOUR-REGION/us-east-1/; s/YOUR-CLIENT-ID/5b0f6a7e-2f65-4d1c-8d33-4d1f6f1c00aa/; s/AN-AGENTS-ID/$agent/; s/YOUR-SOURCE-ID/$pbx/; \
    s/trunkline_NEW.deb/trunkline_new.deb/; s/trunkline_OLD.deb/trunkline_0.1.0-1_amd64.deb/"
}
# block PAGE HEADING N [LANGUAGE]: the Nth block of commands below the heading
block() {
  local found
  found=$(awk -v heading="## $2" -v n="$3" -v fence="\`\`\`${4:-sh}" '
    /^## / { inside = ($0 == heading) }
    /^```$/ { wanted = 0 }
    wanted { print }
    inside && $0 == fence { wanted = (++count == n) }' "$1" | filled)
  [ -n "$found" ] || fail "$1 has no block $3 below '$2'"
  printf '%s\n' "$found"
}
# follow PAGE HEADING N: runs the block, as somebody who types "sandbox" where a secret is asked for
follow() {
  local said
  printf -- '-- %s, %s, block %s\n' "$1" "$2" "$3"
  said=$(block "$1" "$2" "$3")
  printf '%s\n' "$said" >"$root/root/block"
  # -e stops at the first failure; a block is read from a file, since its commands may read standard input.
  is "every command succeeds" 0 "$(code 'cd /root; echo sandbox | bash -ex ./block')"
}
# A root on the way to us-east-1: its names lead to a sandbox in the root, by TLS.
boot_with_api() {
  boot "$1"
  cp "$deb" "$root/root/"
  cp "$here/names_and_tls.py" "$binary" "$root/opt/"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj "/CN=test CA" \
    -keyout "$work/ca.key" -out "$root/usr/local/share/ca-certificates/test.crt" 2>/dev/null
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=mypurecloud.com" -keyout "$root/opt/key" -out "$work/csr" 2>/dev/null
  openssl x509 -req -in "$work/csr" -CA "$root/usr/local/share/ca-certificates/test.crt" -CAkey "$work/ca.key" -CAcreateserial -days 1 \
    -out "$root/opt/cert" -extfile <(echo "subjectAltName=DNS:api.mypurecloud.com,DNS:login.mypurecloud.com") 2>/dev/null
  # A reader presses Enter where apt asks.
  echo 'APT::Get::Assume-Yes "true";' >"$root/etc/apt/apt.conf.d/90yes"
  rm -f "$root/etc/resolv.conf"
  echo "nameserver 127.0.0.1" >"$root/etc/resolv.conf"
  sh_root 'update-ca-certificates >/dev/null 2>&1
    systemd-run -q --unit=api /opt/trunkline sandbox
    systemd-run -q --unit=names python3 -u /opt/names_and_tls.py mypurecloud.com /opt/cert /opt/key 443 9900'
  eventually "the API answers by its name" "curl -sf -o /dev/null https://api.mypurecloud.com/sandbox/stats"
}
taken() { sh_root 'curl -sf http://127.0.0.1:9900/sandbox/stats' | sed 's/.*"events":\([0-9]*\).*/\1/'; }
# as USER COMMAND
as() { code "setpriv --reuid $1 --regid $1 --init-groups $2"; }
emit="trunkline emit userRoutingStatusEvents agentId=$agent status=Idle sourceId=$pbx --timeout 10s"

page=docs/install.md
step "$page"
boot_with_api install
follow $page "Five commands" 1
has "the last one is about the event" "userRoutingStatus" "$(cat "$work/out")"
eventually "it is delivered" "[ \$(trunkline status --json | grep -c '^  \"queue_events\": 0') = 1 ] && curl -s http://127.0.0.1:9900/sandbox/events | grep -q $agent"
is "the way to the API is looked at without an event" 0 "$(code 'sudo trunkline config check --online')"
is "one event was sent" 1 "$(taken)"

sh_root 'useradd asterisk; useradd anna; useradd stranger'
follow $page "What was installed" 1
is "asterisk hands over" 0 "$(as asterisk "$emit")"
is "anna asks" 0 "$(as anna 'trunkline status')"
is "a stranger may neither" "77 77" "$(as stranger "$emit") $(as stranger 'trunkline status')"

follow $page "The HTTP door" 1
token=$(sh_root 'cat /etc/trunkline/http_token')
has "the HTTP door takes an event" '{"errors":[]}' "$(sh_root "curl -s -H 'Authorization: Bearer $token' -H 'Content-Type: application/json' \
  http://127.0.0.1:8480/api/v2/events/users/routingstatus -d '{\"userRoutingStatusEvents\":[{\"agentId\":\"$agent\",\"status\":\"Idle\",\"sourceId\":\"$pbx\"}]}'")"
eventually "all three are delivered" "curl -s http://127.0.0.1:9900/sandbox/stats | grep -q '\"events\":3'"

follow $page "What was installed" 2
is "stopped for good: nobody takes events" 69 "$(code "$emit")"
is "and nothing starts it" inactive "$(active trunkline.service)"
sh_root 'systemctl start trunkline'
is "it starts again" 0 "$(code "$emit")"

follow $page "Several organisations on one host" 1
is "the second takes an event" 0 "$(code "$emit --config /etc/trunkline/east.toml")"
eventually "both deliver" "curl -s http://127.0.0.1:9900/sandbox/stats | grep -q '\"events\":5'"

is "a new secret takes a restart" 0 "$(code 'sudo systemctl restart trunkline')"
has "removal says where the queue is" "the queue stays in /var/lib/trunkline (" "$(sh_root 'sudo apt remove trunkline 2>&1')"
is "purge" 0 "$(code 'sudo apt purge trunkline')"
is "what is left is the reader's own" /etc/trunkline/east.toml "$(sh_root 'find /var/lib/trunkline* /etc/trunkline -type f 2>/dev/null')"
shut_down

page=docs/upgrade.md
step "$page"
boot_with_api upgrade
dpkg-deb -R "$deb" "$work/new"
sed -i 's/^Version: .*/Version: 0.1.0-2/' "$work/new/DEBIAN/control"
dpkg-deb -b --root-owner-group "$work/new" "$root/root/trunkline_new.deb" >/dev/null
version() { sh_root "dpkg-query -W -f '\${Version}' trunkline"; }
follow docs/install.md "Five commands" 1
follow $page "What an upgrade does" 1
has "the new version's check of the old configuration" "/etc/trunkline/trunkline.toml is valid" "$(cat "$work/out")"
sh_root 'systemctl stop api'
is "something waits" 0 "$(code "$emit")"
follow $page "Before and after" 1
is "the new version is there" 0.1.0-2 "$(version)"
follow $page "Going back" 1
is "the old version is there" 0.1.0-1 "$(version)"
is "and runs" active "$(active trunkline.service)"
sh_root 'systemd-run -q --unit=api2 /opt/trunkline sandbox'
eventually "what waited is delivered" "curl -s http://127.0.0.1:9900/sandbox/stats | grep -q '\"events\":1'"
sh_root 'apt install ./root/trunkline_new.deb' >/dev/null 2>&1
is "back in one command, where the format is the same" "0 0.1.0-1" "$(code 'cd /root; sudo apt install --allow-downgrades ./trunkline_0.1.0-1_amd64.deb') $(version)"
is "and takes events" 0 "$(code "$emit")"
shut_down

page=docs/ansible.md
step "$page"
ansible="${CARGO_TARGET_DIR:-$PWD/target}/ansible"
if [ -d "$ansible/ansible" ] || python3 -m pip install --quiet --target "$ansible" --python-version 3.11 --only-binary=:all: ansible-core >/dev/null 2>&1; then
  boot_with_api ansible
  cp -r "$ansible" "$root/opt/ansible"
  mkdir -p "$root/srv/packages" "$root/root/play"
  cp "$deb" "$root/srv/packages/"
  awk '/^```$/ { wanted = 0 } wanted { print } /^```yaml$/ { wanted = 1 }' $page >"$root/root/play/play.yml"
  printf '[telephony]\nlocalhost ansible_connection=local ansible_python_interpreter=/usr/bin/python3\n' >"$root/root/play/hosts"
  printf '[upstream]\nregion = "us-east-1"\nclient_id = "5b0f6a7e-2f65-4d1c-8d33-4d1f6f1c00aa"\n' >"$root/root/play/trunkline.toml.j2"
  sh_root 'useradd asterisk'
  # played SECRET: exit code; what it said is in $work/out
  played() { code "cd /root/play && PYTHONPATH=/opt/ansible python3 -m ansible playbook -i hosts play.yml -e trunkline_client_secret=$1"; }
  pid() { show MainPID trunkline.service; }
  is "the play" 0 "$(played one)"
  is "what it installed runs" 0 "$(code 'trunkline status --quiet --ready')"
  is "asterisk hands over" 0 "$(as asterisk "$emit")"
  eventually "and it is delivered" "curl -s http://127.0.0.1:9900/sandbox/stats | grep -q '\"events\":1'"
  is "played again" 0 "$(played one)"
  has "it changes nothing" "changed=0" "$(cat "$work/out")"
  before=$(pid)
  printf '[log]\nlevel = "debug"\n' >>"$root/root/play/trunkline.toml.j2"
  is "a changed configuration" 0 "$(played one)"
  is "is a reload" "$before" "$(pid)"
  printf 'nonsense = 1\n' >>"$root/root/play/trunkline.toml.j2"
  is "a configuration with a fault fails the play" 2 "$(played one)"
  has "which names the key" "log.nonsense" "$(cat "$work/out")"
  is "the host's file stays good" 0 "$(code 'trunkline config check')"
  sed -i '/nonsense/d' "$root/root/play/trunkline.toml.j2"
  is "a changed secret" 0 "$(played two)"
  [ "$before" != "$(pid)" ] || fail "a changed secret did not restart it"
  before=$(pid)
  sed -i '1i [admin]\nmetrics_listen = "127.0.0.1:9464"' "$root/root/play/trunkline.toml.j2"
  is "a changed secret and a key that needs a restart, in one play" 0 "$(played three)"
  [ "$before" != "$(pid)" ] || fail "a changed secret did not restart it"
  is "the key counts" 0 "$(code 'curl -sf http://127.0.0.1:9464/livez')"
  shut_down
else
  echo "$test: $page SKIPPED, no ansible-core to be had"
fi

page=README.md
step "$page, by hand"
boot_with_api source
mkdir -p "$root/root/source/target/release"
git archive HEAD config deploy | tar -x -C "$root/root/source"
cp "$binary" "$root/root/source/target/release/"
# The binary is built.
block $page Install 1 | sed '/^cargo build/d' >"$root/root/source/block"
is "every command succeeds" 0 "$(code 'cd /root/source; echo sandbox | bash -ex ./block')"
is "it takes an event" 0 "$(code "$emit")"
eventually "and delivers it" "curl -s http://127.0.0.1:9900/sandbox/stats | grep -q '\"events\":1'"
shut_down

step "what the .rpm does when it is installed, upgraded and removed, and the secret without LoadCredential"
# On Debian, so without its dependencies' names; the scripts and the files are the ones RHEL gets. RHEL 8's systemd passes over
# the lines that the drop-in empties.
boot_with_api rpm
cp "$rpm" "$root/root/trunkline.rpm"
is "install" 0 "$(code 'rpm -i --nodeps /root/trunkline.rpm')"
has "it says what to do" "systemctl start trunkline" "$(cat "$work/out")"
sh_root 'mkdir /etc/systemd/system/trunkline.service.d
  printf "[Service]\nLoadCredential=\nSetCredential=\n" >/etc/systemd/system/trunkline.service.d/old.conf; systemctl daemon-reload'
is "enabled and not started" "enabled inactive" "$(in_root systemctl is-enabled trunkline.service) $(active trunkline.service)"
sh_root "sed -i 's/eu-central-1/us-east-1/; s/00000000-0000-4000-8000-000000000000/mine/' /etc/trunkline/trunkline.toml
  install -o trunkline -g root -m 400 /dev/stdin /etc/trunkline/client_secret <<<sandbox; systemctl start trunkline"
is "it takes an event" 0 "$(code "$emit")"
eventually "and delivers it" "curl -s http://127.0.0.1:9900/sandbox/stats | grep -q '\"events\":1'"
before="$(show MainPID trunkline.service)"
socket=$(show ActiveEnterTimestampMonotonic trunkline.socket)
is "upgrade" 0 "$(code 'rpm -U --nodeps --force /root/trunkline.rpm')"
is "the configuration stays" 0 "$(code 'grep -q mine /etc/trunkline/trunkline.toml')"
[ "$before" != "$(show MainPID trunkline.service)" ] || fail "the upgrade did not restart the service"
is "the upgrade left the socket alone" "$socket" "$(show ActiveEnterTimestampMonotonic trunkline.socket)"
is "it takes an event" 0 "$(code "$emit")"
is "remove" 0 "$(code 'rpm -e --nodeps trunkline')"
has "it says where the queue is" "the queue stays in /var/lib/trunkline" "$(cat "$work/out")"
is "nothing runs" 1 "$(code 'pgrep -u trunkline')"
is "the queue is there" 0 "$(code 'test -d /var/lib/trunkline/lanes')"

printf '\n%s: %s checks passed\n' "$test" "$checks"
