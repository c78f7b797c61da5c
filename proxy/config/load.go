package config

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Load reads and checks the file at path and everything it names. It returns a
// complete Config, or an error of type *LoadError. It waits for files until ctx
// ends, and no longer than 10 s in all.
func Load(ctx context.Context, path string) (*Config, error) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	abs, _ := filepath.Abs(path)
	held := map[string]string{}
	read := func(path string, most int64) ([]byte, error) {
		data, err := ReadFile(ctx, path, most)
		held[path] = Digest(data, err)
		return data, err
	}
	data, err := read(abs, MaxFile)
	if err != nil {
		msg := "cannot be read: " + readProblem(err)
		if errors.Is(err, fs.ErrNotExist) {
			msg = "there is no such file: name the config with --config, or write one with signalpost init"
		}
		return nil, &LoadError{Faults{{File: path, Msg: msg}}, []string{abs}, held}
	}
	c, files, faults := parse(path, data, outside{os.LookupEnv, read, http.ProxyFromEnvironment})
	if len(faults) > 0 {
		return nil, &LoadError{faults, files, held}
	}
	c.Held = held
	return c, nil
}

// parse turns the content of the file at path into a Config, or faults. Beside
// either it returns what to watch.
func parse(path string, data []byte, out outside) (*Config, []string, Faults) {
	abs, err := filepath.Abs(path)
	if err != nil {
		abs = filepath.Clean(path)
	}
	sum := sha256.Sum256(data)
	d := &decoder{
		source:   newSource(bytes.TrimPrefix(data, []byte("\ufeff"))),
		outside:  out,
		file:     path,
		dir:      filepath.Dir(abs),
		shared:   map[int]bool{},
		files:    []string{abs},
		contents: map[string]fileContent{},
	}
	c := d.config()
	if len(d.faults) > 0 {
		return nil, d.files, d.faults.sorted()
	}
	c.Path, c.Hash = path, hex.EncodeToString(sum[:6])
	c.Files, c.Warnings = d.files, d.warnings.sorted()
	return c, d.files, nil
}

func (d *decoder) config() *Config {
	c := defaultConfig()
	c.Queue.Path = d.abs(c.Queue.Path)
	root := readTree(d.source, sectionLine, d.fault)
	syntax := len(d.faults)

	defaults, routes := &value{kind: kindTable}, []*value(nil)
	keys := sections(&c)
	keys["defaults"] = func(d *decoder, key string, v *value) {
		if v.kind != kindTable {
			d.fault(v.at, "defaults: expected a table, [defaults], not %s", v.kind)
			return
		}
		d.share(v)
		d.partial = true
		known := routeKeys(new(Route))
		d.read(v, known, "")
		d.checkAlternatives(v)
		d.partial = false
		*defaults = *v
		defaults.entries = slices.DeleteFunc(slices.Clone(v.entries), func(e *entry) bool { return known[e.name] == nil })
	}
	keys["route"] = func(d *decoder, key string, v *value) {
		if v.kind != kindList {
			d.fault(v.at, "route: expected [[route]] tables, not %s", v.kind)
			return
		}
		routes = v.list
		if len(routes) == 0 {
			d.fault(v.at, "there is no route: add a [[route]] with a name and a url")
		}
	}
	bad := d.read(root, keys, "")
	if root.entry("route") == nil && syntax == 0 {
		d.fault(0, "there is no route: add a [[route]] with a name and a url")
	}
	if server := root.get("server"); !bad["server"] && server != nil && !server.broken {
		d.checkServer(&c.Server, server)
	}

	taken := map[string]int{} // the line of each name
	for _, t := range routes {
		if t.kind != kindTable {
			d.fault(t.at, "route: expected [[route]] tables, not %s", t.kind)
			continue
		}
		r := d.readRoute(merge(t, defaults))
		if name := t.get("name"); r.Name != "" {
			if line, ok := taken[r.Name]; ok {
				d.fault(name.at, "name: there is another route %s on line %d: each has its own name", quote(r.Name), line)
			} else {
				taken[r.Name] = d.line(name.at)
			}
		}
		c.Routes = append(c.Routes, r)
	}
	d.route = ""
	return &c
}

// share notes the places of a table of [defaults].
func (d *decoder) share(v *value) {
	d.shared[v.at] = true
	for _, element := range v.list {
		d.share(element)
	}
	for _, e := range v.entries {
		d.shared[e.at] = true
		d.share(e.val)
	}
}

func (d *decoder) checkServer(s *Server, t *value) {
	if strings.HasPrefix(s.Listen, "unix:") || !s.Token.IsZero() {
		return
	}
	if host, _, _ := net.SplitHostPort(s.Listen); !isLoopback(host) {
		d.fault(t.get("listen").at, "listen: %s can be reached from other machines: set server.token, or listen on 127.0.0.1", quote(s.Listen))
	}
}
