#!/bin/sh
# After the package's files have been put in place, the first time or over an older version.
set -e
if ! id signalpost >/dev/null 2>&1; then
  if command -v useradd >/dev/null; then
    useradd --system --user-group --home-dir /var/lib/signalpost --no-create-home --shell /usr/sbin/nologin signalpost
  else
    addgroup -S signalpost
    adduser -S -D -H -h /var/lib/signalpost -s /sbin/nologin -G signalpost signalpost
  fi
fi
chgrp signalpost /etc/signalpost
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  systemctl try-restart signalpost.service
elif [ -d /run/openrc ]; then
  rc-service --ifstarted signalpost restart
fi
start="systemctl enable --now signalpost"
command -v systemctl >/dev/null || ! command -v rc-service >/dev/null || start="rc-update add signalpost && rc-service signalpost start"
[ -e /etc/signalpost/signalpost.toml ] || cat <<TEXT
signalpost runs once it has a config that its user can read:
  signalpost init generic --config /etc/signalpost/signalpost.toml
  sed -i 's#^path = .*#path = "/var/lib/signalpost"#' /etc/signalpost/signalpost.toml
  chgrp signalpost /etc/signalpost/signalpost.toml
  chmod 640 /etc/signalpost/signalpost.toml
  $start
TEXT
