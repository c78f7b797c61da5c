package transform

import (
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/itchyny/gojq"
)

// A plan is an expression in the form that direct.go evaluates.
type plan struct {
	top   *expr
	slots int // variables
}

type op uint8

const (
	opIdentity op = iota
	opConstant    // value
	opVariable    // of slot n
	opKey         // name of a
	opIndex       // n of a
	opText        // the texts of list, joined
	opCall

	opPipe // a, then b
	opBind // b, with a in slot n
	opIf   // a, then b, else c
	opAlt  // a // b

	opObject // of list: each has a name, in quotes and with a colon, and a
	opArray  // of all results of a, which may be nil

	opComma   // a, b
	opEmpty   //
	opSelect  // by a
	opIterate // over a
	opEach    // of a, which is many, then b
)

// An expr has one value, unless it is many. One that is made makes an array or
// an object, which can be written, and is no value: see direct.write.
type expr struct {
	op         op
	many, made bool
	a, b, c    *expr
	n          int
	name       string
	value      value
	list       []*expr
	call       func(d *direct, x *expr, in value) value // of opCall
	re         *pattern
}

var identityExpr = &expr{op: opIdentity}

// A planner makes a plan. What has no direct form ends it by a panic.
type planner struct {
	regexps *regexpCache
	vars    *planVar
	slots   int
}

type planVar struct {
	name  string
	slot  int
	outer *planVar
}

type notDirect struct{}

// unbounded is a run without bounds, for what is done once, or is bounded
// otherwise.
func unbounded() *run { return &run{credit: math.MaxInt, nextBytes: math.MaxInt} }

// newPlan is the plan of an expression that guard has let pass, or nil if it
// has none.
func newPlan(src string, regexps *regexpCache) (p *plan) {
	defer func() {
		if fault := recover(); fault != nil {
			if _, ok := fault.(notDirect); !ok {
				panic(fault)
			}
			p = nil
		}
	}()
	q, err := gojq.Parse(src)
	if err != nil {
		return nil
	}
	pl := &planner{regexps: regexps}
	for _, name := range varNames {
		pl.bind(name)
	}
	top := pl.query(q)
	return &plan{top, pl.slots}
}

// need ends the plan unless ok.
func need(ok bool) {
	if !ok {
		panic(notDirect{})
	}
}

func (p *planner) bind(name string) (slot int) {
	need(p.slots < directSlots)
	p.vars = &planVar{name, p.slots, p.vars}
	p.slots++
	return p.vars.slot
}

func (p *planner) variable(name string) *expr {
	for v := p.vars; v != nil; v = v.outer {
		if v.name == name {
			return &expr{op: opVariable, n: v.slot}
		}
	}
	panic(notDirect{})
}

// value plans what must have one value that is not made.
func (p *planner) value(q *gojq.Query) *expr {
	x := p.query(q)
	need(!x.many && !x.made)
	return x
}

func (p *planner) query(q *gojq.Query) *expr {
	need(q != nil && len(q.FuncDefs) == 0)
	if q.Term != nil {
		return p.term(q.Term)
	}
	switch q.Op {
	case gojq.OpPipe:
		if len(q.Patterns) == 0 {
			return pipeExprs(p.query(q.Left), p.query(q.Right))
		}
		need(len(q.Patterns) == 1 && q.Patterns[0].Name != "")
		a, outer := p.value(q.Left), p.vars
		slot := p.bind(q.Patterns[0].Name)
		b := p.query(q.Right)
		p.vars = outer
		return &expr{op: opBind, n: slot, a: a, b: b, many: b.many, made: b.made}
	case gojq.OpComma:
		a, b := p.query(q.Left), p.query(q.Right)
		return &expr{op: opComma, a: a, b: b, many: true, made: a.made || b.made}
	case gojq.OpAlt:
		a, b := p.value(q.Left), p.query(q.Right)
		return &expr{op: opAlt, a: a, b: b, many: b.many, made: b.made}
	}
	x := &expr{op: opCall, a: p.value(q.Left), b: p.value(q.Right)}
	switch f := directOperators[q.Op]; {
	case f != nil:
		x.call = func(d *direct, x *expr, in value) value { return f(d, d.eval(x.a, in), d.eval(x.b, in)) }
	case q.Op == gojq.OpAnd:
		x.call = func(d *direct, x *expr, in value) value {
			return boolean(d.eval(x.a, in).truthy() && d.eval(x.b, in).truthy())
		}
	case q.Op == gojq.OpOr:
		x.call = func(d *direct, x *expr, in value) value {
			return boolean(d.eval(x.a, in).truthy() || d.eval(x.b, in).truthy())
		}
	default:
		panic(notDirect{})
	}
	return x
}

// pipeExprs is a, then b.
func pipeExprs(a, b *expr) *expr {
	switch {
	case a.op == opIdentity:
		return b
	case a.op == opArray: // no value, but there are functions that take its elements
		first := b
		for first.op == opPipe {
			first = first.a
		}
		need(first.op == opCall && first.c == identityExpr)
		first.c = a
		return b
	}
	need(!a.made)
	x := &expr{op: opPipe, a: a, b: b, many: b.many, made: b.made}
	if a.many {
		x.op, x.many = opEach, true
	}
	return x
}

func (p *planner) term(t *gojq.Term) *expr {
	x := p.head(t)
	for _, sf := range t.SuffixList {
		need(!x.made || sf.Optional)
		switch {
		case sf.Optional: // no error, no difference
		case x.many:
			x = pipeExprs(x, p.suffix(identityExpr, sf))
		default:
			x = p.suffix(x, sf)
		}
	}
	return x
}

func (p *planner) suffix(x *expr, sf *gojq.Suffix) *expr {
	if sf.Iter {
		return &expr{op: opIterate, a: x, many: true}
	}
	return p.index(x, sf.Index)
}

func (p *planner) index(x *expr, i *gojq.Index) *expr {
	switch {
	case i.Name != "":
		return &expr{op: opKey, a: x, name: i.Name}
	case i.Str != nil:
		need(i.Str.Queries == nil)
		return &expr{op: opKey, a: x, name: i.Str.Str}
	}
	need(!i.IsSlice)
	at := p.value(i.Start)
	need(at.op == opConstant)
	switch at.value.kind {
	case kString:
		return &expr{op: opKey, a: x, name: at.value.s}
	case kInt:
		return &expr{op: opIndex, a: x, n: at.value.i}
	}
	panic(notDirect{})
}

func constant(v value) *expr { return &expr{op: opConstant, value: v} }

func (p *planner) head(t *gojq.Term) *expr {
	switch t.Type {
	case gojq.TermTypeIdentity:
		return identityExpr
	case gojq.TermTypeNull:
		return constant(value{})
	case gojq.TermTypeTrue, gojq.TermTypeFalse:
		return constant(boolean(t.Type == gojq.TermTypeTrue))
	case gojq.TermTypeNumber:
		v, ok := parseNumber(t.Number)
		need(ok)
		return constant(v)
	case gojq.TermTypeUnary:
		need(t.Unary.Op == gojq.OpSub)
		x := p.term(t.Unary.Term)
		need(!x.many && !x.made)
		if x.op == opConstant && t.Unary.Term.Type == gojq.TermTypeNumber {
			return constant(value{kind: x.value.kind, i: -x.value.i, f: -x.value.f})
		}
		return &expr{op: opCall, a: x, call: func(d *direct, x *expr, in value) value { return d.negate(d.eval(x.a, in)) }}
	case gojq.TermTypeString:
		if t.Str.Queries == nil {
			v := text(t.Str.Str)
			v.plain = isPlain(v.s)
			return constant(v)
		}
		x := &expr{op: opText}
		for _, q := range t.Str.Queries {
			x.list = append(x.list, p.value(q))
		}
		return x
	case gojq.TermTypeFormat:
		need(t.Str == nil)
		return p.function(t.Format, nil)
	case gojq.TermTypeIndex:
		return p.index(identityExpr, t.Index)
	case gojq.TermTypeFunc:
		if strings.HasPrefix(t.Func.Name, "$") {
			return p.variable(t.Func.Name)
		}
		return p.function(t.Func.Name, t.Func.Args)
	case gojq.TermTypeObject:
		return p.object(t.Object)
	case gojq.TermTypeArray:
		x := &expr{op: opArray, made: true}
		if t.Array.Query != nil {
			x.a = p.query(t.Array.Query)
		}
		return x
	case gojq.TermTypeIf:
		otherwise := identityExpr
		if t.If.Else != nil {
			otherwise = p.query(t.If.Else)
		}
		for i := len(t.If.Elif) - 1; i >= 0; i-- {
			otherwise = p.branch(t.If.Elif[i].Cond, t.If.Elif[i].Then, otherwise)
		}
		return p.branch(t.If.Cond, t.If.Then, otherwise)
	case gojq.TermTypeTry:
		return p.query(t.Try.Body)
	case gojq.TermTypeQuery:
		return p.query(t.Query)
	}
	panic(notDirect{})
}

// isPlain tells whether an encoder writes s as it is.
func isPlain(s string) bool {
	for i := range len(s) {
		if special[s[i]] {
			return false
		}
	}
	return utf8.ValidString(s)
}

func (p *planner) branch(cond, then *gojq.Query, otherwise *expr) *expr {
	b := p.query(then)
	return &expr{op: opIf, a: p.value(cond), b: b, c: otherwise,
		many: b.many || otherwise.many, made: b.made || otherwise.made}
}

// object plans an object all of whose keys are known, and different.
func (p *planner) object(o *gojq.Object) *expr {
	x := &expr{op: opObject, made: true}
	for _, kv := range o.KeyVals {
		need(kv.KeyQuery == nil)
		m := &expr{name: kv.Key}
		switch name, isVariable := strings.CutPrefix(kv.Key, "$"); {
		case kv.KeyString != nil:
			need(kv.KeyString.Queries == nil)
			m.name = kv.KeyString.Str
		case isVariable:
			need(kv.Val == nil)
			m.name, m.a = name, p.variable(kv.Key)
		}
		switch {
		case kv.Val != nil:
			m.a = p.query(kv.Val)
		case m.a == nil:
			m.a = &expr{op: opKey, a: identityExpr, name: m.name}
		}
		need(!m.a.many)
		x.list = append(x.list, m)
	}
	slices.SortFunc(x.list, func(a, b *expr) int {
		need(a.name != b.name)
		return strings.Compare(a.name, b.name)
	})
	for _, m := range x.list {
		e := encoder{r: unbounded(), limit: maxSource * 6}
		e.str(m.name)
		m.name = string(e.buf) + ":"
	}
	return x
}

// directOperators compute with two values.
var directOperators = map[gojq.Operator]func(d *direct, a, b value) value{
	gojq.OpAdd: func(d *direct, a, b value) value { return d.arithmetic('+', a, b) },
	gojq.OpSub: func(d *direct, a, b value) value { return d.arithmetic('-', a, b) },
	gojq.OpMul: func(d *direct, a, b value) value { return d.arithmetic('*', a, b) },
	gojq.OpDiv: func(d *direct, a, b value) value { return d.arithmetic('/', a, b) },
	gojq.OpMod: func(d *direct, a, b value) value { return d.arithmetic('%', a, b) },
	gojq.OpEq:  func(d *direct, a, b value) value { return boolean(d.compare(a, b) == 0) },
	gojq.OpNe:  func(d *direct, a, b value) value { return boolean(d.compare(a, b) != 0) },
	gojq.OpLt:  func(d *direct, a, b value) value { return boolean(d.compare(a, b) < 0) },
	gojq.OpLe:  func(d *direct, a, b value) value { return boolean(d.compare(a, b) <= 0) },
	gojq.OpGt:  func(d *direct, a, b value) value { return boolean(d.compare(a, b) > 0) },
	gojq.OpGe:  func(d *direct, a, b value) value { return boolean(d.compare(a, b) >= 0) },
}

// directFunctions are those of the input alone.
var directFunctions = map[string]func(d *direct, in value) value{
	"not":            func(_ *direct, in value) value { return boolean(!in.truthy()) },
	"type":           func(_ *direct, in value) value { return text(kindNames[in.kind]) },
	"tostring":       func(d *direct, in value) value { return text(d.toString(in)) },
	"@text":          func(d *direct, in value) value { return text(d.toString(in)) },
	"tojson":         (*direct).toJSON,
	"@json":          (*direct).toJSON,
	"tonumber":       (*direct).toNumber,
	"round":          func(d *direct, in value) value { return d.float(math.Round(d.number(in).float())) },
	"floor":          func(d *direct, in value) value { return d.float(math.Floor(d.number(in).float())) },
	"ceil":           func(d *direct, in value) value { return d.float(math.Ceil(d.number(in).float())) },
	"trunc":          func(d *direct, in value) value { return d.float(math.Trunc(d.number(in).float())) },
	"fabs":           func(d *direct, in value) value { return d.float(math.Abs(d.number(in).float())) },
	"ascii_downcase": func(d *direct, in value) value { return d.shift(in, 'A', 'a'-'A') },
	"ascii_upcase":   func(d *direct, in value) value { return d.shift(in, 'a', 'A'-'a') },
	"trim":           func(d *direct, in value) value { return text(strings.TrimSpace(d.str(in))) },
}

var kindNames = [...]string{"null", "boolean", "boolean", "number", "number", "number", "string", "array", "object"}

// directStrings are those of two strings, the input and an argument.
var directStrings = map[string]func(s, arg string) value{
	"startswith": func(s, arg string) value { return boolean(strings.HasPrefix(s, arg)) },
	"endswith":   func(s, arg string) value { return boolean(strings.HasSuffix(s, arg)) },
	"contains":   func(s, arg string) value { return boolean(strings.Contains(s, arg)) },
	"ltrimstr":   func(s, arg string) value { return text(strings.TrimPrefix(s, arg)) },
	"rtrimstr":   func(s, arg string) value { return text(strings.TrimSuffix(s, arg)) },
}

// function plans a call. Functions of an array take it from c, for there it
// can be one that is made: see pipeExprs.
func (p *planner) function(name string, args []*gojq.Query) *expr {
	if f := directFunctions[name]; f != nil && len(args) == 0 {
		return &expr{op: opCall, call: func(d *direct, _ *expr, in value) value { return f(d, in) }}
	}
	if f := directStrings[name]; f != nil && len(args) == 1 {
		return &expr{op: opCall, a: p.value(args[0]), call: func(d *direct, x *expr, in value) value {
			return f(d.str(in), d.str(d.eval(x.a, in)))
		}}
	}
	x := &expr{op: opCall, a: identityExpr, c: identityExpr}
	switch signature(name, len(args)) {
	case "empty/0":
		return &expr{op: opEmpty, many: true}
	case "select/1":
		return &expr{op: opSelect, a: p.value(args[0]), many: true}
	case "values/0":
		isValue := func(_ *direct, _ *expr, in value) value { return boolean(in.kind != kNull) }
		return &expr{op: opSelect, a: &expr{op: opCall, call: isValue}, many: true}
	case "map/1":
		all := &expr{op: opIterate, a: identityExpr, many: true}
		return &expr{op: opArray, a: pipeExprs(all, p.query(args[0])), made: true}
	case "first/0":
		return &expr{op: opIndex, a: identityExpr, n: 0}
	case "last/0":
		return &expr{op: opIndex, a: identityExpr, n: -1}
	case "length/0":
		x.call = directLength
	case "join/1":
		x.a = p.value(args[0])
		need(x.a.op == opConstant && x.a.value.kind == kString)
		x.call = directJoin
	case "any/0", "all/0", "any/1", "all/1", "any/2", "all/2":
		if len(args) > 0 {
			x.a = p.value(args[len(args)-1])
		}
		if len(args) == 2 {
			x.c = &expr{op: opArray, a: p.query(args[0])}
			need(!x.c.a.made)
		}
		x.call = directAny
		if name == "all" {
			x.n = 1
		}
	case "IN/1":
		x.a = p.query(args[0])
		need(!x.a.made)
		x.c, x.call = nil, directIn
	case "has/1":
		x.a = p.value(args[0])
		x.c, x.call = nil, directHas
	case "test/1", "test/2":
		x.re = p.pattern(args)
		x.c, x.call = nil, directTest
	default:
		panic(notDirect{})
	}
	return x
}

// pattern compiles a regular expression that is known.
func (p *planner) pattern(args []*gojq.Query) *pattern {
	var texts [2]string
	for i, arg := range args {
		x := p.value(arg)
		need(x.op == opConstant && (x.value.kind == kString || i == 1 && x.value.kind == kNull))
		texts[i] = x.value.s
	}
	r := unbounded()
	r.regexps = p.regexps
	re, err := r.pattern(texts[0], texts[1])
	need(err == nil && re.size < 1000)
	return re
}
