package budget

import "time"

// What package transform relies on beyond gojq's documentation, and the tests
// that notice when it is otherwise:
//
//   - Its machine asks its context for Done before each instruction, on the
//     goroutine that called Next. That is the only moment in which a run can
//     learn that time has passed and that it is over (TestDone).
//   - Between the check of an operator's operands, which keeps them, and the
//     operator nothing else is run (TestAgreesWithStock, TestDifferential).
//   - What handed its input on has left no trace in a path (the same).
//   - Its assignments copy what they are given before they write to it, unless
//     they delete, and take one path after the other, and the first result
//     for each (TestConcurrentUse, TestAgreesWithStock, TestDifferential).
//   - The names of functions that are no part of its language: _add, _sort_by and
//     others (builtins.TestInternalNames). Expressions that are not parsed may have names
//     that cannot be written, with a colon (every test).
//   - Its stacks grow only where functions are entered that call themselves, and by
//     little for each of their parts (TestRunawayMemory).

// Done is asked for before each instruction.
func (r *Run) Done() <-chan struct{} {
	if r.steps--; r.steps < 0 {
		r.look()
	}
	return r.done
}

// Deadline and Value make a run a context.
func (r *Run) Deadline() (time.Time, bool) { return time.Time{}, false }

// Value is nil.
func (r *Run) Value(any) any { return nil }
