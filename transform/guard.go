package transform

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"unicode/utf8"

	"github.com/itchyny/gojq"

	"signalpost/transform/budget"
	"signalpost/transform/builtins"
)

// The bounds of an expression. An expression is compiled by recursion, and
// what a call of its functions takes grows with its size.
const (
	maxSource = 64 << 10 // bytes
	maxTree   = 500      // nesting
	maxNodes  = 4096
)

// prefix marks the functions of package builtins, and those of its prelude, in the
// expressions given to gojq. No expression can be written that has such a name.
const prefix = "sp:"

// A checked expression is one that can be given to gojq.
type checked struct {
	query     *gojq.Query
	functions []string       // of package builtins
	params    map[string]int // members of $params that it names, and where
	warnings  []Warning
	*analysis         // of the expression as it was written; nil of two that are one
	filter    Warning // of the expression used as a filter; none without a text
}

// prelude is the text of each definition of the prelude, by name/arity: what
// expressions may call beside gojq's own functions.
var prelude = sync.OnceValue(func() map[string]string {
	q, err := gojq.Parse(builtins.Prelude + ".")
	if err != nil {
		panic("transform: prelude.jq: " + err.Error())
	}
	defs := make(map[string]string)
	for _, fd := range q.FuncDefs {
		defs[signature(fd.Name, len(fd.Args))] = fd.String()
	}
	return defs
})

func signature(name string, arity int) string { return name + "/" + strconv.Itoa(arity) }

// check parses an expression and rewrites it so that nothing in it escapes the
// budget of its run:
//
//   - a check stands before what can do much in one call, or make much;
//   - what gojq defines in jq comes from the prelude, rewritten likewise;
//   - arrays, objects, paths, iterations and recursion are accounted for by a
//     function which otherwise hands on what it gets;
//   - all that is not known not to need any of this does not compile.
func check(src string, shapes bool) (c *checked, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			var ok bool
			if err, ok = fault.(*CompileError); !ok {
				panic(fault)
			}
		}
	}()
	if len(src) > maxSource {
		return nil, &CompileError{0, 1, 1, "", fmt.Sprintf("the expression is longer than %d KiB", maxSource>>10)}
	}
	if !utf8.ValidString(src) {
		return nil, &CompileError{0, 1, 1, "", "the expression is not UTF-8"}
	}
	q, err := gojq.Parse(src)
	if err != nil {
		return nil, parseError(src, err)
	}
	r := &rewriter{src: src, params: make(map[string]int), uses: make(map[string]bool), functions: make(map[string]bool)}
	for _, name := range varNames {
		if name != params || shapes {
			r.vars = r.vars.with(name, 0, nil)
		}
	}
	a := analyze(q)
	filter := a.lint(src)
	q = r.query(q, r.vars)
	top := pipe(identity(), q)
	top.FuncDefs = r.defs
	return &checked{top, slices.Sorted(maps.Keys(r.functions)), r.params, r.warnings, a, filter}, nil
}

// A scope is the names an expression has bound itself at some place, the
// nearest first, and what each is. A variable is written with its dollar, a label with a star.
type scope[T any] struct {
	name  string
	arity int
	is    T
	outer *scope[T]
}

// A definition is a function of the expression.
type definition struct {
	name      string // by which it is called
	open      bool   // its body is being rewritten
	recursive bool
}

func (s *scope[T]) with(name string, arity int, is T) *scope[T] {
	return &scope[T]{name, arity, is, s}
}

// find is the entry of a name, or nil.
func (s *scope[T]) find(name string, arity int) *scope[T] {
	for ; s != nil; s = s.outer {
		if s.name == name && s.arity == arity {
			return s
		}
	}
	return nil
}

// names are the scope of a rewriter; only functions of the expression have a definition.
type names = scope[*definition]

// A rewriter rewrites one expression, in place.
type rewriter struct {
	inner     bool // this is a part of the prelude: it may use names with an underscore
	src       string
	vars      *names          // the variables that are bound from the beginning
	params    map[string]int  // members of $params that are named
	uses      map[string]bool // of the prelude, by name/arity
	defs      []*gojq.FuncDef // the same, each behind those it uses
	functions map[string]bool // of package builtins
	warnings  []Warning
	depth     int
	nodes     int
}

// fail stops at name, which stands somewhere in the expression.
func (r *rewriter) fail(name, format string, args ...any) {
	msg := budget.Clip(fmt.Sprintf(format, args...), budget.MaxMessage)
	panic(faultAt(r.src, find(r.src, name), budget.Clip(name, 64), msg))
}

// count counts a part of the expression.
func (r *rewriter) count() {
	if r.nodes++; r.nodes > maxNodes {
		panic(&CompileError{0, 1, 1, "", fmt.Sprintf("the expression has more than %d parts", maxNodes)})
	}
}

// enter counts a part that has parts; its result is to be deferred.
func (r *rewriter) enter() func() {
	r.count()
	if r.depth++; r.depth > maxTree {
		panic(&CompileError{0, 1, 1, "", fmt.Sprintf("the expression is nested more than %d deep", maxTree)})
	}
	return func() { r.depth-- }
}
