package fleet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/oklog/ulid/v2"

	"signalpost/queue"
)

// Claim claims an idempotency key in the whole fleet: see [queue.Queue.Claim].
// The bucket NAME_KEYS says which ledger has its answer, or is about to; it is an index, and
// a key whose ledger has no answer for it is free. Who claims one changes the
// bucket's entry while it holds the key in its own process, so of two that find a key free one finds it changed.
func (n *Node) Claim(ctx context.Context, key string, digest [32]byte) (*queue.Claim, []byte, error) {
	c, answer, err := n.ownQueue.Claim(ctx, key, digest)
	if c == nil {
		return nil, answer, err
	}
	if answer, err = n.index(ctx, c, key, digest); err != nil || answer != nil {
		c.Release()
		return nil, answer, err
	}
	return c, nil, nil
}

// index has the bucket lead from the key to this node's ledger, unless it leads to one that has its answer.
func (n *Node) index(ctx context.Context, c *queue.Claim, key string, digest [32]byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, appendFor)
	defer cancel()
	sum := sha256.Sum256([]byte(key))
	name := hex.EncodeToString(sum[:16])
	unavailable := func(err error) error {
		return fmt.Errorf("%w: idempotency key: %w", queue.ErrUnavailable, n.explain(err))
	}
	for {
		own := n.ownID()
		revision, err := n.keys.Create(ctx, name, own[:])
		if errors.Is(err, jetstream.ErrKeyExists) {
			var e jetstream.KeyValueEntry
			if e, err = n.keys.Get(ctx, name); errors.Is(err, jetstream.ErrKeyNotFound) {
				continue
			} else if err != nil {
				return nil, unavailable(err)
			}
			var ledger ulid.ULID
			copy(ledger[:], e.Value())
			if ledger != own {
				if answer, err := n.boundIn(ctx, ledger, key, digest); err != nil || answer != nil {
					return answer, err
				}
			}
			revision, err = n.keys.Update(ctx, name, own[:], e.Revision())
		}
		var api *jetstream.APIError
		switch {
		case err == nil:
			c.Then(func(bound bool) { n.endClaim(name, own, revision, bound) })
			return nil, nil
		case ctx.Err() != nil || !errors.As(err, &api) || !isWrongLast(api):
			return nil, unavailable(err)
		}
	}
}

// endClaim ends a claim: a key that is not bound is free again, and the bucket leads to the ledger that has it.
func (n *Node) endClaim(name string, ledger ulid.ULID, revision uint64, bound bool) {
	ctx, cancel := n.soon()
	defer cancel()
	if !bound {
		_ = n.keys.Delete(ctx, name, jetstream.LastRevision(revision)) // or it leads to where nothing is, which frees it too
	} else if own := n.ownID(); own != ledger { // it was taken over just before
		_, _ = n.keys.Update(ctx, name, own[:], revision)
	}
}

func (n *Node) ownID() (id ulid.ULID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.own != nil {
		id = n.own.ID
	}
	return id
}

// boundIn is the answer that a ledger has bound to the key; nil: none. The error
// wraps ErrUnavailable while that cannot be known.
func (n *Node) boundIn(ctx context.Context, ledger ulid.ULID, key string, digest [32]byte) ([]byte, error) {
	q := question{Ledger: ledger, Key: key, Digest: digest[:]}
	n.mu.Lock()
	held := n.held[ledger] != nil
	n.mu.Unlock()
	var r reply
	if held {
		r = n.answer(ctx, &q)
	} else {
		e, err := n.owners.Get(ctx, ledger.String())
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			_, ended, err := n.newLedger(ledger).newest()
			if ended || errors.Is(err, jetstream.ErrMsgNotFound) {
				return nil, nil
			}
			return nil, fmt.Errorf("%w: the request that this Idempotency-Key was used with is in a ledger that nobody runs now; one will in a moment", queue.ErrUnavailable)
		} else if err != nil {
			return nil, fmt.Errorf("%w: idempotency key: %w", queue.ErrUnavailable, n.explain(err))
		}
		if r, err = n.ask(ctx, ownerOf(e).Node, &q); err != nil {
			return nil, fmt.Errorf("%w: the sidecar that has the answer for this Idempotency-Key does not tell it; if it is gone, another will in a moment: %w", queue.ErrUnavailable, err)
		}
	}
	switch {
	case r.Reused:
		return nil, queue.ErrKeyReused
	case r.Error != "":
		return nil, fmt.Errorf("%w: idempotency key: %s", queue.ErrUnavailable, r.Error)
	}
	return r.Answer, nil
}

// answer answers a question about a ledger of this node's. It waits for a request that is under way.
func (n *Node) answer(ctx context.Context, q *question) reply {
	n.mu.Lock()
	l := n.held[q.Ledger]
	n.mu.Unlock()
	if l == nil || n.queueOf(l) == nil || l.lost() {
		return reply{Error: "its ledger is being taken over"}
	}
	if q.View {
		position, sum, err := n.queueOf(l).Digest()
		if err != nil {
			return reply{Error: err.Error()}
		}
		return reply{Position: position, Sum: sum}
	}
	c, answer, err := n.queueOf(l).Claim(ctx, q.Key, [32]byte(q.Digest))
	switch {
	case c != nil:
		c.Release()
		return reply{}
	case errors.Is(err, queue.ErrKeyReused):
		return reply{Reused: true}
	case err != nil:
		return reply{Error: err.Error()}
	}
	return reply{Answer: answer}
}
