package transform

import (
	"context"
	"fmt"

	"signalpost/transform/budget"
)

// A CompileError says where an expression stops being one that can be run.
type CompileError struct {
	Offset int    // in bytes, of the offending text
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

// What package budget has of runs.
type (
	// A RunError says why a run of a [Program] gave no results.
	RunError = budget.Error
	// A Session is the use one request makes of expressions: what its runs yield
	// stays on its account until it is closed. It is safe for concurrent use. The nil
	// session is one for signals that never ends and is not counted.
	Session = budget.Session
	// A Class says on whose account the runs of a session are.
	Class = budget.Class
)

// The classes of sessions: see package budget.
const (
	ForSignals = budget.ForSignals
	ForTries   = budget.ForTries
)

// ErrBusy is the error of a run that found no room among others for as long as
// one may wait. It says nothing of the expression: no delivery may die of it, and
// the request is a 503.
var ErrBusy = budget.ErrBusy

// NewSession begins a session, which must be closed. Its runs end with ctx's error
// when ctx does; those that take a few milliseconds only are not interrupted.
func NewSession(ctx context.Context, class budget.Class) *Session {
	return budget.NewSession(ctx, class)
}
