package transform

import (
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/itchyny/gojq"
)

// The bounds of an expression. An expression is compiled by recursion, and
// what a call of its functions takes grows with its size.
const (
	maxSource = 64 << 10 // bytes
	maxTree   = 500      // nesting
	maxNodes  = 4096
)

// own marks the functions of this package, and those of the prelude, in the
// expressions given to gojq. No expression can be written that has such a name.
const own = "sp:"

//go:embed prelude.jq
var preludeText string

// A prelude is what expressions may call beside gojq's own functions.
type prelude struct {
	defs map[string]*preludeDef // by name/arity
}

type preludeDef struct {
	def  *gojq.FuncDef
	uses []string // of the prelude
}

// loadPrelude rewrites the prelude, once.
var loadPrelude = sync.OnceValue(func() *prelude {
	q, err := gojq.Parse(preludeText + ".")
	if err != nil {
		panic("transform: prelude.jq: " + err.Error())
	}
	p := &prelude{defs: make(map[string]*preludeDef)}
	for _, fd := range q.FuncDefs {
		p.defs[signature(fd.Name, len(fd.Args))] = &preludeDef{def: fd}
	}
	for sig, d := range p.defs {
		g := &guarder{prelude: p, inner: true}
		if err := g.guard(func() { g.funcDef(d.def, nil) }); err != nil {
			panic("transform: prelude.jq: " + sig + ": " + err.Error())
		}
		d.def.Name = own + d.def.Name
		d.uses = slices.Sorted(maps.Keys(g.uses))
	}
	return p
})

func signature(name string, arity int) string { return name + "/" + strconv.Itoa(arity) }

// guard parses an expression and rewrites it so that nothing in it escapes the
// budget of its run:
//
//   - an operator, and a function that can make much of little, becomes a call
//     of ours, which accounts for what it does before it does it;
//   - what gojq defines in jq comes from the prelude, rewritten likewise;
//   - the other functions of gojq stay; a guard stands before those whose
//     arguments can be too much for them;
//   - arrays, objects, paths and iterations are accounted for by a function
//     which otherwise hands on what it gets;
//   - all else does not compile.
func guard(src string) (*gojq.Query, error) {
	if len(src) > maxSource {
		return nil, &CompileError{1, 1, "", fmt.Sprintf("the expression is longer than %d KiB", maxSource>>10)}
	}
	if !utf8.ValidString(src) {
		return nil, &CompileError{1, 1, "", "the expression is not UTF-8"}
	}
	q, err := gojq.Parse(src)
	if err != nil {
		return nil, parseError(src, err)
	}
	g := &guarder{prelude: loadPrelude(), src: src}
	var vars *scope
	for _, name := range varNames {
		vars = vars.with(name, 0)
	}
	if err := g.guard(func() { q = g.query(q, vars) }); err != nil {
		return nil, err
	}
	top := pipe(call(own+"start"), q)
	top.FuncDefs = g.used()
	return top, nil
}

// parseError finds the place of a fault gojq's parser found.
func parseError(src string, err error) *CompileError {
	pe, ok := err.(*gojq.ParseError)
	if !ok {
		return &CompileError{1, 1, "", clip(err.Error(), maxMessage)}
	}
	msg := pe.Error()
	if pe.Token == "" && strings.Contains(msg, "EOF") {
		msg = "unexpected end of the expression"
	}
	return faultAt(src, max(pe.Offset-len(pe.Token), 0), clip(pe.Token, 64), clip(msg, maxMessage))
}

// faultAt makes an error of a byte offset in src.
func faultAt(src string, offset int, token, msg string) *CompileError {
	before := src[:min(offset, len(src))]
	line := before[strings.LastIndexByte(before, '\n')+1:]
	return &CompileError{strings.Count(before, "\n") + 1, utf8.RuneCountInString(line) + 1, token, msg}
}

// A scope is the names an expression has bound itself at some place, the
// nearest first. A variable is written with its dollar, a label with a star.
type scope struct {
	name  string
	arity int
	outer *scope
}

func (s *scope) with(name string, arity int) *scope { return &scope{name, arity, s} }

func (s *scope) has(name string, arity int) bool {
	for ; s != nil; s = s.outer {
		if s.name == name && s.arity == arity {
			return true
		}
	}
	return false
}

// A guarder rewrites one expression, in place.
type guarder struct {
	prelude *prelude
	inner   bool // the expression is a part of the prelude: it may use names with an underscore
	src     string
	uses    map[string]bool // of the prelude
	depth   int
	nodes   int
}

// guard runs f, and returns the fault f stopped at.
func (g *guarder) guard(f func()) (err error) {
	defer func() {
		switch fault := recover().(type) {
		case nil:
		case *CompileError:
			err = fault
		default:
			panic(fault)
		}
	}()
	f()
	return nil
}

// fail stops at name, which stands somewhere in the expression.
func (g *guarder) fail(name, format string, args ...any) {
	panic(faultAt(g.src, find(g.src, name), clip(name, 64), clip(fmt.Sprintf(format, args...), maxMessage)))
}

// used is the part of the prelude that is used, callees before callers.
func (g *guarder) used() (defs []*gojq.FuncDef) {
	seen := make(map[string]bool)
	var visit func(sig string)
	visit = func(sig string) {
		if seen[sig] {
			return
		}
		seen[sig] = true
		d := g.prelude.defs[sig]
		for _, use := range d.uses {
			visit(use)
		}
		defs = append(defs, d.def)
	}
	for _, sig := range slices.Sorted(maps.Keys(g.uses)) {
		visit(sig)
	}
	return defs
}

// Pieces of expressions.

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

// count counts a part of the expression.
func (g *guarder) count() {
	if g.nodes++; g.nodes > maxNodes {
		panic(&CompileError{1, 1, "", fmt.Sprintf("the expression has more than %d parts", maxNodes)})
	}
}

// enter counts a part that has parts; its result is to be deferred.
func (g *guarder) enter() func() {
	g.count()
	if g.depth++; g.depth > maxTree {
		panic(&CompileError{1, 1, "", fmt.Sprintf("the expression is nested more than %d deep", maxTree)})
	}
	return func() { g.depth-- }
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

// find is the offset of the first place in src where name stands for itself: a
// whole word, not a key, not in a comment nor in the text of a string. Without
// one it is the first place of these letters.
func find(src, name string) int {
	if name == "" {
		return 0
	}
	word := func(i int) bool {
		if !strings.HasPrefix(src[i:], name) {
			return false
		}
		if i > 0 {
			if c := src[i-1]; c == '.' || c == '$' || c == '@' || isWord(c) {
				return false
			}
		}
		end := i + len(name)
		if end < len(src) && isWord(src[end]) {
			return false
		}
		return !strings.HasSuffix(strings.TrimRight(src[:i], " \t\r\n"), "def")
	}
	// A stack of the parentheses open in each interpolation of a string.
	var open []int
	inString := false
	for i := 0; i < len(src); i++ {
		switch c := src[i]; {
		case inString && c == '\\':
			if i++; i < len(src) && src[i] == '(' {
				open, inString = append(open, 0), false
			}
		case c == '"':
			inString = !inString
		case inString:
		case c == '#':
			for i < len(src) && src[i] != '\n' {
				i++
			}
		case c == '(' && len(open) > 0:
			open[len(open)-1]++
		case c == ')' && len(open) > 0:
			if open[len(open)-1] == 0 {
				open, inString = open[:len(open)-1], true
			} else {
				open[len(open)-1]--
			}
		case word(i):
			return i
		}
	}
	return max(strings.Index(src, name), 0)
}

func isWord(c byte) bool {
	return c == '_' || c == ':' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
