package queue

import (
	"sync"
	"sync/atomic"

	"signalpost/queue/lane"
)

// workers are the goroutines that make the attempts of all routes, and those
// that read for them. A worker with nothing to do waits for the next attempt,
// because its stack has grown to what one takes: growing a new one for each
// took 3 % of all CPU time. How many work at once is for the lanes to bound.
type workers struct {
	running sync.WaitGroup
	jobs    chan job // to those that wait; once it is closed workers end as soon as they have nothing to do
	idle    atomic.Int32
}

// A job is an attempt to be made.
type job struct {
	sender *sender
	item   lane.Item
}

const idleWorkers = 64 // that wait, at most

// attempt has a worker do the job, and more of its route if there is more. It
// does not block, and must not be called once jobs is closed.
func (w *workers) attempt(j job) {
	select {
	case w.jobs <- j:
	default:
		w.running.Go(func() { w.work(j) })
	}
}

func (w *workers) work(j job) {
	for ok := true; ok; w.idle.Add(-1) {
		j.sender.work(j.item)
		j = job{} // a body may hang on it
		if w.idle.Add(1) <= idleWorkers {
			j, ok = <-w.jobs
		} else {
			ok = false
		}
	}
}
