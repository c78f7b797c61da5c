package builtins

import (
	"encoding/json"
	"fmt"
	"math/big"
	"reflect"

	"github.com/itchyny/gojq"

	"signalpost/transform/budget"
)

// An edit is an assignment under way, which gojq makes: see prelude.jq.
type edit struct {
	paths []any // that have been set and not been accounted for
	drops bool  // one of them is to be deleted
}

// place notes a path that is about to be set.
func place(f *Frame, v any, args []any) any {
	e := args[0].(*edit)
	if path, ok := args[1].([]any); ok {
		e.paths = append(e.paths, path)
		if err := f.checkPlace(v, path); err != nil {
			return err
		}
	}
	return f.unless(f.Charge(32), v)
}

// drop notes that what is at the last path is to be deleted.
func drop(_ *Frame, v any, _ []any) any {
	v.(*edit).drops = true
	return v
}

// dropped reports whether something is to be deleted: the edit begins again then.
func dropped(_ *Frame, v any, _ []any) any {
	e := v.(*edit)
	drops := e.drops
	*e = edit{}
	return drops
}

// edited accounts for the copies that have been made on the way to all places in v.
func edited(f *Frame, v any, args []any) any {
	e, seen := args[0].(*edit), make(map[uintptr]bool)
	for _, path := range e.paths {
		at := v
		for _, p := range path.([]any) {
			switch at.(type) {
			case []any, map[string]any:
			default:
				continue
			}
			if pointer := reflect.ValueOf(at).Pointer(); !seen[pointer] {
				seen[pointer] = true
				if !f.Made(at) {
					return f.Err()
				}
			}
			at = step(at, p)
		}
	}
	e.paths = nil
	return f.unless(f.Err() == nil, v)
}

// checkPlace stands before what is at a path is set.
func (f *Frame) checkPlace(v any, path []any) error {
	if len(path) > maxNesting {
		return f.tooDeep()
	}
	root, room := v, 0
	for _, p := range path {
		if err := f.checkIndex(p); err != nil {
			return err
		}
		switch p.(type) {
		case int, float64, *big.Int, json.Number:
			vs, _ := v.([]any)
			i, _ := gojq.ToInt(p)
			if i >= max(maxItems, len(vs)) {
				return fmt.Errorf("setpath(%s) cannot be applied to %s: array index too large: %d; an array that is assigned to has %d elements at most",
					gojq.Preview(path), gojq.Preview(root), i, maxItems)
			}
			room += 16 * max(i, 0)
		}
		room += budget.Shallow(v)
		v = step(v, p)
	}
	return f.spend(0, 0, 2*room)
}

// step is what is at p in v. A slice is the array that it is of.
func step(v, p any) any {
	switch v := v.(type) {
	case map[string]any:
		name, _ := p.(string)
		return v[name]
	case []any:
		if _, ok := p.(map[string]any); ok {
			return v
		}
		if i, ok := gojq.ToInt(p); ok {
			if i < 0 {
				i += len(v)
			}
			if i >= 0 && i < len(v) {
				return v[i]
			}
		}
	}
	return nil
}

// checkPaths stands before paths are deleted from v.
func (f *Frame) checkPaths(v, paths any) error {
	list, _ := paths.([]any)
	for _, path := range list {
		if path, ok := path.([]any); ok && len(path) > maxNesting {
			return f.tooDeep()
		}
	}
	return f.checkSort(paths)
}

// copied is v as nobody else has it, unless the run has ended.
func (f *Frame) copied(v any, depth int) any {
	if depth > maxNesting {
		return f.tooDeep()
	}
	if f.Err() != nil {
		return f.Err()
	}
	switch old := v.(type) {
	case []any:
		fresh := make([]any, len(old))
		for i, w := range old {
			fresh[i] = f.copied(w, depth+1)
		}
		return f.made(fresh)
	case map[string]any:
		fresh := make(map[string]any, len(old))
		for name, w := range old {
			fresh[name] = f.copied(w, depth+1)
		}
		return f.made(fresh)
	}
	return v
}
