package transform

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/itchyny/gojq"

	"signalpost/transform/json"
)

// A Path leads to a value in a signal: names of members and indices of elements.
type Path []any

// String writes a path as jq does.
func (p Path) String() string {
	var b strings.Builder
	for i, step := range p {
		switch step := step.(type) {
		case int:
			if i == 0 {
				b.WriteByte('.')
			}
			b.WriteString("[" + strconv.Itoa(step) + "]")
		case string:
			switch {
			case plainName(step):
				b.WriteString("." + step)
			case i == 0:
				b.WriteString(".[" + quoted(step) + "]")
			default:
				b.WriteString("[" + quoted(step) + "]")
			}
		}
	}
	if len(p) == 0 {
		return "."
	}
	return b.String()
}

func quoted(name string) string {
	text, _ := json.Encode(name, 6*len(name)+2)
	return string(text)
}

func plainName(name string) bool {
	for i := range len(name) {
		if c := name[i]; !isWord(c) || c == ':' || i == 0 && '0' <= c && c <= '9' {
			return false
		}
	}
	return name != ""
}

// Of is what a path leads to in a value that package json decoded, as JSON of at most
// most bytes; ok is false if there is nothing, and whole if that was too much.
func (p Path) Of(v any, most int) (text []byte, ok, whole bool) {
	for _, step := range p {
		var found bool
		switch step := step.(type) {
		case string:
			var members map[string]any
			if members, found = v.(map[string]any); found {
				v, found = members[step]
			}
		case int:
			var elements []any
			if elements, found = v.([]any); found {
				if step < 0 {
					step += len(elements)
				}
				if found = step >= 0 && step < len(elements); found {
					v = elements[step]
				}
			}
		}
		if !found {
			return nil, false, true
		}
	}
	text, err := json.Encode(v, most)
	return text, true, err == nil
}

// Paths are those of its input that an expression reads, as far as that can be told
// without running it, in the order in which it names them. Of what is read of the
// elements of an array, or by a computed name, it has the way to there.
func Paths(src string) []Path {
	q, err := gojq.Parse(src)
	if err != nil {
		return nil
	}
	f := &pathFinder{}
	f.use(f.query(q, &place{}, nil, nil))
	return f.found
}

// A place is where in the input a part of an expression stands; nil: that is not known.
type place struct{ path Path }

func (p *place) at(step any) *place {
	if p == nil {
		return nil
	}
	return &place{append(slices.Clip(p.path), step)}
}

type (
	pathFinder struct {
		found        []Path
		depth, steps int
	}
	variables map[string]*place
)

// use notes that the value at a place is read.
func (f *pathFinder) use(p *place) {
	if p != nil && !slices.ContainsFunc(f.found, func(q Path) bool { return slices.Equal(p.path, q) }) {
		f.found = append(f.found, p.path)
	}
}

// query follows an expression whose input is at a place, and returns where its output is.
func (f *pathFinder) query(q *gojq.Query, in *place, vars variables, defs []*gojq.FuncDef) *place {
	if q == nil {
		return nil
	}
	f.depth++
	defer func() { f.depth-- }()
	if f.steps++; f.depth > 200 || f.steps > 10_000 { // it calls itself, for one
		return nil
	}
	if len(q.FuncDefs) > 0 {
		defs = slices.Concat(defs, q.FuncDefs)
	}
	switch {
	case q.Term != nil:
		return f.term(q.Term, in, vars, defs)
	case q.Op == gojq.OpPipe && len(q.Patterns) > 0:
		return f.query(q.Right, in, bind(vars, q.Patterns, f.query(q.Left, in, vars, defs)), defs)
	case q.Op == gojq.OpPipe:
		return f.query(q.Right, f.query(q.Left, in, vars, defs), vars, defs)
	case q.Left != nil:
		f.use(f.query(q.Left, in, vars, defs))
		f.use(f.query(q.Right, in, vars, defs))
	}
	return nil
}

// bind is vars with those of patterns; only a plain one has a place.
func bind(vars variables, patterns []*gojq.Pattern, to *place) variables {
	more := maps.Clone(vars)
	if more == nil {
		more = variables{}
	}
	if len(patterns) == 1 && patterns[0].Name != "" {
		more[patterns[0].Name] = to
	}
	return more
}

func (f *pathFinder) term(t *gojq.Term, in *place, vars variables, defs []*gojq.FuncDef) (out *place) {
	all := func(qs ...*gojq.Query) {
		for _, q := range qs {
			f.use(f.query(q, in, vars, defs))
		}
	}
	switch t.Type {
	case gojq.TermTypeIdentity:
		out = in
	case gojq.TermTypeRecurse:
		f.use(in)
	case gojq.TermTypeIndex:
		out = f.index(t.Index, in, in, vars, defs)
	case gojq.TermTypeFunc:
		out = f.call(t.Func, in, vars, defs)
	case gojq.TermTypeObject:
		f.object(t.Object, in, all)
	case gojq.TermTypeArray:
		all(t.Array.Query)
	case gojq.TermTypeUnary:
		f.use(f.term(t.Unary.Term, in, vars, defs))
	case gojq.TermTypeFormat:
		if f.use(in); t.Str != nil {
			all(t.Str.Queries...)
		}
	case gojq.TermTypeString:
		all(t.Str.Queries...)
	case gojq.TermTypeIf:
		all(t.If.Cond, t.If.Then, t.If.Else)
		for _, elif := range t.If.Elif {
			all(elif.Cond, elif.Then)
		}
	case gojq.TermTypeTry:
		out = f.query(t.Try.Body, in, vars, defs)
		f.query(t.Try.Catch, nil, vars, defs)
	case gojq.TermTypeReduce:
		all(t.Reduce.Query, t.Reduce.Start)
		f.query(t.Reduce.Update, nil, bind(vars, t.Reduce.Patterns, nil), defs)
	case gojq.TermTypeForeach:
		all(t.Foreach.Query, t.Foreach.Start)
		f.query(t.Foreach.Update, nil, bind(vars, t.Foreach.Patterns, nil), defs)
	case gojq.TermTypeLabel:
		out = f.query(t.Label.Body, in, vars, defs)
	case gojq.TermTypeQuery:
		out = f.query(t.Query, in, vars, defs)
	}
	return f.suffixes(t.SuffixList, out, in, vars, defs)
}

// suffixes follows what stands behind a term.
func (f *pathFinder) suffixes(list []*gojq.Suffix, of, in *place, vars variables, defs []*gojq.FuncDef) *place {
	for _, s := range list {
		switch {
		case s.Index != nil:
			of = f.index(s.Index, of, in, vars, defs)
		case s.Iter:
			f.use(of)
			of = nil
		}
	}
	return of
}

// object follows the keys and values of an object.
func (f *pathFinder) object(o *gojq.Object, in *place, all func(...*gojq.Query)) {
	for _, kv := range o.KeyVals {
		if kv.Val == nil && !strings.HasPrefix(kv.Key, "$") && kv.Key != "" { // {name} is {name: .name}
			f.use(in.at(kv.Key))
		}
		if all(kv.KeyQuery, kv.Val); kv.KeyString != nil {
			all(kv.KeyString.Queries...)
		}
	}
}

// index is the place of a member or an element of what is at of.
func (f *pathFinder) index(i *gojq.Index, of, in *place, vars variables, defs []*gojq.FuncDef) *place {
	switch {
	case i.Name != "":
		return of.at(i.Name)
	case i.Str != nil && i.Str.Queries == nil:
		return of.at(i.Str.Str)
	case i.IsSlice || i.Start == nil:
	default:
		if name, ok := literal(i.Start); ok {
			return of.at(name)
		}
		if n, err := strconv.Atoi(i.Start.String()); err == nil {
			return of.at(n)
		}
	}
	f.use(of)
	if i.Str != nil {
		for _, q := range i.Str.Queries {
			f.use(f.query(q, in, vars, defs))
		}
	}
	f.use(f.query(i.Start, in, vars, defs))
	f.use(f.query(i.End, in, vars, defs))
	return nil
}

// What the arguments of functions work on, where it is not their input; a function that
// is not here also reads its input.
var (
	// on what comes of the input
	elementwise = []string{"map/1", "map_values/1", "any/1", "all/1", "sort_by/1", "group_by/1", "unique_by/1", "min_by/1", "max_by/1",
		"with_entries/1", "walk/1", "recurse/1", "recurse/2", "paths/1", "del/1", "path/1", "pick/1", "to_entries/1", "until/2", "while/2", "repeat/1"}
	// the first on the input, which is not read itself, the others on what comes of it
	generators = []string{"any/2", "all/2"}
	// all on the input, which is not read itself
	passive = []string{"first/1", "last/1", "limit/2", "isempty/1", "nth/2", "range/1", "range/2", "range/3", "error/1", "empty/0", "now/0",
		"null/0", "true/0", "false/0", "nan/0", "infinite/0", "IN/2", "skip/2"}
)

func (f *pathFinder) call(c *gojq.Func, in *place, vars variables, defs []*gojq.FuncDef) *place {
	if strings.HasPrefix(c.Name, "$") {
		return vars[c.Name]
	}
	sig := signature(c.Name, len(c.Args))
	for i, def := range slices.Backward(defs) {
		if signature(def.Name, len(def.Args)) == sig {
			for _, arg := range c.Args {
				f.use(f.query(arg, in, vars, defs))
			}
			return f.query(def.Body, in, vars, defs[:i+1])
		}
	}
	if slices.ContainsFunc(defs, func(def *gojq.FuncDef) bool { return slices.Contains(def.Args, c.Name) }) {
		return nil // an argument: it was looked at where it was given
	}
	inner := in
	switch {
	case sig == "select/1":
		f.use(f.query(c.Args[0], in, vars, defs))
		return in
	case sig == "has/1":
		if name, ok := literal(c.Args[0]); ok {
			f.use(in.at(name))
			return nil
		}
		f.use(in)
	case slices.Contains(elementwise, sig):
		f.use(in)
		inner = nil
	case slices.Contains(generators, sig), slices.Contains(passive, sig):
	default:
		f.use(in)
	}
	for i, arg := range c.Args {
		if i > 0 && slices.Contains(generators, sig) {
			inner = nil
		}
		f.use(f.query(arg, inner, vars, defs))
	}
	return nil
}
