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
	if re, ok := literal(f.Args[0]); ok {
		_, _, err := builtins.ParseRegexp(re, "")
		warn(re, err)
	}
	if flagsAt > 0 {
		flags, _ := literal(f.Args[flagsAt])
		_, _, err := builtins.ParseRegexp("", flags)
		warn(flags, err)
	}
}

// literal is the text of q, if it is a string without interpolations.
func literal(q *gojq.Query) (s string, ok bool) {
	if q.Term == nil || q.Term.Type != gojq.TermTypeString || !isConstant(q) {
		return "", false
	}
	return q.Term.Str.Str, true
}

// lintFilter is the warning of an expression used as a filter, before it is
// rewritten.
func lintFilter(src string, q *gojq.Query) Warning {
	if op := assigns(q); op != 0 {
		msg := "a filter that assigns with " + op.String() + " passes every signal: compare with =="
		return warning(src, findOperator(src, op.String()), msg)
	}
	if isSame(q) {
		return warning(src, 0, "the filter gives the same for every signal")
	}
	return Warning{}
}

// assigns is the operator by which the result of q, or a condition in it, is that
// of an assignment, or 0.
func assigns(q *gojq.Query) gojq.Operator {
	switch {
	case q == nil:
	case q.Term != nil && len(q.Term.SuffixList) == 0:
		switch t := q.Term; t.Type {
		case gojq.TermTypeQuery:
			return assigns(t.Query)
		case gojq.TermTypeIf:
			return max(assigns(t.If.Cond), assigns(t.If.Then), assigns(t.If.Else))
		case gojq.TermTypeFunc:
			if f := t.Func; len(f.Args) > 0 && (f.Name == "select" || f.Name == "any" || f.Name == "all") {
				return assigns(f.Args[len(f.Args)-1])
			}
		}
	case q.Op >= gojq.OpAssign:
		return q.Op
	case q.Op == gojq.OpPipe:
		return assigns(q.Right)
	case q.Op == gojq.OpAnd, q.Op == gojq.OpOr, q.Op == gojq.OpAlt:
		return max(assigns(q.Left), assigns(q.Right))
	}
	return 0
}

// isSame reports whether q has the same truth for every signal, as far as that is
// obvious.
func isSame(q *gojq.Query) bool {
	if t := q.Term; t != nil {
		if len(t.SuffixList) > 0 {
			return false
		}
		switch t.Type {
		case gojq.TermTypeQuery:
			return isSame(t.Query)
		case gojq.TermTypeArray, gojq.TermTypeObject, gojq.TermTypeString:
			return true
		}
		return isConstant(q)
	}
	switch q.Op {
	case gojq.OpPipe:
		return isSame(q.Right)
	case gojq.OpAnd, gojq.OpOr:
		return isSame(q.Left) && isSame(q.Right)
	}
	return q.Left != nil && isConstant(q.Left) && isConstant(q.Right)
}
