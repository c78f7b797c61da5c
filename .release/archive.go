package main

import (
	"archive/tar"
	"archive/zip"
	"io"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/gzip"
)

// An entry is a file, or a folder, of an archive.
type entry struct {
	name   string // a folder's ends in /
	mode   int64
	owner  int    // user and group
	source string // path of the content, if it is not given
	data   []byte
}

func (e *entry) content() ([]byte, error) {
	if e.source == "" {
		return e.data, nil
	}
	return os.ReadFile(e.source)
}

// unpacked is what people get who unpack an archive.
func (r *release) unpacked(t target) []entry {
	repo := func(name string) string { return filepath.Join(r.repo, name) }
	all := []entry{
		{name: filepath.Base(r.binary(t)), mode: 0o755, source: r.binary(t)},
		{name: "README.md", mode: 0o644, source: repo("README.md")},
		{name: "config.example.toml", mode: 0o644, source: repo("config.example.toml")},
		{name: "LICENSES.txt", mode: 0o644, source: r.licenses(t)},
	}
	for _, pattern := range []string{"*.md", "kubernetes/*/*"} { // which the README leads to
		pages, _ := filepath.Glob(repo("proxy/docs/" + pattern))
		for _, page := range pages {
			all = append(all, entry{name: filepath.ToSlash(page[len(r.repo)+1:]), mode: 0o644, source: page})
		}
	}
	if t.os == "windows" {
		return append(all, entry{name: "signalpost.ps1", mode: 0o644, source: r.paper("completions/signalpost.powershell")})
	}
	for _, name := range []string{"signalpost.1", "signalpost.toml.5", "completions/signalpost.bash", "completions/signalpost.zsh", "completions/signalpost.fish"} {
		all = append(all, entry{name: name, mode: 0o644, source: r.paper(name)})
	}
	return all
}

func (r *release) archives(targets []target) error {
	for _, t := range targets {
		write, kind := r.tarball, "tar.gz"
		if t.os == "windows" {
			write, kind = r.zip, "zip"
		}
		if err := r.artefact(r.name(t, kind), func(w io.Writer) error { return write(w, r.unpacked(t)) }); err != nil {
			return err
		}
	}
	return nil
}

// tarball writes a packed archive; all in it is of the commit's time.
func (r *release) tarball(w io.Writer, entries []entry) error {
	packed, err := gzip.NewWriterLevel(w, r.level)
	if err != nil {
		return err
	}
	if err := r.tar(packed, entries); err != nil {
		return err
	}
	return packed.Close()
}

func (r *release) tar(w io.Writer, entries []entry) error {
	t := tar.NewWriter(w)
	for _, e := range entries {
		b, err := e.content()
		if err != nil {
			return err
		}
		h := &tar.Header{Name: e.name, Mode: e.mode, Uid: e.owner, Gid: e.owner, Size: int64(len(b)), ModTime: r.time, Format: tar.FormatPAX, Typeflag: tar.TypeReg}
		if e.name[len(e.name)-1] == '/' {
			h.Typeflag = tar.TypeDir
		}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		if _, err := t.Write(b); err != nil {
			return err
		}
	}
	return t.Close()
}

func (r *release) zip(w io.Writer, entries []entry) error {
	z := zip.NewWriter(w)
	for _, e := range entries {
		b, err := e.content()
		if err != nil {
			return err
		}
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate, Modified: r.time}
		h.SetMode(os.FileMode(e.mode))
		f, err := z.CreateHeader(h)
		if err != nil {
			return err
		}
		if _, err := f.Write(b); err != nil {
			return err
		}
	}
	return z.Close()
}
