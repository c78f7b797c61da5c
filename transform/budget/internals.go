package budget

import "time"

// What this package relies on beyond gojq's documentation:
//
//   - Its machine asks its context for Done before each instruction, on the
//     goroutine that called Next. That is the only moment in which a run can
//     learn that time has passed and that it is over. TestDone counts.

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
