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

// All reliance on what go-toml does not promise is here: places come from its package
// unstable, and better words replace some of its errors. TestBad and TestPlaceInString
// fail when either changes. go-toml decides what is TOML: first its parser, and in the
// end all of it. FuzzLoad checks that nothing is reported as a duplicate here that
// go-toml accepts.

// A value is a TOML value and its place. However the tables of a document are
// written, they become one tree of values.
type value struct {
	name    string // of its key
	raw     string // as written: a string; a table's name
	key, at int    // offsets of its key and itself; a table with a header is where the header's name is
	line    int    // of its key
	kind    kind
	origin  origin
	text    string // of a string: what it says; of another scalar: as written
	list    []*value
	keys    map[string]*value // of a table
	broken  bool              // a syntax error hides some of its keys, or is in it
	hidden  bool              // a secret value: nobody is shown what it holds
}

// A kind is the type of a value, as errors name it.
type kind string

const (
	kindTable   kind = "a table"
	kindList    kind = "a list"
	kindString  kind = "a string"
	kindInteger kind = "an integer"
	kindFloat   kind = "a decimal number"
	kindBoolean kind = "a boolean"
	kindTime    kind = "a date or time"
)

var kinds = map[unstable.Kind]kind{unstable.String: kindString, unstable.Integer: kindInteger, unstable.Float: kindFloat,
	unstable.Bool: kindBoolean, unstable.Array: kindList, unstable.InlineTable: kindTable}

// An origin is how a value was written. It decides what may be added to the value later.
type origin int

const (
	complete origin = iota // in one place: nothing may be added
	dotted                 // a table, by a.b = value: more such keys, and tables in it
	implied                // a table, by the header of a table in it: its own header, too
	headed                 // a table, by its header: tables in it
	elements               // a list, by [[header]]: more elements
)

// sorted returns the keys of a table in the order of the file.
func (v *value) sorted() []*value {
	return slices.SortedFunc(maps.Values(v.keys), func(a, b *value) int { return cmp.Compare(a.key, b.key) })
}

// A document is a config's text while it is read into a tree. Reading is lenient: the
// first value of a key counts, and tables of one name are one.
type document struct {
	data     []byte
	fault    func(at int, format string, args ...any)
	root     *value
	current  *value   // the table that `key = value` lines belong to
	start    int      // offset of what the parser reads
	counted  int      // offset up to which lines are counted
	lines    int      // that end before it
	sections []*value // the first names of headers and of keys of the root table
}

// sectionLine matches the header of a section, alone on its line.
var sectionLine = regexp.MustCompile(`(?m)^[ \t]*(\[(server|queue|log|alerts|fleet|defaults)\]|\[\[route\]\])[ \t]*(#.*)?\r?$`)

// keyLine matches a line in a string such as `secret = "x"`, which no jq has.
var keyLine = regexp.MustCompile(`\n[ \t]*[A-Za-z0-9_'"-][A-Za-z0-9_'".-]*[ \t]*=[ \t]*["'{\[0-9tf]`)

// readTree reads a document. It reports what breaks the rules of TOML, and
// leaves out of the tree what could not be understood.
func readTree(data []byte, fault func(at int, format string, args ...any)) *document {
	d := &document{data: data, fault: fault, root: &value{kind: kindTable}}
	for d.current = d.root; d.start < len(data); {
		d.start = d.read()
	}
	return d
}

// read reads up to the end or a syntax error. It returns where reading goes on.
func (d *document) read() int {
	var p unstable.Parser
	p.Reset(d.data[d.start:])
	next := d.start    // the line after the last good expression
	last := new(value) // its value
	for p.NextExpression() {
		e := p.Expression()
		names := d.names(e)
		first, key := names[0], names[len(names)-1]
		end := key.key + len(key.raw)
		if e.Kind != unstable.KeyValue || d.current == d.root {
			d.sections = append(d.sections, first)
		}
		if e.Kind != unstable.KeyValue {
			last = key
			d.header(names, e.Kind == unstable.ArrayTable)
		} else {
			end = d.at(e.Raw) + int(e.Raw.Length)
			if section := sectionLine.FindSubmatch(d.data[first.key:end]); section != nil && string(section[2]) != "log" { // [log] is jq
				return d.syntax(first.key, "a string that begins here goes on over sections of this file: its closing quotes are missing")
			}
			last = d.keyValue(d.current, names, e.Value())
		}
		next = d.nextLine(end)
	}
	if p.Error() == nil {
		return len(d.data)
	}
	if last.kind == kindString && keyLine.MatchString(last.raw) {
		last.broken = true
		return d.syntax(last.at, "a string that begins here goes on over lines that look like keys of this file: its closing quotes are missing")
	}
	at, msg := next, p.Error().Error()
	if perr, ok := errors.AsType[*unstable.ParserError](p.Error()); ok {
		at = d.start + int(p.Range(perr.Highlight).Offset)
	}
	for _, better := range syntaxWords {
		if better.has.MatchString(msg) {
			msg = better.say
		}
	}
	if msg == noEnd { // found at the end of the file, but made where the expression begins
		at = next + betweenExpressions.FindIndex(d.data[next:])[1]
	}
	return d.syntax(at, shownCharacter.ReplaceAllString(msg, ""))
}

// syntax reports a syntax error. It does not quote the text, which could be a secret. It
// returns where the next section begins, since the lines before that could be in a
// string that is not closed.
func (d *document) syntax(at int, msg string) int {
	d.fault(at, "not TOML: %s", msg)
	d.current.broken = true
	at = d.nextLine(at)
	if section := sectionLine.FindIndex(d.data[at:]); section != nil {
		return at + section[0]
	}
	return len(d.data)
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

// checkWhole has go-toml check a document in which no fault was found.
func (d *document) checkWhole() {
	if toml.Unmarshal(d.data, new(map[string]any)) != nil {
		d.fault(0, "not TOML: a key or a table is there twice")
	}
}

// inDefaults reports whether an offset is in [defaults].
func (d *document) inDefaults(at int) bool {
	i := sort.Search(len(d.sections), func(i int) bool { return d.sections[i].key > at })
	return i > 0 && d.sections[i-1].name == "defaults"
}

// nextLine returns where the line after at begins.
func (d *document) nextLine(at int) int {
	if eol := bytes.IndexByte(d.data[at:], '\n'); eol >= 0 {
		return at + eol + 1
	}
	return len(d.data)
}

// at returns where in the data a range of the parser's begins.
func (d *document) at(r unstable.Range) int { return d.start + int(r.Offset) }

// names returns a table for each name of a dotted key; raw is the name as written.
func (d *document) names(n *unstable.Node) (names []*value) {
	for it := n.Key(); it.Next(); {
		n, at := it.Node(), d.at(it.Node().Raw)
		d.lines += bytes.Count(d.data[d.counted:at], []byte("\n"))
		d.counted = at
		raw := string(d.data[at:][:n.Raw.Length])
		names = append(names, &value{name: string(n.Data), raw: raw, key: at, at: at, line: d.lines + 1, kind: kindTable})
	}
	return names
}

// add adds a value to a table, and returns the first value of that key. It reports a
// second value that may not be added to the first.
func (d *document) add(table, v *value) *value {
	has := table.keys[v.name]
	if has == nil {
		if table.keys == nil {
			table.keys = map[string]*value{}
		}
		table.keys[v.name] = v
		return v
	}
	ok, hint := false, ""
	switch v.origin {
	case dotted:
		ok = has.origin == dotted
	case implied:
		ok, hint = has.origin != complete, ": a table has one place in the file"
	case headed:
		ok, hint = has.origin == implied, ": a table has one place in the file"
	case elements:
		ok, hint = has.origin == elements, ", and not as a list of [["+v.name+"]]"
	}
	if !ok {
		d.fault(v.key, "%s is already set on line %d%s", quote(v.name), has.line, hint)
	}
	return has
}

// enter returns the table that all but the last of the names lead to, and the last name.
// It adds tables that are missing, of an origin. The table is in no tree if a name on
// the way is that of another value.
func (d *document) enter(table *value, names []*value, origin origin) (_, last *value) {
	for _, name := range names[:len(names)-1] {
		name.origin = origin
		table = d.add(table, name)
		if table.kind == kindList && len(table.list) > 0 {
			table = table.list[len(table.list)-1]
		}
		if table.kind != kindTable {
			table = name
		}
	}
	return table, names[len(names)-1]
}

// header makes the table of a [header], or a new one of a [[header]], the
// current one.
func (d *document) header(names []*value, element bool) {
	table, v := d.enter(d.root, names, implied)
	if table == d.root && v.name == "route" && !element {
		d.fault(v.at, "a route is written with two brackets: [[route]]")
		element = true
	}
	d.current, v.origin = v, headed
	if element {
		v = &value{name: v.name, key: v.key, line: v.line, at: v.at, kind: kindList, origin: elements, list: []*value{v}}
	}
	switch has := d.add(table, v); {
	case has == v:
	case element && has.origin == elements:
		has.list = append(has.list, d.current)
	case !element && has.kind == kindTable:
		d.current, has.origin = has, headed
	}
}

// keyValue adds `a.b.c = value` to table, and returns the value.
func (d *document) keyValue(table *value, names []*value, n *unstable.Node) *value {
	table, last := d.enter(table, names, dotted)
	end := last.key + len(last.raw)
	v := d.value(n, end+bytes.IndexByte(d.data[end:], '['))
	v.name, v.key, v.line = last.name, last.key, last.line
	d.add(table, v)
	return v
}

// value converts a parsed value. list is where it begins if it is a list, which the
// parser does not say, or else where the list begins that it is in.
func (d *document) value(n *unstable.Node, list int) *value {
	v := &value{kind: cmp.Or(kinds[n.Kind], kindTime), at: list, text: string(n.Data)}
	if v.kind != kindList {
		v.at = d.at(n.Raw)
		v.raw = string(d.data[v.at:][:n.Raw.Length])
	}
	for it := n.Children(); it.Next(); {
		if v.kind == kindTable {
			d.keyValue(v, d.names(it.Node()), it.Node().Value())
		} else {
			v.list = append(v.list, d.value(it.Node(), list))
		}
	}
	return v
}

// offset returns where in the file the byte at index i of a string's text was written.
// It has go-toml decode beginnings of the string.
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
