package queue

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"
)

// listing has deliveries listed by signal type, for which each signal is read
// during a walk over the deliveries, over and over while f runs.
func listing(q *Queue, f func()) {
	stop := make(chan struct{})
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					_, _ = q.Deliveries(context.Background(), Filter{Type: "other", Limit: 10})
				}
			}
		})
	}
	f()
	close(stop)
	all.Wait()
}

// TestReadsWithinReads: one does not wait for the end of all reading, which
// would wait for the one around it.
func TestReadsWithinReads(t *testing.T) {
	p := route("a")
	p.Paused = true
	r := newRig(t, p)
	r.putMany("a", many(2000))
	for range 3 {
		failed := r.engine.Load()
		listing(r.Queue, func() {
			failed.store.Fail(errors.New("as if the disk were full"))
			r.until("the store is open again", func() bool { return r.engine.Load() != failed })
		})
	}
	for range 3 {
		listing(r.Queue, func() {
			time.Sleep(time.Millisecond)
			r.close()
		})
		r.open()
	}
}
