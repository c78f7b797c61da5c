package queue

import (
	"log/slog"
	"sync"

	"signalpost/queue/record"
	"signalpost/queue/store"
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

// takeBack removes what was refused from a store that has been opened and is
// nobody's yet. What cannot be read stays, and is said.
func (r *refusals) takeBack(e *engine) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var keys [][]byte
	var found []record.Delivery
	for _, f := range r.all {
		k, d, err := e.tracesOf(f)
		if failed := e.store.Err(); failed != nil {
			return failed
		}
		if err != nil {
			e.q.log.Error("signals were refused while the disk failed, and are stored all the same", slog.String("signal", f.signals[0].id.String()), slog.Any("err", err))
			continue
		}
		keys, found = append(keys, k...), append(found, d...)
	}
	err := e.store.Do(func(b *store.Batch) {
		for _, k := range keys {
			b.Delete(k)
		}
		for _, d := range found {
			c := b.Count(e.store.RouteOf(d.Route))
			c.Made--
			c.In[d.State]--
		}
	})
	if err == nil {
		r.all = nil
	}
	return err
}

// tracesOf are the keys and deliveries that are there of a refused batch: all,
// or none.
func (e *engine) tracesOf(f refusal) (keys [][]byte, found []record.Delivery, err error) {
	for _, s := range f.signals {
		k := record.SignalKey(nil, s.id)
		if v, err := e.store.Get(k); err != nil || v == nil {
			return nil, nil, err
		}
		keys = append(keys, k)
		for n := range s.deliveries {
			id := s.id.Delivery(n + 1)
			r, err := e.store.Delivery(id)
			if err != nil {
				return nil, nil, err
			}
			keys = append(keys, record.DeliveryKey(nil, id), record.BodyKey(nil, id), record.DueKey(nil, r.Route, r.Due, id))
			if r.Last != 0 {
				keys = append(keys, record.LogKey(nil, r.Last))
			}
			found = append(found, r)
		}
	}
	if f.claim == nil {
		return keys, found, nil
	}
	k := record.IdemKey(nil, f.claim.hash)
	v, err := e.store.Get(k)
	if err != nil || v == nil {
		return keys, found, err
	}
	r, err := record.ParseIdem(v)
	if err != nil {
		return nil, nil, err
	}
	return append(keys, k, record.IdemTimeKey(nil, r.At, f.claim.hash)), found, nil
}
