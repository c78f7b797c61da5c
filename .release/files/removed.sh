#!/bin/sh
# After they have gone. What is queued stays, whatever is purged: it may not have been delivered.
[ ! -d /run/systemd/system ] || systemctl daemon-reload
[ ! -d /var/lib/signalpost ] || [ "$1" != purge ] || echo "/var/lib/signalpost, which signals were queued in, is left: remove it if nobody needs them"
exit 0
