#!/sbin/openrc-run
name=signalpost
description="A durable webhook sidecar"
supervisor=supervise-daemon
command=/usr/bin/signalpost
command_args="run --config /etc/signalpost/signalpost.toml"
command_user=signalpost:signalpost
respawn_delay=1
respawn_max=0
retry="TERM/20/KILL/5"
umask=077
extra_started_commands=reload
required_files=/etc/signalpost/signalpost.toml

depend() {
  use net dns
}

start_pre() {
  checkpath --directory --mode 0700 --owner signalpost:signalpost /var/lib/signalpost
}

reload() {
  supervise-daemon signalpost --signal HUP
}
