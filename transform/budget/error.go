package budget

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxMessage bounds, in bytes, what an error quotes of an expression or of a
// value.
const MaxMessage = 512

// A Kind is a class of failed runs.
type Kind string

// The kinds of failed runs.
const (
	Failed  Kind = "failed"  // the expression does not fit the signal, or raised an error itself
	Timeout Kind = "timeout" // it ran for longer than [MaxTime]
	Output  Kind = "output"  // a result is too large, or nested too deeply
	Results Kind = "results" // it yields too many results
	Memory  Kind = "memory"  // it would take more memory than it is allowed
	Busy    Kind = "busy"    // see [ErrBusy]
)

// An Error says why a run gave no results.
type Error struct {
	Kind Kind
	Msg  string // at most [MaxMessage] bytes of UTF-8
}

// Error is the message: it names what failed and stands alone.
func (e *Error) Error() string { return e.Msg }

// Errorf makes an error; the message is cut to [MaxMessage].
func Errorf(kind Kind, format string, args ...any) *Error {
	return &Error{kind, Clip(fmt.Sprintf(format, args...), MaxMessage)}
}

// ErrBusy is the error of a run that found no room among others for as long as
// one may wait. It says nothing of the expression: no delivery may die of it.
var ErrBusy = &Error{Busy, "the time and the memory for expressions are used up; try again in a moment"}

var (
	errHeavy   = &Error{Msg: "the run is no light one"}
	errTimeout = Errorf(Timeout, "the expression ran for more than %d ms", MaxTime.Milliseconds())
	errMemory  = Errorf(Memory, "the expression takes too much memory: more than %d MiB", maxRun>>20)
)

// Clip cuts s to at most n bytes of valid UTF-8, and marks the cut.
func Clip(s string, n int) string {
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
