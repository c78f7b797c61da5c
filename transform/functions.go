package transform

import (
	"fmt"
	"math"
	"strings"
	"sync"

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
