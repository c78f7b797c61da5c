// Package json is the one reader of JSON, and its writer. It checks a text, and
// says at which byte it stops being UTF-8 or JSON (RFC 8259); it finds the signals
// in the body of a request; it decodes what expressions work on, with every
// digit as written; and it encodes what they yield, as jq does.
//
// jsontext does the work, and encoding/json says at which byte a text that
// jsontext refuses goes wrong. Neither bounds nesting as tightly as is done here,
// and jsontext takes escaped halves of surrogate pairs, which are JSON, only
// where it takes all that is not UTF-8, so that is checked first.
package json

import (
	"bytes"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
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

// Decode reads a text that is one value: nil, bool, string, [stdjson.Number] with
// the digits as written, []any, or map[string]any, in which the last of several
// members of one name is kept. An escaped half of a surrogate pair is U+FFFD.
// The value shares no memory with the text. An error is an [*Error].
func Decode(text []byte) (v any, err error) {
	fault := read(text, func(d *decoder) (err error) {
		v, err = d.value()
		return err
	})
	if fault != nil {
		return nil, fault
	}
	return v, nil
}

// Footprint is how many bytes of memory a text decodes to, at most. That is up to 70
// times its size: a map of Go has room for eight members at least.
func Footprint(text []byte) int64 {
	objects, items := bytes.Count(text, []byte("{")), bytes.Count(text, []byte(","))+bytes.Count(text, []byte("["))
	return int64(2*len(text) + 420*objects + 80*items)
}

// Check reads a text that is one value, and says of what kind, in words: "an
// object", "a string". An error is an [*Error].
func Check(text []byte) (kind string, err error) {
	fault := read(text, func(d *decoder) error {
		e, err := d.element()
		kind = words(e.kind)
		return err
	})
	if fault != nil {
		return "", fault
	}
	return kind, nil
}

// read has value read a text, and demands that nothing but white space is left.
func read(text []byte, value func(*decoder) error) *Error {
	d := decoders.Get().(*decoder)
	d.open(text)
	defer d.close()
	err := value(d)
	if err == nil {
		err = d.end()
	}
	return d.fault(err)
}

// A decoder reads one text.
type decoder struct {
	jsontext.Decoder
	in   bytes.Buffer // what is left to read of text
	text []byte
	utf8 int // how many bytes of text are UTF-8; none behind them are read
}

var decoders = sync.Pool{New: func() any { return new(decoder) }}

func (d *decoder) open(text []byte) {
	d.text, d.utf8 = text, len(text)
	if !utf8.Valid(text) {
		d.utf8 = 0
		for r, n := utf8.DecodeRune(text); r != utf8.RuneError || n > 1; r, n = utf8.DecodeRune(text[d.utf8:]) {
			d.utf8 += n
		}
	}
	d.in = *bytes.NewBuffer(text[:d.utf8])
	d.Reset(&d.in, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

func (d *decoder) close() {
	d.text, d.in = nil, bytes.Buffer{}
	decoders.Put(d)
}

// value decodes the next value.
func (d *decoder) value() (any, error) {
	t, err := d.ReadToken()
	if err != nil {
		return nil, err
	}
	if d.StackDepth() > MaxDepth {
		return nil, tooDeep(int(d.InputOffset()) - 1)
	}
	switch t.Kind() {
	case jsontext.KindString:
		return t.String(), nil
	case jsontext.KindNumber:
		return stdjson.Number(t.String()), nil
	case jsontext.KindBeginObject:
		object := map[string]any{}
		for d.PeekKind() != jsontext.KindEndObject {
			t, err := d.ReadToken()
			if err != nil {
				return nil, err
			}
			name := t.String() // before the next is read
			if object[name], err = d.value(); err != nil {
				return nil, err
			}
		}
		_, err = d.ReadToken()
		return object, err
	case jsontext.KindBeginArray:
		array := []any{}
		for d.PeekKind() != jsontext.KindEndArray {
			v, err := d.value()
			if err != nil {
				return nil, err
			}
			array = append(array, v)
		}
		_, err = d.ReadToken()
		return array, err
	case jsontext.KindNull:
		return nil, nil
	}
	return t.Bool(), nil
}

// end finds what is left and no white space.
func (d *decoder) end() error {
	at := int(d.InputOffset())
	at += len(d.text[at:d.utf8]) - len(bytes.TrimLeft(d.text[at:d.utf8], space))
	if at < d.utf8 {
		r, _ := utf8.DecodeRune(d.text[at:])
		return notJSON(at, fmt.Sprintf("expected nothing more, found %+q", r))
	}
	return nil
}

// space is what may stand between the parts of a text.
const space = " \t\r\n"

// fault is what keeps the text from being JSON: err, which reading it met, or
// that it is not UTF-8.
func (d *decoder) fault(err error) *Error {
	ended := err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
	switch {
	case ended && d.utf8 < len(d.text):
		return &Error{d.utf8, -1, fmt.Sprintf("not UTF-8: found the byte 0x%02x", d.text[d.utf8])}
	case err == nil:
		return nil
	case ended:
		return notJSON(len(d.text), "found the end")
	}
	var own *Error
	var exact *stdjson.SyntaxError
	var rough *jsontext.SyntacticError
	switch {
	case errors.As(err, &own), errors.As(checkDepth(d.text, 0, d.utf8), &own):
		return own
	case bytes.HasPrefix(d.text, []byte("\ufeff")):
		return notJSON(0, "found a byte order mark, which has no place in it,")
	case errors.As(stdjson.Unmarshal(d.text, new(stdjson.RawMessage)), &exact) && d.text[exact.Offset-1] < utf8.RuneSelf:
		return notJSON(int(exact.Offset)-1, exact.Error())
	case errors.As(err, &rough):
		return notJSON(int(rough.ByteOffset), rough.Err.Error())
	}
	return notJSON(int(d.InputOffset()), err.Error())
}

func notJSON(offset int, what string) *Error { return &Error{offset, -1, "not JSON: " + what} }

func tooDeep(offset int) *Error {
	return notJSON(offset, fmt.Sprintf("values are nested more than %d deep", MaxDepth))
}
