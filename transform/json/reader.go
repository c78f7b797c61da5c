package json

import (
	stdjson "encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

// errSyntax says that the reader stands where the text stops being JSON, or UTF-8.
var errSyntax = errors.New("no JSON")

// A reader goes through one text.
type reader struct {
	text   []byte
	at     int                    // of the next byte
	decode bool                   // else values are checked, and nil
	reads  func(name []byte) bool // which members of a signal are decoded
	depth  int

	// Of the arrays and objects that are open, kept for the next text.
	items   []any
	members []member
	names   map[string]string // of members, so that many signals share them
}

type member struct {
	name  string
	value any
}

const (
	maxScratch = 1 << 10 // items and members there stays room for
	maxNames   = 1 << 10
	maxName    = 64 // bytes
)

var readers = sync.Pool{New: func() any { return &reader{names: make(map[string]string)} }}

// read reads a text by value; nothing but white space may follow.
func read(text []byte, reads func(name []byte) bool, value func(*reader) error) *Error {
	r := readers.Get().(*reader)
	r.text, r.at, r.depth, r.decode, r.reads = text, 0, 0, reads != nil, reads
	defer func() {
		r.text, r.reads, r.items, r.members = nil, nil, kept(r.items, maxScratch), kept(r.members, maxScratch)
		readers.Put(r)
	}()
	err := value(r)
	if err == nil {
		if r.next(); r.at == len(text) {
			return nil
		}
	}
	return r.fault(err)
}

// kept is an empty slice with the room of s, if that is for so much at most.
func kept[T any](s []T, most int) []T {
	if cap(s) > most {
		return nil
	}
	clear(s) // nothing stays that nobody needs
	return s[:0]
}

// fault explains err, or what follows the value if err is nil.
func (r *reader) fault(err error) *Error {
	if own, ok := errors.AsType[*Error](err); ok {
		return own
	}
	c, n := utf8.DecodeRune(r.text[r.at:])
	var std *stdjson.SyntaxError
	switch {
	case n == 0:
		return notJSON(r.at, "found the end")
	case c == utf8.RuneError && n == 1:
		return &Error{r.at, -1, fmt.Sprintf("not UTF-8: found the byte 0x%02x", r.text[r.at])}
	case err == nil:
		return notJSON(r.at, fmt.Sprintf("expected nothing more, found %+q", c))
	case c == '\ufeff' && r.at == 0:
		return notJSON(0, "found a byte order mark, which has no place in it,")
	case errors.As(stdjson.Unmarshal(r.text, new(stdjson.RawMessage)), &std) && int(std.Offset) == r.at+n:
		return notJSON(r.at, std.Error()) // it has more to say
	}
	return notJSON(r.at, fmt.Sprintf("found %q", c))
}

// next skips white space, and is the byte behind it; 0 at the end.
func (r *reader) next() byte {
	for ; r.at < len(r.text); r.at++ {
		if c := r.text[r.at]; c != ' ' && c != '\n' && c != '\r' && c != '\t' {
			return c
		}
	}
	return 0
}

// skip skips one byte, if it is one of any.
func (r *reader) skip(any string) bool {
	if r.at == len(r.text) || strings.IndexByte(any, r.text[r.at]) < 0 {
		return false
	}
	r.at++
	return true
}

// value reads the next value.
func (r *reader) value() (any, error) {
	switch c := r.next(); c {
	case '{':
		return r.object(nil)
	case '[':
		return r.array()
	case '"':
		raw, escaped, err := r.quoted()
		if err != nil || !r.decode {
			return nil, err
		}
		return unquoted(raw, escaped), nil
	case 't':
		return true, r.literal("true")
	case 'f':
		return false, r.literal("false")
	case 'n':
		return nil, r.literal("null")
	}
	start := r.at
	if err := r.number(); err != nil || !r.decode {
		return nil, err
	}
	return stdjson.Number(r.text[start:r.at]), nil
}

// list reads an array or an object up to its closing byte end; each reads one element.
func (r *reader) list(end byte, each func() error) error {
	if r.depth++; r.depth > MaxDepth {
		return notJSON(r.at, fmt.Sprintf("values are nested more than %d deep", MaxDepth))
	}
	r.at++
	for first := true; first || r.skip(","); first = false {
		if c := r.next(); first && c == end {
			break
		}
		if err := each(); err != nil {
			return err
		}
		r.next()
	}
	if r.at == len(r.text) || r.text[r.at] != end {
		return errSyntax
	}
	r.at++
	r.depth--
	return nil
}

func (r *reader) array() (any, error) {
	from := len(r.items)
	err := r.list(']', func() error {
		v, err := r.value()
		if r.decode {
			r.items = append(r.items, v)
		}
		return err
	})
	if err != nil || !r.decode {
		return nil, err
	}
	array := append([]any{}, r.items[from:]...)
	clear(r.items[from:])
	r.items = r.items[:from]
	return array, nil
}

// object reads an object, and notes its signal_type in e, unless that is nil.
func (r *reader) object(e *element) (any, error) {
	from := len(r.members)
	err := r.list('}', func() error {
		if r.next() != '"' {
			return errSyntax
		}
		raw, escaped, err := r.quoted()
		if err != nil {
			return err
		}
		if r.next(); !r.skip(":") {
			return errSyntax
		}
		decode := r.decode
		r.decode = decode && (e == nil || escaped || r.reads(raw))
		var v any
		if e != nil && (string(raw) == "signal_type" || escaped && unquoted(raw, true) == "signal_type") {
			v, err = r.signalType(e)
		} else {
			v, err = r.value()
		}
		if err == nil && r.decode {
			r.members = append(r.members, member{r.name(raw, escaped), v})
		}
		r.decode = decode
		return err
	})
	if err != nil || !r.decode {
		return nil, err
	}
	members := r.members[from:]
	object := make(map[string]any, len(members))
	for _, m := range members {
		object[m.name] = m.value
	}
	clear(members)
	r.members = r.members[:from]
	return object, nil
}

// name is the text of a member's name.
func (r *reader) name(raw []byte, escaped bool) string {
	if escaped || len(raw) > maxName {
		return unquoted(raw, escaped)
	}
	name, ok := r.names[string(raw)]
	if !ok {
		if len(r.names) == maxNames {
			clear(r.names)
		}
		name = string(raw)
		r.names[name] = name
	}
	return name
}

// unquoted is the text of a string that has been read.
func unquoted(raw []byte, escaped bool) string {
	if !escaped {
		return string(raw)
	}
	var s string
	stdjson.Unmarshal(slices.Concat([]byte{'"'}, raw, []byte{'"'}), &s) // it is JSON
	return s
}

// quoted reads a string: what stands between its quotes, and whether some is escaped.
func (r *reader) quoted() (raw []byte, escaped bool, err error) {
	r.at++
	start := r.at
	for r.at < len(r.text) {
		switch c := r.text[r.at]; {
		case c == '"':
			r.at++
			return r.text[start : r.at-1], escaped, nil
		case c == '\\':
			escaped = true
			r.at++
			if !r.skip(`"\/bfnrt`) && !(r.skip("u") && r.hex() && r.hex() && r.hex() && r.hex()) {
				return nil, false, errSyntax
			}
		case c < ' ':
			return nil, false, errSyntax
		case c < utf8.RuneSelf:
			r.at++
		default:
			c, n := utf8.DecodeRune(r.text[r.at:])
			if c == utf8.RuneError && n == 1 {
				return nil, false, errSyntax
			}
			r.at += n
		}
	}
	return nil, false, errSyntax
}

func (r *reader) hex() bool { return r.skip("0123456789abcdefABCDEF") }

func (r *reader) number() error {
	r.skip("-")
	if !r.skip("0") && !r.digits() || r.skip(".") && !r.digits() {
		return errSyntax
	}
	if r.skip("eE") {
		if r.skip("+-"); !r.digits() {
			return errSyntax
		}
	}
	return nil
}

// digits skips digits, of which there must be one.
func (r *reader) digits() bool {
	start := r.at
	for r.at < len(r.text) && '0' <= r.text[r.at] && r.text[r.at] <= '9' {
		r.at++
	}
	return r.at > start
}

func (r *reader) literal(word string) error {
	for i := range len(word) {
		if !r.skip(word[i : i+1]) {
			return errSyntax
		}
	}
	return nil
}
