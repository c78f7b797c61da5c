package transform

import (
	"slices"
	"strconv"
	"strings"

	"github.com/itchyny/gojq"

	"signalpost/transform/builtins"
)

// builtin is a call of a function of package builtins.
func (r *rewriter) builtin(sig string, args ...*gojq.Query) *gojq.Query {
	r.functions[sig] = true
	name, _, _ := strings.Cut(sig, "/")
	return call(prefix+name, args...)
}

// made is q, whose results are accounted for.
func (r *rewriter) made(q *gojq.Query) *gojq.Query { return pipe(q, r.builtin("_made/0")) }

// fromPrelude is a call of a function of the prelude.
func (r *rewriter) fromPrelude(name string, args ...*gojq.Query) *gojq.Query {
	if sig := signature(name, len(args)); !r.uses[sig] {
		r.uses[sig] = true
		q, err := gojq.Parse(prelude()[sig] + ".")
		if err != nil {
			panic("transform: prelude.jq: " + sig + ": " + err.Error())
		}
		outer := *r
		r.inner, r.depth, r.nodes = true, 0, 0
		r.funcDef(q.FuncDefs[0], nil)
		r.inner, r.depth, r.nodes = outer.inner, outer.depth, outer.nodes
		r.defs = append(r.defs, q.FuncDefs[0])
	}
	return call(prefix+name, args...)
}

// funcDef rewrites a definition in s; the scope it returns has its name as well.
// One that calls itself is counted.
func (r *rewriter) funcDef(fd *gojq.FuncDef, s *names) *names {
	defer r.enter()()
	name := fd.Name
	if s == nil { // of the prelude
		fd.Name = prefix + name
	}
	def := &definition{name: fd.Name, open: true}
	s = s.with(name, len(fd.Args), def)
	body := s
	for _, arg := range fd.Args {
		if name, ok := strings.CutPrefix(arg, "$"); ok {
			body = body.with(arg, 0, nil).with(name, 0, nil)
		} else {
			body = body.with(arg, 0, nil)
		}
	}
	before := r.nodes
	fd.Body = r.query(fd.Body, body)
	if def.open = false; def.recursive {
		bytes := &gojq.Term{Type: gojq.TermTypeNumber, Number: strconv.Itoa(120 + 16*(r.nodes-before))}
		fd.Body = pipe(r.builtin("_enter/1", term(bytes)), fd.Body)
	}
	return s
}

func (r *rewriter) variable(name string, s *names) {
	if s.find(name, 0) != nil {
		return
	}
	if name == params {
		r.fail(name, "$params holds secret values, so that only transform, path and query can name it: what they make is sent, what others decide is shown")
	}
	if name == "$ENV" {
		r.fail(name, "an expression cannot read the environment: $ENV is not available")
	}
	r.fail(name, "variable %s is not defined; beside an expression's own there are %s",
		name, strings.Join(r.bound(), ", "))
}

// bound names the variables that are bound from the beginning.
func (r *rewriter) bound() (names []string) {
	for s := r.vars; s != nil; s = s.outer {
		names = append(names, s.name)
	}
	slices.Reverse(names)
	return names
}

// param notes which member of $params a term names, if it does.
func (r *rewriter) param(t *gojq.Term, s *names) {
	if t.Type != gojq.TermTypeFunc || t.Func.Name != params || len(t.SuffixList) == 0 || t.SuffixList[0].Index == nil {
		return
	}
	x := t.SuffixList[0].Index
	name := x.Name
	if text, ok := literal(x.Start); ok && !x.IsSlice {
		name = text
	}
	if defined := s.find(params, 0); name != "" && defined != nil && defined == r.vars {
		r.params[name] = max(strings.Index(r.src, params+"."+name), strings.Index(r.src, params))
	}
}

// call rewrites a call.
func (r *rewriter) call(f *gojq.Func, s *names) *gojq.Query {
	if strings.HasPrefix(f.Name, "$") {
		r.variable(f.Name, s)
		return term(&gojq.Term{Type: gojq.TermTypeFunc, Func: f})
	}
	defined := s.find(f.Name, len(f.Args))
	if defined == nil && strings.HasPrefix(f.Name, "_") && !r.inner {
		r.unknown(f)
	}
	if defined == nil {
		r.lint(f)
	}
	args := make([]*gojq.Query, len(f.Args))
	for i, arg := range f.Args {
		args[i] = r.query(arg, s)
	}
	sig := signature(f.Name, len(args))
	if defined != nil {
		name := f.Name
		if def := defined.is; def != nil {
			name, def.recursive = def.name, def.recursive || def.open
		}
		return call(name, args...)
	}
	if _, ok := prelude()[sig]; ok {
		return r.fromPrelude(f.Name, args...)
	}
	if _, ok := builtins.Functions[sig]; ok {
		return r.builtin(sig, args...)
	}
	if sig == "path/1" {
		return pipe(call("path", args...), r.builtin("_path/0"))
	}
	st, ok := builtins.Stocks[sig]
	if !ok {
		r.unknown(f)
	}
	return r.stock(f.Name, st, args)
}

// stock is a call of a function of gojq's with its checks.
func (r *rewriter) stock(name string, st builtins.Stock, args []*gojq.Query) *gojq.Query {
	for i, check := range st.Args {
		if i < len(args) && check != "" {
			args[i] = r.builtin(check+"/1", args[i])
		}
	}
	if st.Name != "" {
		name = st.Name
	}
	out := call(name, args...)
	if st.Input != "" {
		out = pipe(r.builtin(st.Input+"/0"), out)
	}
	if st.Made {
		out = r.made(out)
	}
	return out
}

// unknown fails for a function there is not.
func (r *rewriter) unknown(f *gojq.Func) {
	sig := signature(f.Name, len(f.Args))
	if reason, ok := builtins.Denied[f.Name]; ok {
		r.fail(f.Name, "an expression cannot %s: %s is not available", reason, f.Name)
	}
	if instead, ok := builtins.Missing[sig]; ok {
		r.fail(f.Name, "%s is jq's, but not gojq's, which is used here: %s", f.Name, instead)
	}
	if strings.HasPrefix(f.Name, "@") {
		r.fail(f.Name, "format %s is not defined", f.Name)
	}
	for arity := range 5 {
		other := signature(f.Name, arity)
		_, inPrelude := prelude()[other]
		_, isFunction := builtins.Functions[other]
		_, isStock := builtins.Stocks[other]
		if (inPrelude || isFunction || isStock || other == "path/1") && !strings.HasPrefix(f.Name, "_") {
			r.fail(f.Name, "function %s is not defined, but %s is (name/number of arguments)", sig, other)
		}
	}
	r.fail(f.Name, "function %s is not defined (name/number of arguments)", sig)
}
