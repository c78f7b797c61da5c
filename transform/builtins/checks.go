package builtins

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"math/bits"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/itchyny/gojq"

	"signalpost/transform/budget"
)

// Each check says what a call of gojq is about to take, by low estimates of
// time and high ones of memory. Its error is that of the run, which has
// ended, or one that the expression can catch.

// ok is nil, or what ended the run.
func (f *Frame) ok(is bool) error {
	if is {
		return nil
	}
	return f.Err()
}

// spend accounts for a call of so many nanoseconds that makes garbage of so many bytes.
func (f *Frame) spend(ns, bytes int) error {
	return f.ok(f.Room(bytes) && f.Spend(time.Duration(ns)))
}

// A walker follows all that a value holds, what it holds twice two times. That
// may be without end, so it stops at a number of nanoseconds that following it
// would take gojq.
type walker struct{ left int }

var (
	errDeep = errors.New("too deep")
	errLong = fmt.Errorf("a number of more than %d digits is too long to compute with", maxDigits)
)

func (w *walker) walk(v any, depth int) (err error) {
	w.left -= 15
	switch v := v.(type) {
	case string:
		w.left -= len(v) / 16
	case json.Number:
		w.left -= 50
		return checkDigits(v)
	case []any:
		if depth == maxNesting {
			return errDeep
		}
		for i := 0; i < len(v) && w.left > 0 && err == nil; i++ {
			err = w.walk(v[i], depth+1)
		}
	case map[string]any:
		if depth == maxNesting {
			return errDeep
		}
		w.left -= 40*len(v) + sortTime(len(v))
		for _, e := range v {
			if err != nil || w.left <= 0 {
				break
			}
			err = w.walk(e, depth+1)
		}
	}
	return err
}

func sortTime(n int) int { return 10 * n * bits.Len(uint(n)) }

// follow is how long it takes to follow v once, up to most nanoseconds.
func (f *Frame) follow(v any, most int) (ns int, err error) {
	w := walker{most}
	err = w.walk(v, 0)
	if err == errDeep {
		err = f.tooDeep()
	}
	return most - w.left, err
}

func (f *Frame) tooDeep() error {
	return f.Fail(budget.Memory, "the expression makes values nested more than %d deep", maxNesting)
}

// all is more than the run has time for, in nanoseconds.
func (f *Frame) all() int { return int(2 * f.Limit()) }

func (f *Frame) checkFollow(v any) error {
	ns, err := f.follow(v, f.all())
	if err != nil {
		return err
	}
	return f.spend(ns, 0)
}

func checkDigits(v any) error {
	if n, ok := v.(json.Number); ok && len(n) > maxDigits {
		return errLong
	}
	return nil
}

// checkNumber refuses numbers that take long to convert: the time grows with the
// square of their length.
func (f *Frame) checkNumber(v any) error {
	switch v := v.(type) {
	case json.Number:
		return checkDigits(v)
	case []any: // a broken down time
		for _, e := range v[:min(len(v), 8)] {
			if err := checkDigits(e); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkNumeral is checkNumber for text that is to become one.
func (f *Frame) checkNumeral(v any) error {
	if s, _ := v.(string); len(s) > maxDigits {
		return errLong
	}
	return nil
}

func (f *Frame) checkNumbers(a, b any) error { return errors.Join(checkDigits(a), checkDigits(b)) }

// checkBessel bounds the order of a Bessel function: it is found step by step.
func (f *Frame) checkBessel(v any) error {
	const most = 1_000_000
	if err := checkDigits(v); err != nil {
		return err
	}
	if n, ok := gojq.ToInt(v); ok && (n > most || n < -most) {
		return fmt.Errorf("the order of a Bessel function is at most %d", most)
	}
	return nil
}

// checkIndex stands before an index that is computed.
func (f *Frame) checkIndex(v any) error {
	switch v := v.(type) {
	case []any: // the places of it in an array, which may be long
		const most = 16 * 100
		if ns, err := f.follow(v, most); err != nil || ns >= most {
			return cmp.Or(err, errors.New("an array of more than some elements cannot be an index: use indices"))
		}
	case map[string]any:
		for _, e := range v {
			if err := checkDigits(e); err != nil {
				return err
			}
		}
	}
	return checkDigits(v)
}

func (f *Frame) checkPath(v any) error {
	path, _ := v.([]any)
	for _, p := range path {
		if err := f.checkIndex(p); err != nil {
			return err
		}
	}
	return f.ok(f.Charge(16 * len(path)))
}

// checkShort stands before functions of times: a format can make a kilobyte of
// a few characters.
func (f *Frame) checkShort(v any) error {
	s, _ := v.(string)
	if len(s) > 1024 {
		return fmt.Errorf("a time or its format has %d bytes; there can be 1024", len(s))
	}
	return f.ok(f.Charge(200 * len(s)))
}

// checkCompare stands before a comparison, which takes as long as the smaller of
// the two.
func (f *Frame) checkCompare(a, b any) error {
	switch a := a.(type) {
	case string:
		if b, ok := b.(string); ok {
			return f.spend(min(len(a), len(b))/16, 0)
		}
	case []any:
		if _, ok := b.([]any); ok {
			return f.checkPair(a, b)
		}
	case map[string]any:
		if _, ok := b.(map[string]any); ok {
			return f.checkPair(a, b)
		}
	}
	return f.checkNumbers(a, b)
}

func (f *Frame) checkPair(a, b any) error {
	const little = 10_000
	for _, most := range []int{little, f.all()} {
		x, err := f.follow(a, most)
		if err != nil {
			return err
		}
		y, err := f.follow(b, most)
		if err != nil {
			return err
		}
		if x, y := 2*x, 2*y; min(x, y) < most || most > little {
			return f.spend(min(x, y), 0)
		}
	}
	return nil
}

func (f *Frame) checkSort(v any) error {
	vs, _ := v.([]any)
	ns, err := f.follow(vs, f.all())
	if err != nil {
		return err
	}
	return f.spend(ns*bits.Len(uint(len(vs))), 56*len(vs))
}

func (f *Frame) checkBsearch(v, x any) error {
	vs, _ := v.([]any)
	ns, err := f.follow(x, f.all())
	if err == nil {
		err = f.checkFollow(v)
	}
	if err != nil {
		return err
	}
	return f.spend(ns*bits.Len(uint(len(vs))), 0)
}

// checkContains stands before contains, which tries each element of one array
// with each of the other.
func (f *Frame) checkContains(v, x any) error {
	ns, err := f.containsTime(v, x, 0)
	if err != nil {
		return err
	}
	return f.spend(ns, 0)
}

func (f *Frame) containsTime(v, x any, depth int) (ns int, err error) {
	switch v := v.(type) {
	case string:
		return len(v) / 4, nil
	case []any:
		if x, ok := x.([]any); ok && len(v) > 0 && len(x) > 0 {
			a, err1 := f.follow(v, f.all())
			b, err2 := f.follow(x, f.all())
			return a / 15 * b, errors.Join(err1, err2)
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
		return f.spend(40*len(v)+10*likely*min(len(x), len(v)), 28*(len(v)+len(x)))
	case []any:
		a, err1 := f.follow(v, f.all())
		b, err2 := f.follow(x, f.all())
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		many := 1
		if xs, ok := x.([]any); ok {
			many = len(xs)
		}
		return f.spend(min(a*max(many, 1), b*max(len(v), 1)), 16*len(v))
	}
	return nil
}

// checkEach stands before what copies the elements of an array, or the sorted
// members of an object.
func (f *Frame) checkEach(v any) error {
	switch v := v.(type) {
	case []any:
		return f.spend(2*len(v), 32*len(v))
	case map[string]any:
		return f.spend(sortTime(len(v)), 48*len(v))
	}
	return nil
}

func elements(v any) (vs []any, n int) {
	switch v := v.(type) {
	case []any:
		return v, len(v)
	case map[string]any:
		for _, e := range v {
			vs = append(vs, e)
		}
		return vs, len(v)
	}
	return nil, 0
}

// checkJoin stands before what puts together the elements of v, with sep
// between them.
func (f *Frame) checkJoin(v, sep any) error {
	vs, n := elements(v)
	between, _ := sep.(string)
	text, bytes := n*len(between), 64*n
	for _, e := range vs {
		switch e := e.(type) {
		case string:
			text += len(e)
		case json.Number:
			if text += len(e); sep == nil && checkDigits(e) != nil {
				return errLong
			}
		default:
			bytes += budget.Shallow(e)
		}
	}
	if text > maxText {
		return f.tooLong()
	}
	return f.spend((text+bytes)/8, 2*text+2*bytes)
}

func (f *Frame) tooLong() error {
	return f.Fail(budget.Memory, "the expression would make a string of more than %d MiB", maxText>>20)
}

func (f *Frame) checkSplit(v, sep any) error {
	s, _ := v.(string)
	at, ok := sep.(string)
	if !ok {
		return nil
	}
	n := strings.Count(s, at)
	return f.spend(len(s)/4+20*n, 48*n)
}

// checkFlatten stands before flatten.
func (f *Frame) checkFlatten(v, depth any) error {
	if err := checkDigits(depth); err != nil {
		return err
	}
	vs, n := elements(v)
	most, limited := gojq.ToFloat64(depth)
	var walk func(vs []any, depth int) error
	walk = func(vs []any, depth int) error {
		if depth == maxNesting {
			return f.tooDeep()
		}
		n += len(vs)
		for _, e := range vs {
			if vs, ok := e.([]any); ok && (!limited || float64(depth) != most) && n < f.all()/10 {
				if err := walk(vs, depth+1); err != nil {
					return err
				}
			}
		}
		return nil
	}
	if err := walk(vs, 0); err != nil {
		return err
	}
	return f.spend(10*n, 40*n)
}

// checkTable stands before transpose.
func (f *Frame) checkTable(v any) error {
	rows, _ := v.([]any)
	width := 0
	for _, row := range rows {
		row, _ := row.([]any)
		width = max(width, len(row))
	}
	n := width * max(len(rows), 1)
	if n/max(len(rows), 1) != width || n > maxItems*16 {
		n = maxItems * 16 // no room
	}
	if !f.Charge(16*n + 40*width) {
		return f.Err()
	}
	return f.spend(4*n, 0)
}

// checkChars stands before explode and implode.
func (f *Frame) checkChars(v any) error {
	switch v := v.(type) {
	case string:
		return f.ok(f.Charge(8*len(v)) && f.Room(40*len(v)) && f.Spend(time.Duration(20*len(v))))
	case []any:
		if len(v) > maxText {
			return f.tooLong()
		}
		for _, e := range v {
			if err := checkDigits(e); err != nil {
				return err
			}
		}
		return f.spend(20*len(v), 8*len(v))
	}
	return nil
}

// checkLetters stands before what goes through a string, each character of
// which may become six.
func (f *Frame) checkLetters(v any) error {
	s, _ := v.(string)
	return f.spend(2*len(s), 8*len(s))
}

// checkParse stands before fromjson. What takes most for its length is
// [{"":0},…].
func (f *Frame) checkParse(v any) error {
	s, _ := v.(string)
	if err := f.spend(20*len(s), 0); err != nil {
		return err
	}
	return f.ok(f.Charge(len(s) + budget.Object(1)*strings.Count(s, "{") + 40*strings.Count(s, ",") + 30*strings.Count(s, "[")))
}

// checkRow stands before formats of rows.
func (f *Frame) checkRow(v any) error {
	vs, ok := v.([]any)
	if !ok {
		vs = []any{v}
	}
	n := 0
	for _, e := range vs {
		n += 32
		switch e := e.(type) {
		case string:
			n += 2 * len(e)
		case json.Number:
			n += len(e)
		case *big.Int:
			n += e.BitLen()
		}
	}
	if n > 8*maxText {
		return f.tooLong()
	}
	return f.spend(n, 2*n)
}

func (f *Frame) checkAdd(a, b any) error {
	switch a := a.(type) {
	case string:
		if b, ok := b.(string); ok && len(a)+len(b) > maxText {
			return f.tooLong()
		}
	case []any, map[string]any:
		return f.ok(f.Room(2 * (budget.Shallow(a) + budget.Shallow(b))))
	}
	return f.checkNumbers(a, b)
}

func (f *Frame) checkSub(a, b any) error {
	as, ok1 := a.([]any)
	bs, ok2 := b.([]any)
	if !ok1 || !ok2 {
		return f.checkNumbers(a, b)
	}
	x, err1 := f.follow(a, f.all())
	y, err2 := f.follow(b, f.all())
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	return f.spend(min(x*max(len(bs), 1), y*max(len(as), 1)), 16*len(as))
}

func (f *Frame) checkMul(a, b any) error {
	if err := f.checkNumbers(a, b); err != nil {
		return err
	}
	if s, ok := b.(string); ok {
		a, b = s, a
	}
	switch x := a.(type) {
	case string:
		if n, ok := gojq.ToFloat64(b); ok && n*float64(len(x)) > maxText {
			return f.tooLong()
		}
	case map[string]any:
		if y, ok := b.(map[string]any); ok {
			return f.checkMerge(x, y, 0)
		}
	default:
		if digits(a)+digits(b) > maxDigits+1 {
			return errLong
		}
	}
	return nil
}

// checkMerge stands before an object is laid over another, and so on within.
func (f *Frame) checkMerge(a, b map[string]any, depth int) error {
	if depth == maxNesting {
		return f.tooDeep()
	}
	if err := f.spend(40*(len(a)+len(b)), 2*budget.Object(len(a)+len(b))); err != nil || !f.Charge(budget.Object(len(a)+len(b))) {
		return cmp.Or(err, f.Err())
	}
	for k, v := range b {
		x, ok1 := a[k].(map[string]any)
		y, ok2 := v.(map[string]any)
		if ok1 && ok2 {
			if err := f.checkMerge(x, y, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// digits is how many digits a number has, if it is an integer that may be large.
func digits(v any) int {
	switch v := v.(type) {
	case *big.Int:
		return v.BitLen() * 3 / 10
	case json.Number:
		if !strings.ContainsAny(string(v), ".eE") {
			return len(v)
		}
	}
	return 0
}

func (f *Frame) checkDiv(a, b any) error {
	if err := f.checkNumbers(a, b); err != nil {
		return err
	}
	return f.checkSplit(a, b)
}
