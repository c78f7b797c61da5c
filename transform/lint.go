package transform

import (
	"github.com/itchyny/gojq"

	"signalpost/transform/budget"
	"signalpost/transform/builtins"
)

// A Warning is something legal in an expression that cannot be meant.
type Warning struct {
	Offset       int    // in bytes, of what is meant
	Line, Column int    // from 1, of characters
	Msg          string // what it is and what to write
}

// Warnings are those of the expression, in no order: literal regular expressions,
// and flags, that do not compile; and, if it is used as a filter, that it assigns,
// or gives the same whatever the signal.
func (p *Program) Warnings(filter bool) []Warning {
	warnings := p.checked.warnings
	if filter && p.checked.filter.Msg != "" {
		warnings = append(warnings[:len(warnings):len(warnings)], p.checked.filter)
	}
	return warnings
}

func warning(src string, offset int, msg string) Warning {
	at := faultAt(src, offset, "", msg)
	return Warning{at.Offset, at.Line, at.Column, at.Msg}
}

// regexpFunctions are those that take a regular expression first, and the place
// of their flags.
var regexpFunctions = map[string]int{
	"match/1": -1, "test/1": -1, "capture/1": -1, "scan/1": -1, "splits/1": -1, "sub/2": -1, "gsub/2": -1,
	"match/2": 1, "test/2": 1, "capture/2": 1, "scan/2": 1, "splits/2": 1, "split/2": 1, "sub/3": 2, "gsub/3": 2,
}

// lint warns of a call of gojq's function f.
func (r *rewriter) lint(f *gojq.Func) {
	flagsAt, ok := regexpFunctions[signature(f.Name, len(f.Args))]
	if !ok || r.inner {
		return
	}
	warn := func(s string, err error) {
		if err != nil {
			r.warnings = append(r.warnings, warning(r.src, findString(r.src, s), budget.Clip(err.Error(), budget.MaxMessage)))
		}
	}
	pattern, flags := f.Args[0], (*gojq.Query)(nil)
	if flagsAt > 0 {
		flags = f.Args[flagsAt]
	} else if t := pattern.Term; t != nil && t.Type == gojq.TermTypeArray && t.Array.Query != nil && t.Array.Query.Op == gojq.OpComma {
		pattern, flags = t.Array.Query.Left, t.Array.Query.Right // test([re, flags])
	}
	if re, ok := literal(pattern); ok {
		_, _, err := builtins.ParseRegexp(re, "")
		warn(re, err)
	}
	if s, ok := literal(flags); ok {
		_, _, err := builtins.ParseRegexp("", s)
		warn(s, err)
	}
}

// literal is the text of q, if it is strings without interpolations, put together.
func literal(q *gojq.Query) (s string, ok bool) {
	switch {
	case q == nil:
	case q.Op == gojq.OpAdd:
		left, ok1 := literal(q.Left)
		right, ok2 := literal(q.Right)
		return left + right, ok1 && ok2
	case q.Term != nil && q.Term.Type == gojq.TermTypeQuery && len(q.Term.SuffixList) == 0:
		return literal(q.Term.Query)
	case q.Term != nil && q.Term.Type == gojq.TermTypeString && isConstant(q):
		return q.Term.Str.Str, true
	}
	return "", false
}

// lint is the warning of the expression used as a filter; none without a text.
func (a *analysis) lint(src string) Warning {
	switch op := a.result.assigns; {
	case op != 0:
		return warning(src, findOperator(src, op.String()), "a filter that assigns with "+op.String()+" passes every signal: compare with ==")
	case a.result.truth != 0, !a.whole && !a.variables && len(a.members) == 0:
		return Warning{0, 1, 1, "the filter gives the same for every signal"}
	}
	return Warning{}
}
