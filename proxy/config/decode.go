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
	"unicode"
	"unicode/utf8"

	"github.com/agnivade/levenshtein"

	"signalpost/proxy/files"
)

// An outside is what a config depends on beside its own text.
type outside struct {
	env      func(name string) (string, bool)
	readFile func(path string) ([]byte, error) // by its absolute path
	proxy    func(*http.Request) (*url.URL, error)
}

// A decoder turns a document into a Config, and gathers faults on the way
// instead of ending at the first.
type decoder struct {
	outside
	*document
	file string // as faults call it
	dir  string // absolute; what relative paths are relative to

	route    string // the name of the route being read
	partial  bool   // reading [defaults] by themselves: what needs the whole route waits
	faults   Faults
	warnings Faults
	homes    func() map[string]string // made when there is an unknown key
}

// A field is a key of a table. key is the name that faults call it by.
type field struct {
	read func(d *decoder, key string, v *value)
	keys schema // of a table within a route, which takes from [defaults] the keys it lacks; nil: the value is taken whole
	jq   bool   // it is an expression, in which $name is a variable
}

// A schema is the keys of a table.
type schema map[string]field

// A parser returns what a value stands for, or reports what is wrong with it.
type parser[T any] func(d *decoder, key string, v *value) (T, bool)

// one is a field of a single value, which is def where the key is missing.
func one[T any](dst *T, def T, parse parser[T]) field {
	*dst = def
	return field{read: func(d *decoder, key string, v *value) {
		if x, ok := parse(d, key, v); ok {
			*dst = x
		}
	}}
}

// list is a field of a list of values. A string is in it once.
func list[T any](dst *[]T, def []T, of string, parse parser[T]) field {
	*dst = def
	return field{read: func(d *decoder, key string, v *value) {
		if v.kind != kindList {
			shown := v.show()
			if _, hide := any(dst).(*[]Secret); hide {
				shown = string(v.kind)
			}
			d.fault(v.at, "%s: expected a list of %s, not %s", key, of, shown)
			return
		}
		kept, seen := []T{}, map[string]bool{}
		for _, element := range v.list {
			x, ok := parse(d, key, element)
			text, isText := any(x).(string)
			switch {
			case !ok:
			case isText && seen[text]:
				d.fault(element.at, "%s: %s is there twice", key, element.show())
			default:
				kept, seen[text] = append(kept, x), true
			}
		}
		*dst = kept
	}}
}

// alone makes a list of a single value.
func alone[T any](parse parser[T]) parser[[]T] {
	return func(d *decoder, key string, v *value) ([]T, bool) {
		x, ok := parse(d, key, v)
		return []T{x}, ok
	}
}

// section is a field whose value is a table of the file.
func section(keys schema) field {
	return field{read: func(d *decoder, key string, v *value) {
		if v.kind != kindTable {
			d.fault(v.at, "%s: expected a table, [%s], not %s", key, key, v.kind)
			return
		}
		d.read(v, keys, "")
	}}
}

// nested is a field whose value is a table within a route. then sees to what
// needs the whole of it, if all its keys are sound.
func nested(keys schema, then func(d *decoder, key string, v *value)) field {
	return field{keys: keys, read: func(d *decoder, key string, v *value) {
		if v.kind != kindTable {
			d.fault(v.at, "%s: expected a table, { … }, not %s", key, v.kind)
		} else if bad := d.read(v, keys, key+"."); len(bad) == 0 && !v.broken && !d.partial {
			then(d, key, v)
		}
	}}
}

// read reads the keys of a table by a schema, and returns those that had a
// fault. prefix is the name of a nested table, with a dot.
func (d *decoder) read(v *value, keys schema, prefix string) (bad map[string]bool) {
	bad = map[string]bool{}
	for _, e := range v.sorted() {
		before := len(d.faults)
		if f, ok := keys[e.name]; ok {
			f.read(d, prefix+e.name, e)
			if !f.jq {
				d.warnDollar(e)
			}
		} else {
			d.fault(e.key, "unknown key %s%s", quote(prefix+e.name), d.hint(e.name, keys))
		}
		if len(d.faults) > before {
			bad[e.name] = true
		}
	}
	return bad
}

func (d *decoder) fault(at int, format string, args ...any) {
	d.faults = append(d.faults, d.about(at, format, args))
}

func (d *decoder) warn(at int, format string, args ...any) {
	if !d.partial {
		d.warnings = append(d.warnings, d.about(at, format, args))
	}
}

func (d *decoder) about(at int, format string, args []any) Fault {
	msg := strings.Join(strings.FieldsFunc(fmt.Sprintf(format, args...), unicode.IsControl), " ") // one line
	f := Fault{File: d.file, Route: d.route, Msg: msg, at: at}
	if d.route != "" && d.shared(at) {
		f.Route = ""
	}
	return f
}

// expect reports a value of which ok is false, with what was expected.
func (d *decoder) expect(ok bool, key string, v *value, what string) bool {
	if !ok {
		d.fault(v.at, "%s: expected %s, not %s", key, what, v.show())
	}
	return ok
}

// own returns the first of the offsets that is not in [defaults]: a fault
// between a route's key and one of [defaults] is the route's.
func (d *decoder) own(ats ...int) int {
	i := slices.IndexFunc(ats, func(at int) bool { return !d.shared(at) })
	return ats[max(i, 0)]
}

// hint ends the sentence about a key that is not among the known ones.
func (d *decoder) hint(name string, keys schema) string {
	known := slices.Sorted(maps.Keys(keys))
	if home := d.homes()[name]; home != "" && !slices.Contains(known, "env") {
		return ": it belongs in " + home
	}
	if near := Nearest(name, known); near != "" {
		return ", did you mean " + quote(near) + "?"
	}
	return ": expected " + oneOf(known)
}

// Nearest returns the option that a name was probably meant to be, or "".
func Nearest(name string, options []string) string {
	if len(name) > 64 {
		return ""
	}
	plain := strings.NewReplacer("-", "_", " ", "_")
	name = plain.Replace(strings.ToLower(name))
	length := utf8.RuneCountInString(name)
	best, least := "", max(min(length-1, 2), length/3)+1
	for _, o := range options {
		if n := levenshtein.ComputeDistance(name, plain.Replace(o)); n < least {
			best, least = o, n
		}
	}
	if i := slices.IndexFunc(options, func(o string) bool { return strings.HasPrefix(o, name) }); best == "" && length > 1 && i >= 0 {
		return options[i] // cut short: user for username
	}
	return best
}

// oneOf lists options in a sentence.
func oneOf(options []string) string {
	last := len(options) - 1
	if last == 0 {
		return options[0]
	}
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
		return string(v.kind)
	}
	return string(v.kind) + " (" + strings.Trim(quote(v.text), `"`) + ")"
}

// abs returns a path of the file as an absolute one.
func (d *decoder) abs(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(d.dir, path)
}

// contentOf reads a file that the config names, and reports one that cannot be read.
func (d *decoder) contentOf(key string, v *value) ([]byte, bool) {
	data, err := d.readFile(d.abs(v.text))
	if err != nil {
		d.fault(v.at, "%s: the file %s cannot be read: %s", key, quote(v.text), files.Problem(err))
	}
	return data, err == nil
}
