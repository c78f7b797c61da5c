// Package transform runs jq expressions on signals: filters, which say whether
// a route takes a signal, and transforms, which shape what it gets. It is
// pure: bytes in, bytes out.
//
// An expression is gojq's dialect of jq. $signal_id, $received_at and $route
// are bound. It cannot read the environment, files or the network, nor write
// anywhere: input, debug, env, $ENV, import, halt and the like do not compile.
//
// What passes through is kept: every digit of a number that is not computed
// on, every code point of a string. Of several equal keys the last wins, and
// keys come out sorted. Decoded values are never changed, so that the
// expressions of all routes can share those of a signal.
//
// # Bounds
//
// No expression, and no set of them, takes the process down:
//
//   - A run ends after [MaxTime], be it in a loop or within a single call. The
//     time of a run that takes more than some milliseconds includes its waiting
//     for others like it, of which at most four go on at once. What the
//     processor spends elsewhere hardly counts.
//   - A result has at most [MaxOutput] bytes; there are at most [MaxResults].
//   - What would take much memory is refused before it is allocated: a string
//     of more than 4 MiB, an array set at an index of a million, a call that
//     takes more than 16 MiB, recursion that needs stacks of more than 16 MiB.
//     A run that has allocated more than 4 MiB goes on only while the heap of
//     the whole process is below 160 MiB.
//   - Values nested more than 10,000 deep are not compared or encoded; numbers
//     of more than 4096 digits pass, but are not computed on; regular
//     expressions have bounded programs.
//   - A fault of the interpreter is an error of the run it came in.
//
// These hold because gojq runs no expression as it was written. Compile
// rewrites it (guard.go, rewrite.go): what can do much with little becomes a
// call of this package (functions.go has the table; checks.go, text.go, lists.go,
// operators.go, edit.go and regexps.go the functions), which reports to the
// budget of the run (run.go). An expression cannot catch the end of its
// budget.
//
// Three things differ from gojq: an array is no index (.[[1]]: use indices),
// jn, yn and builtins are not available, and in .[][f]? the f sees the input
// of the whole term, as in jq.
package transform
