package transform

import (
	"slices"
	"strconv"
	"strings"

	"github.com/itchyny/gojq"
)

// The bounds of what is noted of an expression.
const (
	maxPaths = 500
	maxPath  = 100 // steps; beyond it all is read
)

// An analysis is what can be told of an expression without running it: what it reads
// of its input, and, as a filter, what it decides.
type analysis struct {
	paths     []Path          // that are read, in the order in which they are named
	members   map[string]bool // of the input that can make a difference, unless whole
	whole     bool            // all of the input can
	variables bool            // some that are bound from the beginning are named
	result    value
	depth     int
	steps     int
}

// A value is what is known of the results of a part of an expression.
type value struct {
	inside  bool          // they stand in the input, at path; else what they are made of has been read
	path    Path          // if inside
	truth   int           // 1: the first is neither false nor null; -1: it is, or there is none; 0: not known
	assigns gojq.Operator // the assignment that they come of, or that decides about them, or 0
}

// A bound name stands for a value, or for a function if it has a body.
type bound struct {
	value
	body   *gojq.Query
	params []string
	scope  *scope[bound] // of the body, if the name is a parameter
}

// analyze follows an expression whose input is a signal, an object.
func analyze(q *gojq.Query) *analysis {
	a := &analysis{members: make(map[string]bool)}
	a.result = a.query(q, value{inside: true, truth: 1}, nil)
	a.use(a.result)
	return a
}

// use notes that a value is read.
func (a *analysis) use(v value) {
	if !v.inside {
		return
	}
	a.whole = a.whole || len(v.path) == 0
	if len(a.paths) < maxPaths && !slices.ContainsFunc(a.paths, func(p Path) bool { return slices.Equal(p, v.path) }) {
		a.paths = append(a.paths, v.path)
	}
}

// at is the member or the element of v by that name or index.
func (a *analysis) at(v value, step any) value {
	if !v.inside || len(v.path) == maxPath {
		a.use(v)
		return value{}
	}
	path := append(slices.Clip(v.path), step)
	if name, ok := path[0].(string); ok {
		a.members[name] = true // read or not: what is in it may not be there to be looked for
	} else {
		a.whole = true
	}
	return value{inside: true, path: path}
}

func (a *analysis) query(q *gojq.Query, in value, s *scope[bound]) value {
	if q == nil {
		return value{}
	}
	a.depth++
	defer func() { a.depth-- }()
	if a.steps++; a.depth > maxTree || a.steps > 2*maxNodes { // it calls itself, for one
		a.whole = true
		return value{}
	}
	for _, fd := range q.FuncDefs {
		s = s.with(fd.Name, len(fd.Args), bound{body: fd.Body, params: fd.Args})
	}
	if q.Term != nil {
		return a.term(q.Term, in, s)
	}
	if isConstantList(q) {
		return value{}
	}
	left := a.query(q.Left, in, s)
	switch {
	case q.Op == gojq.OpPipe && len(q.Patterns) > 0:
		return a.query(q.Right, in, a.patterns(q.Patterns, left, in, s))
	case q.Op == gojq.OpPipe:
		left.assigns = 0
		return a.query(q.Right, left, s)
	}
	given := in
	if q.Op == gojq.OpModify {
		given = left
	}
	right := a.query(q.Right, given, s)
	a.use(left)
	a.use(right)
	either := max(left.assigns, right.assigns)
	switch {
	case q.Op >= gojq.OpAssign:
		a.whole = a.whole || in.inside && len(in.path) == 0 // an error would show it
		return value{inside: in.inside, path: in.path, truth: 1, assigns: q.Op}
	case q.Op == gojq.OpAnd:
		return value{truth: min(left.truth, right.truth), assigns: either}
	case q.Op == gojq.OpOr:
		return value{truth: max(left.truth, right.truth), assigns: either}
	case q.Op == gojq.OpAlt && left.truth < 0: // the right one, where the left is false, null, or fails
		return value{truth: right.truth, assigns: either}
	case q.Op == gojq.OpAlt:
		return value{truth: max(left.truth, right.truth, 0), assigns: either}
	case q.Op == gojq.OpComma: // a first result that is true
		return value{truth: max(left.truth, 0)}
	}
	return value{}
}

// patterns binds what v is destructured into.
func (a *analysis) patterns(patterns []*gojq.Pattern, v, in value, s *scope[bound]) *scope[bound] {
	if len(patterns) > 1 { // one of them may match
		a.use(v)
	}
	for _, p := range patterns {
		if p.Name != "" {
			s = s.with(p.Name, 0, bound{value: v})
		}
		for i := range p.Array {
			s = a.patterns(p.Array[i:i+1], a.at(v, i), in, s)
		}
		for _, kv := range p.Object {
			member := a.named(kv.Key, kv.KeyString, kv.KeyQuery, v, in, s)
			if strings.HasPrefix(kv.Key, "$") {
				s = s.with(kv.Key, 0, bound{value: member})
			}
			if kv.Val != nil {
				s = a.patterns([]*gojq.Pattern{kv.Val}, member, in, s)
			}
		}
	}
	return s
}

// named is the member of v that a key names; one of the three says how.
func (a *analysis) named(key string, str *gojq.String, computed *gojq.Query, v, in value, s *scope[bound]) value {
	name, _ := strings.CutPrefix(key, "$")
	if str != nil && str.Queries == nil {
		name = str.Str
	}
	if name != "" {
		return a.at(v, name)
	}
	a.use(v)
	a.all(in, s, append(parts(str), computed)...)
	return value{}
}

// parts are the queries in a string, if there is one.
func parts(str *gojq.String) []*gojq.Query {
	if str == nil {
		return nil
	}
	return slices.Clip(str.Queries)
}

// all uses what some queries yield.
func (a *analysis) all(in value, s *scope[bound], qs ...*gojq.Query) {
	for _, q := range qs {
		a.use(a.query(q, in, s))
	}
}

func (a *analysis) term(t *gojq.Term, in value, s *scope[bound]) (v value) {
	switch t.Type {
	case gojq.TermTypeIdentity:
		v = in
	case gojq.TermTypeRecurse:
		a.use(in)
	case gojq.TermTypeIndex:
		v = a.index(t.Index, in, in, s)
	case gojq.TermTypeFunc:
		v = a.call(t.Func, in, s)
	case gojq.TermTypeNull, gojq.TermTypeFalse:
		v.truth = -1
	case gojq.TermTypeTrue, gojq.TermTypeNumber:
		v.truth = 1
	case gojq.TermTypeObject:
		a.object(t.Object, in, s)
		v.truth = 1
	case gojq.TermTypeArray:
		a.all(in, s, t.Array.Query)
		v.truth = 1
	case gojq.TermTypeFormat, gojq.TermTypeString:
		if t.Str == nil {
			a.use(in)
		}
		a.all(in, s, parts(t.Str)...)
		v.truth = 1
	case gojq.TermTypeUnary:
		a.use(a.term(t.Unary.Term, in, s))
	case gojq.TermTypeIf:
		v = a.condition(t.If, in, s)
	case gojq.TermTypeTry:
		v = a.query(t.Try.Body, in, s)
		a.all(value{}, s, t.Try.Catch)
		v.truth = 0
	case gojq.TermTypeReduce:
		e := t.Reduce
		a.loop(in, s, e.Query, e.Start, e.Patterns, e.Update)
	case gojq.TermTypeForeach:
		e := t.Foreach
		a.loop(in, s, e.Query, e.Start, e.Patterns, e.Update, e.Extract)
	case gojq.TermTypeLabel:
		v = a.query(t.Label.Body, in, s)
	case gojq.TermTypeQuery:
		v = a.query(t.Query, in, s)
	}
	return a.suffixes(t.SuffixList, v, in, s)
}

// suffixes follows what stands behind a term whose results are v.
func (a *analysis) suffixes(list []*gojq.Suffix, v, in value, s *scope[bound]) value {
	for _, suffix := range list {
		if v.truth, v.assigns = 0, 0; suffix.Index != nil {
			v = a.index(suffix.Index, v, in, s)
		} else if suffix.Iter {
			a.use(v)
			v = value{}
		}
	}
	return v
}

// loop follows a reduce or a foreach.
func (a *analysis) loop(in value, s *scope[bound], q, start *gojq.Query, patterns []*gojq.Pattern, updates ...*gojq.Query) {
	v := a.query(q, in, s)
	a.all(in, s, start)
	a.all(value{}, a.patterns(patterns, v, in, s), updates...)
}

// condition follows an if, whose truth is known if both branches have the same.
func (a *analysis) condition(e *gojq.If, in value, s *scope[bound]) (v value) {
	cond, then, other := a.query(e.Cond, in, s), a.query(e.Then, in, s), in
	if e.Else != nil {
		other = a.query(e.Else, in, s)
	}
	for _, branch := range []value{cond, then, other} {
		a.use(branch)
		v.assigns = max(v.assigns, branch.assigns)
	}
	for _, elif := range e.Elif {
		a.all(in, s, elif.Cond, elif.Then)
	}
	if then.truth == other.truth && len(e.Elif) == 0 {
		v.truth = then.truth
	}
	return v
}

// object follows the keys and values of an object.
func (a *analysis) object(o *gojq.Object, in value, s *scope[bound]) {
	for _, kv := range o.KeyVals {
		switch {
		case strings.HasPrefix(kv.Key, "$"):
			a.use(a.variable(kv.Key, s))
		case kv.Val == nil: // {name} is {name: .name}
			a.use(a.named(kv.Key, kv.KeyString, nil, in, in, s))
		default:
			a.all(in, s, append(parts(kv.KeyString), kv.KeyQuery)...)
		}
		a.all(in, s, kv.Val)
	}
}

// index is a member or an element of a value.
func (a *analysis) index(i *gojq.Index, of, in value, s *scope[bound]) value {
	if i.Start == nil && !i.IsSlice {
		return a.named(i.Name, i.Str, nil, of, in, s)
	}
	if !i.IsSlice {
		if name, ok := literal(i.Start); ok {
			return a.at(of, name)
		}
		if n, err := strconv.Atoi(i.Start.String()); err == nil {
			return a.at(of, n)
		}
	}
	a.use(of)
	a.all(in, s, i.Start, i.End)
	return value{}
}

func (a *analysis) variable(name string, s *scope[bound]) value {
	if e := s.find(name, 0); e != nil {
		return e.is.value
	}
	a.variables = true
	return value{}
}

// passive functions do not read their input, but give it to their arguments.
var passive = []string{
	"select/1", "any/2", "all/2", "first/1", "last/1", "limit/2", "skip/2", "nth/2", "isempty/1", "range/1", "range/2", "range/3",
	"error/1", "empty/0", "now/0", "nan/0", "infinite/0", "IN/2",
}

var (
	// functions that give what the last argument does, or decide by it
	deciding = []string{"select/1", "any/1", "any/2", "all/1", "all/2", "first/1", "last/1", "limit/2", "map/1"}
	// functions whose results are texts, numbers, arrays and objects: all pass, 0 and "" too
	neverFalse = []string{
		"length/0", "utf8bytelength/0", "keys/0", "type/0", "tostring/0", "tojson/0", "tonumber/0", "now/0", "ascii_downcase/0",
		"ascii_upcase/0", "join/1", "split/1", "floor/0", "round/0", "ceil/0", "map/1", "map_values/1", "setpath/2", "del/1",
		"to_entries/0", "with_entries/1", "sort/0", "sort_by/1", "group_by/1", "unique/0", "unique_by/1", "reverse/0", "flatten/0",
	}
)

func (a *analysis) call(f *gojq.Func, in value, s *scope[bound]) (v value) {
	if strings.HasPrefix(f.Name, "$") {
		return a.variable(f.Name, s)
	}
	if e := s.find(f.Name, len(f.Args)); e != nil {
		return a.defined(e, f.Args, in, s)
	}
	sig := signature(f.Name, len(f.Args))
	if name, ok := "", false; sig == "has/1" {
		if name, ok = literal(f.Args[0]); ok {
			a.use(a.at(in, name))
			return value{}
		}
	}
	var last, given value
	if slices.Contains(passive, sig) {
		given = in
	} else {
		a.use(in)
	}
	for _, arg := range f.Args {
		last = a.query(arg, given, s)
		a.use(last)
		if sig == "any/2" || sig == "all/2" { // the second looks at what the first yields
			given = last
		}
	}
	if slices.Contains(deciding, sig) {
		v.assigns = last.assigns
	}
	switch {
	case sig == "select/1":
		v.inside, v.path, v.truth = in.inside, in.path, min(last.truth, in.truth)
	case sig == "first/1":
		v.truth = last.truth
	case sig == "not/0":
		v.truth = -in.truth
	case sig == "empty/0":
		v.truth = -1
	case slices.Contains(neverFalse, sig):
		v.truth = 1
	}
	return v
}

// defined follows a call of a function that the expression defines, or of a parameter.
func (a *analysis) defined(e *scope[bound], args []*gojq.Query, in value, s *scope[bound]) value {
	if e.is.body == nil {
		return e.is.value
	}
	inner := e
	if e.is.scope != nil {
		inner = e.is.scope
	}
	for i, param := range e.is.params {
		if name, ok := strings.CutPrefix(param, "$"); ok {
			given := bound{value: a.query(args[i], in, s)}
			inner = inner.with(param, 0, given).with(name, 0, given)
		} else {
			inner = inner.with(param, 0, bound{body: args[i], scope: s})
		}
	}
	v := a.query(e.is.body, in, inner)
	v.assigns = 0 // it stands elsewhere
	return v
}
