package transform

import (
	"encoding/json"
	"fmt"
	"sync"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxDepth is how deeply arrays and objects of a signal may be nested.
const MaxDepth = 1000

// Decode parses one JSON text into the values expressions work on: nil, bool,
// string, [json.Number] with the digits as written, []any, and map[string]any,
// in which the last of several equal keys wins. An escaped half of a surrogate
// pair becomes U+FFFD: it has no form in UTF-8.
//
// The result shares no memory with b. It is never changed by a [Program], so
// that many may read it at once. An error is a [*SyntaxError].
func Decode(b []byte) (any, error) {
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
	return decodeString(string(b))
}

// decodeString is Decode for text known to be UTF-8. Its values point into s.
func decodeString(s string) (any, error) {
	d := decoders.Get().(*decoder)
	d.s, d.i = s, 0
	v, err := d.text()
	clear(d.vals[:cap(d.vals)])
	clear(d.keys[:cap(d.keys)])
	if cap(d.vals) > 1<<12 {
		d.vals, d.keys = nil, nil
	}
	d.s, d.vals, d.keys = "", d.vals[:0], d.keys[:0]
	decoders.Put(d)
	if err != nil {
		return nil, err
	}
	return v, nil
}

var decoders = sync.Pool{New: func() any { return new(decoder) }}

// A decoder collects the members of every open array and object on two stacks,
// so that each array and each map is made once, at its final size.
type decoder struct {
	s    string
	i    int
	vals []any
	keys []string
}

func (d *decoder) text() (any, error) {
	v, err := d.value(0)
	if err != nil {
		return nil, err
	}
	if d.space(); d.i < len(d.s) {
		return nil, d.fail("%s after the end of the value")
	}
	return v, nil
}

// space moves to the next byte that is no white space.
func (d *decoder) space() {
	for d.i < len(d.s) {
		switch d.s[d.i] {
		case ' ', '\t', '\r', '\n':
			d.i++
		default:
			return
		}
	}
}

// fail makes an error of what stands at the current place.
func (d *decoder) fail(format string) error {
	what := "the end of the text"
	if d.i < len(d.s) {
		r, _ := utf8.DecodeRuneInString(d.s[d.i:])
		what = fmt.Sprintf("%q", r)
	}
	return &SyntaxError{int64(d.i), fmt.Sprintf(format, what)}
}

func (d *decoder) value(depth int) (any, error) {
	d.space()
	if d.i == len(d.s) {
		return nil, d.fail("%s where a value was expected")
	}
	switch c := d.s[d.i]; c {
	case '{', '[':
		if depth == MaxDepth {
			return nil, &SyntaxError{int64(d.i), fmt.Sprintf("nested more than %d deep", MaxDepth)}
		}
		d.i++
		if c == '[' {
			return d.array(depth + 1)
		}
		return d.object(depth + 1)
	case '"':
		return d.str()
	case 't':
		return true, d.word("true")
	case 'f':
		return false, d.word("false")
	case 'n':
		return nil, d.word("null")
	default:
		return d.number()
	}
}

func (d *decoder) word(w string) error {
	for j := range len(w) {
		if d.i == len(d.s) || d.s[d.i] != w[j] {
			return d.fail("%s inside " + w)
		}
		d.i++
	}
	return nil
}

func (d *decoder) array(depth int) (any, error) {
	base := len(d.vals)
	if d.space(); d.i < len(d.s) && d.s[d.i] == ']' {
		d.i++
		return []any{}, nil
	}
	for {
		v, err := d.value(depth)
		if err != nil {
			return nil, err
		}
		d.vals = append(d.vals, v)
		if d.space(); d.i < len(d.s) && d.s[d.i] == ',' {
			d.i++
			continue
		}
		if d.i == len(d.s) || d.s[d.i] != ']' {
			return nil, d.fail("%s where , or ] was expected")
		}
		d.i++
		vs := make([]any, len(d.vals)-base)
		copy(vs, d.vals[base:])
		d.vals = d.vals[:base]
		return vs, nil
	}
}

func (d *decoder) object(depth int) (any, error) {
	base, kbase := len(d.vals), len(d.keys)
	if d.space(); d.i < len(d.s) && d.s[d.i] == '}' {
		d.i++
		return map[string]any{}, nil
	}
	for {
		if d.space(); d.i == len(d.s) || d.s[d.i] != '"' {
			return nil, d.fail("%s where a key was expected")
		}
		k, err := d.str()
		if err != nil {
			return nil, err
		}
		if d.space(); d.i == len(d.s) || d.s[d.i] != ':' {
			return nil, d.fail("%s where : was expected")
		}
		d.i++
		v, err := d.value(depth)
		if err != nil {
			return nil, err
		}
		d.keys, d.vals = append(d.keys, k), append(d.vals, v)
		if d.space(); d.i < len(d.s) && d.s[d.i] == ',' {
			d.i++
			continue
		}
		if d.i == len(d.s) || d.s[d.i] != '}' {
			return nil, d.fail("%s where , or } was expected")
		}
		d.i++
		m := make(map[string]any, len(d.keys)-kbase)
		for j, k := range d.keys[kbase:] {
			m[k] = d.vals[base+j]
		}
		d.keys, d.vals = d.keys[:kbase], d.vals[:base]
		return m, nil
	}
}

// number scans a number; its digits stay as they are.
func (d *decoder) number() (any, error) {
	start := d.i
	if d.peek() == '-' {
		d.i++
	}
	if d.peek() == '0' {
		d.i++
	} else if !d.digits() {
		if d.i == start {
			return nil, d.fail("%s where a value was expected")
		}
		return nil, d.fail("%s where a digit was expected")
	}
	if d.peek() == '.' {
		d.i++
		if !d.digits() {
			return nil, d.fail("%s where a digit was expected")
		}
	}
	if c := d.peek(); c == 'e' || c == 'E' {
		d.i++
		if c := d.peek(); c == '+' || c == '-' {
			d.i++
		}
		if !d.digits() {
			return nil, d.fail("%s where a digit was expected")
		}
	}
	return json.Number(d.s[start:d.i]), nil
}

// peek is the byte at the current place, 0 at the end of the text.
func (d *decoder) peek() byte {
	if d.i < len(d.s) {
		return d.s[d.i]
	}
	return 0
}

func (d *decoder) digits() bool {
	start := d.i
	for d.i < len(d.s) && '0' <= d.s[d.i] && d.s[d.i] <= '9' {
		d.i++
	}
	return d.i > start
}

// str scans a string, from its opening quote on. A string without escapes is a
// part of the text; any other is built anew.
func (d *decoder) str() (string, error) {
	d.i++
	start := d.i
	for d.i < len(d.s) {
		switch c := d.s[d.i]; {
		case c == '"':
			d.i++
			return d.s[start : d.i-1], nil
		case c == '\\':
			return d.escaped(start)
		case c < ' ':
			return "", d.fail("unescaped control character %s in a string")
		}
		d.i++
	}
	return "", d.fail("%s inside a string")
}

func (d *decoder) escaped(start int) (string, error) {
	var buf []byte
	for d.i < len(d.s) {
		c := d.s[d.i]
		if c == '"' {
			buf = append(buf, d.s[start:d.i]...)
			d.i++
			return string(buf), nil
		}
		if c < ' ' {
			return "", d.fail("unescaped control character %s in a string")
		}
		if c != '\\' {
			d.i++
			continue
		}
		buf = append(buf, d.s[start:d.i]...)
		d.i++
		switch d.peek() {
		case '"', '\\', '/':
			buf = append(buf, d.s[d.i])
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
			r, err := d.hex4()
			if err != nil {
				return "", err
			}
			if utf16.IsSurrogate(r) {
				r = d.pair(r)
			}
			buf = utf8.AppendRune(buf, r)
		default:
			return "", d.fail("%s after a backslash in a string")
		}
		d.i++
		start = d.i
	}
	return "", d.fail("%s inside a string")
}

// pair joins r, the first half of a surrogate pair, with the half escaped right
// behind it. Without one it is U+FFFD and nothing more is read.
func (d *decoder) pair(r rune) rune {
	i := d.i
	if d.i+2 < len(d.s) && d.s[d.i+1] == '\\' && d.s[d.i+2] == 'u' {
		d.i += 2
		if low, err := d.hex4(); err == nil {
			if joined := utf16.DecodeRune(r, low); joined != utf8.RuneError {
				return joined
			}
		}
	}
	d.i = i
	return utf8.RuneError
}

// hex4 reads the four digits of a \u escape, from the u on to the last digit.
func (d *decoder) hex4() (rune, error) {
	var r rune
	for range 4 {
		d.i++
		switch c := d.peek(); {
		case '0' <= c && c <= '9':
			r = r<<4 | rune(c-'0')
		case 'a' <= c && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case 'A' <= c && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return 0, d.fail("%s where a hexadecimal digit was expected")
		}
	}
	return r, nil
}
