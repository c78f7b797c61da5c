package config

import (
	"bytes"
	"cmp"
	"errors"
	"maps"
	"regexp"
	"slices"
	"sort"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// All that leans on go-toml beyond its promises is here: places come from its
// package unstable, and some words of its errors give way to better ones.
// TestBad and TestPlaceInString fail when either changes. What is TOML, and
// which keys and tables are there twice, go-toml decides.

// A value is a TOML value and its place. However the tables of a document are
// written, they become one tree of values.
type value struct {
	kind   kind
	at     int    // offset of its first byte; of a table with a header, the header's name
	raw    string // of a string: as written, with its quotes
	text   string // of a string: what it says; of another scalar: as written
	list   []*value
	keys   map[string]*entry // of a table
	header bool              // written with [x] or [[x]]
	broken bool              // a syntax error hides some of its keys
}

// An entry is a key of a table and its value.
type entry struct {
	name string
	at   int // offset of the key
	val  *value
}

type kind int

const (
	kindTable kind = iota
	kindList
	kindString
	kindInteger
	kindFloat
	kindBoolean
	kindTime
)

// String returns the kind as errors call it.
func (k kind) String() string {
	return [...]string{"a table", "a list", "a string", "an integer", "a decimal number", "a boolean", "a date or time"}[k]
}

func newTable(at int) *value { return &value{kind: kindTable, at: at, keys: map[string]*entry{}} }

// get returns the value of a key of a table, or nil.
func (v *value) get(name string) *value {
	if e := v.keys[name]; e != nil {
		return e.val
	}
	return nil
}

// entries returns the keys of a table in the order of the file.
func (v *value) entries() []*entry {
	return slices.SortedFunc(maps.Values(v.keys), func(a, b *entry) int { return cmp.Compare(a.at, b.at) })
}

// A document is a config's text while it is read. Its tree is built leniently:
// the first value of a key stands, tables of one name are one. Then go-toml
// judges, and what it refuses becomes a fault.
type document struct {
	data        []byte
	judged      []byte // data, in which faulty expressions are blanked out
	fault       func(at int, format string, args ...any)
	root        *value
	current     *value // the table that `key = value` lines belong to
	expressions []expression
}

// An expression is a header or a `key = value`.
type expression struct {
	kind       unstable.Kind
	start, end int    // of a header: of its name
	again      part   // the last name in it that its table has already,
	first      *entry // and what has it; nil: none
}

// A part is one name of a dotted key.
type part struct {
	name    string
	at, end int
}

// sectionLine matches the header of a section, alone on its line.
var sectionLine = regexp.MustCompile(`(?m)^[ \t]*(\[(server|queue|log|defaults)\]|\[\[route\]\])[ \t]*(#.*)?\r?$`)

// readTree returns the root table of a document. It reports what breaks the
// rules of TOML, and leaves out of the tree what could not be understood.
// About syntax it quotes nothing: who knows what the text was meant to be.
//
// Behind a syntax error it goes on at the next section: the lines before that
// could be the inside of a string that was not closed.
func readTree(data []byte, fault func(at int, format string, args ...any)) *value {
	d := &document{data: data, judged: bytes.Clone(data), fault: fault, root: newTable(0)}
	d.current = d.root
	for start := 0; start < len(data); {
		end, broken := d.read(start)
		if broken < 0 {
			break
		}
		d.current.broken = true
		start = len(data)
		if eol := bytes.IndexByte(data[broken:], '\n'); eol >= 0 {
			if section := sectionLine.FindIndex(data[broken+eol+1:]); section != nil {
				start = broken + eol + 1 + section[0]
			}
		}
		d.blank(end, start)
	}
	d.judge()
	return d.root
}

func (d *document) blank(from, to int) {
	for i := from; i < to; i++ {
		if d.judged[i] != '\n' {
			d.judged[i] = ' '
		}
	}
}

// read reads from start to the end or to a syntax error, which it reports. It
// returns where the last good expression ended and where the error is, or -1.
func (d *document) read(start int) (end, broken int) {
	var p unstable.Parser
	p.Reset(d.data[start:])
	end = start
	for p.NextExpression() {
		e := p.Expression()
		parts := keyParts(e, start)
		x := expression{kind: e.Kind, start: parts[0].at, end: parts[len(parts)-1].end}
		if e.Kind == unstable.KeyValue {
			x.end = start + int(e.Raw.Offset+e.Raw.Length)
			if section := sectionLine.FindSubmatch(d.data[x.start:x.end]); section != nil && string(section[2]) != "log" { // [log] is jq
				d.fault(x.start, "not TOML: a string that begins here goes on over sections of this file: its closing quotes are missing")
				return end, x.start
			}
		}
		d.expressions = append(d.expressions, x)
		if e.Kind == unstable.KeyValue {
			d.keyValue(d.current, e, start)
		} else {
			d.header(parts, e.Kind == unstable.ArrayTable)
		}
		end = x.end
	}
	if p.Error() == nil {
		return end, -1
	}
	broken, msg := end, p.Error().Error()
	if perr, ok := errors.AsType[*unstable.ParserError](p.Error()); ok {
		broken = start + int(p.Range(perr.Highlight).Offset)
	}
	for _, better := range syntaxWords {
		if better.has.MatchString(msg) {
			msg = better.say
		}
	}
	msg = shownCharacter.ReplaceAllString(msg, "")
	if msg == noEnd { // found at the end of the file, but made where the expression begins
		broken = end + betweenExpressions.FindIndex(d.data[end:])[1]
	}
	d.fault(broken, "not TOML: %s", msg)
	return end, broken
}

// shownCharacter is the part of a parser's message that shows a character of
// the document. It may be one of a secret.
var shownCharacter = regexp.MustCompile(`(?s)( but got|:)? U\+.*`)

var betweenExpressions = regexp.MustCompile(`^[ \t\r]*(#[^\n]*)?(\n[ \t\r]*(#[^\n]*)?)*`)

const noEnd = "what begins here has no end: a closing quote, ] or } is missing"

// syntaxWords are better words for some errors of go-toml.
var syntaxWords = []struct {
	has *regexp.Regexp
	say string
}{
	{regexp.MustCompile("escape"), `in double quotes \ begins an escape such as \n, and this is none: use single quotes, or write \\ for each \`},
	{regexp.MustCompile("expected newline"), `nothing but a comment follows a value on its line: a string has quotes around it, and inside double quotes a " is written \"`},
	{regexp.MustCompile("cannot have new lines"), "a string in quotes ends on the line it begins, and this one has no closing quote"},
	{regexp.MustCompile("start of value|keyword|must be quoted|not end of input|expected value"),
		"expected a value: a string in quotes, a number, true, false, [ … ] or { … }"},
	{regexp.MustCompile("terminated|incomplete"), noEnd},
}

// judge has go-toml read the document until it refuses nothing more. What it
// refuses is blanked out: a header with its section, whose keys are in the tree.
// Each refusal is a key or table that is there again, or a number or date that
// no key takes.
func (d *document) judge() {
	for range 100 { // each a reading of the whole
		refused, ok := errors.AsType[*toml.DecodeError](toml.Unmarshal(d.judged, new(map[string]any)))
		if !ok {
			return
		}
		at := offsetOf(d.data, refused)
		i := sort.Search(len(d.expressions), func(i int) bool { return d.expressions[i].start > at }) - 1
		if i < 0 {
			d.fault(at, "not TOML")
			return
		}
		x, what := d.expressions[i], ""
		if x.kind != unstable.KeyValue {
			what = ": a table has one place in the file"
			if x.kind == unstable.ArrayTable {
				what = ", and not as a list of [[" + x.again.name + "]]"
			}
			x.start, x.end = d.lineStart(x.start), len(d.data)
			if n := slices.IndexFunc(d.expressions[i+1:], func(x expression) bool { return x.kind != unstable.KeyValue }); n >= 0 {
				x.end = d.lineStart(d.expressions[i+1+n].start)
			}
		}
		if x.first != nil {
			d.fault(x.again.at, "%s is already set on line %d%s", quote(x.again.name), lineOf(d.data, x.first.at), what)
		}
		d.blank(x.start, x.end)
	}
}

func (d *document) lineStart(at int) int { return bytes.LastIndexByte(d.data[:at], '\n') + 1 }

func lineOf(data []byte, at int) int { return 1 + bytes.Count(data[:at], []byte("\n")) }

// offsetOf returns the offset of an error of go-toml, which counts lines and bytes.
func offsetOf(data []byte, e *toml.DecodeError) int {
	line, column := e.Position()
	at := 0
	for ; line > 1; line-- {
		at += bytes.IndexByte(data[at:], '\n') + 1
	}
	return at + column - 1
}

func keyParts(n *unstable.Node, start int) []part {
	var parts []part
	for it := n.Key(); it.Next(); {
		k := it.Node()
		at := start + int(k.Raw.Offset)
		parts = append(parts, part{string(k.Data), at, at + int(k.Raw.Length)})
	}
	return parts
}

// set gives a table a value under a name, unless it has one: then it returns
// that, and notes that the name is there again.
func (d *document) set(table *value, p part, v *value) (has *value) {
	e := table.keys[p.name]
	if e == nil {
		table.keys[p.name] = &entry{p.name, p.at, v}
		return nil
	}
	x := &d.expressions[len(d.expressions)-1]
	x.again, x.first = p, e
	return e.val
}

// enter returns the table that all but the last name of a dotted key lead to,
// or one that is in no tree, and the last name.
func (d *document) enter(table *value, parts []part) (*value, part) {
	last := len(parts) - 1
	for _, p := range parts[:last] {
		v := newTable(p.at)
		if has := d.set(table, p, v); has != nil {
			v = has
		}
		if v.kind == kindList && len(v.list) > 0 {
			v = v.list[len(v.list)-1]
		}
		if v.kind != kindTable {
			v = newTable(p.at)
		}
		table = v
	}
	return table, parts[last]
}

// header makes the table of a [header], or a new one of a [[header]], the
// current one.
func (d *document) header(parts []part, element bool) {
	table, last := d.enter(d.root, parts)
	single := table == d.root && last.name == "route" && !element
	if single {
		d.fault(last.at, "a route is written with two brackets: [[route]]")
		element = true
	}
	d.current = newTable(last.at)
	d.current.header = true
	v := d.current
	if element {
		v = &value{kind: kindList, at: last.at, header: true, list: []*value{d.current}}
	}
	switch has := d.set(table, last, v); {
	case has == nil || element != (has.kind == kindList): // new, or refused
	case element && has.header:
		has.list = append(has.list, d.current)
	case has.kind == kindTable:
		d.current, has.header = has, true
	}
	if single {
		d.expressions[len(d.expressions)-1].first = nil // it is reported
	}
}

// keyValue adds `a.b.c = value` to table.
func (d *document) keyValue(table *value, n *unstable.Node, start int) {
	table, last := d.enter(table, keyParts(n, start))
	at := last.end + bytes.IndexByte(d.data[last.end:], '=') + 1
	at += len(d.data[at:]) - len(bytes.TrimLeft(d.data[at:], " \t"))
	d.set(table, last, d.value(n.Value(), start, at))
}

var kinds = map[unstable.Kind]kind{unstable.String: kindString, unstable.Integer: kindInteger, unstable.Float: kindFloat,
	unstable.Bool: kindBoolean, unstable.Array: kindList, unstable.InlineTable: kindTable}

// value converts a parsed value that begins at offset at.
func (d *document) value(n *unstable.Node, start, at int) *value {
	k, ok := kinds[n.Kind]
	if !ok {
		k = kindTime
	}
	v := &value{kind: k, at: at, text: string(n.Data)}
	switch k {
	case kindString:
		v.raw = string(d.data[start+int(n.Raw.Offset):][:n.Raw.Length])
	case kindList:
		for it := n.Children(); it.Next(); {
			c, at := it.Node(), at // the parser does not tell where a list in a list begins
			if c.Kind != unstable.Array {
				at = start + int(c.Raw.Offset)
			}
			v.list = append(v.list, d.value(c, start, at))
		}
	case kindTable:
		v.keys = map[string]*entry{}
		for it := n.Children(); it.Next(); {
			d.keyValue(v, it.Node(), start)
		}
	}
	return v
}

// offset returns where in the file the byte at index i of a string's text was
// written. What a beginning of the string says, go-toml knows.
func (v *value) offset(i int) int {
	quotes := v.raw[:1]
	if three := strings.Repeat(quotes, 3); len(v.raw) >= 6 && strings.HasPrefix(v.raw, three) {
		quotes = three
	}
	// says returns the length of the text that ends at end, or before it where
	// an escape or a character would be cut.
	says := func(end int) (from, n int) {
		for ; ; end-- {
			var s struct{ V string }
			if toml.Unmarshal([]byte("V="+v.raw[:end]+quotes), &s) == nil {
				return end, len(s.V)
			}
		}
	}
	end := sort.Search(len(v.raw)-2*len(quotes), func(k int) bool {
		_, n := says(len(quotes) + k + 1)
		return n > i
	})
	from, _ := says(len(quotes) + end)
	return v.at + from
}
