package transform

import (
	"cmp"
	"math"
	"math/bits"
	"strconv"
	"strings"
	"unicode/utf8"
)

// What a [direct] evaluation computes: numbers, order, conversions, and the
// functions that a plan may call. Each gives up where jq has an error, or an
// answer that is not certain to be the machine's.

// str is v's string; it must be one.
func (d *direct) str(v value) string {
	if v.kind != kString {
		d.giveUp()
	}
	d.spend(len(v.s) / 16)
	return v.s
}

// number is v in a form to compute with. Large numbers are for the machine.
func (d *direct) number(v value) value {
	switch v.kind {
	case kInt, kFloat:
		return v
	case kDigits:
		if len(v.s) <= 32 {
			if n, ok := parseNumber(v.s); ok {
				return n
			}
		}
	}
	return d.giveUp()
}

// parseNumber is what a number means, if it is neither large nor out of range.
func parseNumber(s string) (value, bool) {
	if strings.ContainsAny(s, ".eE") {
		f, err := strconv.ParseFloat(s, 64)
		return value{kind: kFloat, f: f}, err == nil
	}
	i, err := strconv.Atoi(s)
	return value{kind: kInt, i: i}, err == nil && len(s) < 19
}

func (v value) float() float64 {
	if v.kind == kInt {
		return float64(v.i)
	}
	return v.f
}

// float is a result. What is no number, or infinite, is for the machine.
func (d *direct) float(f float64) value {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return d.giveUp()
	}
	return value{kind: kFloat, f: f}
}

// compare orders scalars. Arrays and objects are ordered among other types only.
func (d *direct) compare(a, b value) int {
	x, y := a.kind.order(), b.kind.order()
	switch {
	case x != y:
		return cmp.Compare(x, y)
	case x == kInt:
		a, b = d.number(a), d.number(b)
		if a.kind == kInt && b.kind == kInt {
			return cmp.Compare(a.i, b.i)
		}
		return cmp.Compare(a.float(), b.float())
	case x == kString:
		d.spend(min(len(a.s), len(b.s)) / 16)
		return strings.Compare(a.s, b.s)
	case x >= kArray:
		d.giveUp()
	}
	return 0
}

func (d *direct) arithmetic(op byte, a, b value) value {
	if op == '+' {
		switch {
		case a.kind == kNull:
			return b
		case b.kind == kNull:
			return a
		case a.kind == kString && b.kind == kString:
			start := len(d.out.buf)
			d.out.raw(a.s)
			d.out.raw(b.s)
			return text(d.cut(start))
		}
	}
	a, b = d.number(a), d.number(b)
	if a.kind == kInt && b.kind == kInt {
		const most = 1 << 61 // no sum of two overflows
		if max(a.i, -a.i) > most || max(b.i, -b.i) > most {
			return d.giveUp()
		}
		switch op {
		case '+':
			return value{kind: kInt, i: a.i + b.i}
		case '-':
			return value{kind: kInt, i: a.i - b.i}
		case '*':
			if hi, _ := bits.Mul64(uint64(max(a.i, -a.i)), uint64(max(b.i, -b.i))<<2); hi == 0 {
				return value{kind: kInt, i: a.i * b.i}
			}
			return d.giveUp()
		case '/':
			if b.i != 0 && a.i%b.i == 0 {
				return value{kind: kInt, i: a.i / b.i}
			}
		case '%':
			if b.i != 0 {
				return value{kind: kInt, i: a.i % b.i}
			}
		}
	}
	x, y := a.float(), b.float()
	switch op {
	case '+':
		return d.float(x + y)
	case '-':
		return d.float(x - y)
	case '*':
		return d.float(x * y)
	case '/':
		return d.float(x / y)
	}
	return d.giveUp()
}

func (d *direct) negate(v value) value {
	switch v.kind {
	case kInt, kFloat:
		return value{kind: v.kind, i: -v.i, f: -v.f}
	case kDigits:
		if s, ok := strings.CutPrefix(v.s, "-"); ok {
			return value{kind: kDigits, s: s}
		}
		if len(v.s) <= 32 {
			return value{kind: kDigits, s: "-" + v.s}
		}
	}
	return d.giveUp()
}

func (d *direct) toJSON(v value) value {
	start := len(d.out.buf)
	d.put(v)
	return text(d.cut(start))
}

// toString is the function tostring.
func (d *direct) toString(v value) string {
	if v.kind == kString {
		return v.s
	}
	return d.toJSON(v).s
}

func (d *direct) toNumber(v value) value {
	switch v.kind {
	case kInt, kFloat, kDigits:
		return v
	case kString:
		p := parser{s: v.s}
		if len(v.s) <= 32 && p.number() == nil && p.i == len(v.s) {
			if n, ok := parseNumber(v.s); ok {
				return n
			}
		}
	}
	return d.giveUp()
}

// shift moves the 26 letters from first on by so much.
func (d *direct) shift(v value, first, by rune) value {
	return text(strings.Map(func(r rune) rune {
		if first <= r && r < first+26 {
			r += by
		}
		return r
	}, d.str(v)))
}

// directLength is the function of that name. Whether an object has a key twice
// is left to the machine.
func directLength(d *direct, x *expr, in value) value {
	n := value{kind: kInt}
	if x.c.op == opArray {
		d.elements(x.c, in, func(x *expr, in value) bool { n.i++; d.check(x, in); return true })
		return n
	}
	switch v := d.eval(x.c, in); v.kind {
	case kNull:
	case kString:
		n.i = utf8.RuneCountInString(d.str(v))
	case kArray:
		n.i = d.count(v)
	default:
		return d.giveUp()
	}
	return n
}

// check evaluates what is not needed but must not fail.
func (d *direct) check(x *expr, in value) {
	start := len(d.out.buf)
	d.write(x, in)
	d.out.buf = d.out.buf[:start]
}

func directJoin(d *direct, x *expr, in value) value {
	start, first := len(d.out.buf), true
	d.elements(x.c, in, func(y *expr, v value) bool {
		if !first {
			d.out.raw(x.a.value.s)
		}
		first = false
		switch v := d.eval(y, v); {
		case v.kind == kString:
			d.out.raw(v.s)
		case v.kind > kString:
			d.giveUp()
		case v.kind != kNull:
			d.put(v)
		}
		return !d.gaveUp
	})
	return text(d.cut(start))
}

// directAny is any, and all if x.n is 1.
func directAny(d *direct, x *expr, in value) value {
	all := x.n == 1
	met := all
	d.elements(x.c, in, func(y *expr, v value) bool {
		met = d.eval(x.a, d.eval(y, v)).truthy()
		return met == all
	})
	return boolean(met)
}

// directIn is IN(x.a): whether the input is one of these.
func directIn(d *direct, x *expr, in value) value {
	found := false
	d.each(x.a, in, func(y *expr, v value) bool {
		found = d.compare(d.eval(y, v), in) == 0
		return !found
	})
	return boolean(found)
}

func directHas(d *direct, x *expr, in value) value {
	if key := d.eval(x.a, in); key.kind == kString && in.kind == kObject {
		return boolean(d.find(in, key.s) >= 0)
	}
	return d.giveUp()
}

func directTest(d *direct, x *expr, in value) value {
	s := d.str(in)
	if !d.spend(x.re.size * len(s) / 4) {
		return value{}
	}
	return boolean(x.re.first.MatchString(s))
}
