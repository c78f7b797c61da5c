package transform

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"sync"

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
	SignalType string // $signal_type
	// Params is $params: what stands for secret values, by name. It is not changed.
	Params map[string]any
}

const params = "$params"

var varNames = []string{"$signal_id", "$received_at", "$route", "$signal_type", params}

// A Program is a compiled expression. It is safe for concurrent use.
type Program struct {
	source  string
	checked *checked
	idle    sync.Pool // of machines
}

// A machine is the code of an expression, compiled for one run at a time: the
// functions it calls know the run by the frame.
type machine struct {
	code  *gojq.Code
	frame builtins.Frame
	light budget.Run // used again and again
}

// Compile checks a jq expression that decides something, and compiles it. An error is a
// [*CompileError].
func Compile(src string) (*Program, error) { return compile(src, false) }

// CompileShape is Compile for an expression that makes a part of a request: it can name $params.
func CompileShape(src string) (*Program, error) { return compile(src, true) }

func compile(src string, shapes bool) (*Program, error) {
	c, err := check(src, shapes)
	if err != nil {
		return nil, err
	}
	p := &Program{source: src, checked: c}
	m, err := p.take()
	if err != nil {
		return nil, &CompileError{Msg: budget.Clip(err.Error(), budget.MaxMessage)}
	}
	p.idle.Put(m)
	return p, nil
}

// Source is the expression as written; "" if there is none.
func (p *Program) Source() string {
	if p == nil {
		return ""
	}
	return p.source
}

func (p *Program) take() (*machine, error) {
	if m, ok := p.idle.Get().(*machine); ok {
		return m, nil
	}
	m := new(machine)
	options := append(builtins.Options(p.checked.functions, prefix, &m.frame), gojq.WithVariables(varNames))
	var err error
	m.code, err = gojq.Compile(p.checked.query, options...)
	return m, err
}

// Match runs the program as a filter: it reports whether the first result is
// neither false nor null. No result is no match. The input is what package json
// decodes; it is not changed. An error is a [*RunError], [ErrBusy] among them, or
// that of the session's context.
func (p *Program) Match(s *Session, input any, vars Vars) (bool, error) {
	matches, _, err := Join(p, nil).Run(s, input, vars)
	return matches, err
}

// Shape runs the program as a transform. The results are JSON texts of at most
// [MaxOutput] bytes each, in the order they came; there are at most
// [MaxResults], or none. The input and the error are as those of Match; an error
// leaves no results. The results are on the account of the session until that
// is closed.
func (p *Program) Shape(s *Session, input any, vars Vars) ([][]byte, error) {
	_, results, err := Join(nil, p).Run(s, input, vars)
	return results, err
}

// First is Shape of the first result alone; it is nil if there is none.
func (p *Program) First(s *Session, input any, vars Vars) ([]byte, error) {
	out := outcome{pass: true, first: true}
	if !p.light(s, input, vars, &out) {
		p.heavy(s, input, vars, &out)
	}
	if out.err != nil || len(out.results) == 0 {
		return nil, out.err
	}
	return out.results[0], nil
}

// A Pair is a filter and a transform of what passes it. It is safe for concurrent use.
type Pair struct {
	where, shape *Program
	both         *Program // as one
}

// Join makes a Pair. Either may be nil.
func Join(where, shape *Program) *Pair {
	p := &Pair{where, shape, cmp.Or(where, shape)}
	if where != nil && shape != nil {
		p.both = &Program{checked: both(where.checked, shape.checked)}
	}
	return p
}

// IsEmpty reports that there is neither a filter nor a transform.
func (p *Pair) IsEmpty() bool { return p.both == nil }

// Shapes reports that there is a transform.
func (p *Pair) Shapes() bool { return p.shape != nil }

// Reads returns a function that reports whether one of the programs may read the member
// of a signal by a name; nil if all of them are nil.
func Reads(programs ...*Program) func(name []byte) bool {
	members, whole, some := make(map[string]bool), false, false
	for _, p := range programs {
		if p != nil {
			maps.Copy(members, p.checked.members)
			whole, some = whole || p.checked.whole, true
		}
	}
	if !some {
		return nil
	}
	return func(name []byte) bool { return whole || members[string(name)] }
}

// Params are the members of $params that the expression names, each with its place in bytes.
func (p *Program) Params() map[string]int { return p.checked.params }

// both makes one expression of two, which costs one run. It ends after the first result
// of where: nobody asks for the others.
func both(where, shape *checked) *checked {
	end := call("halt")
	query := term(&gojq.Term{Type: gojq.TermTypeIf, If: &gojq.If{
		Cond: pipe(where.query, call(prefix+"_pass")),
		Then: &gojq.Query{Left: shape.query, Op: gojq.OpComma, Right: end},
		Else: end,
	}})
	functions := slices.Concat(where.functions, shape.functions, []string{"_pass/0"})
	slices.Sort(functions)
	return &checked{query: query, functions: slices.Compact(functions)}
}

// Run is Match of the filter and then, if that passes, Shape of the transform. Without
// a filter every signal passes. If pass is true, the error is the transform's.
func (p *Pair) Run(s *Session, input any, vars Vars) (pass bool, results [][]byte, err error) {
	out := outcome{filters: p.shape == nil, pass: p.where == nil}
	if p.both.light(s, input, vars, &out) {
		return out.pass, out.results, out.err
	}
	if !out.pass {
		out.filters = true
		p.where.heavy(s, input, vars, &out)
	}
	if out.pass && p.shape != nil {
		out.filters = false
		p.shape.heavy(s, input, vars, &out)
	}
	return out.pass, out.results, out.err
}

// An outcome is what came of a run.
type outcome struct {
	filters bool // the first result is the filter's
	pass    bool // there is no filter, or its first result is known and true
	first   bool // nobody asks for a second result
	results [][]byte
	err     error
}

// light evaluates the program, and reports whether it was a light run.
func (p *Program) light(s *Session, input any, vars Vars, out *outcome) bool {
	m, err := p.take()
	if err != nil {
		out.err = budget.Errorf(budget.Failed, "%v", err)
		return true
	}
	defer p.idle.Put(m)
	m.light.Begin(s)
	m.evaluate(&m.light, input, vars, out)
	return !m.light.IsHeavy()
}

// heavy evaluates the program when there is room for it.
func (p *Program) heavy(s *Session, input any, vars Vars, out *outcome) {
	made := *out
	made.err = nil
	err := budget.Heavy(s, func(r *budget.Run) {
		m, err := p.take()
		if err != nil {
			made.err = budget.Errorf(budget.Failed, "%v", err)
			return
		}
		defer p.idle.Put(m)
		m.evaluate(r, input, vars, &made)
	})
	if err != nil {
		out.err = err // and what is made is not ours yet
	} else {
		*out = made
	}
}

func (m *machine) evaluate(r *budget.Run, input any, vars Vars, out *outcome) {
	m.frame.Run = r
	defer func() {
		if fault := recover(); fault != nil {
			out.err = budget.Errorf(budget.Failed, "the expression met a fault of its interpreter: %v", fault)
		}
		out.pass = out.pass || m.frame.Passed
		m.frame = builtins.Frame{}
		if r.Err() != nil {
			out.err = r.Err()
		}
		if out.err != nil {
			out.results = nil
			r.Discard()
		}
	}()
	it := m.code.RunWithContext(r, input, vars.SignalID, vars.ReceivedAt, vars.Route, vars.SignalType, vars.Params)
	for {
		if v, ok := it.Next(); !ok || !out.take(r, v) {
			return
		}
	}
}

// take takes a result, and reports whether there may be more.
func (out *outcome) take(r *budget.Run, v any) bool {
	if err, ok := v.(error); ok {
		if _, ended := err.(*gojq.HaltError); !ended {
			out.err = asRunError(err)
		}
		return false
	}
	if out.filters {
		out.pass = v != nil && v != false
		return false
	}
	if len(out.results) == MaxResults {
		r.Fail(budget.Results, "the expression yields more than %d results", MaxResults)
		return false
	}
	text, err := json.Encode(v, MaxOutput)
	if err != nil {
		r.Fail(budget.Output, "result %d is larger than %d MiB, or nested more than 10000 deep", len(out.results)+1, MaxOutput>>20)
		return false
	}
	out.results = append(out.results, text)
	return r.Keep(len(text)) && !out.first
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
		return budget.Errorf(budget.Failed, "the expression raised an error: %s", budget.Clip(text, budget.MaxMessage))
	}
	return budget.Errorf(budget.Failed, "%v", err)
}
