package builtins

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
	f     *Frame
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

// own accounts for an array or an object that was made just now.
func (e *edit) own(v any) error {
	if e.owned == nil {
		e.owned = make(map[uintptr]any)
	}
	e.owned[reflect.ValueOf(v).Pointer()] = v
	return e.f.ok(e.f.Charge(64) && e.f.Made(v))
}

// release hands on v, which is at path: the expression may keep it, so it is owned no
// more. A part of an owned array is not known by its address.
func (e *edit) release(v any, path []any) any {
	isSlice := func(p any) bool { _, ok := p.(map[string]any); return ok }
	switch v.(type) {
	case []any, map[string]any:
		if slices.ContainsFunc(path, isSlice) || e.isOwned(v) {
			clear(e.owned)
		}
	}
	return v
}

// setAt sets the value at path; it returns null, or an error.
func (e *edit) setAt(path []any, v any) any {
	root, err := e.set(e.root, path, v)
	if err != nil {
		return fmt.Errorf("setpath(%s; %s) cannot be applied to %s: %w", gojq.Preview(path), gojq.Preview(v), gojq.Preview(e.root), err)
	}
	e.root = root
	return nil
}

// drop notes a path that is to be deleted at the end.
func (e *edit) drop(path any) any {
	e.drops = append(e.drops, path)
	return e.f.unless(e.f.Charge(32), nil)
}

// result is the value with all that has been done to it.
func (e *edit) result() any {
	if len(e.drops) == 0 {
		return e.root
	}
	if err := e.f.checkSort(e.drops); err != nil {
		return err
	}
	// What is dropped keeps its place until all is, so that paths go on to
	// mean what they meant. A whole is dropped before its parts.
	slices.SortStableFunc(e.drops, gojq.Compare)
	for _, p := range e.drops {
		path, ok := p.([]any)
		if !ok {
			return fmt.Errorf("delpaths(%s) cannot be applied to %s: expected an array but got: %s", gojq.Preview(e.drops), gojq.Preview(e.root), preview(p))
		}
		root, err := e.set(e.root, path, dropped{})
		if err != nil {
			return fmt.Errorf("delpaths(%s) cannot be applied to %s: %w", gojq.Preview(e.drops), gojq.Preview(e.root), err)
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
		for k, w := range v {
			if w == (dropped{}) {
				delete(v, k)
			} else {
				v[k] = e.sweep(w)
			}
		}
	case []any:
		if !e.isOwned(v) {
			return v
		}
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
	if len(path) > maxNesting {
		return nil, e.f.tooDeep()
	}
	if v == (dropped{}) {
		return v, nil
	}
	switch p := path[0].(type) {
	case string:
		m, ok := v.(map[string]any)
		if !ok && v != nil {
			return nil, fmt.Errorf("expected an object but got: %s", preview(v))
		}
		return e.setKey(m, p, path[1:], n)
	case int, float64, *big.Int, json.Number, map[string]any:
		vs, ok := v.([]any)
		if !ok && v != nil {
			return nil, fmt.Errorf("expected an array but got: %s", preview(v))
		}
		if err := e.f.checkIndex(p); err != nil {
			return nil, err
		}
		if bounds, ok := p.(map[string]any); ok {
			return e.setSlice(vs, bounds, path[1:], n)
		}
		i, _ := gojq.ToInt(p)
		return e.setIndex(vs, i, path[1:], n)
	default:
		return nil, fmt.Errorf("this is neither a key nor an index: %s", preview(p))
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
		fresh := make(map[string]any, len(m)+1)
		maps.Copy(fresh, m)
		m = fresh
		err = e.own(m)
	} else {
		err = e.f.ok(e.f.Charge(100))
	}
	m[k] = v
	return m, err
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
		switch {
		case n == (dropped{}):
			return unlessNil(vs), nil
		case at < 0:
			return nil, fmt.Errorf("array index should not be negative: %d", i)
		case at >= maxItems:
			return nil, fmt.Errorf("array index too large: %d; an array that is assigned to has %d elements at most", i, maxItems)
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
	owned := vs != nil && e.isOwned(vs)
	if owned && size <= cap(vs) {
		vs = vs[:size]
	} else {
		room := size
		if owned { // it grows step by step
			room = max(size, 2*cap(vs))
		}
		fresh := make([]any, size, room)
		copy(fresh, vs)
		vs = fresh
		err = e.own(fresh[:room])
	}
	vs[at] = v
	return vs, err
}

func (e *edit) setSlice(vs []any, bounds map[string]any, rest []any, n any) (any, error) {
	from, to, err := slice(vs, bounds)
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
	middle, ok := v.([]any)
	switch {
	case v == (dropped{}):
		middle = slices.Repeat([]any{v}, to-from)
	case !ok:
		return nil, fmt.Errorf("expected an array but got: %s", preview(v))
	}
	fresh := slices.Concat(vs[:from], middle, vs[to:])
	if len(fresh) == 0 {
		return []any{}, nil
	}
	return fresh, e.own(fresh)
}

// slice is what the start and the end of a slice mean for vs.
func slice(vs []any, bounds map[string]any) (from, to int, err error) {
	place := func(key string, otherwise int, round func(float64) float64) (int, error) {
		v, ok := bounds[key]
		if v == nil {
			if !ok {
				err = errors.New(`expected "start" and "end" for slicing`)
			}
			return otherwise, err
		}
		x, ok := gojq.ToFloat64(v)
		if !ok {
			return 0, fmt.Errorf("expected a number for indexing an array but got: %s", preview(v))
		}
		i, _ := gojq.ToInt(round(x))
		if key == "end" && (math.IsNaN(x) || -1 < x && x < 0) {
			i = math.MaxInt // as gojq has it
		}
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

func setpath(f *Frame, v any, args []any) any {
	path, ok := args[0].([]any)
	if !ok {
		return fmt.Errorf("setpath(%s) cannot be applied to: %s", gojq.Preview(args[0]), preview(v))
	}
	e := &edit{f: f, root: v}
	if err := e.setAt(path, args[1]); err != nil {
		return err
	}
	return e.root
}

func delpaths(f *Frame, v any, args []any) any {
	paths, ok := args[0].([]any)
	if !ok {
		return fmt.Errorf("delpaths(%s) cannot be applied to: %s", gojq.Preview(args[0]), preview(v))
	}
	e := &edit{f: f, root: v, drops: slices.Clone(paths)}
	return e.result()
}
