package transform

import (
	"strings"

	"github.com/itchyny/gojq"
)

func term(t *gojq.Term) *gojq.Query { return &gojq.Query{Term: t} }

func call(name string, args ...*gojq.Query) *gojq.Query {
	return term(&gojq.Term{Type: gojq.TermTypeFunc, Func: &gojq.Func{Name: name, Args: args}})
}

func pipe(l, r *gojq.Query) *gojq.Query { return &gojq.Query{Left: l, Op: gojq.OpPipe, Right: r} }

func identity() *gojq.Query { return term(&gojq.Term{Type: gojq.TermTypeIdentity}) }

// paren is q as a term.
func paren(q *gojq.Query) *gojq.Term {
	if q.Term != nil && len(q.FuncDefs) == 0 {
		return q.Term
	}
	return &gojq.Term{Type: gojq.TermTypeQuery, Query: q}
}

var comparisons = map[gojq.Operator]string{
	gojq.OpEq: "_eq/2", gojq.OpNe: "_ne/2", gojq.OpLt: "_lt/2", gojq.OpLe: "_le/2", gojq.OpGt: "_gt/2", gojq.OpGe: "_ge/2",
}

// arithmetic are the operators that compute: the check of their operands, and
// gojq's function.
var arithmetic = map[gojq.Operator]struct{ check, function string }{
	gojq.OpAdd: {"_add/2", "_add"}, gojq.OpUpdateAdd: {"_add/2", "_add"},
	gojq.OpSub: {"_sub/2", "_subtract"}, gojq.OpUpdateSub: {"_sub/2", "_subtract"},
	gojq.OpMul: {"_mul/2", "_multiply"}, gojq.OpUpdateMul: {"_mul/2", "_multiply"},
	gojq.OpDiv: {"_div/2", "_divide"}, gojq.OpUpdateDiv: {"_div/2", "_divide"},
	gojq.OpMod: {"_mod/2", "_modulo"}, gojq.OpUpdateMod: {"_mod/2", "_modulo"},
}

// compute applies an operator to two operands: a check looks at them and keeps them, then
// gojq's function is called with what was kept.
func (r *rewriter) compute(op gojq.Operator, left, right *gojq.Query) *gojq.Query {
	a := arithmetic[op]
	return r.made(pipe(r.builtin(a.check, left, right), call(a.function, r.builtin("_x/0"), r.builtin("_y/0"))))
}

func (r *rewriter) query(q *gojq.Query, s *names) *gojq.Query {
	if q == nil {
		return nil
	}
	defer r.enter()()
	if q.Meta != nil {
		r.fail("module", "an expression is no module")
	}
	for _, im := range q.Imports {
		if im.ImportPath != "" {
			r.fail("import", "an expression cannot read files: import is not available")
		}
		r.fail("include", "an expression cannot read files: include is not available")
	}
	for _, fd := range q.FuncDefs {
		s = r.funcDef(fd, s)
	}
	if q.Term != nil {
		q.Term = r.term(q.Term, s)
		return q
	}
	switch q.Op {
	case 0:
		panic(faultAt(r.src, len(r.src), "", "the expression is empty, or ends after a definition: . passes all on"))
	case gojq.OpPipe:
		q.Left = r.query(q.Left, s)
		q.Right = r.query(q.Right, r.patterns(q.Patterns, s))
		return q
	case gojq.OpComma, gojq.OpAnd, gojq.OpOr, gojq.OpAlt:
		q.Left, q.Right = r.query(q.Left, s), r.query(q.Right, s)
		return q
	}
	out := r.operator(q.Op, r.query(q.Left, s), r.query(q.Right, s))
	out.FuncDefs = q.FuncDefs
	return out
}

func (r *rewriter) operator(op gojq.Operator, left, right *gojq.Query) *gojq.Query {
	switch op {
	case gojq.OpAssign:
		return r.fromPrelude("_set", left, right)
	case gojq.OpModify:
		return r.fromPrelude("_update", left, right)
	case gojq.OpUpdateAlt, gojq.OpUpdateAdd, gojq.OpUpdateSub, gojq.OpUpdateMul, gojq.OpUpdateDiv, gojq.OpUpdateMod:
		const operand = "$" + prefix + "operand"
		var f *gojq.Query
		if op == gojq.OpUpdateAlt {
			f = call("_alternative", identity(), call(operand))
		} else {
			f = r.compute(op, identity(), call(operand))
		}
		// The operand is evaluated on the input of the assignment, as is the rest,
		// and as a part of a path where the assignment is one.
		return term(&gojq.Term{Type: gojq.TermTypeForeach, Foreach: &gojq.Foreach{
			Query: right, Patterns: []*gojq.Pattern{{Name: operand}},
			Start: identity(), Update: identity(), Extract: r.fromPrelude("_update", left, f),
		}})
	}
	if compare, ok := comparisons[op]; ok {
		return r.builtin(compare, left, right)
	}
	return r.compute(op, left, right)
}

// patterns rewrites what is destructured; the scope it returns has the variables.
func (r *rewriter) patterns(ps []*gojq.Pattern, s *names) *names {
	var names, keys func(p *gojq.Pattern)
	names = func(p *gojq.Pattern) {
		defer r.enter()()
		if p.Name != "" {
			s = s.with(p.Name, 0, nil)
		}
		for _, e := range p.Array {
			names(e)
		}
		for _, kv := range p.Object {
			if strings.HasPrefix(kv.Key, "$") {
				s = s.with(kv.Key, 0, nil)
			}
			if kv.Val != nil {
				names(kv.Val)
			}
		}
	}
	keys = func(p *gojq.Pattern) {
		for _, e := range p.Array {
			keys(e)
		}
		for _, kv := range p.Object {
			kv.KeyString = r.str(kv.KeyString, s)
			if kv.KeyQuery != nil {
				kv.KeyQuery = r.builtin("_index/1", r.query(kv.KeyQuery, s))
			}
			if kv.Val != nil {
				keys(kv.Val)
			}
		}
	}
	for _, p := range ps {
		names(p)
	}
	for _, p := range ps {
		keys(p)
	}
	return s
}

// term rewrites a term. What stands before an iteration, .[], is put into
// parentheses, so that a check can stand between.
func (r *rewriter) term(t *gojq.Term, s *names) *gojq.Term {
	defer r.enter()()
	r.param(t, s)
	suffixes := t.SuffixList
	head := *t
	head.SuffixList = nil
	cur := r.head(&head, s)
	for _, sf := range suffixes {
		defer r.enter()() // gojq compiles each inside the one behind it
		switch {
		case sf.Iter:
			cur = &gojq.Term{Type: gojq.TermTypeQuery, Query: pipe(term(cur), r.builtin("_each/0"))}
		case sf.Index != nil:
			r.index(sf.Index, s)
		}
		cur.SuffixList = append(cur.SuffixList, sf)
	}
	return cur
}

// index rewrites an index. One that is computed is checked.
func (r *rewriter) index(x *gojq.Index, s *names) {
	x.Str = r.str(x.Str, s)
	check := "_index/1"
	if x.IsSlice {
		check = "_number/1"
	}
	for _, q := range []**gojq.Query{&x.Start, &x.End} {
		if *q != nil && !isConstant(*q) {
			*q = r.builtin(check, r.query(*q, s))
		}
	}
}

// isConstant reports whether q is a literal number, string, null or boolean.
func isConstant(q *gojq.Query) bool {
	t := q.Term
	if t == nil || len(q.FuncDefs) > 0 || len(t.SuffixList) > 0 {
		return false
	}
	switch t.Type {
	case gojq.TermTypeNull, gojq.TermTypeTrue, gojq.TermTypeFalse, gojq.TermTypeNumber:
		return true
	case gojq.TermTypeString:
		return t.Str.Queries == nil
	case gojq.TermTypeUnary:
		return t.Unary.Term.Type == gojq.TermTypeNumber && len(t.Unary.Term.SuffixList) == 0
	}
	return false
}

// isConstantList reports whether q is constants and commas.
func isConstantList(q *gojq.Query) bool {
	for q.Op == gojq.OpComma && len(q.FuncDefs) == 0 && isConstant(q.Right) {
		q = q.Left
	}
	return isConstant(q)
}

func (r *rewriter) head(t *gojq.Term, s *names) *gojq.Term {
	switch t.Type {
	case gojq.TermTypeRecurse:
		return paren(r.fromPrelude("recurse"))
	case gojq.TermTypeIndex:
		r.index(t.Index, s)
	case gojq.TermTypeFunc:
		return paren(r.call(t.Func, s))
	case gojq.TermTypeObject:
		return r.object(t, s)
	case gojq.TermTypeArray:
		if t.Array.Query != nil && !isConstantList(t.Array.Query) {
			t.Array.Query = pipe(r.query(t.Array.Query, s), r.builtin("_item/0"))
		}
	case gojq.TermTypeUnary:
		if !isConstant(term(t)) {
			t.Unary.Term = r.term(t.Unary.Term, s)
			return paren(r.made(term(t)))
		}
	case gojq.TermTypeFormat:
		format := func() *gojq.Query { return r.call(&gojq.Func{Name: t.Format}, s) }
		if t.Str == nil {
			return paren(format())
		}
		if t.Str.Queries == nil {
			format() // there must be one of that name
			return &gojq.Term{Type: gojq.TermTypeString, Str: t.Str}
		}
		return r.concat(t.Str, s, format)
	case gojq.TermTypeString:
		if t.Str.Queries != nil {
			return r.concat(t.Str, s, r.tostring)
		}
	case gojq.TermTypeQuery:
		t.Query = r.query(t.Query, s)
	default:
		r.control(t, s)
	}
	return t
}

// control rewrites what stands in a term that decides or repeats.
func (r *rewriter) control(t *gojq.Term, s *names) {
	switch t.Type {
	case gojq.TermTypeIf:
		t.If.Cond, t.If.Then, t.If.Else = r.query(t.If.Cond, s), r.query(t.If.Then, s), r.query(t.If.Else, s)
		for _, e := range t.If.Elif {
			defer r.enter()() // gojq compiles each inside the one before
			e.Cond, e.Then = r.query(e.Cond, s), r.query(e.Then, s)
		}
	case gojq.TermTypeTry:
		t.Try.Body, t.Try.Catch = r.query(t.Try.Body, s), r.query(t.Try.Catch, s)
	case gojq.TermTypeReduce:
		e := t.Reduce
		e.Query, e.Start = r.query(e.Query, s), r.query(e.Start, s)
		s = r.patterns(e.Patterns, s)
		e.Update = r.query(e.Update, s)
	case gojq.TermTypeForeach:
		e := t.Foreach
		e.Query, e.Start = r.query(e.Query, s), r.query(e.Start, s)
		s = r.patterns(e.Patterns, s)
		e.Update, e.Extract = r.query(e.Update, s), r.query(e.Extract, s)
	case gojq.TermTypeLabel:
		t.Label.Body = r.query(t.Label.Body, s.with("*"+t.Label.Ident, 0, nil))
	case gojq.TermTypeBreak:
		if s.find("*"+t.Break, 0) == nil {
			r.fail(t.Break, "label %s is not defined", t.Break)
		}
	}
}

func (r *rewriter) object(t *gojq.Term, s *names) *gojq.Term {
	constant := true
	for _, kv := range t.Object.KeyVals {
		r.count()
		if strings.HasPrefix(kv.Key, "$") {
			r.variable(kv.Key, s)
		}
		constant = constant && kv.KeyQuery == nil && (kv.KeyString == nil || kv.KeyString.Queries == nil) &&
			kv.Val != nil && isConstant(kv.Val)
		kv.KeyString = r.str(kv.KeyString, s)
		kv.KeyQuery = r.query(kv.KeyQuery, s)
		kv.Val = r.query(kv.Val, s)
	}
	if constant {
		return t
	}
	return paren(pipe(term(t), r.builtin("_object/0")))
}

func (r *rewriter) tostring() *gojq.Query { return r.builtin("tostring/0") }

// str rewrites a string in a place where gojq takes nothing but a string.
func (r *rewriter) str(str *gojq.String, s *names) *gojq.String {
	if str == nil || str.Queries == nil {
		return str
	}
	return &gojq.String{Queries: []*gojq.Query{term(&gojq.Term{
		Type: gojq.TermTypeQuery, Query: term(r.concat(str, s, r.tostring)),
	})}}
}

// concat is a string with interpolations, which format turns into text.
func (r *rewriter) concat(str *gojq.String, s *names, format func() *gojq.Query) *gojq.Term {
	parts := make([]*gojq.Query, len(str.Queries))
	for i, q := range str.Queries {
		if parts[i] = q; q.Term == nil || q.Term.Str == nil {
			parts[i] = pipe(r.query(q, s), format())
		}
	}
	return paren(r.sum(parts))
}

// sum adds, in the order that gojq does, but nested as little as can be.
func (r *rewriter) sum(parts []*gojq.Query) *gojq.Query {
	if len(parts) == 1 {
		return parts[0]
	}
	half := len(parts) / 2
	return r.compute(gojq.OpAdd, r.sum(parts[:half]), r.sum(parts[half:]))
}
