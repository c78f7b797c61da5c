package transform

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"sync"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxDepth is how deeply arrays and objects of a signal may be nested.
const MaxDepth = 1000

// A Document is one JSON text that has been checked: what programs run on. It
// is immutable, and many may use it at once.
type Document struct {
	text   string
	tokens []token

	decode sync.Once
	value  any // see Value
}

// A token is a scalar, a key, or the beginning of an array or object, in the
// order of the text. A key stands right before its value.
type token struct {
	start uint32
	// end is the offset behind a scalar or key; of an array or object it is
	// the index of the first token that is no part of it.
	end uint32
}

// escaped marks the end of a string which says something else than what is
// written between its quotes, or is written otherwise by an encoder.
const escaped = 1 << 31

// Parse checks that b is one JSON text in UTF-8. The result shares no memory
// with b. An error is a [*SyntaxError].
func Parse(b []byte) (*Document, error) {
	if !utf8.Valid(b) {
		i := 0
		for {
			r, n := utf8.DecodeRune(b[i:])
			if r == utf8.RuneError && n == 1 {
				return nil, &SyntaxError{int64(i), fmt.Sprintf("byte 0x%02x is not UTF-8", b[i])}
			}
			i += n
		}
	}
	return parse(string(b))
}

// parse is Parse of text known to be UTF-8.
func parse(s string) (*Document, error) {
	if len(s) > math.MaxInt32 {
		return nil, &SyntaxError{math.MaxInt32, "it is longer than 2 GiB"}
	}
	p := parsers.Get().(*parser)
	p.s, p.i = s, 0
	err := p.document()
	tokens := p.tokens
	if len(tokens) <= 1<<12 {
		tokens = slices.Clone(tokens)
		p.s, p.tokens = "", p.tokens[:0]
		parsers.Put(p)
	}
	if err != nil {
		return nil, err
	}
	return &Document{text: s, tokens: tokens}, nil
}

// Decode parses one JSON text into the values expressions work on; see
// [Document.Value]. An error is a [*SyntaxError].
func Decode(b []byte) (any, error) {
	d, err := Parse(b)
	if err != nil {
		return nil, err
	}
	return d.Value(), nil
}

// Value is the document as expressions see it: nil, bool, string,
// [json.Number] with the digits as written, []any, and map[string]any, in which
// the last of several equal keys wins. An escaped half of a surrogate pair
// becomes U+FFFD: it has no form in UTF-8. The value is made once, and never
// changed by a [Program], so that many may read it at once.
func (d *Document) Value() any {
	d.decode.Do(func() { d.value = d.build(0) })
	return d.value
}

// Text is the string a member of the document is; ok is false if there is no such
// member, or it is no string. Of several equal keys the last counts.
func (d *Document) Text(key string) (s string, ok bool) {
	t := d.tokens[0]
	if d.text[t.start] != '{' {
		return "", false
	}
	found := 0
	for i := 1; i < int(t.end); i = d.next(i + 1) {
		if k, _ := d.str(i); k == key {
			found = i + 1
		}
	}
	if found == 0 || d.text[d.tokens[found].start] != '"' {
		return "", false
	}
	s, _ = d.str(found)
	return s, true
}

// next is the index of the token behind the value that begins at token i.
func (d *Document) next(i int) int {
	t := d.tokens[i]
	if c := d.text[t.start]; c == '{' || c == '[' {
		return int(t.end)
	}
	return i + 1
}

// str is what the string at token i says, and whether it is written just so.
func (d *Document) str(i int) (s string, plain bool) {
	t := d.tokens[i]
	if t.end&escaped == 0 {
		return d.text[t.start+1 : t.end-1], true
	}
	return unquote(d.text[t.start+1 : t.end&^escaped-1]), false
}

func (d *Document) build(i int) any {
	t := d.tokens[i]
	switch d.text[t.start] {
	case '{':
		n := 0
		for j := i + 1; j < int(t.end); j = d.next(j + 1) {
			n++
		}
		m := make(map[string]any, n)
		for j := i + 1; j < int(t.end); j = d.next(j + 1) {
			k, _ := d.str(j)
			m[k] = d.build(j + 1)
		}
		return m
	case '[':
		n := 0
		for j := i + 1; j < int(t.end); j = d.next(j) {
			n++
		}
		vs := make([]any, 0, n)
		for j := i + 1; j < int(t.end); j = d.next(j) {
			vs = append(vs, d.build(j))
		}
		return vs
	case '"':
		s, _ := d.str(i)
		return s
	case 't':
		return true
	case 'f':
		return false
	case 'n':
		return nil
	}
	return json.Number(d.text[t.start:t.end])
}

var parsers = sync.Pool{New: func() any { return new(parser) }}

// A parser checks a text and finds its tokens.
type parser struct {
	s      string
	i      int
	tokens []token
}

func (p *parser) document() error {
	if err := p.value(0); err != nil {
		return err
	}
	if p.space(); p.i < len(p.s) {
		return p.fail("%s after the end of the value")
	}
	return nil
}

// scalar notes the token that began at start and ends here.
func (p *parser) scalar(start int) {
	p.tokens = append(p.tokens, token{uint32(start), uint32(p.i)})
}

// space moves to the next byte that is no white space.
func (p *parser) space() {
	for p.i < len(p.s) {
		switch p.s[p.i] {
		case ' ', '\t', '\r', '\n':
			p.i++
		default:
			return
		}
	}
}

// fail makes an error of what stands at the current place.
func (p *parser) fail(format string) error {
	what := "the end of the text"
	if p.i < len(p.s) {
		r, _ := utf8.DecodeRuneInString(p.s[p.i:])
		what = fmt.Sprintf("%q", r)
	}
	return &SyntaxError{int64(p.i), fmt.Sprintf(format, what)}
}

func (p *parser) value(depth int) error {
	p.space()
	if p.i == len(p.s) {
		return p.fail("%s where a value was expected")
	}
	switch c := p.s[p.i]; c {
	case '{', '[':
		if depth == MaxDepth {
			return &SyntaxError{int64(p.i), fmt.Sprintf("nested more than %d deep", MaxDepth)}
		}
		open := len(p.tokens)
		p.scalar(p.i)
		p.i++
		var err error
		if c == '{' {
			err = p.object(depth + 1)
		} else {
			err = p.array(depth + 1)
		}
		p.tokens[open].end = uint32(len(p.tokens))
		return err
	case '"':
		return p.str()
	case 't':
		return p.word("true")
	case 'f':
		return p.word("false")
	case 'n':
		return p.word("null")
	default:
		return p.number()
	}
}

func (p *parser) word(w string) error {
	start := p.i
	for j := range len(w) {
		if p.i == len(p.s) || p.s[p.i] != w[j] {
			return p.fail("%s inside " + w)
		}
		p.i++
	}
	p.scalar(start)
	return nil
}

func (p *parser) array(depth int) error {
	if p.space(); p.peek() == ']' {
		p.i++
		return nil
	}
	for {
		if err := p.value(depth); err != nil {
			return err
		}
		p.space()
		switch p.peek() {
		case ',':
			p.i++
		case ']':
			p.i++
			return nil
		default:
			return p.fail("%s where , or ] was expected")
		}
	}
}

func (p *parser) object(depth int) error {
	if p.space(); p.peek() == '}' {
		p.i++
		return nil
	}
	for {
		if p.space(); p.peek() != '"' {
			return p.fail("%s where a key was expected")
		}
		if err := p.str(); err != nil {
			return err
		}
		if p.space(); p.peek() != ':' {
			return p.fail("%s where : was expected")
		}
		p.i++
		if err := p.value(depth); err != nil {
			return err
		}
		p.space()
		switch p.peek() {
		case ',':
			p.i++
		case '}':
			p.i++
			return nil
		default:
			return p.fail("%s where , or } was expected")
		}
	}
}

// number scans a number; its digits stay as they are.
func (p *parser) number() error {
	start := p.i
	if p.peek() == '-' {
		p.i++
	}
	if p.peek() == '0' {
		p.i++
	} else if !p.digits() {
		if p.i == start {
			return p.fail("%s where a value was expected")
		}
		return p.fail("%s where a digit was expected")
	}
	if p.peek() == '.' {
		p.i++
		if !p.digits() {
			return p.fail("%s where a digit was expected")
		}
	}
	if c := p.peek(); c == 'e' || c == 'E' {
		p.i++
		if c := p.peek(); c == '+' || c == '-' {
			p.i++
		}
		if !p.digits() {
			return p.fail("%s where a digit was expected")
		}
	}
	p.scalar(start)
	return nil
}

// peek is the byte at the current place, 0 at the end of the text.
func (p *parser) peek() byte {
	if p.i < len(p.s) {
		return p.s[p.i]
	}
	return 0
}

func (p *parser) digits() bool {
	start := p.i
	for p.i < len(p.s) && '0' <= p.s[p.i] && p.s[p.i] <= '9' {
		p.i++
	}
	return p.i > start
}

// special are the bytes in a string that are more than a part of it.
var special = func() (set [256]bool) {
	for c := range ' ' {
		set[c] = true
	}
	set['"'], set['\\'], set[0x7f] = true, true, true
	return set
}()

// str scans a string, from its opening quote on.
func (p *parser) str() error {
	start := p.i
	mark := uint32(0)
	s, i := p.s, p.i+1
	for ; ; i++ {
		for i < len(s) && !special[s[i]] {
			i++
		}
		p.i = i
		switch c := p.peek(); {
		case c == '"':
			p.i++
			p.tokens = append(p.tokens, token{uint32(start), uint32(p.i) | mark})
			return nil
		case c == '\\':
			mark = escaped
			if err := p.escape(); err != nil {
				return err
			}
			i = p.i
		case c == 0x7f:
			mark = escaped
		case i < len(s):
			return p.fail("unescaped control character %s in a string")
		default:
			return p.fail("%s inside a string")
		}
	}
}

// escape scans an escape, from its backslash on to its last byte.
func (p *parser) escape() error {
	p.i++
	switch p.peek() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
	case 'u':
		for range 4 {
			p.i++
			if _, ok := hexDigit(p.peek()); !ok {
				return p.fail("%s where a hexadecimal digit was expected")
			}
		}
	default:
		return p.fail("%s after a backslash in a string")
	}
	return nil
}

func hexDigit(c byte) (r rune, ok bool) {
	switch {
	case '0' <= c && c <= '9':
		return rune(c - '0'), true
	case 'a' <= c && c <= 'f':
		return rune(c - 'a' + 10), true
	case 'A' <= c && c <= 'F':
		return rune(c - 'A' + 10), true
	}
	return 0, false
}

// unquote is what a string says of which this stands between the quotes. It
// has been scanned.
func unquote(s string) string {
	buf := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c != '\\' {
			buf = append(buf, c)
			continue
		}
		i++
		switch c := s[i]; c {
		case 'b':
			buf = append(buf, '\b')
		case 'f':
			buf = append(buf, '\f')
		case 'n':
			buf = append(buf, '\n')
		case 'r':
			buf = append(buf, '\r')
		case 't':
			buf = append(buf, '\t')
		case 'u':
			r := hex4(s[i+1:])
			i += 4
			if utf16.IsSurrogate(r) {
				// The second half must be escaped right behind the first:
				// alone, either is U+FFFD.
				r2 := utf8.RuneError
				if i+6 < len(s) && s[i+1] == '\\' && s[i+2] == 'u' {
					r2 = hex4(s[i+3:])
				}
				if r = utf16.DecodeRune(r, r2); r != utf8.RuneError {
					i += 6
				}
			}
			buf = utf8.AppendRune(buf, r)
		default:
			buf = append(buf, c)
		}
	}
	return string(buf)
}

// hex4 is what four hexadecimal digits say.
func hex4(s string) (r rune) {
	for i := range 4 {
		d, _ := hexDigit(s[i])
		r = r<<4 | d
	}
	return r
}
