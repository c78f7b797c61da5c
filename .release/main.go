// Command release makes everything of a release of Signalpost from a commit, in one go:
//
//	go run -C .release . -out /tmp/1.2.3 v1.2.3
//
// That is, for each target, the static binary in an archive; for Linux packages
// (deb, rpm, apk) and an OCI image of all platforms, made without Docker; a
// Homebrew formula; SBOMs; and the checksums of all. Nothing in them depends on
// where, when or by whom they are made: one commit makes the same bytes again.
package main

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/sync/errgroup"
)

// A target is a system and a processor that a release is for.
type target struct{ os, arch string }

func (t target) String() string { return t.os + "/" + t.arch }

var targets = []target{
	{"linux", "amd64"}, {"linux", "arm64"}, {"linux", "386"}, {"linux", "arm"},
	{"darwin", "amd64"}, {"darwin", "arm64"}, {"freebsd", "amd64"}, {"windows", "amd64"},
}

// A release is what all its parts are made from.
type release struct {
	version string // as in 1.2.3
	commit  string
	time    time.Time // of the commit: that of all files
	url     string    // where the artefacts will be found
	repo    string    // the root of the work tree
	work    string    // scratch folder
	out     string
	level   int // of gzip

	mu   sync.Mutex
	sums map[string]string // SHA-256 of the artefacts in out, by name; guarded by mu
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("release: ")
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	r := &release{sums: map[string]string{}}
	out := flag.String("out", "", "the `FOLDER` to make the release in, which must not exist")
	only := flag.String("targets", "", "make these `TARGETS` alone, such as linux/amd64,darwin/arm64")
	dirty := flag.Bool("dirty", false, "release a work tree with changes: to try this program")
	flag.IntVar(&r.level, "level", gzip.DefaultCompression, "the `LEVEL` of compression, 1 to 9: 1 to try this program quickly")
	flag.StringVar(&r.url, "url", "https://example.com/signalpost", "the `URL` of the folder that the artefacts will be published in")
	flag.Parse()
	if *out == "" || flag.NArg() != 1 || !strings.HasPrefix(flag.Arg(0), "v") {
		return errors.New("usage: release -out FOLDER [-targets …] [-url URL] vVERSION")
	}
	chosen := targets
	if *only != "" {
		chosen = slices.DeleteFunc(slices.Clone(targets), func(t target) bool { return !slices.Contains(strings.Split(*only, ","), t.String()) })
	}
	if len(chosen) == 0 {
		return fmt.Errorf("there is no target in %q; there are %v", *only, targets)
	}
	r.version = flag.Arg(0)[1:]
	if err := r.look(*dirty); err != nil {
		return err
	}
	var err error
	if r.out, err = filepath.Abs(*out); err != nil {
		return err
	}
	if err := os.Mkdir(r.out, 0o755); err != nil {
		return err
	}
	if r.work, err = os.MkdirTemp("", "signalpost-release-"); err != nil {
		return err
	}
	defer os.RemoveAll(r.work)
	for _, side := range [][]func([]target) error{{r.build}, {r.papers}, {r.archives, r.packages, r.image}, {r.formula}, {r.checksums}} {
		var steps errgroup.Group // side by side
		for _, step := range side {
			steps.Go(func() error { return step(chosen) })
		}
		if err := steps.Wait(); err != nil {
			return err
		}
	}
	return nil
}

// look reads what git knows of the commit.
func (r *release) look(dirty bool) error {
	var err error // the first
	git := func(args ...string) string {
		b, failed := exec.Command("git", args...).Output()
		err = cmp.Or(err, failed)
		return strings.TrimSpace(string(b))
	}
	r.repo, r.commit = git("rev-parse", "--show-toplevel"), git("rev-parse", "HEAD")
	seconds, changed := git("log", "-1", "--format=%ct"), git("-C", r.repo, "status", "--porcelain")
	if err != nil {
		return fmt.Errorf("git: %w", err)
	}
	if changed != "" && !dirty {
		return fmt.Errorf("the work tree has changes, so nobody could make this release again: commit them\n%s", changed)
	}
	n, err := strconv.ParseInt(seconds, 10, 64)
	r.time = time.Unix(n, 0).UTC()
	return err
}

// build builds the binaries.
func (r *release) build(targets []target) error {
	var all errgroup.Group
	all.SetLimit(runtime.NumCPU()) // most of the time each links, on one of them
	for _, t := range targets {
		all.Go(func() error { return r.compile(t, r.binary(t)) })
	}
	return all.Wait()
}

// compile builds the binary for a target, with nothing of the environment that
// changes what comes out of it.
func (r *release) compile(t target, to string) error {
	c := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", to,
		"-ldflags", "-s -w -buildid= -X main.version="+r.version+" -X main.commit="+r.commit, ".")
	c.Dir, c.Stderr = r.repo, os.Stderr
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+t.os, "GOARCH="+t.arch,
		"GOARM=7", "GO386=sse2", "GOAMD64=v1", "GOARM64=v8.0", "GOEXPERIMENT=", "GOWORK=off")
	if err := c.Run(); err != nil {
		return fmt.Errorf("%s: %w", t, err)
	}
	return nil
}

// binary is the path of what was built for a target.
func (r *release) binary(t target) string {
	name := "signalpost"
	if t.os == "windows" {
		name += ".exe"
	}
	return filepath.Join(r.work, t.os+"_"+t.arch, name)
}

// artefact makes a file of the release, whose content write writes.
func (r *release) artefact(name string, write func(io.Writer) error) error {
	f, err := os.Create(filepath.Join(r.out, name))
	if err != nil {
		return err
	}
	sum := sha256.New()
	if err := errors.Join(write(io.MultiWriter(f, sum)), f.Close()); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	r.mu.Lock()
	r.sums[name] = fmt.Sprintf("%x", sum.Sum(nil))
	r.mu.Unlock()
	return nil
}

// name is what the artefact of a target is called.
func (r *release) name(t target, kind string) string {
	arch := t.arch
	if arch == "arm" {
		arch = "armv7"
	}
	return fmt.Sprintf("signalpost_%s_%s_%s.%s", r.version, cmp.Or(map[string]string{"darwin": "macos"}[t.os], t.os), arch, kind)
}
