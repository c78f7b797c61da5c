package json

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// maxType is the longest signal_type in bytes.
const maxType = 256

// A Signal is a JSON object that names its type.
type Signal struct {
	Raw  []byte // the bytes as they came: a part of the body
	Type string // the last member signal_type
}

// Signals checks the body of a request, and finds the signals in it. One object
// is one signal, with all the bytes of the body. The elements of an array, and
// the values on the lines of NDJSON, are a batch: each signal is the bytes from its
// first brace to its last. Whether all is JSON is judged first, then whether each
// element is a signal, and whether there is one. An error is an [*Error].
func Signals(body []byte, lines bool) (signals []Signal, batch bool, err error) {
	var l list
	var fault *Error
	switch {
	case lines:
		batch, fault = true, l.lines(body)
	case bytes.HasPrefix(bytes.TrimLeft(body, space), []byte("[")):
		batch, fault = true, l.array(body)
	default:
		fault = l.text(body, body)
	}
	if fault == nil {
		fault = l.fault
	}
	if fault == nil && l.n == 0 {
		fault = &Error{-1, -1, "the batch is empty; send at least one signal"}
	}
	if fault == nil {
		return l.signals, batch, nil
	}
	if !batch {
		fault.Index = -1
	}
	return nil, batch, fault
}

// A list is what has been found in a body so far.
type list struct {
	signals []Signal
	n       int    // elements, signals or not
	fault   *Error // of the first that is no signal
}

// lines reads NDJSON: a value on each line; blank lines are passed over.
func (l *list) lines(body []byte) *Error {
	start := 0
	for line := range bytes.SplitSeq(body, []byte("\n")) {
		if text := bytes.Trim(line, space); len(text) > 0 {
			if fault := l.text(line, text); fault != nil {
				fault.Offset += start
				return fault
			}
		}
		start += len(line) + 1
	}
	return nil
}

// text reads a text that is one value, which is a signal of the bytes raw.
func (l *list) text(text, raw []byte) *Error {
	var e element
	fault := read(text, func(d *decoder) (err error) {
		e, err = d.element()
		return err
	})
	if fault != nil {
		fault.Index = l.n
		return fault
	}
	l.add(e, raw)
	return nil
}

// array reads an array whose elements are the signals.
func (l *list) array(body []byte) *Error {
	ended := false
	fault := read(body, func(d *decoder) error {
		_, err := d.ReadToken()
		for err == nil && d.PeekKind() != jsontext.KindEndArray {
			var e element
			if e, err = d.element(); err == nil {
				l.add(e, body[e.start:e.end])
			}
		}
		if err == nil {
			_, err = d.ReadToken()
			ended = err == nil
		}
		return err
	})
	if fault != nil && !ended {
		fault.Index = l.n
	}
	return fault
}

// add notes the next element, which is a signal of the bytes raw or none.
func (l *list) add(e element, raw []byte) {
	var what string
	switch {
	case e.kind != jsontext.KindBeginObject:
		what = "a signal is a JSON object; found " + words(e.kind)
	case e.typeKind == 0:
		what = `the signal has no signal_type; add "signal_type": "name"`
	case e.typeKind != jsontext.KindString:
		what = "signal_type must be a string; found " + words(e.typeKind)
	case !isType(e.signalType):
		shown := e.signalType[:min(len(e.signalType), maxType)]
		what = fmt.Sprintf("signal_type must be 1 to %d printable ASCII characters without a space at either end; found %s, %d bytes",
			maxType, strconv.QuoteToASCII(shown), len(e.signalType))
	}
	if what == "" {
		l.signals = append(l.signals, Signal{raw, e.signalType})
	} else if l.fault == nil {
		l.fault = &Error{-1, l.n, what}
	}
	l.n++
}

// An element is a value that stands where a signal may.
type element struct {
	start, end int // in the decoder's text
	kind       jsontext.Kind
	typeKind   jsontext.Kind // of the last member signal_type, 0 if there is none
	signalType string        // what that says, if it is a string
}

// element reads the next value, without decoding it.
func (d *decoder) element() (e element, err error) {
	e.kind = d.PeekKind()
	if e.kind == jsontext.KindBeginObject {
		err = d.members(&e)
	} else {
		var raw jsontext.Value
		raw, err = d.ReadValue()
		e.start = int(d.InputOffset()) - len(raw)
	}
	if e.end = int(d.InputOffset()); err == nil {
		err = checkDepth(d.text, e.start, e.end)
	}
	return e, err
}

// members reads an object, and its signal_type.
func (d *decoder) members(e *element) error {
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	e.start = int(d.InputOffset()) - 1
	for d.PeekKind() == jsontext.KindString {
		name, err := d.ReadValue()
		if err != nil {
			return err
		}
		isType := isSignalType(name)
		value, err := d.ReadValue()
		if err != nil {
			return err
		}
		if isType {
			e.typeKind = value.Kind()
			if e.typeKind == jsontext.KindString {
				e.signalType = unquote(value)
			}
		}
	}
	_, err := d.ReadToken()
	return err
}

// isSignalType tells whether a member's name, as written, says signal_type.
func isSignalType(raw jsontext.Value) bool {
	return string(raw) == `"signal_type"` || bytes.IndexByte(raw, '\\') >= 0 && unquote(raw) == "signal_type"
}

// unquote is what a string that has been read says.
func unquote(raw jsontext.Value) string {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1])
	}
	s, _ := jsontext.AppendUnquote(nil, raw) // its one error is about halves of surrogate pairs, which are U+FFFD
	return string(s)
}

// isType tells whether s can be a signal_type.
func isType(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return s != "" && len(s) <= maxType && s[0] != ' ' && s[len(s)-1] != ' '
}

// checkDepth finds what is nested too deeply in a value that is JSON.
func checkDepth(text []byte, start, end int) error {
	if bytes.Count(text[start:end], []byte("["))+bytes.Count(text[start:end], []byte("{")) <= MaxDepth {
		return nil
	}
	depth, quoted := 0, false
	for i := start; i < end; i++ {
		switch c := text[i]; {
		case c == '"':
			quoted = !quoted
		case quoted && c == '\\':
			i++
		case quoted:
		case c == '[' || c == '{':
			if depth++; depth > MaxDepth {
				return tooDeep(i)
			}
		case c == ']' || c == '}':
			depth--
		}
	}
	return nil
}

// words is a kind of value for people.
func words(k jsontext.Kind) string {
	switch k {
	case jsontext.KindBeginObject:
		return "an object"
	case jsontext.KindBeginArray:
		return "an array"
	case jsontext.KindString:
		return "a string"
	case jsontext.KindTrue, jsontext.KindFalse:
		return "a boolean"
	case jsontext.KindNull:
		return "null"
	}
	return "a number"
}
