package queue

import (
	"sync"

	"signalpost/queue/lane"
)

// workers are the goroutines that make the attempts of all routes, and those
// that read for them. A worker that has nothing to do waits for the next
// attempt, of whichever route, because its stack has grown to what an attempt
// takes: growing a new one for each attempt took 3 % of all CPU time. How many
// work at once is for the lanes to bound.
type workers struct {
	running sync.WaitGroup

	mu    sync.Mutex
	idle  []chan job // of those that wait, the one that worked last at the end
	ended bool
}

// A job is an attempt to be made.
type job struct {
	sender *sender
	item   lane.Item
}

const idleWorkers = 64 // that wait, at most

// run has f run in a goroutine of its own.
func (w *workers) run(f func()) { w.running.Go(f) }

// attempt has a worker do the job, and more of its route if there is more. It
// does not block, and must not be called once end has been.
func (w *workers) attempt(j job) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.idle); n > 0 {
		w.idle[n-1] <- j // it has room, and is empty
		w.idle = w.idle[:n-1]
		return
	}
	w.running.Go(func() { w.work(j) })
}

func (w *workers) work(j job) {
	next := make(chan job, 1)
	for ok := true; ok; {
		j.sender.work(j.item)
		j = job{} // a body may hang on it
		if !w.wait(next) {
			return
		}
		j, ok = <-next
	}
}

// wait makes a worker one that waits, unless there are enough or no more work comes.
func (w *workers) wait(next chan job) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended || len(w.idle) == idleWorkers {
		return false
	}
	w.idle = append(w.idle, next)
	return true
}

// end dismisses the workers as soon as they have nothing to do.
func (w *workers) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	for _, next := range w.idle {
		close(next)
	}
	w.idle = nil
}
