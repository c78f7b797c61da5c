#!/bin/sh
# Before the package's files go; not when a newer version takes their place.
case "$1" in upgrade | deconfigure | failed-upgrade | 1) exit 0 ;; esac
if [ -d /run/systemd/system ]; then
  systemctl disable --now signalpost.service
elif [ -d /run/openrc ]; then
  rc-service --ifstarted signalpost stop
  rc-update --quiet delete signalpost
fi
exit 0
