package transform

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxMessage bounds, in bytes, what a [RunError] or a [CompileError] quotes of
// an expression or of a value.
const maxMessage = 512

// A SyntaxError says where bytes stop being one JSON text.
type SyntaxError struct {
	Offset int64  // of the offending byte, from 0
	Msg    string // what was found there and what was expected
}

// Error names the fault and its offset.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("not JSON: %s at offset %d", e.Msg, e.Offset)
}

// A CompileError says where an expression stops being one that can be run.
type CompileError struct {
	Line   int    // from 1; 0 when the place is not known
	Column int    // in characters, from 1; 0 when the place is not known
	Token  string // the offending text; empty at the end of the expression
	Msg    string // what is wrong with it and what to do
}

// Error names the place, if known, and the fault.
func (e *CompileError) Error() string {
	if e.Line == 0 {
		return e.Msg
	}
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Msg)
}

// A Kind is a class of failed runs.
type Kind string

// The kinds of failed runs.
const (
	KindFailed  Kind = "failed"  // the expression does not fit the signal, or raised an error itself
	KindTimeout Kind = "timeout" // it ran for longer than [MaxTime]
	KindOutput  Kind = "output"  // a result is larger than [MaxOutput], or nested too deeply
	KindResults Kind = "results" // it yields more than [MaxResults] results
	KindMemory  Kind = "memory"  // it would take more memory than it is allowed
	KindBusy    Kind = "busy"    // see [ErrBusy]
)

// ErrBusy is the error of a run that found no room among others for as long as
// one may wait. It says nothing of the expression: no delivery may die of it, and
// the request is a 503.
var ErrBusy = &RunError{KindBusy, "the time and the memory for expressions are used up; try again in a moment"}

// A RunError says why a run of a [Program] gave no results.
type RunError struct {
	Kind Kind
	Msg  string // at most 512 bytes of UTF-8
}

// Error is the message: it names what failed and stands alone.
func (e *RunError) Error() string { return e.Msg }

func runError(kind Kind, format string, args ...any) *RunError {
	return &RunError{kind, clip(fmt.Sprintf(format, args...), maxMessage)}
}

// errorText is err's text. The text of an error is computed when it is asked
// for, from values of the expression: a panic in there must not get out.
func errorText(err error) (s string) {
	defer func() {
		if recover() != nil {
			s = "the expression failed with an error that cannot be shown"
		}
	}()
	return err.Error()
}

// clip cuts s to at most n bytes of valid UTF-8, and marks the cut.
func clip(s string, n int) string {
	const mark = " ..."
	if len(s) > n {
		n -= len(mark)
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n] + mark
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// asRunError makes a RunError of whatever ended a run.
func asRunError(err error) *RunError {
	var re *RunError
	if errors.As(err, &re) {
		return re
	}
	return runError(KindFailed, "%s", clip(errorText(err), maxMessage))
}
