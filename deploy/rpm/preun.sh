if [ "$1" = 0 ]; then
    systemctl disable --now trunkline-http.socket trunkline.socket trunkline-admin.socket trunkline.service >/dev/null 2>&1 || :
    systemctl stop 'trunkline@*.socket' 'trunkline-admin@*.socket' 'trunkline@*.service' >/dev/null 2>&1 || :
    for queue in /var/lib/trunkline /var/lib/trunkline-*; do
        if [ -d "$queue" ]; then
            echo "trunkline: the queue stays in $queue; its events are delivered after the next installation."
        fi
    done
    echo "trunkline: a configuration that you changed becomes /etc/trunkline/trunkline.toml.rpmsave; move it back after that."
fi
