package transform

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/itchyny/gojq"

	"signalpost/transform/budget"
	"signalpost/transform/builtins"
	"signalpost/transform/json"
)

// The bounds of one run that users are promised.
const (
	MaxTime    = budget.MaxTime
	MaxOutput  = 1 << 20 // bytes of one result
	MaxResults = 100
)

// Vars are the variables bound in every expression.
type Vars struct {
	SignalID   string // $signal_id
	ReceivedAt string // $received_at
	Route      string // $route
}

var varNames = []string{"$signal_id", "$received_at", "$route"}

// A Program is a compiled expression. It is safe for concurrent use.
type Program struct {
	checked *checked
	heavy   atomic.Bool // the last run was no light one: the next need not try
	idle    sync.Pool   // of machines
}

// A machine is the code of an expression, compiled for one run at a time: the
// functions it calls know the run by the frame.
type machine struct {
	code  *gojq.Code
	frame builtins.Frame
}

// Compile checks a jq expression and compiles it. An error is a
// [*CompileError].
func Compile(src string) (*Program, error) {
	c, err := check(src)
	if err != nil {
		return nil, err
	}
	p := &Program{checked: c}
	m, err := p.take()
	if err != nil {
		return nil, &CompileError{Msg: budget.Clip(err.Error(), budget.MaxMessage)}
	}
	p.idle.Put(m)
	return p, nil
}

func (p *Program) take() (*machine, error) {
	if m, ok := p.idle.Get().(*machine); ok {
		return m, nil
	}
	m := new(machine)
	options := append(builtins.Options(p.checked.functions, own, &m.frame), gojq.WithVariables(varNames))
	var err error
	m.code, err = gojq.Compile(p.checked.query, options...)
	return m, err
}

// Match runs the program as a filter: it reports whether the first result is
// neither false nor null. No result is no match. The input is what package json
// decodes; it is not changed. An error is a [*RunError], [ErrBusy] among them, or
// that of the session's context.
func (p *Program) Match(s *Session, input any, vars Vars) (bool, error) {
	out := p.run(s, input, vars, func(r *budget.Run, v any, out *outcome) bool {
		out.matches = v != nil && v != false
		return false
	})
	return out.matches, out.err
}

// Shape runs the program as a transform. The results are JSON texts of at most
// [MaxOutput] bytes each, in the order they came; there are at most
// [MaxResults], or none. The input and the error are as those of Match; an error
// leaves no results. The results are on the account of the session until that
// is closed.
func (p *Program) Shape(s *Session, input any, vars Vars) ([][]byte, error) {
	out := p.run(s, input, vars, func(r *budget.Run, v any, out *outcome) bool {
		if len(out.results) == MaxResults {
			r.Fail(KindResults, "the expression yields more than %d results", MaxResults)
			return false
		}
		text, err := json.Encode(v, MaxOutput)
		if err != nil {
			r.Fail(KindOutput, "result %d is larger than %d MiB, or nested more than 10000 deep", len(out.results)+1, MaxOutput>>20)
			return false
		}
		out.results = append(out.results, text)
		return r.Keep(len(text))
	})
	return out.results, out.err
}

// An outcome is what came of a run.
type outcome struct {
	matches bool
	results [][]byte
	err     error
}

// run evaluates the program and hands each result to yield until that says no.
func (p *Program) run(s *Session, input any, vars Vars, yield func(*budget.Run, any, *outcome) bool) outcome {
	if !p.heavy.Load() {
		r := budget.Light(s)
		if out := p.evaluate(r, input, vars, yield); !r.IsHeavy() {
			return out
		}
	}
	var out outcome
	err := budget.Heavy(s, func(r *budget.Run) {
		out = p.evaluate(r, input, vars, yield)
		p.heavy.Store(!r.WasLight())
	})
	if err != nil {
		return outcome{err: err} // out is not ours yet
	}
	return out
}

func (p *Program) evaluate(r *budget.Run, input any, vars Vars, yield func(*budget.Run, any, *outcome) bool) (out outcome) {
	m, err := p.take()
	if err != nil {
		return outcome{err: budget.Errorf(KindFailed, "%v", err)}
	}
	m.frame.Run = r
	defer func() {
		fault := recover()
		m.frame = builtins.Frame{}
		p.idle.Put(m)
		if fault != nil {
			out.err = budget.Errorf(KindFailed, "the expression met a fault of its interpreter: %v", fault)
		}
		if r.Err() != nil {
			out.err = r.Err()
		}
		if out.err != nil {
			out = outcome{err: out.err}
			r.Discard()
		}
	}()
	it := m.code.RunWithContext(r, input, vars.SignalID, vars.ReceivedAt, vars.Route)
	for {
		v, ok := it.Next()
		if !ok {
			return out
		}
		if err, isErr := v.(error); isErr {
			out.err = asRunError(err)
			return out
		}
		if !yield(r, v, &out) {
			return out
		}
	}
}

// asRunError makes a RunError of what ended a run. A panic in computing the text
// of an error, which fmt catches, does not get out.
func asRunError(err error) *RunError {
	if re, ok := errors.AsType[*RunError](err); ok {
		return re
	}
	if raised, ok := err.(gojq.ValueError); ok {
		text, ok := raised.Value().(string)
		if !ok {
			text = gojq.Preview(raised.Value())
		}
		return budget.Errorf(KindFailed, "the expression raised an error: %s", budget.Clip(text, budget.MaxMessage))
	}
	return budget.Errorf(KindFailed, "%v", err)
}
