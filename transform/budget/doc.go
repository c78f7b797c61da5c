// Package budget bounds the time and the memory of runs of expressions.
//
// A run begins light, on the goroutine of its caller: nearly all end there,
// within some microseconds, and no lock and no clock is touched. One that takes
// more than 2 ms or 1 MiB is broken off, and begins again as a heavy one, on a
// goroutine of its own and in one of a few places; expressions have no effects,
// so nothing comes of beginning twice. Only heavy runs can take much, and they are
// few.
//
// # Time
//
// A run (run.go) may take [MaxTime] of its own: what it waits for a place, for memory or
// for the processor does not count. A single call of gojq cannot be interrupted,
// so what it will take is estimated before, and one that would not end in time
// does not begin. One that ends late anyway does so alone: its caller has the
// verdict, and the place is free when it ends.
//
// # Memory
//
// What runs hold (memory.go) is counted among runs alone. Small objects count from when
// they are made to the end of the run, large ones as long as they live. A run may hold
// 80 MiB; the runs of a class share less than all of them could take, and who
// does not fit waits (session.go). Runs only begin, and only grow, as long as at least one of them
// could grow to the most there is: so they never wait for one another in a
// circle. What runs yield is counted on the account of their [Session].
//
// Who has waited for [MaxWait] in all gets [ErrBusy], which is no verdict on the
// expression.
//
// # Goroutines
//
// Each heavy run has one, and its caller waits for it, unless it is in a call
// that ends late or the caller's context has ended. So at most as many are left
// behind as there are places: 2 to 4 for signals, 1 for tries. Nothing waits for
// them at exit.
package budget
