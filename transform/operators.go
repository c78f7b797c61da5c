package transform

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// maxBits is what a number of maxDigits digits takes at most.
const maxBits = maxDigits * 10 / 3

// checkDigits ends the run if v is a number too long to compute with: the time
// to convert it grows with the square of its length.
func (r *run) checkDigits(v any) {
	if n, ok := v.(json.Number); ok && len(n) > maxDigits {
		r.abort(KindFailed, "a number of %d digits is too long to compute with; %d are not", len(n), maxDigits)
	}
}

// number is v in a form to compute with: int, float64 or *big.Int for a
// number. Other values are as they were.
func (r *run) number(v any) any {
	n, ok := v.(json.Number)
	if !ok {
		return v
	}
	r.checkDigits(v)
	s := string(n)
	if strings.ContainsAny(s, ".eE") {
		f, _ := strconv.ParseFloat(s, 64) // out of range: infinite
		return f
	}
	if len(s) < 19 {
		if i, err := strconv.Atoi(s); err == nil {
			return i
		}
	}
	b, ok := new(big.Int).SetString(s, 10)
	if !ok {
		return math.NaN()
	}
	if b.IsInt64() && strconv.IntSize == 64 {
		return int(b.Int64())
	}
	return b
}

func toFloat(v any) float64 {
	switch v := v.(type) {
	case int:
		return float64(v)
	case float64:
		return v
	case *big.Int:
		f, _ := new(big.Float).SetInt(v).Float64()
		return f
	}
	return math.NaN()
}

func toBig(v any) *big.Int {
	if i, ok := v.(int); ok {
		return big.NewInt(int64(i))
	}
	return v.(*big.Int)
}

// integer accounts for a large result.
func (r *run) integer(b *big.Int) any {
	if b.BitLen() > maxBits {
		return fmt.Errorf("a number of more than %d digits is too long to compute with", maxDigits)
	}
	r.charge(48 + b.BitLen()/8)
	r.spend(100 + b.BitLen())
	return b
}

// typeOrder is the order of types in comparisons. All numbers are of one type.
func typeOrder(v any) int {
	switch v := v.(type) {
	case bool:
		if v {
			return 2
		}
		return 1
	case int, float64, *big.Int, json.Number:
		return 3
	case string:
		return 4
	case []any:
		return 5
	case map[string]any:
		return 6
	}
	return 0
}

func compareNumbers(l, r any) int {
	switch l := l.(type) {
	case int:
		if r, ok := r.(int); ok {
			return cmp.Compare(l, r)
		}
	case *big.Int:
		switch r := r.(type) {
		case *big.Int:
			return l.Cmp(r)
		case int:
			return l.Cmp(big.NewInt(int64(r)))
		}
	}
	if b, ok := r.(*big.Int); ok {
		if l, ok := l.(int); ok {
			return big.NewInt(int64(l)).Cmp(b)
		}
	}
	switch l, r := toFloat(l), toFloat(r); {
	case l < r || math.IsNaN(l): // NaN is less than any number, itself too
		return -1
	case l == r:
		return 0
	}
	return 1
}

// compare orders any two values, as jq does.
func (r *run) compare(a, b any, depth int) int {
	r.spend(15)
	r.nested(depth)
	switch a := a.(type) {
	case string:
		if b, ok := b.(string); ok {
			r.spend(min(len(a), len(b)) / 16)
			return strings.Compare(a, b)
		}
	case int, float64, *big.Int, json.Number:
		if typeOrder(b) == 3 {
			return compareNumbers(r.number(a), r.number(b))
		}
	case []any:
		if b, ok := b.([]any); ok {
			for i := range min(len(a), len(b)) {
				if c := r.compare(a[i], b[i], depth+1); c != 0 {
					return c
				}
			}
			return cmp.Compare(len(a), len(b))
		}
	case map[string]any:
		if b, ok := b.(map[string]any); ok {
			ak, bk := r.sortedKeys(a), r.sortedKeys(b)
			for i := range min(len(ak), len(bk)) {
				if c := strings.Compare(ak[i], bk[i]); c != 0 {
					return c
				}
			}
			if c := cmp.Compare(len(ak), len(bk)); c != 0 {
				return c
			}
			for _, k := range ak {
				if c := r.compare(a[k], b[k], depth+1); c != 0 {
					return c
				}
			}
			return 0
		}
	}
	return cmp.Compare(typeOrder(a), typeOrder(b))
}

// arithmetic computes with two numbers; it is not called for others.
func arithmetic(a, b any, ints func(a, b int) any, floats func(a, b float64) any, bigs func(a, b *big.Int) any) any {
	switch x := a.(type) {
	case int:
		switch y := b.(type) {
		case int:
			return ints(x, y)
		case *big.Int:
			return bigs(toBig(x), y)
		}
	case *big.Int:
		if _, ok := b.(float64); !ok {
			return bigs(x, toBig(b))
		}
	}
	return floats(toFloat(a), toFloat(b))
}

func areNumbers(a, b any) bool { return typeOrder(a) == 3 && typeOrder(b) == 3 }

func (r *run) add(a, b any) any {
	if areNumbers(a, b) {
		return arithmetic(r.number(a), r.number(b),
			func(a, b int) any {
				if sum := a + b; (sum >= a) == (b >= 0) {
					return sum
				}
				return r.integer(new(big.Int).Add(toBig(a), toBig(b)))
			},
			func(a, b float64) any { return a + b },
			func(a, b *big.Int) any { return r.integer(new(big.Int).Add(a, b)) })
	}
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	switch a := a.(type) {
	case string:
		if b, ok := b.(string); ok {
			r.newText(len(a) + len(b))
			return a + b
		}
	case []any:
		if b, ok := b.([]any); ok {
			if len(a) == 0 {
				return b
			}
			if len(b) == 0 {
				return a
			}
			r.charge(16 * (len(a) + len(b)))
			vs := make([]any, 0, len(a)+len(b))
			return append(append(vs, a...), b...)
		}
	case map[string]any:
		if b, ok := b.(map[string]any); ok {
			if len(a) == 0 {
				return b
			}
			if len(b) == 0 {
				return a
			}
			return r.merged(a, b)
		}
	}
	return &typeError{"cannot add", []any{a, b}}
}

// merged is a new object: b laid over a.
func (r *run) merged(a, b map[string]any) map[string]any {
	r.charge(mapBytes(len(a) + len(b)))
	r.spend(50 * (len(a) + len(b)))
	m := make(map[string]any, len(a)+len(b))
	maps.Copy(m, a)
	maps.Copy(m, b)
	return m
}

func (r *run) sub(a, b any) any {
	if areNumbers(a, b) {
		return arithmetic(r.number(a), r.number(b),
			func(a, b int) any {
				if d := a - b; (d <= a) == (b >= 0) {
					return d
				}
				return r.integer(new(big.Int).Sub(toBig(a), toBig(b)))
			},
			func(a, b float64) any { return a - b },
			func(a, b *big.Int) any { return r.integer(new(big.Int).Sub(a, b)) })
	}
	as, ok := a.([]any)
	bs, ok2 := b.([]any)
	if !ok || !ok2 {
		return &typeError{"cannot subtract", []any{a, b}}
	}
	r.charge(16 * len(as))
	left := make([]any, 0, len(as))
values:
	for _, v := range as {
		for _, w := range bs {
			if r.compare(v, w, 0) == 0 {
				continue values
			}
		}
		left = append(left, v)
	}
	return left
}

func (r *run) mul(a, b any) any {
	if areNumbers(a, b) {
		return arithmetic(r.number(a), r.number(b),
			func(a, b int) any {
				if p := a * b; a == 0 || b == 0 ||
					p/b == a && !(a == -1 && b == math.MinInt) && !(b == -1 && a == math.MinInt) {
					return p
				}
				return r.integer(new(big.Int).Mul(toBig(a), toBig(b)))
			},
			func(a, b float64) any { return a * b },
			func(a, b *big.Int) any {
				if a.BitLen()+b.BitLen() > maxBits+1 {
					return r.integer(new(big.Int).SetBit(new(big.Int), maxBits+1, 1))
				}
				return r.integer(new(big.Int).Mul(a, b))
			})
	}
	switch x := a.(type) {
	case string:
		if typeOrder(b) == 3 {
			return r.repeat(x, toFloat(r.number(b)))
		}
	case map[string]any:
		if y, ok := b.(map[string]any); ok {
			return r.deepMerged(x, y, 0)
		}
	default:
		if y, ok := b.(string); ok && typeOrder(a) == 3 {
			return r.repeat(y, toFloat(r.number(a)))
		}
	}
	return &typeError{"cannot multiply", []any{a, b}}
}

// repeat is s, n times: null for less than no time.
func (r *run) repeat(s string, n float64) any {
	if n < 0 || math.IsNaN(n) {
		return nil
	}
	if n = math.Trunc(n); n*float64(len(s)) > maxText {
		r.newText(maxText + 1)
	}
	if len(s) == 0 {
		return ""
	}
	r.newText(int(n) * len(s))
	return strings.Repeat(s, int(n))
}

// deepMerged is merged, with objects under equal keys merged likewise.
func (r *run) deepMerged(a, b map[string]any, depth int) map[string]any {
	r.nested(depth)
	m := r.merged(a, nil)
	r.charge(mapBytes(len(b)))
	for k, v := range b {
		r.spend(50)
		x, ok := m[k].(map[string]any)
		y, ok2 := v.(map[string]any)
		if ok && ok2 {
			m[k] = r.deepMerged(x, y, depth+1)
		} else {
			m[k] = v
		}
	}
	return m
}

func (r *run) div(a, b any) any {
	if areNumbers(a, b) {
		a, b := r.number(a), r.number(b)
		if toFloat(b) == 0 {
			return &typeError{"cannot divide by zero:", []any{a, b}}
		}
		return arithmetic(a, b,
			func(a, b int) any {
				if b == -1 {
					return r.negate(a)
				}
				if a%b == 0 {
					return a / b
				}
				return float64(a) / float64(b)
			},
			func(a, b float64) any { return a / b },
			func(a, b *big.Int) any {
				q, m := new(big.Int).QuoRem(a, b, new(big.Int))
				if m.Sign() == 0 {
					return r.integer(q)
				}
				return toFloat(a) / toFloat(b)
			})
	}
	if s, ok := a.(string); ok {
		if sep, ok := b.(string); ok {
			return r.split(s, sep)
		}
	}
	return &typeError{"cannot divide", []any{a, b}}
}

func (r *run) mod(a, b any) any {
	if !areNumbers(a, b) {
		return &typeError{"cannot take the remainder of", []any{a, b}}
	}
	byZero := func(a, b any) any { return &typeError{"cannot take the remainder by zero:", []any{a, b}} }
	return arithmetic(r.number(a), r.number(b),
		func(a, b int) any {
			switch b {
			case 0:
				return byZero(a, b)
			case -1:
				return 0
			}
			return a % b
		},
		func(a, b float64) any {
			if math.IsNaN(a) || math.IsNaN(b) {
				return math.NaN()
			}
			x, y := clampInt(a), clampInt(b)
			switch y {
			case 0:
				return byZero(a, b)
			case -1:
				return 0
			}
			return x % y
		},
		func(a, b *big.Int) any {
			if b.Sign() == 0 {
				return byZero(a, b)
			}
			return r.integer(new(big.Int).Rem(a, b))
		})
}

// clampInt cuts off the fraction of f, and what an int does not hold.
func clampInt(f float64) int {
	switch {
	case f >= math.MaxInt:
		return math.MaxInt
	case f <= math.MinInt:
		return math.MinInt
	}
	return int(f)
}

func (r *run) negate(v any) any {
	switch v := v.(type) {
	case json.Number:
		if s, ok := strings.CutPrefix(string(v), "-"); ok {
			return json.Number(s)
		}
		r.newText(len(v) + 1)
		return "-" + v
	case float64:
		return -v
	case int, *big.Int:
		return r.sub(0, v)
	}
	return &typeError{"cannot negate", []any{v}}
}
