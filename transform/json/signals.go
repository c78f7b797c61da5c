package json

import (
	"bytes"
	"fmt"
	"strconv"
)

// space is what may stand between the parts of a text.
const space = " \t\r\n"

// maxType is the longest signal_type in bytes.
const maxType = 256

// A Signal is a JSON object that names its type.
type Signal struct {
	Raw  []byte // the bytes as they came: a part of the body
	Type string // the last member signal_type
	Doc  any    // what Decode makes of Raw, of those members that were asked for
}

// Signals checks the body of a request, and finds the signals in it. One object
// is one signal, with all the bytes of the body. The elements of an array, and
// the values on the lines of NDJSON, are a batch: each signal is the bytes from its
// first brace to its last. Whether all is JSON is judged first, then whether each
// element is a signal, and whether there is one. Unless reads is nil they are decoded
// on the way, but for members of a name that it says no to. What has no signal_type is a
// signal of the type kind, unless that is empty. An error is an [*Error].
func Signals(kind string, body []byte, lines bool, reads func(name []byte) bool) (signals []Signal, batch bool, err error) {
	l := list{kind: kind, reads: reads}
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
	kind    string // of what names none; "": that is no signal
	reads   func(name []byte) bool
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
	e, fault := one(text, l.reads)
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
	fault := read(body, l.reads, func(r *reader) error {
		r.next()
		err := r.list(']', func() error {
			e, err := r.element()
			if err == nil {
				l.add(e, body[e.start:e.end])
			}
			return err
		})
		ended = err == nil
		return err
	})
	if fault != nil && !ended {
		fault.Index = l.n
	}
	return fault
}

// add notes the next element, which is a signal of the bytes raw or none.
func (l *list) add(e element, raw []byte) {
	if e.typeKind == 0 && l.kind != "" {
		e.typeKind, e.signalType = '"', l.kind
	}
	var what string
	switch {
	case e.kind != '{':
		what = "a signal is a JSON object; found " + kindName(e.kind)
	case e.typeKind == 0:
		what = `the signal has no signal_type; add "signal_type": "name"`
	case e.typeKind != '"':
		what = "signal_type must be a string; found " + kindName(e.typeKind)
	case !IsType(e.signalType):
		shown := e.signalType[:min(len(e.signalType), maxType)]
		what = fmt.Sprintf("signal_type must be 1 to %d printable ASCII characters without a space at either end; found %s, %d bytes",
			maxType, strconv.QuoteToASCII(shown), len(e.signalType))
	}
	if what == "" {
		l.signals = append(l.signals, Signal{raw, e.signalType, e.value})
	} else if l.fault == nil {
		l.fault = &Error{-1, l.n, what}
	}
	l.n++
}

// An element is a value that stands where a signal may.
type element struct {
	value      any  // if it is decoded
	start, end int  // in the text
	kind       byte // that it begins with
	typeKind   byte // of the last member signal_type, 0 if there is none
	signalType string
}

// one reads a text that is one value.
func one(text []byte, reads func(name []byte) bool) (e element, fault *Error) {
	fault = read(text, reads, func(r *reader) (err error) {
		e, err = r.element()
		return err
	})
	return e, fault
}

// element reads the next value.
func (r *reader) element() (e element, err error) {
	e.kind = r.next()
	if e.start = r.at; e.kind == '{' {
		e.value, err = r.object(&e)
	} else {
		e.value, err = r.value()
	}
	e.end = r.at
	return e, err
}

// signalType reads the value of a member signal_type.
func (r *reader) signalType(e *element) (any, error) {
	if e.typeKind = r.next(); e.typeKind != '"' {
		return r.value()
	}
	raw, escaped, err := r.quoted()
	if err == nil {
		e.signalType = unquoted(raw, escaped)
	}
	return e.signalType, err
}

// IsType tells whether s can be a signal_type.
func IsType(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return s != "" && len(s) <= maxType && s[0] != ' ' && s[len(s)-1] != ' '
}
