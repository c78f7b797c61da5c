package config

import (
	"bytes"
	"errors"
	"regexp"
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2/unstable"
)

// A value is a TOML value and its place. However the tables of a document are
// written, they become one tree of values.
type value struct {
	kind kind
	at   int    // offset of its first byte; of a table with a header, the header's name
	raw  string // of a string: as written, with its quotes
	text string // of a string: what it says; of another scalar: as written
	list []*value
	// Of a table, in the order of the file; names are distinct.
	entries []*entry
	form    form
	broken  bool // a syntax error hides some of its keys
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

// A form tells how a table or list came to be, which decides what may be added
// to it later in the file.
type form int

const (
	formInline  form = iota // { … } or [ … ]: nothing
	formImplied             // x of [x.y]: sub-tables, and its own header
	formHeader              // [x] or [[x]]: sub-tables, or elements
	formDotted              // x of x.y = …: dotted keys, sub-tables
)

func (v *value) entry(name string) *entry {
	for _, e := range v.entries {
		if e.name == name {
			return e
		}
	}
	return nil
}

// get returns the value of a key of a table, or nil.
func (v *value) get(name string) *value {
	if e := v.entry(name); e != nil {
		return e.val
	}
	return nil
}

// A source is the text of a file, of which it knows the lines.
type source struct {
	data   []byte
	starts []int // offset of each line
	// The place found last, to go on from: lines can be very long.
	at, column int
}

func newSource(data []byte) *source {
	starts := []int{0}
	for i, c := range data {
		if c == '\n' {
			starts = append(starts, i+1)
		}
	}
	return &source{data: data, starts: starts, column: 1}
}

// place returns line and column, in characters, of an offset.
func (s *source) place(at int) (line, column int) {
	at = max(0, min(at, len(s.data)))
	line = sort.SearchInts(s.starts, at+1)
	from, column := s.starts[line-1], 1
	if from <= s.at && s.at <= at {
		from, column = s.at, s.column
	}
	s.at, s.column = at, column+utf8.RuneCount(s.data[from:at])
	return line, s.column
}

func (s *source) line(at int) int {
	line, _ := s.place(at)
	return line
}

// A tree builds the values of a document.
type tree struct {
	*source
	fault   func(at int, format string, args ...any)
	root    *value
	current *value // the table that `key = value` lines belong to
	index   map[*value]map[string]*entry
}

// readTree returns the root table of a document. It reports what breaks the
// rules of TOML, and leaves out of the tree what could not be understood.
// About syntax it quotes nothing: who knows what the text was meant to be.
//
// Behind a syntax error it goes on at the next line that section matches. The
// lines before that could be the inside of a string that was not closed.
func readTree(src *source, section *regexp.Regexp, fault func(at int, format string, args ...any)) *value {
	t := &tree{source: src, fault: fault, index: map[*value]map[string]*entry{}}
	t.root = &value{kind: kindTable, form: formHeader}
	t.current = t.root
	for start := 0; ; {
		broken, ok := t.read(start)
		if ok {
			return t.root
		}
		t.current.broken = true
		eol := bytes.IndexByte(t.data[broken:], '\n')
		if eol < 0 {
			return t.root
		}
		next := section.FindIndex(t.data[broken+eol+1:])
		if next == nil {
			return t.root
		}
		start = broken + eol + 1 + next[0]
	}
}

// read reads from start to the end, or to a syntax error, whose offset it
// returns.
func (t *tree) read(start int) (broken int, ok bool) {
	var p unstable.Parser
	// The parser tells offsets by capacity, so there must be none to spare.
	p.Reset(t.data[start:len(t.data):len(t.data)])
	end := start // of the last good expression
	for p.NextExpression() {
		e := p.Expression()
		parts := keyParts(e, start)
		end = parts[len(parts)-1].end
		switch e.Kind {
		case unstable.Table, unstable.ArrayTable:
			t.header(parts, e.Kind == unstable.ArrayTable)
		case unstable.KeyValue:
			t.keyValue(t.current, e, start)
			end = start + int(e.Raw.Offset+e.Raw.Length)
		}
	}
	if p.Error() == nil {
		return 0, true
	}
	perr, ok := errors.AsType[*unstable.ParserError](p.Error())
	if !ok { // cannot be, as far as the parser is documented
		t.fault(end, "not TOML")
		return end, false
	}
	at := len(t.data) - cap(perr.Highlight)
	switch msg := perr.Message; {
	case strings.Contains(msg, "terminated") || strings.Contains(msg, "incomplete"):
		// Found at the end of the file, but made where the expression begins.
		at = t.expressionAfter(end)
		t.fault(at, "not TOML: what begins here has no end: a closing quote, ] or } is missing")
	case strings.Contains(msg, "cannot have new lines"):
		t.fault(at, "not TOML: a string in quotes ends on the line it begins, and this one has no closing quote")
	case strings.Contains(msg, "start of value"), strings.Contains(msg, "keyword"),
		strings.Contains(msg, "must be quoted"), strings.Contains(msg, "not end of input"):
		t.fault(at, `not TOML: expected a value: a string in quotes, a number, true, false, [ … ] or { … }`)
	default:
		t.fault(at, "not TOML: %s", shownCharacter.ReplaceAllString(msg, ""))
	}
	return at, false
}

// shownCharacter is the part of a parser's message that shows a character of
// the document. It may be one of a secret.
var shownCharacter = regexp.MustCompile(`(?s)( but got|:)? U\+.*`)

// expressionAfter returns where the expression behind offset end begins.
func (t *tree) expressionAfter(end int) int {
	at := end
	for first := true; at < len(t.data); first = false {
		line := t.data[at:]
		if eol := bytes.IndexByte(line, '\n'); eol >= 0 {
			line = line[:eol]
		}
		text := bytes.TrimLeft(line, " \t\r")
		rest := first && end > 0 && t.data[end-1] != '\n' // the tail of the last good line
		if !rest && len(text) > 0 && text[0] != '#' {
			return at + len(line) - len(text)
		}
		at += len(line) + 1
	}
	return len(t.data)
}

// A part is one name of a dotted key.
type part struct {
	name    string
	at, end int
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

// find and add go by an index, for tables with very many keys.
func (t *tree) find(table *value, name string) *entry { return t.index[table][name] }

func (t *tree) add(table *value, p part, v *value) *value {
	if t.index[table] == nil {
		t.index[table] = map[string]*entry{}
	}
	e := &entry{p.name, p.at, v}
	t.index[table][p.name] = e
	table.entries = append(table.entries, e)
	return v
}

func (t *tree) taken(p part, e *entry, what string) {
	t.fault(p.at, "%s is already set on line %d%s", quote(p.name), t.line(e.at), what)
}

// header makes the table of a [header], or a new one of a [[header]], the
// current one.
func (t *tree) header(parts []part, element bool) {
	t.current = &value{kind: kindTable} // in no tree: what follows a bad header
	parts, last := parts[:len(parts)-1], parts[len(parts)-1]
	if len(parts) == 0 && last.name == "route" && !element {
		t.fault(last.at, "a route is written with two brackets: [[route]]")
		element = true
	}
	table := t.root
	for _, p := range parts {
		e := t.find(table, p.name)
		if e == nil {
			table = t.add(table, p, &value{kind: kindTable, at: p.at, form: formImplied})
			continue
		}
		table = e.val
		if table.kind == kindList && table.form == formHeader {
			table = table.list[len(table.list)-1]
		}
		if table.kind != kindTable || table.form == formInline {
			t.taken(p, e, " in full: add to it there")
			return
		}
	}
	fresh := &value{kind: kindTable, at: last.at, form: formHeader}
	e := t.find(table, last.name)
	switch {
	case element && e == nil:
		t.add(table, last, &value{kind: kindList, at: last.at, form: formHeader, list: []*value{fresh}})
		t.current = fresh
	case element && e.val.kind == kindList && e.val.form == formHeader:
		e.val.list = append(e.val.list, fresh)
		t.current = fresh
	case element:
		t.taken(last, e, ", and not as a list of [["+e.name+"]]")
	case e == nil:
		t.current = t.add(table, last, fresh)
	case e.val.kind == kindTable && e.val.form == formImplied:
		e.val.form, e.val.at = formHeader, last.at
		t.current = e.val
	case e.val.kind == kindTable && e.val.form == formHeader:
		t.taken(last, e, ": a table has one place in the file")
		t.current = e.val // to find more faults
	default:
		t.taken(last, e, "")
	}
}

// keyValue adds `a.b.c = value` to table.
func (t *tree) keyValue(table *value, n *unstable.Node, start int) {
	parts := keyParts(n, start)
	last := parts[len(parts)-1]
	for _, p := range parts[:len(parts)-1] {
		e := t.find(table, p.name)
		switch {
		case e == nil:
			table = t.add(table, p, &value{kind: kindTable, at: p.at, form: formDotted})
		case e.val.kind == kindTable && e.val.form == formDotted:
			table = e.val
		default:
			t.taken(p, e, "")
			return
		}
	}
	at := last.end + bytes.IndexByte(t.data[last.end:], '=') + 1
	at += len(t.data[at:]) - len(bytes.TrimLeft(t.data[at:], " \t"))
	v := t.value(n.Value(), start, at)
	if e := t.find(table, last.name); e != nil {
		t.taken(last, e, "")
		return
	}
	t.add(table, last, v)
}

// value converts a parsed value that begins at offset at.
func (t *tree) value(n *unstable.Node, start, at int) *value {
	v := &value{at: at, text: string(n.Data)}
	switch n.Kind {
	case unstable.String:
		v.kind = kindString
		v.raw = string(t.data[start+int(n.Raw.Offset):][:n.Raw.Length])
	case unstable.Integer:
		v.kind = kindInteger
	case unstable.Float:
		v.kind = kindFloat
	case unstable.Bool:
		v.kind = kindBoolean
	case unstable.Array:
		v.kind = kindList
		for it := n.Children(); it.Next(); {
			c := it.Node()
			elementAt := at // the parser does not tell where a list in a list begins
			if c.Kind != unstable.Array {
				elementAt = start + int(c.Raw.Offset)
			}
			v.list = append(v.list, t.value(c, start, elementAt))
		}
	case unstable.InlineTable:
		v.kind = kindTable
		for it := n.Children(); it.Next(); {
			t.keyValue(v, it.Node(), start)
		}
	default:
		v.kind = kindTime
	}
	return v
}

// offset returns where in the file the byte of a string's text at index i was
// written.
func (v *value) offset(i int) int {
	raw := v.raw
	quote := raw[0]
	pos := 1
	if strings.HasPrefix(raw, `"""`) || strings.HasPrefix(raw, `'''`) {
		pos = 3
		if strings.HasPrefix(raw[pos:], "\r\n") {
			pos += 2
		} else if strings.HasPrefix(raw[pos:], "\n") {
			pos++
		}
	}
	if quote == '\'' {
		return v.at + pos + i
	}
	for pos < len(raw) {
		escaped := raw[pos] == '\\'
		if escaped && strings.IndexByte(" \t\r\n", raw[pos+1]) >= 0 { // the line goes on in the next one
			pos = len(raw) - len(strings.TrimLeft(raw[pos+1:], " \t\r\n"))
			continue
		}
		if i <= 0 {
			break
		}
		if !escaped {
			pos++
			i--
			continue
		}
		var digits int
		switch raw[pos+1] {
		case 'x':
			digits = 2
		case 'u':
			digits = 4
		case 'U':
			digits = 8
		}
		size := 1
		if digits > 0 {
			var r rune
			for _, c := range raw[pos+2 : pos+2+digits] {
				r = r<<4 | hexDigit(c)
			}
			size = utf8.RuneLen(r)
		}
		pos += 2 + digits
		i -= size
	}
	return v.at + min(pos, len(raw))
}

func hexDigit(c rune) rune {
	switch {
	case c >= 'a':
		return c - 'a' + 10
	case c >= 'A':
		return c - 'A' + 10
	}
	return c - '0'
}
