package proxy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"signalpost/proxy/api"
	"signalpost/proxy/table"
	"signalpost/transform"
)

// The body of POST /signals taken apart: JSON is checked and the signals in it
// are found without decoding it. What a signal means is for ingest.go.

// An element is one signal of a request, before it has an id.
type element struct {
	raw        []byte // of the request's buffer; without a transform exactly this is delivered
	signalType string
	doc        *transform.Document // raw, if it has been parsed already
}

// single is what split makes of a body that is one good signal, where routes
// look into it: parsing it for them checks it as well. Whatever else a body
// can be, split says.
func single(t *table.Table, body []byte, lines bool) (e element, ok bool) {
	if lines || !t.Decodes() || !bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{")) {
		return element{}, false
	}
	doc, err := transform.Parse(body)
	if err != nil {
		return element{}, false
	}
	signalType, ok := doc.Text("signal_type")
	if !ok || !isType(signalType) {
		return element{}, false
	}
	return element{raw: body, signalType: strings.Clone(signalType), doc: doc}, true
}

// isType tells whether t can be a signal_type.
func isType(t string) bool {
	return t != "" && len(t) <= maxType && printable(t) && t[0] != ' ' && t[len(t)-1] != ' '
}

// split checks a body and finds the signals in it. One JSON object is one
// signal with all the bytes of the body; of an array or lines, which are a
// batch, each signal is the bytes from its first brace to its last. Whether
// all of it is JSON is judged first, then what each element is.
func split(body []byte, lines bool) (elements []element, batch bool, err error) {
	var values []parsed
	var bad *badJSON
	s := scanner{b: body}
	if lines {
		batch = true
		values, bad = s.lines()
	} else if s.space(); s.peek() == '[' {
		batch = true
		values, bad = s.elements()
	} else {
		values = make([]parsed, 1)
		if values[0], bad = s.value(0); bad == nil {
			bad = s.end()
		}
		values[0].raw = body
	}
	if bad != nil {
		p := api.Refuse(http.StatusBadRequest, "the body is %s", bad)
		if batch && bad.index >= 0 {
			p = p.At(bad.index)
		}
		return nil, batch, p
	}
	if len(values) == 0 {
		return nil, batch, api.Refuse(http.StatusUnprocessableEntity, "the batch is empty; send at least one signal")
	}
	elements = make([]element, len(values))
	for i, v := range values {
		if elements[i], err = v.signal(); err != nil {
			p := api.Refuse(http.StatusUnprocessableEntity, "%s", err)
			if batch {
				p = p.At(i)
			}
			return nil, batch, p
		}
	}
	return elements, batch, nil
}

// parsed is one JSON value that stands where a signal is expected.
type parsed struct {
	raw        []byte
	kind       byte   // its first byte
	signalType []byte // of an object: what its last member signal_type is, as written; nil if it has none
}

// signal is the value as a signal, if it is one.
func (v *parsed) signal() (element, error) {
	switch {
	case v.kind != '{':
		return element{}, fmt.Errorf("a signal is a JSON object; found %s", kindOf(v.kind))
	case v.signalType == nil:
		return element{}, errors.New(`the signal has no signal_type; add "signal_type": "name"`)
	case v.signalType[0] != '"':
		return element{}, fmt.Errorf("signal_type must be a string; found %s", kindOf(v.signalType[0]))
	}
	t := unquote(v.signalType)
	if !isType(t) {
		return element{}, fmt.Errorf("signal_type must be 1 to %d printable ASCII characters without a space at either end; found %s, %d bytes",
			maxType, strconv.QuoteToASCII(api.Clip(t)), len(t))
	}
	return element{raw: v.raw, signalType: t}, nil
}

func kindOf(first byte) string {
	switch first {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}

// unquote is what a JSON string that was checked says.
func unquote(raw []byte) string {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1])
	}
	var s string
	json.Unmarshal(raw, &s)
	return s
}

// badJSON says where and why bytes are not JSON.
type badJSON struct {
	offset int // from 0, in the unpacked body
	index  int // of the element it is in, -1 if there is only one
	notUTF bool
	what   string
}

func (e *badJSON) Error() string {
	kind := "not JSON"
	if e.notUTF {
		kind = "not UTF-8"
	}
	return fmt.Sprintf("%s: %s at offset %d", kind, e.what, e.offset)
}

// A scanner checks JSON (RFC 8259, UTF-8 alone) and finds where values begin
// and end. It builds nothing.
type scanner struct {
	b []byte
	i int
}

// lines reads NDJSON: a value on each line; blank lines are passed over.
func (s *scanner) lines() (values []parsed, err *badJSON) {
	whole := s.b
	for s.i < len(whole) {
		end := len(whole)
		if n := bytes.IndexByte(whole[s.i:], '\n'); n >= 0 {
			end = s.i + n
		}
		s.b = whole[:end] // no value goes on over the end of its line
		s.space()
		if s.i < end {
			v, err := s.value(0)
			if err == nil {
				err = s.end()
			}
			if err != nil {
				err.index = len(values)
				return nil, err
			}
			values = append(values, v)
		}
		s.i = end + 1
	}
	return values, nil
}

// elements reads an array whose elements are the values, and nothing after it.
func (s *scanner) elements() (values []parsed, err *badJSON) {
	s.i++
	s.space()
	if s.peek() == ']' {
		s.i++
	} else {
		for {
			s.space()
			v, err := s.value(0)
			if err == nil {
				values = append(values, v)
				s.space()
				if s.peek() == ',' {
					s.i++
					continue
				}
				if s.peek() == ']' {
					s.i++
					break
				}
				err = s.bad("expected , or ]")
			}
			err.index = len(values)
			return nil, err
		}
	}
	if err := s.end(); err != nil {
		return nil, err
	}
	return values, nil
}

// end passes over white space and demands that nothing else is left.
func (s *scanner) end() *badJSON {
	s.space()
	if s.i < len(s.b) {
		return s.bad("expected nothing more")
	}
	return nil
}

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\r', '\n':
			s.i++
		default:
			return
		}
	}
}

// peek is the next byte, 0 at the end. A byte 0 in JSON is a fault wherever it stands.
func (s *scanner) peek() byte {
	if s.i < len(s.b) {
		return s.b[s.i]
	}
	return 0
}

// bad is the fault that the next byte is.
func (s *scanner) bad(expected string) *badJSON {
	e := &badJSON{offset: s.i, index: -1}
	if s.i >= len(s.b) {
		e.what = expected + ", found the end"
		return e
	}
	c, size := utf8.DecodeRune(s.b[s.i:])
	if c == utf8.RuneError && size == 1 {
		e.notUTF, e.what = true, fmt.Sprintf("found the byte 0x%02x", s.b[s.i])
		return e
	}
	if c == '\ufeff' && s.i == 0 {
		e.what = "found a byte order mark, which has no place in it,"
		return e
	}
	e.what = fmt.Sprintf("%s, found %+q", expected, c)
	return e
}

func (s *scanner) tooDeep() *badJSON {
	return &badJSON{offset: s.i, index: -1, what: fmt.Sprintf("values are nested more than %d deep", transform.MaxDepth)}
}

// value reads the value that begins at the next byte and is nested so deep.
func (s *scanner) value(depth int) (v parsed, err *badJSON) {
	start := s.i
	v.kind = s.peek()
	switch v.kind {
	case '{':
		v.signalType, err = s.object(depth + 1)
	case '[':
		err = s.array(depth + 1)
	case '"':
		err = s.str()
	case 't':
		err = s.word("true")
	case 'f':
		err = s.word("false")
	case 'n':
		err = s.word("null")
	default:
		err = s.number()
	}
	if err == nil {
		v.raw = s.b[start:s.i]
	}
	return v, err
}

// object reads an object, and returns its last member signal_type, as written.
func (s *scanner) object(depth int) (signalType []byte, err *badJSON) {
	if depth > transform.MaxDepth {
		return nil, s.tooDeep()
	}
	s.i++
	s.space()
	if s.peek() == '}' {
		s.i++
		return nil, nil
	}
	for {
		s.space()
		key := s.i
		if s.peek() != '"' {
			return nil, s.bad("expected a member's name in quotes")
		}
		if err := s.str(); err != nil {
			return nil, err
		}
		isType := isSignalType(s.b[key:s.i])
		s.space()
		if s.peek() != ':' {
			return nil, s.bad("expected :")
		}
		s.i++
		s.space()
		v, err := s.value(depth)
		if err != nil {
			return nil, err
		}
		if isType {
			signalType = v.raw
		}
		s.space()
		switch s.peek() {
		case ',':
			s.i++
		case '}':
			s.i++
			return signalType, nil
		default:
			return nil, s.bad("expected , or }")
		}
	}
}

// isSignalType tells whether a member's name, as written, says signal_type.
func isSignalType(raw []byte) bool {
	const name = `"signal_type"`
	return string(raw) == name || len(raw) > len(name) && bytes.IndexByte(raw, '\\') >= 0 && unquote(raw) == name[1:len(name)-1]
}

func (s *scanner) array(depth int) *badJSON {
	if depth > transform.MaxDepth {
		return s.tooDeep()
	}
	s.i++
	s.space()
	if s.peek() == ']' {
		s.i++
		return nil
	}
	for {
		s.space()
		if _, err := s.value(depth); err != nil {
			return err
		}
		s.space()
		switch s.peek() {
		case ',':
			s.i++
		case ']':
			s.i++
			return nil
		default:
			return s.bad("expected , or ]")
		}
	}
}

func (s *scanner) str() *badJSON {
	s.i++
	for s.i < len(s.b) {
		c := s.b[s.i]
		switch {
		case c == '"':
			s.i++
			return nil
		case c == '\\':
			s.i++
			switch s.peek() {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
				s.i++
			case 'u':
				s.i++
				for range 4 {
					if !isHex(s.peek()) {
						return s.bad("expected four hex digits after \\u")
					}
					s.i++
				}
			default:
				return s.bad("expected an escape after \\")
			}
		case c < ' ':
			return s.bad("expected control characters of a string to be escaped")
		case c < utf8.RuneSelf:
			s.i++
		default:
			r, size := utf8.DecodeRune(s.b[s.i:])
			if r == utf8.RuneError && size == 1 {
				return s.bad("")
			}
			s.i += size
		}
	}
	return s.bad("expected the end of the string")
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func (s *scanner) word(word string) *badJSON {
	for i := range len(word) {
		if s.peek() != word[i] {
			return s.bad("expected " + word)
		}
		s.i++
	}
	return nil
}

func (s *scanner) number() *badJSON {
	start := s.i
	if s.peek() == '-' {
		s.i++
	}
	switch c := s.peek(); {
	case c == '0':
		s.i++
	case c >= '1' && c <= '9':
		s.digits()
	case s.i > start:
		return s.bad("expected a digit")
	default:
		return s.bad("expected a value")
	}
	if s.peek() == '.' {
		s.i++
		if !s.digits() {
			return s.bad("expected a digit")
		}
	}
	if s.peek()|0x20 == 'e' {
		s.i++
		if c := s.peek(); c == '+' || c == '-' {
			s.i++
		}
		if !s.digits() {
			return s.bad("expected a digit")
		}
	}
	return nil
}

// digits passes over digits, and reports whether there was one.
func (s *scanner) digits() bool {
	start := s.i
	for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
		s.i++
	}
	return s.i > start
}
