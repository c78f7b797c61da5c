package queue

import (
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// A batch that a failing disk did not confirm may have come to it all the
// same. Its Put has been answered with an error, so it must not be found when
// the store is open again. Only a crash before that leaves it.

// refusals are the Puts that failed after they had been handed to an engine.
type refusals struct {
	mu  sync.Mutex
	all []refusal
}

type refusal struct {
	signals []refusedSignal
	claim   *Claim // may be nil
}

type refusedSignal struct {
	id         SignalID
	deliveries int
}

func (r *refusals) add(batch []Accepted, claim *Claim) {
	signals := make([]refusedSignal, len(batch))
	for i := range batch {
		signals[i] = refusedSignal{batch[i].ID, len(batch[i].Deliveries)}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, refusal{signals, claim})
}

// takeBack removes from a store that has been opened, and not begun, what was refused.
func (r *refusals) takeBack(e *engine) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := e.db.NewBatch()
	defer b.Close()
	touched := map[*lane]bool{}
	for _, f := range r.all {
		if err := e.takeBack(b, f, touched); err != nil {
			return err
		}
	}
	for l := range touched {
		must(b.Set(countsKey(nil, l.num), l.counts.append(nil), nil))
		l.resume(l.counts)
	}
	if !b.Empty() {
		if err := e.db.Apply(b, pebble.Sync); err != nil {
			return err
		}
	}
	r.all = nil
	return e.broken()
}

// takeBack has b remove the signals, if they are there: all are, or none is.
func (e *engine) takeBack(b *pebble.Batch, f refusal, touched map[*lane]bool) error {
	for _, s := range f.signals {
		k := signalKey(nil, s.id)
		if v, err := e.get(k); err != nil || v == nil {
			return err
		}
		must(b.Delete(k, nil))
		for n := range s.deliveries {
			id := s.id.Delivery(n + 1)
			r, err := e.delivery(id)
			if err != nil {
				return err
			}
			l := e.laneOf(r.route)
			must(b.Delete(deliveryKey(nil, id), nil))
			must(b.Delete(bodyKey(nil, id), nil))
			must(b.Delete(dueKey(nil, l.num, r.due, id), nil))
			if r.last != 0 {
				must(b.Delete(logKey(nil, r.last), nil))
			}
			l.counts.made--
			l.counts.in[r.state]--
			touched[l] = true
		}
	}
	if f.claim == nil {
		return nil
	}
	v, err := e.get(idemKey(nil, f.claim.hash))
	if err != nil || v == nil {
		return err
	}
	r, err := parseIdem(v)
	if err != nil {
		return err
	}
	must(b.Delete(idemKey(nil, f.claim.hash), nil))
	must(b.Delete(idemTimeKey(nil, r.at, f.claim.hash), nil))
	return nil
}
