package transform

import (
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strconv"
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
