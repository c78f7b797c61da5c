package queue

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"

	"signalpost/queue/record"
)

// A Claim holds an idempotency key while its first request is under way.
type Claim struct {
	q      *Queue
	hash   record.IdemHash
	digest [32]byte
	once   sync.Once
	put    bool // a Put has begun to bind it
	bound  bool // and has
	then   func(bound bool)
}

// Then has f be called when the claim is released and it is known whether the key is bound.
func (c *Claim) Then(f func(bound bool)) { c.then = f }

// Release gives the key up; unless a Put has bound it, it is free again.
func (c *Claim) Release() {
	c.once.Do(func() {
		released, _ := c.q.claims.LoadAndDelete(c.hash)
		if c.then != nil && c.put == c.bound {
			c.then(c.bound)
		}
		close(released.(chan struct{}))
	})
}

// Claim claims an idempotency key for a request whose bytes have the digest.
// If the key is bound to that digest already, it returns the answer it is
// bound to and no claim; if to another, an error that wraps ErrKeyReused.
// While another request holds the key it waits for that one's end, or for ctx.
func (q *Queue) Claim(ctx context.Context, key string, digest [32]byte) (*Claim, []byte, error) {
	sum := sha256.Sum256([]byte(key))
	c := &Claim{q: q, hash: record.IdemHash(sum[:16]), digest: digest}
	if err := c.take(ctx); err != nil {
		return nil, nil, err
	}
	r, err := q.engine.Load().store.Idem(c.hash)
	if err == nil && r == nil {
		return c, nil, nil
	}
	c.Release()
	switch {
	case errors.Is(err, ErrClosed):
		return nil, nil, err
	case err != nil: // what it is bound to cannot be told now, so nothing can be accepted under it
		return nil, nil, fmt.Errorf("%w: idempotency key: %w", ErrUnavailable, err)
	case r.Digest != digest:
		return nil, nil, ErrKeyReused
	}
	return nil, r.Answer, nil
}

// take waits until nobody holds the key, and holds it.
func (c *Claim) take(ctx context.Context) error {
	mine := make(chan struct{})
	for {
		released, taken := c.q.claims.LoadOrStore(c.hash, mine)
		if !taken {
			return nil
		}
		select {
		case <-released.(chan struct{}):
		case <-ctx.Done():
			return fmt.Errorf("idempotency key: waiting for the request that came first: %w", ctx.Err())
		}
	}
}
