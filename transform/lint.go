package transform

import (
	"slices"

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

var isSame = Warning{0, 1, 1, "the filter gives the same for every signal"}

// lintFilter is the warning of an expression used as a filter, before it is
// rewritten.
func lintFilter(src string, q *gojq.Query) Warning {
	if op := assigns(q); op != 0 {
		msg := "a filter that assigns with " + op.String() + " passes every signal: compare with =="
		return warning(src, findOperator(src, op.String()), msg)
	}
	if truthOf(q, nil) != 0 {
		return isSame
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
			switch f := t.Func; f.Name {
			case "select", "any", "all", "first", "last", "limit", "map":
				if len(f.Args) > 0 {
					return assigns(f.Args[len(f.Args)-1])
				}
			}
		case gojq.TermTypeTry:
			return assigns(t.Try.Body)
		case gojq.TermTypeLabel:
			return assigns(t.Label.Body)
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

// truthOf is 1 if q, as a filter, passes every signal, -1 if none, as far as that is
// obvious, else 0. Around it the functions are defined.
func truthOf(q *gojq.Query, defs []*gojq.FuncDef) int {
	defs = slices.Concat(defs, q.FuncDefs)
	if q.Term != nil {
		return truthOfTerm(q.Term, defs)
	}
	if q.Op >= gojq.OpAssign {
		return 1 // it is the signal
	}
	if q.Op == 0 {
		return 0
	}
	left, right := truthOf(q.Left, defs), truthOf(q.Right, defs)
	switch q.Op {
	case gojq.OpPipe:
		if t := q.Right.Term; t != nil && t.Type == gojq.TermTypeFunc && t.Func.Name == "not" && len(t.SuffixList) == 0 {
			return -left
		}
		return right
	case gojq.OpOr:
		return max(left, right)
	case gojq.OpAnd:
		return min(left, right)
	case gojq.OpComma: // a first result that is true
		return max(left, 0)
	case gojq.OpAlt: // the right one, where the left is false, null, or fails
		if left < 0 {
			return right
		}
		return max(left, right, 0)
	}
	return 0
}

// neverFalse are functions whose results are texts, numbers, arrays and objects: all pass, 0 and "" too.
var neverFalse = []string{
	"length/0", "utf8bytelength/0", "keys/0", "type/0", "tostring/0", "tojson/0", "tonumber/0", "now/0", "ascii_downcase/0",
	"ascii_upcase/0", "join/1", "split/1", "floor/0", "round/0", "ceil/0", "map/1", "map_values/1", "setpath/2", "del/1",
	"to_entries/0", "with_entries/1", "sort/0", "sort_by/1", "group_by/1", "unique/0", "unique_by/1", "reverse/0", "flatten/0",
}

func truthOfTerm(t *gojq.Term, defs []*gojq.FuncDef) int {
	if len(t.SuffixList) > 0 {
		return 0
	}
	switch t.Type {
	case gojq.TermTypeQuery:
		return truthOf(t.Query, defs)
	case gojq.TermTypeArray, gojq.TermTypeObject, gojq.TermTypeString, gojq.TermTypeFormat, gojq.TermTypeNumber, gojq.TermTypeTrue:
		return 1
	case gojq.TermTypeNull, gojq.TermTypeFalse:
		return -1
	case gojq.TermTypeFunc:
		f := t.Func
		for i, def := range slices.Backward(defs) {
			if def.Name != f.Name || len(def.Args) != len(f.Args) {
				continue
			}
			if len(def.Args) > 0 {
				return 0
			}
			return truthOf(def.Body, defs[:i])
		}
		switch name := signature(f.Name, len(f.Args)); {
		case name == "empty/0":
			return -1
		case name == "select/1", name == "first/1":
			return truthOf(f.Args[0], defs)
		case slices.Contains(neverFalse, name):
			return 1
		}
	case gojq.TermTypeIf:
		if t.If.Else != nil && len(t.If.Elif) == 0 {
			if then := truthOf(t.If.Then, defs); then == truthOf(t.If.Else, defs) {
				return then
			}
		}
	}
	return 0
}
