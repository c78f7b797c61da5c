// Package transform runs jq expressions on signals: filters, which say whether
// a route takes a signal, and transforms, which shape what it gets. It is
// pure: bytes in, bytes out.
//
// An expression means what gojq says it means. $signal_id, $received_at, $route and
// $signal_type are bound, and $params in those that make a part of a request ([CompileShape]).
// It cannot read the environment, files or the network, nor
// write anywhere. What passes through is kept: every digit of a number that is
// not computed on, every code point of a string; keys come out sorted. Decoded
// values are never changed, so that the expressions of all routes can share
// those of a signal.
//
// No expression, and no set of them, takes the process down or harms another: a
// run ends after [MaxTime] of its own, be it in a loop or within a single call;
// runs share a bounded amount of memory; who finds no room waits, and the request
// is a 503 in the end, see [ErrBusy]. A fault of the interpreter is an error of the
// run it came in. An expression cannot catch the end of its run.
//
// # Rooms
//
// [Compile] parses an expression, tells what it reads and decides (analysis.go), and
// rewrites it (guard.go, rewrite.go, calls.go) so that a check stands before whatever can
// do much in one call; [Join] makes one program of a filter and a transform. Package builtins has the
// table of what may be called, and the checks. Package budget has the time and
// the memory of a run, says what is left behind when one ends late, and lists
// what all this relies on in gojq. Package json reads and writes JSON.
//
// # Differences from gojq
//
// These are all there are, on the input null, with what becomes of the run.
// TestDifferences runs each; TestDifferential looks for others.
//
//	"x" * 5000000                            memory: a string has 4 MiB at most
//	[range(100) | "x" * 1000000] | length    memory: a run holds 80 MiB at most
//	last(range(1e12))                        timeout: a run takes 100 ms at most
//	range(101)                               results: there are 100 at most
//	"x" * 2000000                            output: a result has 1 MiB at most
//	reduce range(11000) as $i (0; [.])       output: nor is it nested more than 10,000 deep
//	reduce range(11000) as $i (0; [.]) | . == .  memory: nor what is compared, sorted, flattened or merged
//	.[2000000] = 1                           failed: what is assigned to has 1,048,576 elements at most
//	"9" * 5000 | tonumber                    failed: what is computed on has 4096 digits at most
//	reduce range(13) as $i (10; . * .)       failed: nor has what comes of it more
//	[range(200)] | .[[range(150)]]           failed: an array as an index has few elements
//	jn(2000000; 1)                           failed: the order of a Bessel function is a million at most
//	0 | strftime("%Y" * 600)                 failed: a time and its format have 1024 bytes at most
//	"a" | test("a" * 5000)                   failed: a regular expression has 4096 bytes at most
//	"a" | test("()" * 1900 + ".{500}")       failed: and groups and repetitions that come to 8 MiB
//	"a" | try test(.; "x") catch length > 40 true: the text of an error can be another
//	env                                      compile: env, $ENV, input, inputs, debug, stderr, halt,
//	input                                    compile: halt_error, import, modulemeta, get_search_list,
//	builtins                                 compile: builtins and the names of gojq's own functions
//
// Where gojq itself meets a fault (a panic, or code compiled wrongly) the
// expression may meet it elsewhere.
package transform
