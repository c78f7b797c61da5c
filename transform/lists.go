package transform

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/itchyny/gojq"
)

// values are those of an array, or of an object by its sorted keys.
func (r *run) values(v any) ([]any, bool) {
	switch v := v.(type) {
	case []any:
		return v, true
	case map[string]any:
		vs := make([]any, 0, len(v))
		for _, k := range r.sortedKeys(v) {
			vs = append(vs, v[k])
		}
		return vs, true
	}
	return nil, false
}

func (r *run) sortedKeys(v map[string]any) []string {
	r.charge(32 * len(v))
	r.spend(sortCost(len(v)))
	ks := slices.AppendSeq(make([]string, 0, len(v)), maps.Keys(v))
	slices.Sort(ks)
	return ks
}

func keys(r *run, v any, _ []any) any {
	switch v := v.(type) {
	case []any:
		r.charge(24 * len(v))
		ks := make([]any, len(v))
		for i := range v {
			ks[i] = i
		}
		return ks
	case map[string]any:
		sorted := r.sortedKeys(v)
		r.charge(32 * len(v))
		ks := make([]any, len(v))
		for i, k := range sorted {
			ks[i] = k
		}
		return ks
	}
	return notApplicable("keys", v)
}

func reverse(r *run, v any, _ []any) any {
	switch v := v.(type) {
	case nil:
		return []any{}
	case string:
		r.newText(5 * len(v))
		cs := []rune(v)
		slices.Reverse(cs)
		return string(cs)
	case []any:
		r.charge(16 * len(v))
		vs := slices.Clone(v)
		slices.Reverse(vs)
		return vs
	}
	return notApplicable("reverse", v)
}

// sum adds up the values of v. Neighbours of one type are joined in one go.
func (r *run) sum(v any) any {
	vs, ok := r.values(v)
	if !ok {
		return notApplicable("add", v)
	}
	var acc any
	for len(vs) > 0 {
		var n int
		var next any
		switch vs[0].(type) {
		case string:
			n = span[string](vs)
			if n > 1 {
				next = r.join(vs[:n], nil)
			}
		case []any:
			n = span[[]any](vs)
			size := 0
			for _, w := range vs[:n] {
				size += len(w.([]any))
			}
			if n > 1 {
				r.charge(16 * size)
				joined := make([]any, 0, size)
				for _, w := range vs[:n] {
					joined = append(joined, w.([]any)...)
				}
				next = joined
			}
		case map[string]any:
			n = span[map[string]any](vs)
			if n > 1 {
				merged := make(map[string]any)
				for _, w := range vs[:n] {
					w := w.(map[string]any)
					r.charge(mapBytes(len(w)))
					r.spend(50 * len(w))
					maps.Copy(merged, w)
				}
				next = merged
			}
		default:
			n = 1
		}
		if n == 1 {
			next = vs[0]
		}
		if acc = r.add(acc, next); isError(acc) {
			return acc
		}
		vs = vs[n:]
	}
	return acc
}

func isError(v any) bool {
	_, ok := v.(error)
	return ok
}

// span is how many of the first values are of type T.
func span[T any](vs []any) int {
	for i, v := range vs {
		if _, ok := v.(T); !ok {
			return i
		}
	}
	return len(vs)
}

func (r *run) contains(l, x any, depth int) any {
	r.spend(20)
	r.nested(depth)
	switch l := l.(type) {
	case string:
		if x, ok := x.(string); ok {
			r.spend(len(l))
			return strings.Contains(l, x)
		}
	case []any:
		if xs, ok := x.([]any); ok {
			for _, x := range xs {
				if !slices.ContainsFunc(l, func(l any) bool { return r.contains(l, x, depth+1) == true }) {
					return false
				}
			}
			return true
		}
	case map[string]any:
		if xs, ok := x.(map[string]any); ok {
			for k, x := range xs {
				if w, ok := l[k]; !ok || r.contains(w, x, depth+1) != true {
					return false
				}
			}
			return true
		}
	default:
		if typeOrder(l) == typeOrder(x) {
			return r.compare(l, x, depth) == 0
		}
	}
	return &typeError{"contains is for values of one type, not for", []any{l, x}}
}

// nested ends a run whose values are too deep to be followed.
func (r *run) nested(depth int) {
	if depth > maxNesting {
		r.abort(KindMemory, "the expression makes values nested more than %d deep", maxNesting)
	}
}

// indices finds where x is in v: all places, or the first, or the last.
func (r *run) indices(name string, v, x any) any {
	var found []any
	add := func(i int) bool {
		if name == "indices" {
			r.charge(40)
		}
		if name == "rindex" {
			found = found[:0]
		}
		found = append(found, i)
		return name != "index"
	}
	switch v := v.(type) {
	case nil:
		return nil
	case string:
		x, ok := x.(string)
		if !ok {
			return &typeError{name + " of a string cannot find:", []any{x}}
		}
		if x != "" {
			// Places overlap, and are counted in characters.
			chars, last := 0, 0
			for at := 0; at < len(v); {
				r.spend((len(v) - at) / 8)
				i := strings.Index(v[at:], x)
				if i < 0 {
					break
				}
				at += i
				chars += utf8.RuneCountInString(v[last:at])
				last = at
				if !add(chars) {
					break
				}
				_, size := utf8.DecodeRuneInString(v[at:])
				at += size
			}
		}
	case []any:
		xs, ok := x.([]any)
		if !ok {
			xs = []any{x}
		}
		if len(xs) > 0 {
		places:
			for i := range len(v) - len(xs) + 1 {
				for j := range xs {
					if r.compare(v[i+j], xs[j], 0) != 0 {
						continue places
					}
				}
				if !add(i) {
					break
				}
			}
		}
	default:
		return notApplicable(name, v)
	}
	if name == "indices" {
		if found == nil {
			return []any{}
		}
		return found
	}
	if len(found) == 0 {
		return nil
	}
	return found[0]
}

func (r *run) flatten(v, depth any) any {
	vs, ok := r.values(v)
	if !ok {
		return notApplicable("flatten", v)
	}
	r.checkDigits(depth)
	n, ok := gojq.ToFloat64(depth)
	if !ok {
		return notApplicable("flatten", depth)
	}
	if n < 0 {
		return errors.New("the depth of flatten cannot be negative")
	}
	flat := []any{}
	var walk func(vs []any, depth int)
	walk = func(vs []any, depth int) {
		r.nested(depth)
		for _, v := range vs {
			if vs, ok := v.([]any); ok && float64(depth) < n {
				r.spend(20)
				walk(vs, depth+1)
			} else {
				r.charge(40)
				flat = append(flat, v)
			}
		}
	}
	walk(vs, 0)
	return flat
}

func transpose(r *run, v any, _ []any) any {
	rows, ok := v.([]any)
	if !ok {
		return notApplicable("transpose", v)
	}
	width := 0
	for _, row := range rows {
		row, ok := row.([]any)
		if !ok {
			return notApplicable("transpose", v)
		}
		width = max(width, len(row))
	}
	if width > 0 && len(rows) > maxCall/width {
		r.charge(maxCall + 1)
	}
	r.charge(16*width*len(rows) + 40*width)
	columns := make([]any, width)
	for i := range columns {
		column := make([]any, len(rows))
		for j, row := range rows {
			if row := row.([]any); i < len(row) {
				column[j] = row[i]
			}
		}
		r.spend(5 * len(rows))
		columns[i] = column
	}
	return columns
}

// keyed are the values of v with their keys, one for each, in ks.
func (r *run) keyed(name string, v, ks any) ([]member, error) {
	vs, ok := v.([]any)
	if !ok {
		return nil, notApplicable(name, v)
	}
	keys, ok := ks.([]any)
	if !ok || len(keys) != len(vs) {
		return nil, notApplicable(name, v)
	}
	r.charge(32 * len(vs))
	members := make([]member, len(vs))
	for i, v := range vs {
		members[i] = member{v, keys[i]}
	}
	return members, nil
}

type member struct{ value, key any }

// extreme is the first smallest value by its key, or the last largest.
func (r *run) extreme(name string, v, ks any, sign int) any {
	members, err := r.keyed(name, v, ks)
	if err != nil {
		return err
	}
	if len(members) == 0 {
		return nil
	}
	best := members[0]
	for _, m := range members[1:] {
		if c := r.compare(m.key, best.key, 0) * sign; c > 0 || c == 0 && sign > 0 {
			best = m
		}
	}
	return best.value
}

// grouped sorts values by their keys, and groups or thins out equal ones.
func (r *run) grouped(name string, v, ks any) any {
	members, err := r.keyed(name, v, ks)
	if err != nil {
		return err
	}
	slices.SortStableFunc(members, func(a, b member) int { return r.compare(a.key, b.key, 0) })
	r.charge(32 * len(members))
	out := []any{}
	for i, m := range members {
		isNew := name == "sort" || name == "sort_by" || i == 0 || r.compare(members[i-1].key, m.key, 0) != 0
		switch {
		case name == "group_by" && isNew:
			r.charge(64)
			out = append(out, []any{m.value})
		case name == "group_by":
			r.charge(40)
			last := &out[len(out)-1]
			*last = append((*last).([]any), m.value)
		case isNew:
			out = append(out, m.value)
		}
	}
	return out
}

func bsearch(r *run, v any, args []any) any {
	vs, ok := v.([]any)
	if !ok {
		return notApplicable("bsearch", v)
	}
	target := args[0]
	i, ok := slices.BinarySearchFunc(vs, target, func(a, b any) int { return r.compare(a, b, 0) })
	if ok {
		return i
	}
	return -i - 1
}

// A ranger yields the numbers of range.
type ranger struct {
	r             *run
	at, end, step any
}

func newRange(r *run, from, to, by any) gojq.Iter {
	for _, v := range []any{from, to, by} {
		if typeOrder(v) != typeOrder(0) {
			return gojq.NewIter(error(&typeError{"range cannot be applied to:", []any{v}}))
		}
	}
	return &ranger{r, r.number(from), r.number(to), r.number(by)}
}

func (g *ranger) Next() (any, bool) {
	at, ok := g.at.(int)
	end, ok2 := g.end.(int)
	if step, ok3 := g.step.(int); ok && ok2 && ok3 && step == 1 { // nearly always
		if at >= end {
			return nil, false
		}
		g.at = at + 1
		return at, true
	}
	if g.r.compare(g.step, 0, 0)*g.r.compare(g.at, g.end, 0) >= 0 {
		return nil, false
	}
	v := g.at
	g.at = g.r.add(v, g.step)
	return v, true
}
