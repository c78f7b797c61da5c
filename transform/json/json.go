// Package json is the one reader of JSON, and its writer. It checks a text, and
// says at which byte it stops being UTF-8 or JSON (RFC 8259); it finds the signals
// in the body of a request; it decodes what expressions work on, with every
// digit as written; and it encodes what they yield, as jq does.
//
// A text is read once: what is decoded is checked on the way. That, and exact
// offsets of faults, is why no library does it: they take two passes, or twice
// the time. encoding/json judges it in the tests.
package json

import (
	"bytes"
	"fmt"
)

// MaxDepth is how deeply arrays and objects of a text may be nested.
const MaxDepth = 1000

// An Error says why a text is refused.
type Error struct {
	Offset int // of the byte at which it stops being JSON, from 0; -1 if it is JSON, but no signal
	Index  int // of the element of a batch that is at fault, from 0; -1 if none is
	msg    string
}

// Error says what is wrong, and where if it is not JSON.
func (e *Error) Error() string {
	if e.Offset < 0 {
		return e.msg
	}
	return fmt.Sprintf("%s at offset %d", e.msg, e.Offset)
}

// Decode reads a text that is one value: nil, bool, string, [encoding/json.Number] with
// the digits as written, []any, or map[string]any, in which the last of several
// members of one name is kept. An escaped half of a surrogate pair is U+FFFD.
// The value shares no memory with the text. An error is an [*Error].
func Decode(text []byte) (v any, err error) {
	e, fault := one(text, all)
	if fault != nil {
		return nil, fault
	}
	return e.value, nil
}

// Check reads a text that is one value, and says of what kind, in words: "an
// object", "a string". An error is an [*Error].
func Check(text []byte) (kind string, err error) {
	e, fault := one(text, nil)
	if fault != nil {
		return "", fault
	}
	return kindName(e.kind), nil
}

func all([]byte) bool { return true }

// Footprint is how many bytes of memory decoding a text takes, at most. That is up to
// 70 times its size: a map of Go has room for eight members at least.
func Footprint(text []byte) int64 {
	objects, items := bytes.Count(text, []byte("{")), bytes.Count(text, []byte(","))+bytes.Count(text, []byte("["))
	return int64(2*len(text) + 420*objects + 120*items)
}

func notJSON(offset int, what string) *Error { return &Error{offset, -1, "not JSON: " + what} }

// kindName names the kind of a value, of which c is the first byte, for people.
func kindName(c byte) string {
	switch c {
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
