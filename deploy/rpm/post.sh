systemd-sysusers trunkline.conf || exit 1
# The directory of the sockets must belong to the daemon before the sockets are created.
systemd-tmpfiles --create trunkline.conf || :
systemctl daemon-reload >/dev/null 2>&1 || :
if [ "$1" = 1 ]; then
    systemctl enable trunkline.service trunkline.socket trunkline-admin.socket >/dev/null 2>&1 || :
    echo "trunkline is installed but not started. What to do next:"
    echo "  1. set region and client_id in /etc/trunkline/trunkline.toml"
    echo "  2. install -m 600 /dev/stdin /etc/trunkline/client_secret    (paste the secret, end with Ctrl-D)"
    echo "  3. systemctl start trunkline"
fi
