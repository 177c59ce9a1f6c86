systemctl daemon-reload >/dev/null 2>&1 || :
# After an upgrade restart only the daemons: their sockets stay, and producers wait there for the new version.
if [ "$1" -ge 1 ]; then
    systemctl try-restart trunkline.service 'trunkline@*.service' >/dev/null 2>&1 || :
fi
