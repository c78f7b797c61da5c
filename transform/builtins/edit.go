package transform

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/big"
	"reflect"
	"slices"

	"github.com/itchyny/gojq"
)

// An edit is a value under assignment. Arrays and objects on the way to a place
// that is set are copied the first time, and changed in place from then on:
// the value it began with, which other runs read at this moment, stays as it
// is.
type edit struct {
	r     *run
	root  any
	drops []any // paths to delete at the end

	// owned are the arrays and objects that nothing else refers to, by their
	// addresses. They are kept here, so that no other gets such an address.
	owned map[uintptr]any
}

// dropped stands in the place of what is to be deleted.
type dropped struct{}

func (e *edit) isOwned(v any) bool {
	_, ok := e.owned[reflect.ValueOf(v).Pointer()]
	return ok
}

func (e *edit) own(v any) {
	if e.owned == nil {
		e.owned = make(map[uintptr]any)
	}
	e.r.charge(64)
	e.owned[reflect.ValueOf(v).Pointer()] = v
}

// get is the value at path. The expression may keep it, so it is owned no more.
func (e *edit) get(path []any) any {
	v := e.root
	e.r.spend(20 * len(path))
	for _, p := range path {
		var ok bool
		switch x := v.(type) {
		case nil:
			ok = true
		case map[string]any:
			var k string
			if k, ok = p.(string); ok {
				v = x[k]
			}
		case []any:
			if bounds, isSlice := p.(map[string]any); isSlice {
				from, to, err := e.slice(x, bounds)
				if err != nil {
					return err
				}
				v, ok = x[from:to], true
				clear(e.owned) // a part of an owned array is not known by its address
				break
			}
			if typeOrder(p) == 3 {
				e.r.checkDigits(p)
				i, _ := gojq.ToInt(p)
				if i < 0 {
					i += len(x)
				}
				v, ok = nil, true
				if 0 <= i && i < len(x) {
					v = x[i]
				}
			}
		}
		if !ok {
			return &typeError{"no such path:", []any{v, p}}
		}
	}
	switch v.(type) {
	case []any, map[string]any:
		if len(e.owned) > 0 && e.isOwned(v) {
			clear(e.owned)
		}
	}
	return v
}

// setAt sets the value at path; it returns null, or an error.
func (e *edit) setAt(path []any, v any) any {
	root, err := e.set(e.root, path, v)
	if err != nil {
		return fmt.Errorf("cannot set %s: %w", gojq.Preview(path), err)
	}
	e.root = root
	return nil
}

// drop notes a path that is to be deleted at the end.
func (e *edit) drop(path any) any {
	e.r.charge(32)
	e.drops = append(e.drops, path)
	return nil
}

// result is the value with all that has been done to it.
func (e *edit) result() any {
	if len(e.drops) == 0 {
		return e.root
	}
	// What is dropped keeps its place until all is, so that paths go on to
	// mean what they meant. A whole is dropped before its parts.
	slices.SortStableFunc(e.drops, func(a, b any) int { return e.r.compare(a, b, 0) })
	for _, p := range e.drops {
		path, ok := p.([]any)
		if !ok {
			return &typeError{"a path is an array, not", []any{p}}
		}
		root, err := e.set(e.root, path, dropped{})
		if err != nil {
			return fmt.Errorf("cannot delete %s: %w", gojq.Preview(path), err)
		}
		e.root = root
	}
	return e.sweep(e.root)
}

// sweep takes out what has been dropped. That lies in owned values only.
func (e *edit) sweep(v any) any {
	switch v := v.(type) {
	case dropped:
		return nil
	case map[string]any:
		if !e.isOwned(v) {
			return v
		}
		e.r.spend(30 * len(v))
		for k, w := range v {
			if w == (dropped{}) {
				delete(v, k)
			} else {
				v[k] = e.sweep(w)
			}
		}
		return v
	case []any:
		if !e.isOwned(v) {
			return v
		}
		e.r.spend(10 * len(v))
		left := v[:0]
		for _, w := range v {
			if w != (dropped{}) {
				left = append(left, e.sweep(w))
			}
		}
		return left
	}
	return v
}

// set is v with n at path. Where n is dropped{}, what is not there stays so.
func (e *edit) set(v any, path []any, n any) (any, error) {
	if len(path) == 0 {
		return n, nil
	}
	e.r.nested(len(path))
	e.r.spend(50)
	if v == (dropped{}) {
		return v, nil
	}
	switch p := path[0].(type) {
	case string:
		m, ok := v.(map[string]any)
		if !ok && v != nil {
			return nil, &typeError{"a key is for an object, not for", []any{v}}
		}
		return e.setKey(m, p, path[1:], n)
	case int, float64, *big.Int, json.Number:
		vs, ok := v.([]any)
		if !ok && v != nil {
			return nil, &typeError{"an index is for an array, not for", []any{v}}
		}
		e.r.checkDigits(p)
		i, _ := gojq.ToInt(p)
		return e.setIndex(vs, i, path[1:], n)
	case map[string]any:
		vs, ok := v.([]any)
		if !ok && v != nil {
			return nil, &typeError{"a slice is of an array, not of", []any{v}}
		}
		return e.setSlice(vs, p, path[1:], n)
	default:
		return nil, &typeError{"this is neither a key nor an index:", []any{p}}
	}
}

func (e *edit) setKey(m map[string]any, k string, rest []any, n any) (any, error) {
	old, ok := m[k]
	if !ok && n == (dropped{}) {
		return unlessNil(m), nil
	}
	v, err := e.set(old, rest, n)
	if err != nil {
		return nil, err
	}
	if m == nil || !e.isOwned(m) {
		e.r.charge(mapBytes(len(m) + 1))
		e.r.spend(30 * len(m))
		fresh := make(map[string]any, len(m)+1)
		maps.Copy(fresh, m)
		e.own(fresh)
		m = fresh
	} else {
		e.r.charge(100)
	}
	m[k] = v
	return m, nil
}

// unlessNil is null for no object, and no array.
func unlessNil(v any) any {
	if reflect.ValueOf(v).IsNil() {
		return nil
	}
	return v
}

func (e *edit) setIndex(vs []any, i int, rest []any, n any) (any, error) {
	at := i
	if at < 0 {
		at += len(vs)
	}
	if at < 0 || at >= len(vs) {
		if n == (dropped{}) {
			return unlessNil(vs), nil
		}
		if at < 0 {
			return nil, fmt.Errorf("index %d is before the beginning of the array", i)
		}
		if at >= maxItems {
			return nil, fmt.Errorf("index %d is too large: an array has at most %d elements", i, maxItems)
		}
	}
	var old any
	if at < len(vs) {
		old = vs[at]
	}
	v, err := e.set(old, rest, n)
	if err != nil {
		return nil, err
	}
	size := max(len(vs), at+1)
	switch owned := vs != nil && e.isOwned(vs); {
	case owned && size <= cap(vs):
		vs = vs[:size]
	default:
		room := size
		if owned { // it grows step by step
			room = max(size, 2*cap(vs))
		}
		e.r.charge(16 * room)
		fresh := make([]any, size, room)
		copy(fresh, vs)
		e.own(fresh)
		vs = fresh
	}
	vs[at] = v
	return vs, nil
}

func (e *edit) setSlice(vs []any, bounds map[string]any, rest []any, n any) (any, error) {
	from, to, err := e.slice(vs, bounds)
	if err != nil {
		return nil, err
	}
	if from == to && n == (dropped{}) {
		return unlessNil(vs), nil
	}
	v, err := e.set(unlessNil(vs[from:to:to]), rest, n)
	if err != nil {
		return nil, err
	}
	var middle []any
	switch v := v.(type) {
	case dropped:
		middle = make([]any, to-from)
		for i := range middle {
			middle[i] = dropped{}
		}
		e.r.charge(16 * len(middle))
	case []any:
		middle = v
	default:
		return nil, &typeError{"a slice can be replaced by an array, not by", []any{v}}
	}
	size := len(vs) - (to - from) + len(middle)
	e.r.charge(16 * size)
	fresh := make([]any, 0, size)
	fresh = append(append(append(fresh, vs[:from]...), middle...), vs[to:]...)
	if size > 0 {
		e.own(fresh)
	}
	return fresh, nil
}

// slice is what the start and the end of a slice mean for vs.
func (e *edit) slice(vs []any, bounds map[string]any) (from, to int, err error) {
	place := func(key string, otherwise int, round func(float64) float64) (int, error) {
		v, ok := bounds[key]
		if !ok {
			return 0, errors.New(`a slice in a path has a "start" and an "end"`)
		}
		if v == nil {
			return otherwise, nil
		}
		if typeOrder(v) != 3 {
			return 0, &typeError{"the start and the end of a slice are numbers, not", []any{v}}
		}
		i := clampInt(round(toFloat(e.r.number(v))))
		if i < 0 {
			i += len(vs)
		}
		return min(max(i, 0), len(vs)), nil
	}
	if from, err = place("start", 0, math.Floor); err == nil {
		to, err = place("end", len(vs), math.Ceil)
	}
	return from, max(from, to), err
}

func setpath(r *run, v, path, n any) any {
	p, ok := path.([]any)
	if !ok {
		return &typeError{"a path is an array, not", []any{path}}
	}
	e := &edit{r: r, root: v}
	if err := e.setAt(p, n); err != nil {
		return err
	}
	return e.root
}

func delpaths(r *run, v, paths any) any {
	ps, ok := paths.([]any)
	if !ok {
		return &typeError{"delpaths takes an array of paths, not", []any{paths}}
	}
	r.charge(16 * len(ps))
	e := &edit{r: r, root: v, drops: slices.Clone(ps)}
	return e.result()
}
