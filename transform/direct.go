package transform

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Most expressions pick members, compare and compute a little, and build an
// object. For these gojq's machine, and values made for it, take many times
// what the work itself does. So they are also compiled to a tree (plan.go)
// that is evaluated here, on the tokens of a document, and whose results are
// written as they are found.
//
// The machine remains what says what an expression means. The evaluation here
// knows the normal case only; at whatever else it meets (an error, a number
// that is large or not exact, a key that comes twice where that counts, more
// work or text than its bounds) it gives up, and the machine runs the
// expression from the start. It keeps nothing from one run to the next.
const (
	directSteps = 20_000   // of about 20 ns
	directText  = 64 << 10 // bytes of a result, or of a string
	directSlots = 16       // variables
)

// A kind is a type of value, in jq's order.
type kind uint8

const (
	kNull kind = iota
	kFalse
	kTrue
	kInt    // value.i
	kFloat  // value.f; neither NaN nor infinite
	kDigits // value.s: a number as written
	kString // value.s
	kArray  // value.i, a token of the document
	kObject // likewise
)

// order has all numbers be of one type.
func (k kind) order() kind {
	if k == kFloat || k == kDigits {
		return kInt
	}
	return k
}

type value struct {
	kind  kind
	plain bool // of a string: an encoder writes it as it is
	i     int
	f     float64
	s     string
}

func boolean(b bool) value {
	if b {
		return value{kind: kTrue}
	}
	return value{kind: kFalse}
}

func text(s string) value { return value{kind: kString, s: s} }

func (v value) truthy() bool { return v.kind > kFalse }

// A direct is one evaluation of a plan.
type direct struct {
	doc    *Document
	run    run // without a budget, for the encoder
	out    encoder
	slots  [directSlots]value
	sorted []directMember // of the objects being written, the innermost last
	steps  int            // that are left
	gaveUp bool           // what has been found since means nothing
}

type directMember struct {
	key   string
	token int
}

var directs = sync.Pool{New: func() any {
	d := new(direct)
	d.out.r = &d.run
	return d
}}

// direct evaluates the program's plan and hands each result, not yet
// evaluated, to yield until that says no. It reports whether the evaluation
// came to its end: if not, nothing of it counts.
func (p *Program) direct(doc *Document, vars Vars, yield func(d *direct, x *expr, in value) bool) (ok bool) {
	d := directs.Get().(*direct)
	d.doc, d.steps, d.gaveUp = doc, directSteps, false
	d.out.buf, d.out.limit, d.out.full = d.out.buf[:0], directText, false
	d.run.credit = math.MaxInt
	d.slots[0], d.slots[1], d.slots[2] = text(vars.SignalID), text(vars.ReceivedAt), text(vars.Route)
	defer func() {
		if recover() != nil {
			ok = false // whatever it was, the machine will meet it too, or not
			return
		}
		d.doc = nil
		clear(d.slots[:p.plan.slots])
		if d.sorted = d.sorted[:0]; cap(d.sorted) > 64 {
			d.sorted = nil
		}
		clear(d.sorted[:cap(d.sorted)])
		directs.Put(d)
	}()
	d.each(p.plan.top, d.at(0), func(x *expr, in value) bool { return yield(d, x, in) })
	return !d.gaveUp && !d.out.full
}

// giveUp leaves the expression to the machine.
func (d *direct) giveUp() value {
	d.gaveUp = true
	return value{}
}

// spend accounts for n steps, and reports whether to go on.
func (d *direct) spend(n int) bool {
	if d.steps -= n; d.steps < 0 {
		d.gaveUp = true
	}
	return !d.gaveUp
}

// at is the value at a token of the document.
func (d *direct) at(i int) value {
	t := d.doc.tokens[i]
	switch d.doc.text[t.start] {
	case '{':
		return value{kind: kObject, i: i}
	case '[':
		return value{kind: kArray, i: i}
	case '"':
		s, plain := d.doc.str(i)
		if !plain {
			d.spend(len(s) / 16)
		}
		return value{kind: kString, s: s, plain: plain}
	case 't':
		return value{kind: kTrue}
	case 'f':
		return value{kind: kFalse}
	case 'n':
		return value{}
	}
	return value{kind: kDigits, s: d.doc.text[t.start:t.end]}
}

// key is what the key at a token of the document says.
func (d *direct) key(i int) string {
	s, _ := d.doc.str(i)
	d.spend(len(s) / 16)
	return s
}

// members are the indices of an array's or object's first token and of the
// token behind its last.
func (d *direct) members(v value) (i, end int) { return v.i + 1, int(d.doc.tokens[v.i].end) }

// find is the token of the last member of an object that has the key, or -1.
func (d *direct) find(v value, key string) int {
	found := -1
	for i, end := d.members(v); i < end && d.spend(1); i = d.doc.next(i + 1) {
		t := d.doc.tokens[i]
		if t.end&escaped == 0 && int(t.end-t.start)-2 != len(key) {
			continue
		}
		if d.key(i) == key {
			found = i + 1
		}
	}
	return found
}

// resolve goes from an expression to that part of it which makes its value:
// behind pipes, into a branch.
func (d *direct) resolve(x *expr, in value) (*expr, value) {
	for opPipe <= x.op && x.op <= opAlt && d.spend(1) {
		x, in = d.step(x, in)
	}
	return x, in
}

// step is one step of that.
func (d *direct) step(x *expr, in value) (*expr, value) {
	switch x.op {
	case opPipe:
		return x.b, d.eval(x.a, in)
	case opBind:
		d.slots[x.n] = d.eval(x.a, in)
		return x.b, in
	case opIf:
		if d.eval(x.a, in).truthy() {
			return x.b, in
		}
		return x.c, in
	case opAlt:
		if v := d.eval(x.a, in); v.truthy() {
			return identityExpr, v
		}
		return x.b, in
	}
	panic("no such step")
}

// eval is the value of an expression that has exactly one.
func (d *direct) eval(x *expr, in value) value {
	if x.op >= opPipe {
		x, in = d.resolve(x, in)
	}
	d.spend(1)
	switch x.op {
	case opIdentity:
		return in
	case opConstant:
		return x.value
	case opVariable:
		return d.slots[x.n]
	case opKey:
		switch v := d.eval(x.a, in); v.kind {
		case kNull:
			return value{}
		case kObject:
			if i := d.find(v, x.name); i >= 0 {
				return d.at(i)
			}
			return value{}
		}
	case opIndex:
		switch v := d.eval(x.a, in); v.kind {
		case kNull:
			return value{}
		case kArray:
			return d.item(v, x.n)
		}
	case opText:
		start := len(d.out.buf)
		for _, part := range x.list {
			if v := d.eval(part, in); v.kind == kString {
				d.out.raw(v.s)
			} else {
				d.put(v)
			}
		}
		return text(d.cut(start))
	case opCall:
		return x.call(d, x, in)
	}
	return d.giveUp()
}

// item is an array's element, counted from its end if n is negative.
func (d *direct) item(v value, n int) value {
	if n < 0 {
		n += d.count(v)
	}
	for i, end := d.members(v); i < end && n >= 0 && d.spend(1); i = d.doc.next(i) {
		if n == 0 {
			return d.at(i)
		}
		n--
	}
	return value{}
}

func (d *direct) count(v value) (n int) {
	for i, end := d.members(v); i < end && d.spend(1); i = d.doc.next(i) {
		n++
	}
	return n
}

// each hands the results of an expression that has any number of them to f,
// not yet evaluated, until that says no. It reports whether f never did.
func (d *direct) each(x *expr, in value, f func(x *expr, in value) bool) bool {
	if !d.spend(1) {
		return false
	}
	if !x.many {
		return f(x, in)
	}
	switch x.op {
	case opComma:
		return d.each(x.a, in, f) && d.each(x.b, in, f)
	case opSelect:
		return !d.eval(x.a, in).truthy() || f(identityExpr, in)
	case opIterate:
		return d.iterate(d.eval(x.a, in), f)
	case opEach:
		return d.each(x.a, in, func(y *expr, v value) bool { return d.each(x.b, d.eval(y, v), f) })
	case opEmpty:
		return true
	}
	x, in = d.step(x, in)
	return d.each(x, in, f)
}

func (d *direct) iterate(v value, f func(x *expr, in value) bool) bool {
	if v.kind != kArray {
		d.giveUp()
		return false
	}
	for i, end := d.members(v); i < end; i = d.doc.next(i) {
		if !d.spend(1) || !f(identityExpr, d.at(i)) {
			return false
		}
	}
	return true
}

// elements is each for the elements of an array, be it one the expression makes.
func (d *direct) elements(x *expr, in value, f func(x *expr, in value) bool) bool {
	if x.op != opArray {
		return d.iterate(d.eval(x, in), f)
	}
	return x.a == nil || d.each(x.a, in, f)
}

// write writes the value of an expression that has exactly one.
func (d *direct) write(x *expr, in value) {
	x, in = d.resolve(x, in)
	d.spend(1)
	switch x.op {
	case opObject:
		d.out.raw("{")
		for i, kv := range x.list {
			if i > 0 {
				d.out.raw(",")
			}
			d.out.raw(kv.name)
			d.write(kv.a, in)
		}
		d.out.raw("}")
	case opArray:
		d.out.raw("[")
		start := len(d.out.buf)
		d.elements(x, in, func(x *expr, in value) bool {
			if len(d.out.buf) > start {
				d.out.raw(",")
			}
			d.write(x, in)
			return !d.gaveUp
		})
		d.out.raw("]")
	case opText:
		d.out.raw(`"`)
		for _, part := range x.list {
			switch v := d.eval(part, in); {
			case v.plain:
				d.out.raw(v.s)
			case v.kind >= kString:
				d.out.content(d.toString(v))
			default:
				d.put(v)
			}
		}
		d.out.raw(`"`)
	default:
		d.put(d.eval(x, in))
	}
}

// put writes a value.
func (d *direct) put(v value) {
	switch v.kind {
	case kNull:
		d.out.raw("null")
	case kFalse:
		d.out.raw("false")
	case kTrue:
		d.out.raw("true")
	case kInt:
		d.out.buf = strconv.AppendInt(d.out.buf, int64(v.i), 10)
	case kFloat:
		d.out.float(v.f)
	case kDigits:
		d.out.raw(v.s)
	case kString:
		if v.plain {
			d.out.raw(`"`)
			d.out.raw(v.s)
			d.out.raw(`"`)
		} else {
			d.out.str(v.s)
		}
	case kArray:
		d.out.raw("[")
		first := true
		for i, end := d.members(v); i < end && d.spend(1); i = d.doc.next(i) {
			if !first {
				d.out.raw(",")
			}
			first = false
			d.put(d.at(i))
		}
		d.out.raw("]")
	case kObject:
		d.putObject(v)
	}
	if d.out.full {
		d.giveUp()
	}
}

// putObject writes an object of the document: sorted, the last of equal keys.
func (d *direct) putObject(v value) {
	base := len(d.sorted)
	for i, end := d.members(v); i < end && d.spend(1); i = d.doc.next(i + 1) {
		d.sorted = append(d.sorted, directMember{d.key(i), i})
	}
	end := len(d.sorted)
	if !d.spend(sortCost(end-base) / 20) {
		return
	}
	slices.SortStableFunc(d.sorted[base:end], func(a, b directMember) int { return strings.Compare(a.key, b.key) })
	d.out.raw("{")
	first := true
	for i := base; i < end && !d.gaveUp; i++ {
		m := d.sorted[i]
		if i+1 < end && d.sorted[i+1].key == m.key {
			continue
		}
		if !first {
			d.out.raw(",")
		}
		first = false
		d.put(d.at(m.token))
		d.out.raw(":")
		d.put(d.at(m.token + 1))
	}
	d.out.raw("}")
	d.sorted = d.sorted[:base]
}

// cut takes back what was written from start on.
func (d *direct) cut(start int) string {
	s := string(d.out.buf[start:])
	d.out.buf = d.out.buf[:start]
	if d.spend(len(s) / 16); d.out.full {
		d.giveUp()
	}
	return s
}
