package transform

import (
	"context"
	"fmt"

	"signalpost/transform/budget"
)

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

// A RunError says why a run of a [Program] gave no results.
type RunError = budget.Error

// A Kind is a class of failed runs.
type Kind = budget.Kind

// The kinds of failed runs.
const (
	KindFailed  = budget.Failed  // the expression does not fit the signal, or raised an error itself
	KindTimeout = budget.Timeout // it ran for longer than [MaxTime]
	KindOutput  = budget.Output  // a result is larger than [MaxOutput], or nested too deeply
	KindResults = budget.Results // it yields more than [MaxResults] results
	KindMemory  = budget.Memory  // it would take more memory than it is allowed
	KindBusy    = budget.Busy    // see [ErrBusy]
)

// ErrBusy is the error of a run that found no room among others for as long as
// one may wait. It says nothing of the expression: no delivery may die of it, and
// the request is a 503.
var ErrBusy = budget.ErrBusy

// A Session is the use one request makes of expressions: what its runs yield
// stays on its account until it is closed. It is safe for concurrent use. The nil
// session is one for signals that never ends and is not counted.
type Session = budget.Session

// A Class says on whose account expressions run. Those of one class never wait
// for those of the other.
type Class = budget.Class

// The classes of sessions.
const (
	ForSignals = budget.ForSignals // what the app sends, and what is made anew of it
	ForTries   = budget.ForTries   // what somebody tries out
)

// NewSession begins a session, which must be closed. Its runs end with ctx's error
// when ctx does; those that take a few milliseconds only are not interrupted.
func NewSession(ctx context.Context, class Class) *Session { return budget.NewSession(ctx, class) }
