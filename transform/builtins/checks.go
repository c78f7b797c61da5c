package builtins

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/itchyny/gojq"

	"signalpost/transform/budget"
)

// Each check says what a call of gojq is about to take, by low estimates of
// time and high ones of memory. Its error is that of the run, which has
// ended, or one that the expression can catch.

// spend accounts for a call that is about to take so many nanoseconds, to make so many bytes
// of small objects, and so many of what is garbage afterwards. Its error is what ended the run.
func (f *Frame) spend(ns, made, garbage int) error {
	if f.Charge(made) && f.Room(garbage) && f.Spend(time.Duration(ns)) {
		return nil
	}
	return f.Err()
}

var errLong = fmt.Errorf("a number of more than %d digits is too long to compute with", maxDigits)

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

func (f *Frame) checkNumbers(a, b any) error { return cmp.Or(checkDigits(a), checkDigits(b)) }

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
	return f.spend(0, 16*len(path), 0)
}

// atMost bounds the length of a text: a numeral takes time by the square of it, and a
// format of times can make a kilobyte of a few characters.
func atMost(bytes int) func(f *Frame, v any) error {
	return func(_ *Frame, v any) error {
		if s, _ := v.(string); len(s) > bytes {
			return fmt.Errorf("a text of %d bytes is too long here; there can be %d", len(s), bytes)
		}
		return nil
	}
}

// checkEach stands before what copies the elements of an array, or the sorted
// members of an object.
func (f *Frame) checkEach(v any) error {
	switch v := v.(type) {
	case []any:
		return f.spend(2*len(v), 0, 32*len(v))
	case map[string]any:
		return f.spend(sortTime(len(v)), 0, 48*len(v))
	}
	return nil
}

// checkJoin stands before what puts together the elements of v, with sep
// between them.
func (f *Frame) checkJoin(v, sep any) error {
	vs, _ := v.([]any)
	if object, ok := v.(map[string]any); ok {
		vs = slices.Collect(maps.Values(object))
	}
	between, _ := sep.(string)
	text, bytes := len(vs)*len(between), 64*len(vs)
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
	return f.spend((text+bytes)/8, 0, 2*text+2*bytes)
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
	return f.spend(len(s)/4+20*n, 32*n, 0)
}

// checkTable stands before transpose.
func (f *Frame) checkTable(v any) error {
	rows, _ := v.([]any)
	width := 0
	for _, row := range rows {
		row, _ := row.([]any)
		width = max(width, len(row))
	}
	n := width * len(rows)
	return f.spend(4*n, 16*n+40*width, 0)
}

// checkChars stands before explode and implode.
func (f *Frame) checkChars(v any) error {
	switch v := v.(type) {
	case string:
		return f.spend(20*len(v), 8*len(v), 40*len(v))
	case []any:
		return cmp.Or(f.checkFollow(v), f.spend(20*len(v), 0, 8*len(v)))
	}
	return nil
}

// checkLetters stands before what goes through a string, each character of
// which may become six.
func (f *Frame) checkLetters(v any) error {
	s, _ := v.(string)
	return f.spend(2*len(s), 0, 8*len(s))
}

// checkParse stands before fromjson. What takes most for its length is
// [{"":0},…].
func (f *Frame) checkParse(v any) error {
	s, _ := v.(string)
	bytes := len(s) + budget.Object(1)*strings.Count(s, "{") + 40*strings.Count(s, ",") + 30*strings.Count(s, "[")
	return f.spend(20*len(s), bytes, 0)
}

func (f *Frame) checkAdd(a, b any) error {
	switch a := a.(type) {
	case string:
		if b, ok := b.(string); ok && len(a)+len(b) > maxText {
			return f.tooLong()
		}
	case []any, map[string]any:
		return f.spend(0, 0, 2*(budget.Shallow(a)+budget.Shallow(b)))
	}
	return f.checkNumbers(a, b)
}

func (f *Frame) checkSub(a, b any) error {
	as, ok1 := a.([]any)
	bs, ok2 := b.([]any)
	if !ok1 || !ok2 {
		return f.checkNumbers(a, b)
	}
	return f.checkEachWithEach(as, b, len(bs))
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
	return cmp.Or(f.checkNumbers(a, b), f.checkSplit(a, b))
}
