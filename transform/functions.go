package transform

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/itchyny/gojq"
)

// A function is one that expressions call, in place of gojq's own. It accounts
// for its work and for what it allocates before it does it. It changes none of
// its arguments. An error it returns can be caught by the expression.
type function func(r *run, v any, args []any) any

// functions are those of this package, by name/arity. Those whose name begins
// with an underscore are called by the prelude and by rewritten expressions
// only.
var functions map[string]function

// A stockFunction is one of gojq's own that stays: its work and its result are
// no more than what it is given, once the checks have seen that.
type stockFunction struct {
	name  string   // gojq's, if it has another
	input string   // the check of the input, if any
	args  []string // the checks of the arguments, if any
}

// stock are gojq's functions that stay, by name/arity.
var stock = make(map[string]stockFunction)

// denied is what an expression must not do, by the functions that do it.
var denied = map[string]string{
	"env": "read the environment",

	"input": "read input", "inputs": "read input", "input_filename": "read input",
	"input_line_number": "read input",

	"debug": "write to the terminal", "stderr": "write to the terminal",
	"halt": "end the process", "halt_error": "end the process",

	"modulemeta": "read files", "get_search_list": "read files",
	"builtins": "list functions", "jn": "do this in bounded time", "yn": "do this in bounded time",
}

func init() {
	keep := func(sigs string, f stockFunction) {
		for _, sig := range strings.Fields(sigs) {
			stock[sig] = f
		}
	}
	keep(`empty/0 not/0 select/1 recurse/1 recurse/2 until/2 while/2 repeat/1 isempty/1 first/1 last/1
		any/2 all/2 values/0 nulls/0 booleans/0 numbers/0 strings/0 arrays/0 objects/0 iterables/0
		scalars/0 type/0 length/0 utf8bytelength/0 toboolean/0 infinite/0 nan/0 now/0
		startswith/1 endswith/1 ltrimstr/1 rtrimstr/1 trimstr/1 ltrim/0 rtrim/0 trim/0
		_captures/0`, stockFunction{})
	keep(`sin/0 cos/0 tan/0 asin/0 acos/0 atan/0 sinh/0 cosh/0 tanh/0 asinh/0 acosh/0 atanh/0
		floor/0 round/0 nearbyint/0 rint/0 ceil/0 trunc/0 significand/0 fabs/0 sqrt/0 cbrt/0
		exp/0 exp10/0 exp2/0 expm1/0 frexp/0 modf/0 log/0 log10/0 log1p/0 log2/0 logb/0
		gamma/0 tgamma/0 lgamma/0 erf/0 erfc/0 j0/0 j1/0 y0/0 y1/0
		isfinite/0 isinfinite/0 isnan/0 isnormal/0 tonumber/0 gmtime/0 localtime/0 mktime/0`,
		stockFunction{input: "_number"})
	two := []string{"_number", "_number", "_number"}
	keep(`atan2/2 copysign/2 drem/2 fdim/2 fmax/2 fmin/2 fmod/2 hypot/2 nextafter/2 nexttoward/2
		remainder/2 ldexp/2 scalb/2 scalbln/2 pow/2 fma/3 has/1`, stockFunction{args: two})
	keep(`limit/2 skip/2 nth/2`, stockFunction{args: []string{"_number", ""}})
	keep(`getpath/1`, stockFunction{args: []string{"_isPath"}})
	keep(`strftime/1 strflocaltime/1`, stockFunction{input: "_number", args: []string{"_short"}})
	keep(`strptime/1`, stockFunction{input: "_short", args: []string{"_short"}})
	keep(`ascii_downcase/0 ascii_upcase/0`, stockFunction{input: "_text"})
	for format, name := range map[string]string{
		"@html": "_tohtml", "@uri": "_touri", "@urid": "_tourid", "@base64": "_tobase64", "@base64d": "_tobase64d",
	} {
		stock[format+"/0"] = stockFunction{name: name, input: "_string"}
	}
	for format, name := range map[string]string{"@csv": "_tocsv", "@tsv": "_totsv", "@sh": "_tosh"} {
		stock[format+"/0"] = stockFunction{name: name, input: "_row"}
	}

	functions = map[string]function{
		// Operators.
		"add/2":     func(r *run, _ any, a []any) any { return r.add(a[0], a[1]) },
		"sub/2":     func(r *run, _ any, a []any) any { return r.sub(a[0], a[1]) },
		"mul/2":     func(r *run, _ any, a []any) any { return r.mul(a[0], a[1]) },
		"div/2":     func(r *run, _ any, a []any) any { return r.div(a[0], a[1]) },
		"mod/2":     func(r *run, _ any, a []any) any { return r.mod(a[0], a[1]) },
		"_negate/0": func(r *run, v any, _ []any) any { return r.negate(v) },
		"eq/2":      func(r *run, _ any, a []any) any { return r.compare(a[0], a[1], 0) == 0 },
		"ne/2":      func(r *run, _ any, a []any) any { return r.compare(a[0], a[1], 0) != 0 },
		"lt/2":      func(r *run, _ any, a []any) any { return r.compare(a[0], a[1], 0) < 0 },
		"le/2":      func(r *run, _ any, a []any) any { return r.compare(a[0], a[1], 0) <= 0 },
		"gt/2":      func(r *run, _ any, a []any) any { return r.compare(a[0], a[1], 0) > 0 },
		"ge/2":      func(r *run, _ any, a []any) any { return r.compare(a[0], a[1], 0) >= 0 },

		// Guards: they hand on what they get.
		"_item/0":   chargeItem,
		"_object/0": chargeObject,
		"_iter/0":   chargeIteration,
		"_path/0":   chargePath,
		"_index/0":  checkIndex,
		"_number/0": checkNumber,
		"_isPath/0": checkPath,
		"_short/0":  checkShort,
		"_text/0":   chargeText,
		"_row/0":    chargeRow,
		"_string/0": func(r *run, v any, _ []any) any { return chargeText(r, r.text(v), nil) },

		// Functions.
		"error/0":       func(r *run, v any, _ []any) any { return &valueError{v} },
		"error/1":       func(r *run, _ any, a []any) any { return &valueError{a[0]} },
		"add/0":         func(r *run, v any, _ []any) any { return r.sum(v) },
		"join/1":        func(r *run, v any, a []any) any { return r.join(v, a[0]) },
		"keys/0":        keys,
		"reverse/0":     reverse,
		"contains/1":    func(r *run, v any, a []any) any { return r.contains(v, a[0], 0) },
		"inside/1":      func(r *run, v any, a []any) any { return r.contains(a[0], v, 0) },
		"indices/1":     func(r *run, v any, a []any) any { return r.indices("indices", v, a[0]) },
		"index/1":       func(r *run, v any, a []any) any { return r.indices("index", v, a[0]) },
		"rindex/1":      func(r *run, v any, a []any) any { return r.indices("rindex", v, a[0]) },
		"explode/0":     explode,
		"implode/0":     implode,
		"split/1":       func(r *run, v any, a []any) any { return r.split(v, a[0]) },
		"tojson/0":      func(r *run, v any, _ []any) any { return r.json(v) },
		"@json/0":       func(r *run, v any, _ []any) any { return r.json(v) },
		"tostring/0":    func(r *run, v any, _ []any) any { return r.text(v) },
		"@text/0":       func(r *run, v any, _ []any) any { return r.text(v) },
		"fromjson/0":    fromjson,
		"flatten/0":     func(r *run, v any, _ []any) any { return r.flatten(v, math.Inf(1)) },
		"flatten/1":     func(r *run, v any, a []any) any { return r.flatten(v, a[0]) },
		"transpose/0":   transpose,
		"min/0":         func(r *run, v any, _ []any) any { return r.extreme("min", v, v, -1) },
		"max/0":         func(r *run, v any, _ []any) any { return r.extreme("max", v, v, 1) },
		"_min_by/1":     func(r *run, v any, a []any) any { return r.extreme("min_by", v, a[0], -1) },
		"_max_by/1":     func(r *run, v any, a []any) any { return r.extreme("max_by", v, a[0], 1) },
		"sort/0":        func(r *run, v any, _ []any) any { return r.grouped("sort", v, v) },
		"_sort_by/1":    func(r *run, v any, a []any) any { return r.grouped("sort_by", v, a[0]) },
		"_group_by/1":   func(r *run, v any, a []any) any { return r.grouped("group_by", v, a[0]) },
		"unique/0":      func(r *run, v any, _ []any) any { return r.grouped("unique", v, v) },
		"_unique_by/1":  func(r *run, v any, a []any) any { return r.grouped("unique_by", v, a[0]) },
		"bsearch/1":     bsearch,
		"setpath/2":     func(r *run, v any, a []any) any { return setpath(r, v, a[0], a[1]) },
		"delpaths/1":    func(r *run, v any, a []any) any { return delpaths(r, v, a[0]) },
		"_edit/0":       func(r *run, v any, _ []any) any { return &edit{r: r, root: v} },
		"_get/1":        func(_ *run, v any, a []any) any { return v.(*edit).get(a[0].([]any)) },
		"_set/2":        func(_ *run, v any, a []any) any { return v.(*edit).setAt(a[0].([]any), a[1]) },
		"_drop/1":       func(_ *run, v any, a []any) any { return v.(*edit).drop(a[0]) },
		"_edited/0":     func(_ *run, v any, _ []any) any { return v.(*edit).result() },
		"_match/3":      match,
		"_cut/1":        func(r *run, v any, a []any) any { return cut(r, v, a[0]) },
		"_substitute/2": func(r *run, v any, a []any) any { return substitute(r, v, a[0], a[1]) },
	}
}

// maxArgs is how many arguments gojq hands to a function.
const maxArgs = 30

// compilerOptions make gojq know the functions of this package.
//
// A gojq program is shared by all its runs, and gojq tells a function nothing
// of the run it is called in. But the arguments are the first of a machine's
// 32 places for arguments, of which calls use 30 at most: the last holds the
// run, from the function that every program begins with.
var compilerOptions = sync.OnceValue(func() []gojq.CompilerOption {
	const places = 32
	options := []gojq.CompilerOption{
		gojq.WithVariables(varNames),
		gojq.WithFunction(own+"start", 0, 0, func(v any, args []any) any {
			r := v.(*run)
			args[:places][places-1] = r
			return r.input
		}),
		gojq.WithFunction(own+"_concat", 1, maxArgs, func(_ any, args []any) any {
			return args[:places][places-1].(*run).concat(args)
		}),
		gojq.WithIterFunction(own+"_range/3", 3, 3, func(_ any, args []any) gojq.Iter {
			return newRange(args[:places][places-1].(*run), args[0], args[1], args[2])
		}),
	}
	for sig, f := range functions {
		arity := int(sig[len(sig)-1] - '0')
		options = append(options, gojq.WithFunction(own+sig, arity, arity, func(v any, args []any) any {
			return f(args[:places][places-1].(*run), v, args)
		}))
	}
	return options
})

// A valueError is what error raises. Its value can be caught.
type valueError struct{ v any }

func (e *valueError) Value() any { return e.v }

func (e *valueError) Error() string {
	if s, ok := e.v.(string); ok {
		return "the expression raised an error: " + s
	}
	return "the expression raised an error: " + gojq.Preview(e.v)
}

// A typeError says that a function, or an operator, does not take a value.
type typeError struct {
	what string
	vs   []any
}

func (e *typeError) Error() string {
	var b strings.Builder
	b.WriteString(e.what)
	for i, v := range e.vs {
		if i > 0 {
			b.WriteString(" and")
		}
		if v == nil {
			b.WriteString(" null")
		} else {
			fmt.Fprintf(&b, " %s (%s)", gojq.TypeOf(v), gojq.Preview(v))
		}
	}
	return b.String()
}

func notApplicable(name string, v any) error {
	return &typeError{name + " cannot be applied to:", []any{v}}
}

// Guards.

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

// Text.

// concat joins strings.
func (r *run) concat(args []any) any {
	n := 0
	for _, a := range args {
		n += len(a.(string))
	}
	r.newText(n)
	var b strings.Builder
	b.Grow(n)
	for _, a := range args {
		b.WriteString(a.(string))
	}
	return b.String()
}

// newText accounts for a string of n bytes.
func (r *run) newText(n int) {
	if n > maxText {
		r.abort(KindMemory, "the expression would make a string of more than %d MiB", maxText>>20)
	}
	r.charge(n + 16)
}

// json is v as JSON.
func (r *run) json(v any) any {
	e := encoder{r: r, limit: maxText}
	if e.encode(v, 0); e.full {
		r.abort(KindMemory, "the expression would make a string of more than %d MiB, or nested more than %d deep",
			maxText>>20, maxNesting)
	}
	r.charge(3 * len(e.buf))
	return string(e.buf)
}

// text is v as tostring has it: a string is itself.
func (r *run) text(v any) any {
	if s, ok := v.(string); ok {
		return s
	}
	return r.json(v)
}

func fromjson(r *run, v any, _ []any) any {
	s, ok := v.(string)
	if !ok {
		return notApplicable("fromjson", v)
	}
	// [{"":0},…] takes fifty times its length, and that is the most.
	r.charge(min(8*len(s), maxCall))
	r.spend(20 * len(s))
	objects := strings.Count(s, "{")
	r.charge(min(mapBytes(1)*objects+16*len(s), 2*maxCall))
	w, err := decodeString(s)
	if err != nil {
		return fmt.Errorf("fromjson cannot be applied to %s: %w", gojq.Preview(v), err)
	}
	return w
}

func explode(r *run, v any, _ []any) any {
	s, ok := v.(string)
	if !ok {
		return notApplicable("explode", v)
	}
	n := utf8.RuneCountInString(s)
	r.charge(24 * n)
	r.spend(20 * n)
	vs := make([]any, 0, n)
	for _, c := range s {
		vs = append(vs, int(c))
	}
	return vs
}

func implode(r *run, v any, _ []any) any {
	vs, ok := v.([]any)
	if !ok {
		return notApplicable("implode", v)
	}
	r.newText(4 * len(vs))
	r.spend(20 * len(vs))
	var b strings.Builder
	b.Grow(len(vs))
	for _, w := range vs {
		r.checkDigits(w)
		c, ok := gojq.ToInt(w)
		if !ok {
			return notApplicable("implode", v)
		}
		if c < 0 || c > utf8.MaxRune {
			c = utf8.RuneError
		}
		b.WriteRune(rune(c))
	}
	return b.String()
}

func (r *run) split(v, sep any) any {
	s, ok := v.(string)
	if !ok {
		return notApplicable("split", v)
	}
	t, ok := sep.(string)
	if !ok {
		return &typeError{"a string cannot be split at:", []any{sep}}
	}
	if s == "" {
		return []any{}
	}
	r.spend(len(s))
	n := strings.Count(s, t) + 1
	r.charge(48 * n)
	r.spend(40 * n)
	vs := make([]any, 0, n)
	if t == "" {
		for len(s) > 0 {
			_, size := utf8.DecodeRuneInString(s)
			vs = append(vs, s[:size])
			s = s[size:]
		}
		return vs
	}
	for part := range strings.SplitSeq(s, t) {
		vs = append(vs, part)
	}
	return vs
}

func (r *run) join(v, sep any) any {
	vs, ok := r.values(v)
	if !ok {
		return notApplicable("join", v)
	}
	sepText, ok := sep.(string)
	if !ok && sep != nil && len(vs) > 1 {
		return &typeError{"cannot join with:", []any{sep}}
	}
	n := 0
	r.charge(16 * len(vs))
	texts := make([]string, len(vs))
	for i, w := range vs {
		switch w := w.(type) {
		case nil:
		case string:
			texts[i] = w
		case []any, map[string]any:
			return &typeError{"cannot join:", []any{w}}
		default:
			texts[i] = r.json(w).(string)
		}
		n += len(texts[i]) + len(sepText)
		r.spend(10)
	}
	r.newText(n)
	return strings.Join(texts, sepText)
}

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

// Arrays and objects.

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
