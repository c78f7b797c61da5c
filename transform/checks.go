package transform

import (
	"errors"
	"fmt"
)

func chargeItem(r *run, v any, _ []any) any {
	r.charge(40)
	return v
}

func chargeObject(r *run, v any, _ []any) any {
	if m, ok := v.(map[string]any); ok {
		r.charge(mapBytes(len(m)))
	}
	return v
}

// chargeIteration stands before .[], which copies what it iterates over, and
// sorts the keys of an object.
func chargeIteration(r *run, v any, _ []any) any {
	switch v := v.(type) {
	case []any:
		r.charge(32 * len(v))
	case map[string]any:
		r.charge(48 * len(v))
		r.spend(sortCost(len(v)))
	}
	return v
}

func chargePath(r *run, v any, _ []any) any {
	r.charge(48 * len(v.([]any)))
	return v
}

// checkIndex stands before an index that is computed.
func checkIndex(r *run, v any, _ []any) any {
	switch v.(type) {
	case []any:
		return errors.New("an array cannot be an index: use indices")
	case map[string]any:
		return checkPath(r, []any{v}, nil).([]any)[0]
	}
	return checkNumber(r, v, nil)
}

// checkNumber refuses numbers that take long to convert.
func checkNumber(r *run, v any, _ []any) any {
	switch v := v.(type) {
	case []any: // a broken down time
		for _, w := range v[:min(len(v), 8)] {
			r.checkDigits(w)
		}
	case string: // of tonumber
		if len(v) > maxDigits {
			return fmt.Errorf("a number of %d digits is too long to compute with", len(v))
		}
	default:
		r.checkDigits(v)
	}
	return v
}

// checkPath stands before getpath.
func checkPath(r *run, v any, _ []any) any {
	path, ok := v.([]any)
	if !ok {
		return &typeError{"a path is an array, not", []any{v}}
	}
	r.charge(16 * len(path))
	for _, p := range path {
		switch p := p.(type) {
		case []any:
			return errors.New("an array cannot be a part of a path")
		case map[string]any:
			for _, w := range p {
				r.checkDigits(w)
			}
		default:
			r.checkDigits(p)
		}
	}
	return v
}

// checkShort stands before functions of times: a format can make a kilobyte of
// a few characters.
func checkShort(r *run, v any, _ []any) any {
	if s, ok := v.(string); ok {
		if len(s) > 1024 {
			return fmt.Errorf("a time or its format has %d bytes; there can be 1024", len(s))
		}
		r.charge(200 * len(s))
	}
	return v
}

// chargeText stands before functions that copy a string a few times, each
// character becoming six at most.
func chargeText(r *run, v any, _ []any) any {
	if s, ok := v.(string); ok {
		r.checkText(6 * len(s))
		r.charge(8 * len(s))
		r.spend(4 * len(s))
	}
	return v
}

// chargeRow stands before formats of rows. What is no row they refuse.
func chargeRow(r *run, v any, _ []any) any {
	vs, ok := v.([]any)
	if !ok {
		vs = []any{v}
	}
	n := 0
	for _, w := range vs {
		n += 32
		switch w := w.(type) {
		case string:
			n += 6 * len(w)
		case []any, map[string]any:
			if !ok {
				return v
			}
		default:
			n += len(r.json(w).(string))
		}
	}
	r.checkText(n / 4)
	r.charge(2 * n)
	r.spend(n)
	return v
}

// checkText ends the run if a string would be too long.
func (r *run) checkText(n int) {
	if n > 6*maxText {
		r.abort(KindMemory, "the expression would make a string of more than %d MiB", maxText>>20)
	}
}
