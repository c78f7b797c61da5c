package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/goreleaser/nfpm/v2"
	_ "github.com/goreleaser/nfpm/v2/apk"
	_ "github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"
	_ "github.com/goreleaser/nfpm/v2/rpm"
)

// packages makes the packages of Linux: the binary, the service with its user,
// the config's folder, manual pages and completions.
func (r *release) packages(targets []target) error {
	for _, t := range targets {
		if t.os != "linux" {
			continue
		}
		for _, kind := range []string{"deb", "rpm", "apk"} {
			if err := r.pack(t, kind); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *release) pack(t target, kind string) error {
	arch := t.arch
	if arch == "arm" {
		arch = "arm7"
	}
	info := nfpm.WithDefaults(&nfpm.Info{
		Name: "signalpost", Arch: arch, Platform: "linux", Version: r.version, MTime: r.time, DisableGlobbing: true,
		Section: "net", Priority: "optional", Homepage: r.url, Maintainer: "Signalpost <signalpost@example.com>",
		Description: "A durable webhook sidecar\nAn app posts signals to it on localhost; it delivers them to the routes of its\nconfig: filtered, shaped, signed, and retried until they have arrived.",
		Overridables: nfpm.Overridables{
			Contents: r.installed(t, kind),
			Scripts:  nfpm.Scripts{PostInstall: r.paper("installed.sh"), PreRemove: r.paper("remove.sh"), PostRemove: r.paper("removed.sh")},
			Deb:      nfpm.Deb{Compression: fmt.Sprint("gzip:", r.level)},
			RPM:      nfpm.RPM{Compression: fmt.Sprint("gzip:", r.level), BuildHost: "localhost", Group: "System Environment/Daemons"},
		},
	})
	switch kind { // what has useradd, of which Alpine has its own; and whom receivers' certificates are trusted by
	case "deb":
		info.Depends, info.Recommends = []string{"passwd"}, []string{"ca-certificates"}
	case "rpm":
		info.Depends, info.Recommends = []string{"shadow-utils"}, []string{"ca-certificates"}
	case "apk":
		info.Depends = []string{"ca-certificates-bundle"}
		info.APK.Scripts.PostUpgrade = info.Scripts.PostInstall
	}
	if err := nfpm.PrepareForPackager(info, kind); err != nil {
		return err
	}
	p, err := nfpm.Get(kind)
	if err != nil {
		return err
	}
	return r.artefact(r.name(t, kind), func(w io.Writer) error { return p.Package(info, w) })
}

// installed are the files of a package. Alpine has no systemd, and OpenRC in its place.
func (r *release) installed(t target, kind string) files.Contents {
	var all files.Contents
	add := func(source, to string, mode os.FileMode) {
		all = append(all, &files.Content{Source: source, Destination: to, FileInfo: &files.ContentFileInfo{Mode: mode, MTime: r.time}})
	}
	add(r.binary(t), "/usr/bin/signalpost", 0o755)
	if kind == "apk" {
		add(filepath.Join(r.repo, ".release/files/openrc.sh"), "/etc/init.d/signalpost", 0o755)
	} else {
		add(r.paper("signalpost.service"), "/usr/lib/systemd/system/signalpost.service", 0o644)
	}
	add(r.paper("signalpost.1"), "/usr/share/man/man1/signalpost.1", 0o644)
	add(r.paper("signalpost.toml.5"), "/usr/share/man/man5/signalpost.toml.5", 0o644)
	add(r.licenses(t), "/usr/share/doc/signalpost/copyright", 0o644)
	add(filepath.Join(r.repo, "config.example.toml"), "/usr/share/doc/signalpost/config.example.toml", 0o644)
	add(r.paper("completions/signalpost.bash"), "/usr/share/bash-completion/completions/signalpost", 0o644)
	zsh := "site-functions"
	if kind == "deb" {
		zsh = "vendor-completions" // Debian's own
	}
	add(r.paper("completions/signalpost.zsh"), "/usr/share/zsh/"+zsh+"/_signalpost", 0o644)
	add(r.paper("completions/signalpost.fish"), "/usr/share/fish/vendor_completions.d/signalpost.fish", 0o644)
	return append(all, &files.Content{Destination: "/etc/signalpost", Type: "dir", FileInfo: &files.ContentFileInfo{Mode: 0o750, MTime: r.time}})
}
