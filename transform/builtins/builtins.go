// Package builtins says what an expression may call, and what is done about it.
//
// Nearly all is gojq's own. What one call of can take much time or memory gets a
// check, which sees what the call is given and either lets gojq go on or ends
// the run: see [Stock]. Few functions are this package's: comparisons, which are
// [gojq.Compare] behind a check; text, which is written up to a bound; and regular
// expressions, because gojq keeps all it ever met. What gojq defines in jq is in
// prelude.jq where it needs a checked function, an assignment, or recursion.
package builtins

import (
	"cmp"
	_ "embed"
	"strings"

	"github.com/itchyny/gojq"

	"signalpost/transform/budget"
)

// Prelude is the text of prelude.jq: definitions, whose names with an underscore
// only they may use.
//
//go:embed prelude.jq
var Prelude string

// The bounds of what one call may make.
const (
	maxText    = 4 << 20 // bytes of a string
	maxItems   = 1 << 20 // length of an array made by an assignment
	maxDigits  = 4096    // of a number that is computed on
	maxNesting = 10_000  // of a value that is followed: a goroutine whose stack overflows ends the process
)

// A Frame is what the functions of one run share.
type Frame struct {
	*budget.Run
	Passed bool // what a filter yielded
	x, y   any  // the operands of the operator that is called next
}

// A Function is called in place of one of gojq's, or beside it. It changes
// nothing that it is given. An error is raised in the expression; that of a
// run that has ended cannot be caught.
type Function func(f *Frame, v any, args []any) any

// A Stock function is one of gojq's that stays.
type Stock struct {
	Name  string   // gojq's, if it has another
	Input string   // the check of the input, if any: a Function that returns it
	Args  []string // those of the arguments, if any: Functions of one argument, which they return
	Made  bool     // its result is accounted for
}

// Functions are those of this package, by name and number of arguments, "sort/0".
// Those whose name begins with an underscore are for rewritten expressions and
// the prelude.
var Functions = map[string]Function{
	"_eq/2": compares(func(c int) bool { return c == 0 }),
	"_ne/2": compares(func(c int) bool { return c != 0 }),
	"_lt/2": compares(func(c int) bool { return c < 0 }),
	"_le/2": compares(func(c int) bool { return c <= 0 }),
	"_gt/2": compares(func(c int) bool { return c > 0 }),
	"_ge/2": compares(func(c int) bool { return c >= 0 }),

	// The arithmetic operators are gojq's, called with _x and _y.
	"_add/2": operands((*Frame).checkAdd),
	"_sub/2": operands((*Frame).checkSub),
	"_mul/2": operands((*Frame).checkMul),
	"_div/2": operands((*Frame).checkDiv),
	"_mod/2": operands((*Frame).checkNumbers),
	"_x/0":   func(f *Frame, _ any, _ []any) any { return f.x },
	"_y/0":   func(f *Frame, _ any, _ []any) any { return f.y },

	"_pass/0": func(f *Frame, v any, _ []any) any {
		f.Passed = v != nil && v != false
		return v
	},
	"_enter/1": func(f *Frame, v any, a []any) any { return f.unless(f.Charge(a[0].(int)), v) },
	"_item/0":  func(f *Frame, v any, _ []any) any { return f.unless(f.Charge(40), v) },
	"_path/0":  func(f *Frame, v any, _ []any) any { return f.unless(f.Charge(48*len(v.([]any))), v) },
	"_made/0":  func(f *Frame, v any, _ []any) any { return f.made(v) },
	"_object/0": func(f *Frame, v any, _ []any) any {
		return f.unless(f.Charge(budget.Object(len(v.(map[string]any)))), v)
	},

	"tojson/0":   func(f *Frame, v any, _ []any) any { return f.json(v) },
	"@json/0":    func(f *Frame, v any, _ []any) any { return f.json(v) },
	"tostring/0": func(f *Frame, v any, _ []any) any { return f.text(v) },
	"@text/0":    func(f *Frame, v any, _ []any) any { return f.text(v) },

	"_edit/0":    func(*Frame, any, []any) any { return new(edit) },
	"_place/2":   place,
	"_drop/0":    drop,
	"_dropped/0": dropped,
	"_edited/1":  edited,
	"_copy/0": func(f *Frame, v any, _ []any) any {
		v = f.copied(v, 0)
		return f.unless(f.Err() == nil, v)
	},
	"_match/2":      match,
	"_test/2":       test,
	"_cut/2":        cut,
	"_substitute/2": substitute,

	"_number/0":  input((*Frame).checkNumber),
	"_numeral/0": input(atMost(maxDigits)),
	"_number/1":  argument(func(f *Frame, _, a any) error { return f.checkNumber(a) }),
	"_index/1":   argument(func(f *Frame, _, a any) error { return f.checkIndex(a) }),
	"_isPath/1":  argument(func(f *Frame, _, a any) error { return f.checkPath(a) }),
	"_short/0":   input(atMost(1024)),
	"_short/1":   argument(func(f *Frame, _, a any) error { return atMost(1024)(f, a) }),
	"_each/0":    input((*Frame).checkEach),
	"_follow/0":  input((*Frame).checkFollow),
	"_paths/1":   argument((*Frame).checkPaths),
	"_keys/1":    argument(func(f *Frame, _, a any) error { return f.checkSort(a) }),
	"_sort/0":    input((*Frame).checkSort),
	"_sum/0":     input(func(f *Frame, v any) error { return f.checkJoin(v, nil) }),
	"_join/1":    argument((*Frame).checkJoin),
	"_contain/1": argument((*Frame).checkContains),
	"_inside/1":  argument(func(f *Frame, v, a any) error { return f.checkContains(a, v) }),
	"_find/1":    argument((*Frame).checkFind),
	"_bsearch/1": argument(func(f *Frame, v, x any) error { return cmp.Or(f.checkFollow(v), f.checkFollow(x)) }),
	"_split/1":   argument((*Frame).checkSplit),
	"_flatten/0": input(func(f *Frame, v any) error { return f.checkFlatten(v, nil) }),
	"_flatten/1": argument((*Frame).checkFlatten),
	"_table/0":   input((*Frame).checkTable),
	"_chars/0":   input((*Frame).checkChars),
	"_letters/0": input((*Frame).checkLetters),
	"_parse/0":   input((*Frame).checkParse),
	"_row/0":     input(func(f *Frame, v any) error { return f.checkJoin(v, ",") }),
	"_bessel/1":  argument(func(f *Frame, _, a any) error { return f.checkBessel(a) }),
	"_string/0": func(f *Frame, v any, _ []any) any {
		s := f.text(v)
		if err := f.checkLetters(s); err != nil {
			return err
		}
		return s
	},
}

// Stocks are gojq's functions that stay, by name and number of arguments.
var Stocks = stocks()

func stocks() map[string]Stock {
	all := make(map[string]Stock)
	keep := func(s Stock, sigs string) {
		for sig := range strings.FieldsSeq(sigs) {
			all[sig] = s
		}
	}
	keep(Stock{}, `empty/0 not/0 select/1 isempty/1 first/1 last/1 any/2 all/2 values/0 nulls/0 booleans/0 numbers/0
		strings/0 arrays/0 objects/0 iterables/0 scalars/0 type/0 length/0 utf8bytelength/0 toboolean/0 infinite/0
		nan/0 now/0 startswith/1 endswith/1 ltrimstr/1 rtrimstr/1 trimstr/1 ltrim/0 rtrim/0 trim/0 error/0 error/1 fromdate/0 fromdateiso8601/0 first/0 last/0 _captures/0`)
	keep(Stock{Input: "_number"}, `sin/0 cos/0 tan/0 asin/0 acos/0 atan/0 sinh/0 cosh/0 tanh/0 asinh/0 acosh/0 atanh/0
		floor/0 round/0 nearbyint/0 rint/0 ceil/0 trunc/0 significand/0 fabs/0 sqrt/0 cbrt/0 exp/0 exp10/0 exp2/0
		expm1/0 frexp/0 modf/0 log/0 log10/0 log1p/0 log2/0 logb/0 gamma/0 tgamma/0 lgamma/0 erf/0 erfc/0 j0/0 j1/0
		y0/0 y1/0 isfinite/0 isinfinite/0 isnan/0 isnormal/0 finites/0 normals/0 abs/0 gmtime/0
		localtime/0 mktime/0 todate/0 todateiso8601/0`)
	number := []string{"_number", "_number", "_number"}
	keep(Stock{Args: number}, `atan2/2 copysign/2 drem/2 fdim/2 fmax/2 fmin/2 fmod/2 hypot/2 nextafter/2 nexttoward/2
		remainder/2 ldexp/2 scalb/2 scalbln/2 pow/2 fma/3 has/1 range/1 range/2 range/3`)
	keep(Stock{Args: []string{"_bessel", "_number"}}, `jn/2 yn/2`)
	keep(Stock{Args: number[:1]}, `limit/2 skip/2 nth/2`)
	keep(Stock{Args: []string{"_index"}}, `nth/1`)
	keep(Stock{Args: []string{"_isPath"}}, `getpath/1`)
	keep(Stock{Input: "_number", Args: []string{"_short"}}, `strftime/1 strflocaltime/1`)
	keep(Stock{Input: "_short", Args: []string{"_short"}}, `strptime/1`)
	keep(Stock{Input: "_each", Made: true}, `keys/0 reverse/0`)
	keep(Stock{Input: "_sum", Made: true}, `add/0`)
	keep(Stock{Args: []string{"_join"}, Made: true}, `join/1`)
	keep(Stock{Args: []string{"_contain"}}, `contains/1`)
	keep(Stock{Args: []string{"_inside"}}, `inside/1`)
	keep(Stock{Args: []string{"_find"}, Made: true}, `indices/1 index/1 rindex/1`)
	keep(Stock{Args: []string{"_bsearch"}}, `bsearch/1`)
	keep(Stock{Args: []string{"_split"}, Made: true}, `split/1`)
	keep(Stock{Input: "_flatten", Made: true}, `flatten/0`)
	keep(Stock{Args: []string{"_flatten"}, Made: true}, `flatten/1`)
	keep(Stock{Input: "_table", Made: true}, `transpose/0`)
	keep(Stock{Input: "_follow"}, `min/0 max/0`)
	keep(Stock{Input: "_sort", Made: true}, `sort/0 unique/0`)
	keep(Stock{Args: []string{"_keys"}, Made: true}, `_sort_by/1 _group_by/1 _unique_by/1 _min_by/1 _max_by/1`)
	keep(Stock{Input: "_chars", Made: true}, `explode/0 implode/0`)
	keep(Stock{Input: "_letters", Made: true}, `ascii_downcase/0 ascii_upcase/0`)
	keep(Stock{Input: "_parse"}, `fromjson/0`)
	keep(Stock{}, `_assign/2 _modify/2`)
	keep(Stock{Name: "setpath"}, `_setpath/2`)
	keep(Stock{Input: "_copy", Args: []string{"_paths"}}, `delpaths/1`)
	keep(Stock{Input: "_numeral"}, `tonumber/0`)
	for format, name := range map[string]string{
		"@html": "_tohtml", "@uri": "_touri", "@urid": "_tourid", "@base64": "_tobase64", "@base64d": "_tobase64d",
	} {
		keep(Stock{Name: name, Input: "_string", Made: true}, format+"/0")
	}
	for format, name := range map[string]string{"@csv": "_tocsv", "@tsv": "_totsv", "@sh": "_tosh"} {
		keep(Stock{Name: name, Input: "_row", Made: true}, format+"/0")
	}
	return all
}

// Options make gojq know the functions, by name and number of arguments, that an
// expression uses; prefix is put before their names. The frame is that of the one
// run under way.
func Options(names []string, prefix string, frame *Frame) []gojq.CompilerOption {
	var options []gojq.CompilerOption
	for _, sig := range names {
		f := Functions[sig]
		arity := int(sig[len(sig)-1] - '0')
		options = append(options, gojq.WithFunction(prefix+sig[:len(sig)-2], arity, arity, func(v any, args []any) any {
			return f(frame, v, args)
		}))
	}
	return options
}

func input(check func(f *Frame, v any) error) Function {
	return func(f *Frame, v any, _ []any) any {
		if err := check(f, v); err != nil {
			return err
		}
		return v
	}
}

func argument(check func(f *Frame, v, arg any) error) Function {
	return func(f *Frame, v any, args []any) any {
		if err := check(f, v, args[0]); err != nil {
			return err
		}
		return args[0]
	}
}

func operands(check func(f *Frame, x, y any) error) Function {
	return func(f *Frame, _ any, args []any) any {
		if err := check(f, args[0], args[1]); err != nil {
			return err
		}
		f.x, f.y = args[0], args[1]
		return nil
	}
}

func compares(is func(int) bool) Function {
	return func(f *Frame, _ any, args []any) any {
		if err := f.checkCompare(args[0], args[1]); err != nil {
			return err
		}
		return is(gojq.Compare(args[0], args[1]))
	}
}

// unless is v, unless the run has ended.
func (f *Frame) unless(ok bool, v any) any {
	if !ok {
		return f.Err()
	}
	return v
}
