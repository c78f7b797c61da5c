package config

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/agnivade/levenshtein"
)

// An outside is what a config depends on beside its own text.
type outside struct {
	env      func(name string) (string, bool)
	readFile func(path string, most int64) ([]byte, error)
	proxy    func(*http.Request) (*url.URL, error)
}

// A decoder turns a document into a Config, and gathers faults on the way
// instead of ending at the first.
type decoder struct {
	*source
	outside
	file string // as faults call it
	dir  string // absolute; what relative paths are relative to

	route    string       // the name of the route being read
	shared   map[int]bool // offsets of [defaults]
	partial  bool         // reading [defaults] by themselves: what needs the whole route waits
	faults   Faults
	warnings Faults
	files    []string
	contents map[string]fileContent
	homes    []home // made when there is an unknown key
}

type fileContent struct {
	data []byte
	err  error
}

// A field reads the value of the key it stands for in a schema. key is the
// name that faults call it by.
type field func(d *decoder, key string, v *value)

// A schema is the keys of a table.
type schema map[string]field

// table is a field whose value is a table of that schema.
func table(s schema) field {
	return func(d *decoder, key string, v *value) {
		if v.kind != kindTable {
			d.fault(v.at, "%s: expected a table, [%s], not %s", key, key, v.kind)
			return
		}
		d.read(v, s, "")
	}
}

func (d *decoder) place(at int, msg string) Fault {
	line, column := d.source.place(at)
	f := Fault{File: d.file, Line: line, Column: column, Route: d.route, Msg: msg}
	if d.shared[at] {
		f.Route = ""
	}
	return f
}

func (d *decoder) fault(at int, format string, args ...any) {
	d.faults = append(d.faults, d.place(at, fmt.Sprintf(format, args...)))
}

func (d *decoder) warn(at int, format string, args ...any) {
	if !d.partial {
		d.warnings = append(d.warnings, d.place(at, fmt.Sprintf(format, args...)))
	}
}

// own returns the first of the offsets that is not in [defaults]: a fault
// between a route's key and one of [defaults] is the route's.
func (d *decoder) own(ats ...int) int {
	for _, at := range ats {
		if !d.shared[at] {
			return at
		}
	}
	return ats[0]
}

// read reads the keys of a table by a schema, and returns those that had a
// fault. prefix is the name of an inline table, with a dot.
func (d *decoder) read(v *value, s schema, prefix string) (bad map[string]bool) {
	bad = map[string]bool{}
	for _, e := range v.entries {
		before := len(d.faults)
		if read, ok := s[e.name]; ok {
			read(d, prefix+e.name, e.val)
		} else {
			d.fault(e.at, "unknown key %s%s", quote(prefix+e.name), d.hint(e.name, s))
		}
		if len(d.faults) > before {
			bad[e.name] = true
		}
	}
	return bad
}

// hint ends the sentence about a key that s does not know.
func (d *decoder) hint(name string, s schema) string {
	known := slices.Sorted(maps.Keys(s))
	if d.homes == nil {
		d.homes = homes()
	}
	for _, h := range d.homes {
		if slices.Contains(h.keys, name) && !slices.Contains(known, "env") {
			return ": it belongs in " + h.name
		}
	}
	if near := nearest(name, known); near != "" {
		return ", did you mean " + quote(near) + "?"
	}
	return ": expected " + oneOf(known)
}

// nearest returns the option that a name was probably meant to be, or "".
func nearest(name string, options []string) string {
	if len(name) > 64 {
		return ""
	}
	plain := strings.NewReplacer("-", "_", " ", "_")
	name = plain.Replace(strings.ToLower(name))
	best, least := "", max(1, utf8.RuneCountInString(name)/3)+1
	for _, o := range options {
		n := levenshtein.ComputeDistance(name, plain.Replace(o))
		if n == 2 && swapped(name, o) {
			n = 1
		}
		if n < least {
			best, least = o, n
		}
	}
	if best == "" && len(name) > 1 { // cut short: user for username
		i := slices.IndexFunc(options, func(o string) bool { return strings.HasPrefix(o, name) })
		if i >= 0 {
			best = options[i]
		}
	}
	return best
}

// swapped tells whether a and b differ by two neighbours that changed places.
func swapped(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	return i+1 < len(a) && a[i] == b[i+1] && a[i+1] == b[i] && a[i+2:] == b[i+2:]
}

// oneOf lists options in a sentence.
func oneOf(options []string) string {
	if len(options) == 1 {
		return options[0]
	}
	last := len(options) - 1
	return strings.Join(options[:last], ", ") + " or " + options[last]
}

// quote shows text of the file that is no secret: its first line, since a
// string whose closing quote is missing takes in keys that come after it.
func quote(text string) string {
	line, _, cut := strings.Cut(text, "\n")
	const most = 60
	if r := []rune(line); len(r) > most {
		line, cut = string(r[:most]), true
	}
	if cut {
		return strconv.Quote(line) + "…"
	}
	return strconv.Quote(line)
}

// show returns a value as an error about it shows it. Not for secrets.
func (v *value) show() string {
	switch v.kind {
	case kindString:
		return quote(v.text)
	case kindTable, kindList:
		return v.kind.String()
	}
	return v.kind.String() + " (" + strings.Trim(quote(v.text), `"`) + ")"
}

// abs returns a path of the file as an absolute one.
func (d *decoder) abs(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(d.dir, path)
}

// contentOf reads a file that the config names, once, and notes that a change
// of it calls for a reload.
func (d *decoder) contentOf(path string, most int64) ([]byte, error) {
	path = d.abs(path)
	c, ok := d.contents[path]
	if !ok {
		c.data, c.err = d.readFile(path, most)
		d.contents[path] = c
		d.files = append(d.files, path)
	}
	return c.data, c.err
}
