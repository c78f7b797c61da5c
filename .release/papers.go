package main

import (
	"bytes"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"text/template"

	"github.com/cpuguy83/go-md2man/v2/md2man"
)

// paper is a file that goes with the binary, in the folder papers of work.
func (r *release) paper(name string) string { return filepath.Join(r.work, "papers", name) }

var links = regexp.MustCompile(`\[([^]]+)\]\([^)]*\)|<!--.*?-->`)

// papers makes what goes with the binaries: manual pages of the documentation,
// completions, licenses of what is linked, the service; and an SBOM for each binary.
func (r *release) papers(targets []target) error {
	if err := os.MkdirAll(r.paper("completions"), 0o755); err != nil {
		return err
	}
	for name, page := range map[string]string{"signalpost.1": "commands.md", "signalpost.toml.5": "config.md"} {
		text, err := os.ReadFile(filepath.Join(r.repo, "proxy/docs", page))
		if err != nil {
			return err
		}
		title, section := name[:len(name)-2], name[len(name)-1:]
		heading, body, _ := strings.Cut(string(text), "\n")
		body = links.ReplaceAllString(body, "$1")
		body = fmt.Sprintf("%% %s %s %q %q\n\n# NAME\n%s - %s\n\n# DESCRIPTION\n%s", strings.ToUpper(title), section,
			r.time.Format("January 2006"), "signalpost "+r.version, title, strings.TrimPrefix(heading, "# "), body)
		if err := os.WriteFile(r.paper(name), md2man.Render([]byte(body)), 0o644); err != nil {
			return err
		}
	}
	here := target{runtime.GOOS, runtime.GOARCH}
	if !slices.Contains(targets, here) {
		if err := r.build([]target{here}); err != nil {
			return err
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		script, err := exec.Command(r.binary(here), "completion", shell).Output()
		if err != nil {
			return fmt.Errorf("completion %s: %w", shell, err)
		}
		if err := os.WriteFile(r.paper("completions/signalpost."+shell), script, 0o644); err != nil {
			return err
		}
	}
	for _, name := range []string{"installed.sh", "remove.sh", "removed.sh"} {
		text, err := os.ReadFile(filepath.Join(r.repo, ".release/files", name))
		if err != nil {
			return err
		}
		// In an .apk they are as old as the files are here.
		if err := errors.Join(os.WriteFile(r.paper(name), text, 0o644), os.Chtimes(r.paper(name), r.time, r.time)); err != nil {
			return err
		}
	}
	if err := r.service(); err != nil {
		return err
	}
	for _, t := range targets {
		info, err := buildinfo.ReadFile(r.binary(t))
		if err != nil {
			return err
		}
		if err := r.bill(t, info); err != nil {
			return err
		}
		if err := r.license(t, info); err != nil {
			return err
		}
	}
	return nil
}

// service is the unit of the documentation with a user of its own, who can be let read the config.
func (r *release) service() error {
	page, err := os.ReadFile(filepath.Join(r.repo, "proxy/docs/homes.md"))
	if err != nil {
		return err
	}
	_, unit, _ := strings.Cut(string(page), "```ini\n")
	unit, _, _ = strings.Cut(unit, "```")
	for _, change := range [][2]string{
		{"/usr/local/bin/signalpost", "/usr/bin/signalpost"},
		{"DynamicUser=yes\n", "User=signalpost\nGroup=signalpost\n"},
		{"LoadCredential=crm_secret:/etc/signalpost/credentials/crm_secret\n", ""},
		{"[Service]\n", "ConditionPathExists=/etc/signalpost/signalpost.toml\n\n[Service]\n"},
		{"\n\nConditionPathExists", "\nConditionPathExists"},
	} {
		if strings.Count(unit, change[0]) != 1 {
			return fmt.Errorf("the unit of homes.md is to have %q once", change[0])
		}
		unit = strings.Replace(unit, change[0], change[1], 1)
	}
	return os.WriteFile(r.paper("signalpost.service"), []byte(unit), 0o644)
}

// bill writes the SBOM of a binary (CycloneDX): the modules that are linked, as the binary itself says.
func (r *release) bill(t target, info *buildinfo.BuildInfo) error {
	module := func(kind, path, version string) map[string]string {
		purl := "pkg:golang/" + path + "@" + version
		return map[string]string{"type": kind, "bom-ref": purl, "name": path, "version": version, "purl": purl}
	}
	modules := []map[string]string{module("library", "std", strings.TrimPrefix(info.GoVersion, "go"))}
	for _, d := range info.Deps {
		modules = append(modules, module("library", d.Path, d.Version))
	}
	return r.artefact(r.name(t, "cdx.json"), func(w io.Writer) error {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(map[string]any{
			"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
			"metadata":   map[string]any{"timestamp": r.time, "component": module("application", "signalpost", r.version)},
			"components": modules,
		})
	})
}

var legal = regexp.MustCompile(`(?i)^(licen[sc]e|copying|notice)([.-].*)?$`)

// license writes the licenses of Go and of the modules that a binary is linked of.
func (r *release) license(t target, info *buildinfo.BuildInfo) error {
	list := exec.Command("go", "list", "-m", "-f", "{{.Path}} {{.Version}} {{.Dir}}", "all")
	list.Dir, list.Stderr = r.repo, os.Stderr
	known, err := list.Output()
	if err != nil {
		return err
	}
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return err
	}
	own, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(root)), "LICENSE"))
	if err != nil {
		return err
	}
	var all bytes.Buffer
	fmt.Fprintf(&all, "%s, LICENSE\n\n%s\n", info.GoVersion, own)
	for line := range strings.Lines(string(known)) {
		f := strings.Fields(line)
		if len(f) != 3 || !slices.ContainsFunc(info.Deps, func(d *debug.Module) bool { return d.Path == f[0] }) {
			continue
		}
		files, err := os.ReadDir(f[2])
		if err != nil {
			return err
		}
		found := false
		for _, file := range files {
			if !legal.MatchString(file.Name()) {
				continue
			}
			text, err := os.ReadFile(filepath.Join(f[2], file.Name()))
			if err != nil {
				return err
			}
			found = true
			fmt.Fprintf(&all, "\n%s %s, %s\n\n%s\n", f[0], f[1], file.Name(), text)
		}
		if !found {
			return fmt.Errorf("%s: there is no license to be found in %s", f[0], f[2])
		}
	}
	return os.WriteFile(r.licenses(t), all.Bytes(), 0o644)
}

// licenses is the path of what license writes.
func (r *release) licenses(t target) string {
	return filepath.Join(filepath.Dir(r.binary(t)), "LICENSES.txt")
}

// formula writes the Homebrew formula, which needs archives of macOS and Linux.
func (r *release) formula(targets []target) error {
	sums := map[string]string{}
	for _, t := range targets {
		if sum, ok := r.sums[r.name(t, "tar.gz")]; ok {
			sums[t.os+"_"+t.arch] = sum
		}
	}
	if len(sums) < 5 {
		return nil
	}
	text, err := template.ParseFiles("files/signalpost.rb.tmpl")
	if err != nil {
		return err
	}
	return r.artefact("signalpost.rb", func(w io.Writer) error {
		return text.Execute(w, map[string]any{"Version": r.version, "URL": r.url, "Sum": sums})
	})
}

// checksums writes the SHA-256 of all.
func (r *release) checksums([]target) error {
	var b bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(r.sums)) {
		fmt.Fprintf(&b, "%s  %s\n", r.sums[name], name)
	}
	return os.WriteFile(filepath.Join(r.out, "SHA256SUMS"), b.Bytes(), 0o644)
}
