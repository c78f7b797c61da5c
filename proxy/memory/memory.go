// Package memory bounds what requests hold in memory, all of them together,
// whatever clients do: what does not fit waits, and is then refused.
package memory

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/semaphore"

	"signalpost/queue"
)

// Small is how many bytes a request uses without taking them from a budget: the number of
// requests is bounded.
const Small = 64 << 10

// Wait is how long a request usually waits for memory.
const Wait = 2 * time.Second

// A Budget is memory that requests share. It is safe for concurrent use.
type Budget struct {
	size int64
	wait time.Duration
	free *semaphore.Weighted
}

// New makes a budget of size bytes. A request that does not fit waits, for at most wait,
// until others give theirs back, first come first served.
func New(size int64, wait time.Duration) *Budget {
	return &Budget{size, wait, semaphore.NewWeighted(size)}
}

// errBusy is the error of what has waited for too long.
var errBusy = fmt.Errorf("%w: the memory for requests is used up by those under way; send it again in a moment", queue.ErrUnavailable)

// Take waits for n bytes, for the whole budget if it is smaller, and returns how
// many it took: they must be given back. The error wraps [queue.ErrUnavailable]
// when it has waited for too long, and is ctx's when that has ended.
func (b *Budget) Take(ctx context.Context, n int64) (taken int64, err error) {
	n = min(n, b.size)
	if b.free.TryAcquire(n) {
		return n, nil
	}
	waiting, cancel := context.WithTimeout(ctx, b.wait)
	defer cancel()
	if b.free.Acquire(waiting, n) == nil {
		return n, nil
	}
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	return 0, errBusy
}

// Give gives back n bytes.
func (b *Budget) Give(n int64) { b.free.Release(n) }
