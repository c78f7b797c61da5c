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

var operators = map[gojq.Operator]string{
	gojq.OpAdd: "add", gojq.OpUpdateAdd: "add",
	gojq.OpSub: "sub", gojq.OpUpdateSub: "sub",
	gojq.OpMul: "mul", gojq.OpUpdateMul: "mul",
	gojq.OpDiv: "div", gojq.OpUpdateDiv: "div",
	gojq.OpMod: "mod", gojq.OpUpdateMod: "mod",
	gojq.OpEq: "eq", gojq.OpNe: "ne",
	gojq.OpLt: "lt", gojq.OpLe: "le", gojq.OpGt: "gt", gojq.OpGe: "ge",
}

func (g *guarder) query(q *gojq.Query, s *scope) *gojq.Query {
	if q == nil {
		return nil
	}
	defer g.enter()()
	if q.Meta != nil {
		g.fail("module", "an expression is no module")
	}
	for _, im := range q.Imports {
		if im.ImportPath != "" {
			g.fail("import", "an expression cannot read files: import is not available")
		}
		g.fail("include", "an expression cannot read files: include is not available")
	}
	for _, fd := range q.FuncDefs {
		s = g.funcDef(fd, s)
	}
	if q.Term != nil {
		q.Term = g.term(q.Term, s)
		return q
	}
	op := q.Op
	switch op {
	case 0:
		panic(faultAt(g.src, len(g.src), "", "the expression is empty, or ends after a definition: . passes all on"))
	case gojq.OpPipe:
		q.Left = g.query(q.Left, s)
		q.Right = g.query(q.Right, g.patterns(q.Patterns, s))
		return q
	case gojq.OpComma, gojq.OpAnd, gojq.OpOr, gojq.OpAlt:
		q.Left, q.Right = g.query(q.Left, s), g.query(q.Right, s)
		return q
	}
	l, r := g.query(q.Left, s), g.query(q.Right, s)
	var out *gojq.Query
	switch op {
	case gojq.OpAssign:
		out = g.preludeCall("_assign", l, r)
	case gojq.OpModify:
		out = g.preludeCall("_modify", l, r)
	case gojq.OpUpdateAlt, gojq.OpUpdateAdd, gojq.OpUpdateSub, gojq.OpUpdateMul, gojq.OpUpdateDiv, gojq.OpUpdateMod:
		const operand = "$" + own + "operand"
		f := &gojq.Query{Left: identity(), Op: gojq.OpAlt, Right: call(operand)}
		if op != gojq.OpUpdateAlt {
			f = call(own+operators[op]+"/2", identity(), call(operand))
		}
		out = pipe(r, g.preludeCall("_modify", l, f))
		out.Patterns = []*gojq.Pattern{{Name: operand}}
		// r is evaluated on the input of the assignment, and so is the rest:
		// binding a variable leaves the input as it is.
	default:
		out = call(own+operators[op]+"/2", l, r)
	}
	out.FuncDefs = q.FuncDefs
	return out
}

func (g *guarder) preludeCall(name string, args ...*gojq.Query) *gojq.Query {
	if g.uses == nil {
		g.uses = make(map[string]bool)
	}
	g.uses[signature(name, len(args))] = true
	return call(own+name, args...)
}

// funcDef guards a definition in s; the scope it returns has its name as well.
func (g *guarder) funcDef(fd *gojq.FuncDef, s *scope) *scope {
	defer g.enter()()
	s = s.with(fd.Name, len(fd.Args))
	body := s
	for _, arg := range fd.Args {
		if name, ok := strings.CutPrefix(arg, "$"); ok {
			body = body.with(arg, 0).with(name, 0)
		} else {
			body = body.with(arg, 0)
		}
	}
	fd.Body = g.query(fd.Body, body)
	return s
}

// patterns guards what is destructured; the scope it returns has the variables.
func (g *guarder) patterns(ps []*gojq.Pattern, s *scope) *scope {
	var names func(p *gojq.Pattern)
	names = func(p *gojq.Pattern) {
		defer g.enter()()
		if p.Name != "" {
			s = s.with(p.Name, 0)
		}
		for _, e := range p.Array {
			names(e)
		}
		for _, kv := range p.Object {
			if strings.HasPrefix(kv.Key, "$") {
				s = s.with(kv.Key, 0)
			}
			if kv.Val != nil {
				names(kv.Val)
			}
		}
	}
	for _, p := range ps {
		names(p)
	}
	var keys func(p *gojq.Pattern)
	keys = func(p *gojq.Pattern) {
		for _, e := range p.Array {
			keys(e)
		}
		for _, kv := range p.Object {
			kv.KeyString = g.str(kv.KeyString, s)
			if kv.KeyQuery = g.query(kv.KeyQuery, s); kv.KeyQuery != nil {
				kv.KeyQuery = pipe(kv.KeyQuery, call(own+"_index/0"))
			}
			if kv.Val != nil {
				keys(kv.Val)
			}
		}
	}
	for _, p := range ps {
		keys(p)
	}
	return s
}

// term guards a term. An iteration, .[], is parted from what stands before it,
// so that its guard can come between; what stands behind it in brackets refers
// to the input of the whole term, which is bound to a variable for it.
func (g *guarder) term(t *gojq.Term, s *scope) *gojq.Term {
	defer g.enter()()
	suffixes := t.SuffixList
	head := *t
	head.SuffixList = nil
	cur := g.head(&head, s)
	if len(suffixes) == 0 {
		return cur
	}
	const in = "$" + own + "in"
	var before *gojq.Query // what has been parted
	var bound bool
	for _, sf := range suffixes {
		defer g.enter()() // gojq compiles each inside the one behind it
		switch {
		case sf.Iter:
			q := term(cur)
			if before != nil {
				q = pipe(before, q)
			}
			before = pipe(q, call(own+"_iter/0"))
			cur = &gojq.Term{Type: gojq.TermTypeIdentity}
		case sf.Index != nil:
			dynamic := g.index(sf.Index, s)
			if before != nil && dynamic {
				bound = true
				rebase(sf.Index, in)
			}
		}
		cur.SuffixList = append(cur.SuffixList, sf)
	}
	if before == nil {
		return cur
	}
	q := pipe(before, term(cur))
	if bound {
		q = pipe(identity(), q)
		q.Patterns = []*gojq.Pattern{{Name: in}}
	}
	return &gojq.Term{Type: gojq.TermTypeQuery, Query: q}
}

// rebase makes the expressions of an index refer to variable in.
func rebase(x *gojq.Index, in string) {
	if x.Str != nil {
		x.Start, x.Str = term(&gojq.Term{Type: gojq.TermTypeString, Str: x.Str}), nil
	}
	if x.Start != nil {
		x.Start = pipe(call(in), x.Start)
	}
	if x.End != nil {
		x.End = pipe(call(in), x.End)
	}
}

// index guards an index, and reports whether it depends on the input.
func (g *guarder) index(x *gojq.Index, s *scope) bool {
	if x.Name != "" {
		return false
	}
	if x.Str != nil {
		dynamic := x.Str.Queries != nil
		x.Str = g.str(x.Str, s)
		return dynamic
	}
	check := own + "_index/0"
	if x.IsSlice {
		check = own + "_number/0"
	}
	dynamic := false
	for _, q := range []**gojq.Query{&x.Start, &x.End} {
		if *q == nil || isConstant(*q) {
			continue
		}
		dynamic = true
		*q = pipe(g.query(*q, s), call(check))
	}
	return dynamic
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

func (g *guarder) head(t *gojq.Term, s *scope) *gojq.Term {
	switch t.Type {
	case gojq.TermTypeRecurse:
		return paren(g.preludeCall("recurse"))
	case gojq.TermTypeIndex:
		g.index(t.Index, s)
	case gojq.TermTypeFunc:
		return paren(g.call(t.Func, s))
	case gojq.TermTypeObject:
		return g.object(t, s)
	case gojq.TermTypeArray:
		if t.Array.Query != nil && !isConstantList(t.Array.Query) {
			t.Array.Query = pipe(g.query(t.Array.Query, s), call(own+"_item/0"))
		}
	case gojq.TermTypeUnary:
		if isConstant(term(t)) {
			break
		}
		t.Unary.Term = g.term(t.Unary.Term, s)
		if t.Unary.Op == gojq.OpSub {
			return paren(pipe(term(t.Unary.Term), call(own+"_negate/0")))
		}
	case gojq.TermTypeFormat:
		format := func() *gojq.Query { return g.call(&gojq.Func{Name: t.Format}, s) }
		if t.Str == nil {
			return paren(format())
		}
		if t.Str.Queries == nil {
			format() // there must be one of that name
			return &gojq.Term{Type: gojq.TermTypeString, Str: t.Str}
		}
		return g.concat(t.Str, s, format)
	case gojq.TermTypeString:
		if t.Str.Queries != nil {
			return g.concat(t.Str, s, tostring)
		}
	case gojq.TermTypeIf:
		t.If.Cond, t.If.Then, t.If.Else = g.query(t.If.Cond, s), g.query(t.If.Then, s), g.query(t.If.Else, s)
		for _, e := range t.If.Elif {
			defer g.enter()() // gojq compiles each inside the one before
			e.Cond, e.Then = g.query(e.Cond, s), g.query(e.Then, s)
		}
	case gojq.TermTypeTry:
		t.Try.Body, t.Try.Catch = g.query(t.Try.Body, s), g.query(t.Try.Catch, s)
	case gojq.TermTypeReduce:
		e := t.Reduce
		e.Query, e.Start = g.query(e.Query, s), g.query(e.Start, s)
		e.Update = g.query(e.Update, g.patterns(e.Patterns, s))
	case gojq.TermTypeForeach:
		e := t.Foreach
		e.Query, e.Start = g.query(e.Query, s), g.query(e.Start, s)
		s = g.patterns(e.Patterns, s)
		e.Update, e.Extract = g.query(e.Update, s), g.query(e.Extract, s)
	case gojq.TermTypeLabel:
		t.Label.Body = g.query(t.Label.Body, s.with("*"+t.Label.Ident, 0))
	case gojq.TermTypeBreak:
		if !s.has("*"+t.Break, 0) {
			g.fail(t.Break, "label %s is not defined", t.Break)
		}
	case gojq.TermTypeQuery:
		t.Query = g.query(t.Query, s)
	}
	return t
}

func (g *guarder) object(t *gojq.Term, s *scope) *gojq.Term {
	constant := true
	for _, kv := range t.Object.KeyVals {
		g.count()
		if strings.HasPrefix(kv.Key, "$") {
			g.variable(kv.Key, s)
		}
		constant = constant && kv.KeyQuery == nil && (kv.KeyString == nil || kv.KeyString.Queries == nil) &&
			kv.Val != nil && isConstant(kv.Val)
		kv.KeyString = g.str(kv.KeyString, s)
		kv.KeyQuery = g.query(kv.KeyQuery, s)
		kv.Val = g.query(kv.Val, s)
	}
	if constant {
		return t
	}
	return paren(pipe(term(t), call(own+"_object/0")))
}

func tostring() *gojq.Query { return call(own + "tostring/0") }

// str guards a string in a place where gojq takes nothing but a string.
func (g *guarder) str(str *gojq.String, s *scope) *gojq.String {
	if str == nil || str.Queries == nil {
		return str
	}
	return &gojq.String{Queries: []*gojq.Query{term(&gojq.Term{
		Type: gojq.TermTypeQuery, Query: term(g.concat(str, s, tostring)),
	})}}
}

// concat is a string with interpolations as one call, which sees the whole
// length before it builds anything. Format turns each interpolation into text.
func (g *guarder) concat(str *gojq.String, s *scope, format func() *gojq.Query) *gojq.Term {
	var parts []*gojq.Query
	for _, q := range str.Queries {
		if q.Term != nil && q.Term.Str != nil {
			parts = append(parts, q)
		} else {
			parts = append(parts, pipe(g.query(q, s), format()))
		}
	}
	for len(parts) > maxArgs {
		parts = append([]*gojq.Query{call(own+"_concat", parts[:maxArgs]...)}, parts[maxArgs:]...)
		defer g.enter()()
	}
	return paren(call(own+"_concat", parts...))
}

func (g *guarder) variable(name string, s *scope) {
	if s.has(name, 0) {
		return
	}
	if name == "$ENV" {
		g.fail(name, "an expression cannot read the environment: $ENV is not available")
	}
	g.fail(name, "variable %s is not defined; beside an expression's own there are %s",
		name, strings.Join(varNames, ", "))
}

// call guards a call.
func (g *guarder) call(f *gojq.Func, s *scope) *gojq.Query {
	if strings.HasPrefix(f.Name, "$") {
		g.variable(f.Name, s)
		return term(&gojq.Term{Type: gojq.TermTypeFunc, Func: f})
	}
	sig := signature(f.Name, len(f.Args))
	if s.has(f.Name, len(f.Args)) {
		for i, arg := range f.Args {
			f.Args[i] = g.query(arg, s)
		}
		return call(f.Name, f.Args...)
	}
	if strings.HasPrefix(f.Name, "_") && !g.inner {
		g.unknown(f)
	}
	args := make([]*gojq.Query, len(f.Args))
	for i, arg := range f.Args {
		args[i] = g.query(arg, s)
	}
	if _, ok := g.prelude.defs[sig]; ok {
		return g.preludeCall(f.Name, args...)
	}
	if _, ok := functions[sig]; ok {
		return call(own+sig, args...)
	}
	if sig == "_range/3" {
		return call(own+sig, args...)
	}
	if sig == "path/1" {
		return pipe(call("path", args...), call(own+"_path/0"))
	}
	if st, ok := stock[sig]; ok {
		for i, check := range st.args {
			if check != "" && i < len(args) {
				args[i] = pipe(args[i], call(own+check+"/0"))
			}
		}
		name := f.Name
		if st.name != "" {
			name = st.name
		}
		out := call(name, args...)
		if st.input != "" {
			out = pipe(call(own+st.input+"/0"), out)
		}
		return out
	}
	g.unknown(f)
	return nil
}

// unknown fails for a function there is not.
func (g *guarder) unknown(f *gojq.Func) {
	if reason, ok := denied[f.Name]; ok {
		g.fail(f.Name, "an expression cannot %s: %s is not available", reason, f.Name)
	}
	if strings.HasPrefix(f.Name, "@") {
		g.fail(f.Name, "format %s is not defined", f.Name)
	}
	for arity := range 5 {
		sig := signature(f.Name, arity)
		_, inPrelude := g.prelude.defs[sig]
		_, isFunction := functions[sig]
		_, isStock := stock[sig]
		if (inPrelude || isFunction || isStock) && !strings.HasPrefix(f.Name, "_") {
			g.fail(f.Name, "function %s/%d is not defined, but %s is (name/number of arguments)",
				f.Name, len(f.Args), sig)
		}
	}
	g.fail(f.Name, "function %s/%d is not defined (name/number of arguments)", f.Name, len(f.Args))
}
