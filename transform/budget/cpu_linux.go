package budget

import (
	"syscall"
	"time"
)

// threadTime is how long the thread of the caller has run.
func threadTime() (t time.Duration, ok bool) {
	const thread = 1 // RUSAGE_THREAD
	var usage syscall.Rusage
	if syscall.Getrusage(thread, &usage) != nil {
		return 0, false
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), true
}
