package builtins

import (
	"cmp"
	"encoding/json"
	"math/bits"
	"strings"
	"unicode/utf8"

	"signalpost/transform/budget"
)

// follow estimates how long gojq takes to visit all that v holds, shared parts as often as
// they are met, up to most nanoseconds: it could take for ever.
func (f *Frame) follow(v any, most int) (ns int, err error) {
	left := most
	err = f.walk(v, &left, 0)
	return most - left, err
}

func (f *Frame) walk(v any, left *int, depth int) (err error) {
	if depth > maxNesting {
		return f.tooDeep()
	}
	*left -= 15
	switch v := v.(type) {
	case string:
		*left -= len(v) / 16
	case json.Number:
		*left -= 50
		return checkDigits(v)
	case []any:
		for i := 0; i < len(v) && *left > 0 && err == nil; i++ {
			err = f.walk(v[i], left, depth+1)
		}
	case map[string]any:
		*left -= 40*len(v) + sortTime(len(v))
		for _, e := range v {
			if err != nil || *left <= 0 {
				break
			}
			err = f.walk(e, left, depth+1)
		}
	}
	return err
}

func sortTime(n int) int { return 10 * n * bits.Len(uint(n)) }

func (f *Frame) tooDeep() error {
	return f.Fail(budget.Memory, "the expression makes values nested more than %d deep", maxNesting)
}

// all is more nanoseconds than the run has left.
func (f *Frame) all() int { return int(2 * f.Limit()) }

func (f *Frame) checkFollow(v any) error {
	ns, err := f.follow(v, f.all())
	return cmp.Or(err, f.spend(ns, 0, 0))
}

// checkCompare stands before a comparison.
func (f *Frame) checkCompare(a, b any) error {
	left := f.all()
	err := f.pair(a, b, &left, 0)
	return cmp.Or(err, f.spend(f.all()-left, 0, 0))
}

// pair subtracts from left how long gojq takes to compare a with b: it visits what both have.
func (f *Frame) pair(a, b any, left *int, depth int) (err error) {
	if depth > maxNesting {
		return f.tooDeep()
	}
	*left -= 30
	switch a := a.(type) {
	case string:
		if b, ok := b.(string); ok {
			*left -= min(len(a), len(b)) / 16
			return nil
		}
	case []any:
		if b, ok := b.([]any); ok {
			for i := 0; i < min(len(a), len(b)) && *left > 0 && err == nil; i++ {
				err = f.pair(a[i], b[i], left, depth+1)
			}
			return err
		}
	case map[string]any:
		if b, ok := b.(map[string]any); ok {
			*left -= sortTime(len(a)) + sortTime(len(b))
			for name, v := range a {
				if w, ok := b[name]; ok && *left > 0 && err == nil {
					err = f.pair(v, w, left, depth+1)
				}
			}
			return err
		}
	}
	return f.checkNumbers(a, b)
}

func (f *Frame) checkSort(v any) error {
	vs, _ := v.([]any)
	ns, err := f.follow(vs, f.all())
	return cmp.Or(err, f.spend(ns*bits.Len(uint(len(vs))), 56*len(vs), 0))
}

// checkContains stands before contains, which tries each element of one array
// with each of the other.
func (f *Frame) checkContains(v, x any) error {
	ns, err := f.containsTime(v, x, 0)
	return cmp.Or(err, f.spend(ns, 0, 0))
}

func (f *Frame) containsTime(v, x any, depth int) (ns int, err error) {
	switch v := v.(type) {
	case string:
		return len(v) / 4, nil
	case []any:
		if x, ok := x.([]any); ok && len(v) > 0 && len(x) > 0 {
			a, err1 := f.follow(v, f.all())
			b, err2 := f.follow(x, f.all())
			return a / 15 * b, cmp.Or(err1, err2)
		}
	case map[string]any:
		x, _ := x.(map[string]any)
		for k, e := range x {
			w, ok := v[k]
			if !ok {
				continue
			}
			if depth == maxNesting {
				return ns, f.tooDeep()
			}
			n, err := f.containsTime(w, e, depth+1)
			if ns += 30 + n; err != nil || ns > f.all() {
				return ns, err
			}
		}
		return ns, nil
	}
	return 0, f.checkNumbers(v, x)
}

// checkFind stands before what looks for one array in another, or a string in
// another, character by character.
func (f *Frame) checkFind(v, x any) error {
	switch v := v.(type) {
	case string:
		x, ok := x.(string)
		if !ok || x == "" {
			return nil
		}
		_, size := utf8.DecodeRuneInString(x)
		likely := strings.Count(v, x[:size])
		return f.spend(40*len(v)+10*likely*min(len(x), len(v)), 0, 28*(len(v)+len(x)))
	case []any:
		many := 1
		if xs, ok := x.([]any); ok {
			many = len(xs)
		}
		return f.checkEachWithEach(v, x, many)
	}
	return nil
}

// checkEachWithEach stands before what compares the elements of two arrays, or of
// one with the whole or parts of the other, of which there are so many.
func (f *Frame) checkEachWithEach(v []any, x any, many int) error {
	a, err1 := f.follow(v, f.all())
	b, err2 := f.follow(x, f.all())
	return cmp.Or(err1, err2, f.spend(min(a*max(many, 1), b*max(len(v), 1)), 0, 16*len(v)))
}

// checkFlatten stands before flatten, which makes one array of the elements of many.
func (f *Frame) checkFlatten(v, depth any) error {
	if err := checkDigits(depth); err != nil {
		return err
	}
	ns, err := f.follow(v, f.all())
	return cmp.Or(err, f.spend(ns, 0, 3*ns))
}

// checkMerge stands before an object is laid over another, and so on within.
func (f *Frame) checkMerge(a, b map[string]any, depth int) error {
	if depth == maxNesting {
		return f.tooDeep()
	}
	n := len(a) + len(b)
	err := f.spend(40*n, 2*budget.Object(n), 0)
	for k, v := range b {
		x, ok1 := a[k].(map[string]any)
		y, ok2 := v.(map[string]any)
		if ok1 && ok2 && err == nil {
			err = f.checkMerge(x, y, depth+1)
		}
	}
	return err
}
