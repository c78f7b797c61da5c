package config

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"signalpost/proxy/files"
)

// MaxFile is the most bytes that a config, and each file it names, may hold.
const MaxFile = 1 << 20

const (
	maxSecret = 64 << 10
	readTime  = 10 * time.Second // that Load waits for all the files of a config
)

// Load reads and checks the file at path and everything it names. It returns a
// complete Config, or an error of type *LoadError. It waits for files until ctx
// ends, and no longer than 10 s in all.
func Load(ctx context.Context, path string) (*Config, error) {
	return load(ctx, path, files.Read, false)
}

// LoadOnce is Load for a look at a config that is not loaded again: the file may
// be a pipe, or - for standard input, whose relative paths are the working
// folder's, like those of /dev/fd. Files then says nothing of use.
func LoadOnce(ctx context.Context, path string) (*Config, error) { return loadOnce(ctx, path, false) }

// LoadRehearsal is LoadOnce of a config by which nothing is sent: missing environment
// variables and files are no faults. Missing names them, and placeholders replace them.
func LoadRehearsal(ctx context.Context, path string) (*Config, error) {
	return loadOnce(ctx, path, true)
}

func loadOnce(ctx context.Context, path string, rehearsed bool) (*Config, error) {
	if path == "-" {
		path = "/dev/stdin"
	}
	return load(ctx, path, files.ReadOnce, rehearsed)
}

// A reader returns the content of a file of at most most bytes before ctx ends.
type reader func(ctx context.Context, path string, most int64) ([]byte, error)

func load(ctx context.Context, path string, file reader, rehearsed bool) (c *Config, err error) {
	read := map[string]string{}
	err = open(ctx, path, file, read, func(data []byte, out inputs) error {
		var faults Faults
		out.rehearsed = rehearsed
		if c, faults = parse(path, data, out); len(faults) > 0 {
			return &LoadError{faults, read, nil}
		}
		c.Files = read
		return nil
	})
	return c, err
}

// Parse is LoadOnce, or LoadRehearsal if it is rehearsed, of a text that is in no file and
// names none. Faults call it by name.
func Parse(name string, text []byte, rehearsed bool) (*Config, error) {
	none := func(string) ([]byte, error) { return nil, fs.ErrNotExist }
	c, faults := parse(name, text, inputs{env: os.LookupEnv, readFile: none, proxy: http.ProxyFromEnvironment, rehearsed: rehearsed})
	if len(faults) > 0 {
		return nil, faults
	}
	return c, nil
}

// LoadServer reads [server] of the file at path, and nothing else, so that a
// sidecar can be asked what is wrong while its file is broken elsewhere. Token is
// zero if it cannot be read: a shell may lack what the sidecar has. An error says
// why the file, or listen, cannot be read; it wraps that of reading.
func LoadServer(ctx context.Context, path string) (s Server, err error) {
	err = open(ctx, path, files.Read, map[string]string{}, func(data []byte, out inputs) error {
		d := newDecoder(path, data, out)
		keys, t := serverKeys(&s), cmp.Or(d.root.keys["server"], d.root)
		hidden := t.broken && (t == d.root || t.keys["listen"] == nil) // behind a syntax error, perhaps
		if hidden || t.kind != kindTable || t != d.root && d.read(t, keys, "")["listen"] {
			return Fault{File: path, Msg: "[server] cannot be read: find out why with signalpost check"}
		}
		return nil
	})
	return s, err
}

// open calls then with the content of the file at path, and with what reads each file
// once, until ctx ends. It notes in digests what it read.
func open(ctx context.Context, path string, file reader, digests map[string]string, then func(data []byte, out inputs) error) error {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	reads := map[string]func() ([]byte, error){}
	read := func(path string) ([]byte, error) {
		if reads[path] == nil {
			reads[path] = sync.OnceValues(func() ([]byte, error) { return file(ctx, path, MaxFile) })
		}
		data, err := reads[path]()
		digests[path] = files.Digest(data, err)
		return data, err
	}
	data, err := read(absolute(path))
	if err == nil {
		return then(data, inputs{env: os.LookupEnv, readFile: read, proxy: http.ProxyFromEnvironment})
	}
	msg := "cannot be read: " + files.Problem(err)
	if errors.Is(err, fs.ErrNotExist) {
		msg = "there is no such file: name the config with --config, or write one with signalpost init"
	}
	return &LoadError{Faults{{File: path, Msg: msg}}, digests, err}
}

func absolute(path string) string {
	abs, _ := filepath.Abs(path)
	return cmp.Or(abs, path) // "": there is no working folder
}

// parse turns the content of the file at path into a Config without Files, or faults.
func parse(path string, data []byte, out inputs) (*Config, Faults) {
	if encoding := wide(data); encoding != "" {
		if encoding == "UTF-16" {
			encoding += ", as PowerShell's > writes it"
		}
		return nil, Faults{{File: path, Line: 1, Column: 1, Msg: "the file is " + encoding + ": store it as UTF-8, in PowerShell with Out-File -Encoding utf8"}}
	}
	d := newDecoder(path, data, out)
	c := d.config()
	if len(d.faults) == 0 {
		d.checkWhole()
	}
	if len(d.faults) > 0 {
		return nil, d.faults.placed(d.data)
	}
	sum := sha256.Sum256(data)
	c.Path, c.Hash = path, hex.EncodeToString(sum[:6])
	c.Warnings = d.warnings.placed(d.data).byCause()
	slices.Sort(d.missing)
	c.Missing = slices.Compact(d.missing)
	return c, nil
}

// newDecoder returns a decoder that has read the tree of a document.
func newDecoder(path string, data []byte, out inputs) *decoder {
	d := &decoder{inputs: out, file: path, homes: sync.OnceValue(homes), named: map[string]*value{}}
	d.document = readTree(bytes.TrimPrefix(data, []byte("\ufeff")), d.fault)
	return d
}

func (d *decoder) config() *Config {
	c := &Config{}
	syntax := len(d.faults) > 0
	d.read(d.root, rootKeys(c), "")
	c.Queue.Path = d.abs(c.Queue.Path)
	defaults, routes := cmp.Or(d.root.keys["defaults"], new(value)), d.root.keys["route"]
	switch {
	case routes == nil && syntax: // it may be hidden
	case routes == nil || routes.kind == kindList && len(routes.list) == 0:
		d.fault(cmp.Or(routes, d.root).at, "there is no route: add a [[route]] with a name and a url")
	case routes.kind != kindList:
		d.fault(routes.at, "route: expected [[route]] tables, not %s", routes.kind)
	}
	for _, t := range cmp.Or(routes, d.root).list {
		d.route = ""
		if t.kind == kindTable {
			c.Routes = append(c.Routes, d.readRoute(t, defaults))
		} else {
			d.fault(t.at, "route: expected [[route]] tables, not %s", t.kind)
		}
	}
	d.route = ""
	if !syntax { // which may hide the route that they go to
		d.checkAlerts(c)
	}
	return c
}
