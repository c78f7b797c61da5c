package config

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"signalpost/proxy/files"
)

// The most bytes that a file may hold, and the longest that Load waits for all
// the files of a config.
const (
	MaxFile   = 1 << 20
	maxSecret = 64 << 10
	readTime  = 10 * time.Second
)

// Load reads and checks the file at path and everything it names. It returns a
// complete Config, or an error of type *LoadError. It waits for files until ctx
// ends, and no longer than 10 s in all.
func Load(ctx context.Context, path string) (*Config, error) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	held := map[string]string{}
	read := reader(ctx, held)
	data, err := read(absolute(path))
	if err != nil {
		return nil, unread(path, held, err)
	}
	c, faults := parse(path, data, outside{os.LookupEnv, read, http.ProxyFromEnvironment})
	if len(faults) > 0 {
		return nil, &LoadError{faults, held, nil}
	}
	c.Held = held
	return c, nil
}

// LoadServer reads [server] of the file at path, and nothing else, so that a
// sidecar can be asked what is wrong while its file is broken elsewhere. Token is
// zero if it cannot be read: a shell may lack what the sidecar has. An error says
// why the file, or listen, cannot be read; it wraps that of reading.
func LoadServer(ctx context.Context, path string) (s Server, err error) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	read := reader(ctx, map[string]string{})
	data, err := read(absolute(path))
	if err != nil {
		return s, unread(path, nil, err)
	}
	d := newDecoder(path, data, outside{env: os.LookupEnv, readFile: read})
	keys, t := serverKeys(&s), d.root.keys["server"]
	if t == nil {
		t = d.root
	} else if t.kind == kindTable && d.read(t, keys, "")["listen"] {
		t.broken = true
	}
	if t.broken || t.kind != kindTable {
		return s, Fault{File: path, Msg: "[server] cannot be read: find out why with signalpost check"}
	}
	return s, nil
}

// reader returns a function that reads each file once, until ctx ends, and notes
// in held what it read.
func reader(ctx context.Context, held map[string]string) func(path string) ([]byte, error) {
	type content struct {
		data []byte
		err  error
	}
	contents := map[string]content{}
	return func(path string) ([]byte, error) {
		c, ok := contents[path]
		if !ok {
			c.data, c.err = files.Read(ctx, path, MaxFile)
			contents[path], held[path] = c, files.Digest(c.data, c.err)
		}
		return c.data, c.err
	}
}

func unread(path string, held map[string]string, err error) *LoadError {
	msg := "cannot be read: " + files.Problem(err)
	if errors.Is(err, fs.ErrNotExist) {
		msg = "there is no such file: name the config with --config, or write one with signalpost init"
	}
	return &LoadError{Faults{{File: path, Msg: msg}}, held, err}
}

func absolute(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil { // there is no working folder
		return filepath.Clean(path)
	}
	return abs
}

// parse turns the content of the file at path into a Config without Held, or faults.
func parse(path string, data []byte, out outside) (*Config, Faults) {
	if utf16Text(data) {
		return nil, Faults{{File: path, Line: 1, Column: 1,
			Msg: "the file is UTF-16, as PowerShell's > writes it: store it as UTF-8, in PowerShell with Out-File -Encoding utf8"}}
	}
	d := newDecoder(path, data, out)
	c := d.config()
	if len(d.faults) == 0 {
		d.judge()
	}
	if len(d.faults) > 0 {
		return nil, d.faults.placed(d.data)
	}
	sum := sha256.Sum256(data)
	c.Path, c.Hash = path, hex.EncodeToString(sum[:6])
	c.Warnings = d.warnings.placed(d.data).byCause()
	return c, nil
}

// newDecoder returns a decoder that has read the tree of a document.
func newDecoder(path string, data []byte, out outside) *decoder {
	d := &decoder{outside: out, file: path, dir: filepath.Dir(absolute(path)), homes: sync.OnceValue(homes)}
	d.document = readTree(bytes.TrimPrefix(data, []byte("\ufeff")), d.fault)
	return d
}

func (d *decoder) config() *Config {
	c := &Config{}
	syntax, known := len(d.faults) > 0, routeKeys(new(Route))
	bad := d.read(d.root, schema{
		"server": section(serverKeys(&c.Server)),
		"queue":  section(queueKeys(&c.Queue)),
		"log":    section(logKeys(&c.Log)),
		"defaults": {read: func(d *decoder, key string, v *value) {
			d.partial = true
			section(known).read(d, key, v)
			d.checkAlternatives(v)
			d.partial = false
			maps.DeleteFunc(v.keys, func(name string, _ *value) bool { return known[name].read == nil })
		}},
		"route": {read: func(d *decoder, key string, v *value) {
			if v.kind != kindList {
				d.fault(v.at, "route: expected [[route]] tables, not %s", v.kind)
			}
		}},
	}, "")
	c.Queue.Path = d.abs(c.Queue.Path)
	if server := d.root.keys["server"]; !bad["server"] && server != nil && !server.broken {
		d.checkServer(&c.Server, server)
	}
	switch routes := d.root.keys["route"]; {
	case routes == nil && !syntax:
		d.fault(0, "there is no route: add a [[route]] with a name and a url")
	case routes != nil && routes.kind == kindList:
		d.readRoutes(c, routes, cmp.Or(d.root.keys["defaults"], newTable("", 0)))
	}
	return c
}

func (d *decoder) readRoutes(c *Config, routes, defaults *value) {
	if len(routes.list) == 0 {
		d.fault(routes.at, "there is no route: add a [[route]] with a name and a url")
	}
	taken := map[string]*value{}
	for _, t := range routes.list {
		if t.kind != kindTable {
			d.fault(t.at, "route: expected [[route]] tables, not %s", t.kind)
			continue
		}
		r := d.readRoute(t, defaults)
		if other := taken[r.Name]; other != nil {
			d.fault(t.keys["name"].at, "name: there is another route %s on line %d: each has its own name", quote(r.Name), lineOf(d.data, other.at))
		} else if r.Name != "" {
			taken[r.Name] = t.keys["name"]
		}
		c.Routes = append(c.Routes, r)
		d.route = ""
	}
}

func (d *decoder) checkServer(s *Server, t *value) {
	if strings.HasPrefix(s.Listen, "unix:") || !s.Token.IsZero() {
		return
	}
	if host, _, _ := net.SplitHostPort(s.Listen); !isLoopback(host) {
		d.fault(t.keys["listen"].at, "listen: %s can be reached from other machines: set server.token, or listen on 127.0.0.1", quote(s.Listen))
	}
}
