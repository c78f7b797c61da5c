package config

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/agnivade/levenshtein"

	"signalpost/proxy/files"
)

// inputs are what a config depends on beside its own text.
type inputs struct {
	env      func(name string) (string, bool)
	readFile func(path string) ([]byte, error) // by its absolute path
	proxy    func(*http.Request) (*url.URL, error)
	// rehearsed: nothing will be sent, and what is not there is no fault.
	rehearsed bool
}

// A decoder turns a document into a Config. It gathers faults, and does not end at the
// first.
type decoder struct {
	inputs
	*document
	file     string            // as faults call it
	route    string            // the name of the route being read
	named    map[string]*value // the routes so far
	partial  bool              // reading [defaults] by themselves: what needs the whole route waits
	faults   Faults
	warnings Faults
	missing  []string                 // inputs, when rehearsed
	homes    func() map[string]string // made when there is an unknown key
}

// A field is a key of a table. key is the name that faults call it by.
type field struct {
	read     func(d *decoder, key string, v *value)
	keys     schema // of a table; such a table of a route takes from [defaults] the keys it lacks
	def      any    // what it is without the key; nil: nothing
	jq       bool   // it is an expression, in which $name is a variable
	required string // why it cannot be left out; "": it can
}

// A schema is the keys of a table.
type schema map[string]field

// A parser returns what a value stands for, or reports what is wrong with it.
type parser[T any] func(d *decoder, key string, v *value) (T, bool)

// into is a field whose value goes to dst, which is def without the key.
func into[T any](dst *T, def T, parse parser[T]) field {
	*dst = def
	return field{def: def, read: func(d *decoder, key string, v *value) {
		if x, ok := parse(d, key, v); ok {
			*dst = x
		}
	}}
}

// required is f for a key that cannot be left out, and why not.
func required(why string, f field) field {
	f.required = why
	return f
}

// single parses a single value into a list.
func single[T any](parse parser[T]) parser[[]T] {
	return func(d *decoder, key string, v *value) ([]T, bool) {
		x, ok := parse(d, key, v)
		return []T{x}, ok
	}
}

// list parses a list of values. A string is in it once.
func list[T any](of string, parse parser[T]) parser[[]T] {
	return func(d *decoder, key string, v *value) ([]T, bool) {
		kept, before := []T{}, len(d.faults)
		if v.kind != kindList {
			shown := v.show()
			if _, hide := any(kept).([]Secret); hide {
				shown = string(v.kind)
			}
			d.fault(v.at, "%s: expected a list of %s, not %s", key, of, shown)
		}
		for _, element := range v.list {
			x, ok := parse(d, key, element)
			if _, text := any(x).(string); ok && text && slices.ContainsFunc(kept, func(k T) bool { return any(k) == any(x) }) {
				d.fault(element.at, "%s: %s is there twice", key, element.show())
			}
			kept = append(kept, x)
		}
		return kept, len(d.faults) == before
	}
}

// table is a field whose value is a table: a section, or one within a route. Faults put
// the name of the latter before its keys. then, which may be nil, is called with the
// whole table if all its keys are sound.
func table(keys schema, then func(d *decoder, key string, v *value)) field {
	return field{keys: keys, read: func(d *decoder, key string, v *value) {
		form, prefix := "{ … }", key+"."
		if d.root.keys[key] == v {
			form, prefix = "["+key+"]", ""
		}
		if v.kind != kindTable {
			d.fault(v.at, "%s: expected a table, %s, not %s", key, form, v.kind)
		} else if bad := d.read(v, keys, prefix); len(bad) == 0 && then != nil && !v.broken && !d.partial {
			then(d, key, v)
		}
	}}
}

// optional is a table that can be left out. then, which may be nil, checks it whole.
func optional[T any](dst **T, keys func(*T) schema, then func(x *T, d *decoder, v *value)) field {
	x := new(T)
	return table(keys(x), func(d *decoder, _ string, v *value) {
		if then != nil {
			then(x, d, v)
		}
		*dst = x
	})
}

// read reads the keys of a table by a schema, and returns those that had a
// fault. prefix is the name of a nested table, with a dot.
func (d *decoder) read(v *value, keys schema, prefix string) (bad map[string]bool) {
	bad = map[string]bool{}
	for _, e := range v.sorted() {
		before := len(d.faults)
		switch f, ok := keys[e.name]; {
		case !ok:
			bad[d.unknown(e, keys, prefix)] = true
		case e.broken && e.kind == kindString: // reported
			bad[e.name] = true
		default:
			f.read(d, prefix+e.name, e)
			if !f.jq {
				d.warnDollar(e)
			}
		}
		if len(d.faults) > before {
			bad[e.name] = true
		}
	}
	for name, f := range keys {
		if f.required != "" && v.keys[name] == nil && !bad[name] && !v.broken && !d.partial {
			d.fault(v.at, "%s%s is missing: %s", strings.Replace(prefix, ".", ": ", 1), name, f.required)
			bad[name] = true
		}
	}
	return bad
}

func (d *decoder) fault(at int, format string, args ...any) {
	d.faults = append(d.faults, d.about(at, format, args))
}

func (d *decoder) warn(at int, format string, args ...any) {
	d.warnings = append(d.warnings, d.about(at, format, args))
}

func (d *decoder) about(at int, format string, args []any) Fault {
	msg := strings.Join(strings.FieldsFunc(fmt.Sprintf(format, args...), unicode.IsControl), " ") // one line
	f := Fault{File: d.file, Route: d.route, Msg: msg, at: at}
	if d.route != "" && d.inDefaults(at) {
		f.Route = ""
	}
	return f
}

// expect returns ok. If that is false it reports the value, and what was expected.
func (d *decoder) expect(ok bool, key string, v *value, what string) bool {
	if !ok {
		d.fault(v.at, "%s: expected %s, not %s", key, what, v.show())
	}
	return ok
}

// own returns the first of the offsets that is not in [defaults]: a fault
// between a route's key and one of [defaults] is the route's.
func (d *decoder) own(ats ...int) int {
	i := slices.IndexFunc(ats, func(at int) bool { return !d.inDefaults(at) })
	return ats[max(i, 0)]
}

// unknown reports a key that is not among the known ones, and returns the one
// that it was probably meant to be, or "".
func (d *decoder) unknown(e *value, keys schema, prefix string) (meant string) {
	known := slices.Sorted(maps.Keys(keys))
	hint := ": expected " + oneOf(known)
	if meant = Nearest(e.name, known); meant != "" {
		hint = ", did you mean " + quote(meant) + "?"
	}
	if home := d.homes()[e.name]; home != "" && !slices.Contains(known, "env") {
		meant, hint = "", ": it belongs in "+home
	}
	d.fault(e.key, "unknown key %s%s", quote(prefix+e.name), hint)
	return meant
}

// plain spells a name as the keys here are spelt.
var plain = strings.NewReplacer("-", "_", " ", "_")

// Nearest returns the option that a name was probably meant to be, or "".
func Nearest(name string, options []string) string {
	if len(name) > 64 {
		return ""
	}
	if i := slices.IndexFunc(options, func(o string) bool { return strings.EqualFold(o, name) }); i >= 0 {
		return options[i]
	}
	name = plain.Replace(strings.ToLower(name))
	length := utf8.RuneCountInString(name)
	best, least := "", 2*max(min(length-1, 2), length/3)+1
	for _, o := range options {
		n := 2 * levenshtein.ComputeDistance(name, plain.Replace(o))
		if strings.HasPrefix(o, name[:min(1, len(name))]) {
			n-- // of two as near the one that begins alike: ulr is url, not tls
		}
		if n < least {
			best, least = o, n
		}
	}
	if i := slices.IndexFunc(options, func(o string) bool { return strings.HasPrefix(o, name) }); best == "" && length > 1 && i >= 0 {
		return options[i] // cut short: user for username
	}
	return best
}

// meant says which option a name was probably meant to be, or otherwise.
func meant(name string, options []string, otherwise string) string {
	if near := Nearest(name, options); near != "" {
		return ", did you mean " + quote(near) + "?"
	}
	return otherwise
}

// oneOf lists options in a sentence.
func oneOf(options []string) string {
	last := len(options) - 1
	return strings.TrimPrefix(strings.Join(options[:last], ", ")+" or "+options[last], " or ")
}

// quote shows text of the file that is no secret: its first line, since a string
// without a closing quote includes the keys behind it.
func quote(text string) string {
	const most = 60
	line, _, cut := strings.Cut(text, "\n")
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
		return string(v.kind)
	}
	return string(v.kind) + " (" + strings.Trim(quote(v.text), `"`) + ")"
}

// abs returns a path of the file as an absolute one.
func (d *decoder) abs(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	if d.file == "/dev/stdin" || strings.HasPrefix(d.file, "/dev/fd/") {
		return absolute(path)
	}
	return filepath.Join(filepath.Dir(absolute(d.file)), path)
}

// contentOf reads a file that the config names, and reports one that cannot be read.
func (d *decoder) contentOf(key string, v *value) ([]byte, bool) {
	data, err := d.readFile(d.abs(v.text))
	if err != nil && d.rehearsed {
		d.missing = append(d.missing, "file "+quote(v.text))
	} else if err != nil {
		d.fault(v.at, "%s: the file %s cannot be read: %s", key, quote(v.text), files.Problem(err))
	}
	return data, err == nil
}

// dollar matches what looks like the use of an environment variable: ${NAME},
// or $NAME alone or in capitals.
var dollar = regexp.MustCompile(`\$\{[A-Za-z_][A-Za-z0-9_]*(:?[-=?+][^}]*)?\}|(?:^|[^A-Za-z0-9$])\$[A-Z_][A-Z0-9_]+\b|^\$[A-Za-z_][A-Za-z0-9_]*$`)

func (d *decoder) warnDollar(v *value) {
	for _, element := range v.list {
		d.warnDollar(element)
	}
	if v.kind == kindString && dollar.MatchString(v.text) {
		d.warn(v.at, `$ and the name after it are taken as written: an environment variable is read only as a whole secret value, { env = "NAME" }`)
	}
}
