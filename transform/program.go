package transform

import (
	"reflect"
	"time"

	"github.com/itchyny/gojq"
)

// The bounds of one run that users are promised.
const (
	MaxTime    = 100 * time.Millisecond
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

// A Program is a compiled expression. It is immutable and safe for concurrent
// use.
type Program struct {
	code    *gojq.Code
	regexps *regexpCache
}

// Compile checks a jq expression and compiles it. An error is a
// [*CompileError].
func Compile(src string) (*Program, error) {
	q, err := guard(src)
	if err != nil {
		return nil, err
	}
	code, err := gojq.Compile(q, compilerOptions()...)
	if err != nil {
		return nil, &CompileError{Msg: clip(errorText(err), maxMessage)}
	}
	return &Program{code: code, regexps: new(regexpCache)}, nil
}

// Match runs the program as a filter: it reports whether the first result is
// neither false nor null. No result is no match. The input is a [*Document], or
// the value of one. An error is a [*RunError], [ErrBusy] among them, or that
// of the session's context.
func (p *Program) Match(s *Session, input any, vars Vars) (ok bool, err error) {
	err = p.run(input, vars, func(_ *run, w any) bool {
		ok = w != nil && w != false
		return false
	})
	return ok, err
}

// Shape runs the program as a transform. The results are JSON texts of at most
// [MaxOutput] bytes each, in the order they came; there are at most
// [MaxResults], or none. The input is a [*Document], or the value of one. An
// error, as of Match, leaves no results.
func (p *Program) Shape(s *Session, input any, vars Vars) (results [][]byte, err error) {
	err = p.run(input, vars, func(r *run, w any) bool {
		if len(results) == MaxResults {
			r.abort(KindResults, "the expression yields more than %d results", MaxResults)
		}
		e := encoder{r: r, buf: make([]byte, 0, 256), limit: MaxOutput}
		if e.encode(w, 0); e.full {
			r.abort(KindOutput, "result %d is larger than %d MiB, or nested more than %d deep",
				len(results)+1, MaxOutput>>20, maxNesting)
		}
		r.charge(2 * cap(e.buf))
		results = append(results, e.buf)
		return true
	})
	if err != nil {
		return nil, err
	}
	return results, nil
}

// run evaluates the program and hands each result to yield until that says no.
func (p *Program) run(input any, vars Vars, yield func(*run, any) bool) (err error) {
	if doc, ok := input.(*Document); ok {
		input = doc.Value()
	}
	r := &run{input: input, regexps: p.regexps, credit: quantum, nextBytes: lightBytes}
	defer func() {
		r.release()
		switch fault := recover(); {
		case r.err != nil:
			err = r.err
		case fault != nil:
			err = runError(KindFailed, "the expression met a fault of its interpreter%s", faultText(fault))
		}
	}()
	it := p.code.RunWithContext(r, r, vars.SignalID, vars.ReceivedAt, vars.Route)
	r.machine = reflect.ValueOf(it).Elem()
	for {
		w, ok := it.Next()
		if !ok {
			return nil
		}
		if err, isErr := w.(error); isErr {
			return asRunError(err)
		}
		if !yield(r, w) {
			return nil
		}
	}
}

// faultText is what a panic said, if that is a text.
func faultText(fault any) string {
	switch fault := fault.(type) {
	case string:
		return ": " + clip(fault, 200)
	case error:
		return ": " + clip(errorText(fault), 200)
	}
	return ""
}
