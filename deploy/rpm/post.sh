systemd-sysusers trunkline.conf || exit 1
# The sockets' directory has to be the daemon's before the sockets are made.
systemd-tmpfiles --create trunkline.conf || :
systemctl daemon-reload >/dev/null 2>&1 || :
if [ "$1" = 1 ]; then
    systemctl enable trunkline.service trunkline.socket trunkline-admin.socket >/dev/null 2>&1 || :
    echo "trunkline is installed and not started. To do:"
    echo "  1. set region and client_id in /etc/trunkline/trunkline.toml"
    echo "  2. install -m 600 /dev/stdin /etc/trunkline/client_secret    (paste the secret, end with Ctrl-D)"
    echo "  3. systemctl start trunkline"
fi
