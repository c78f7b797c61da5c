package queue

import (
	"context"
	"log/slog"
	"sync"

	"signalpost/queue/record"
	"signalpost/queue/store"
)

// A batch that a failing disk did not confirm may have come to it all the
// same. Its Put has been answered with an error, so it must not be found when
// the store is open again. Only a crash before that leaves it.

// refusals are the signals and idempotency keys of Puts that failed after they
// had been handed to an engine.
type refusals struct {
	mu      sync.Mutex
	signals []SignalID
	bound   []record.IdemHash
}

func (r *refusals) add(batch []Accepted, claim *Claim) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range batch {
		r.signals = append(r.signals, batch[i].ID)
	}
	if claim != nil {
		r.bound = append(r.bound, claim.hash)
	}
}

// takeBack removes what was refused from a store that has been opened and is
// nobody's yet. What cannot be read stays, and is said.
func (r *refusals) takeBack(e *engine) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var keys [][]byte
	for _, h := range r.bound { // which nothing else was bound to, or it would not have been claimed
		keys = append(keys, record.IdemKey(nil, h))
	}
	var made []store.Found
	for _, s := range r.signals {
		var found []store.Found
		err := e.search(context.Background(), Filter{Signal: s}, func(d store.Found) (bool, error) { found = append(found, d); return true, nil }, nil)
		if failed := e.store.Err(); failed != nil {
			return failed
		}
		if err != nil {
			e.q.log.Error("a signal was refused while the disk failed, and is stored all the same", slog.String("signal", s.String()), slog.Any("err", err))
			continue
		}
		keys = append(keys, record.SignalKey(nil, s))
		for _, d := range found {
			keys = append(keys, record.DeliveryKey(nil, d.ID), record.BodyKey(nil, d.ID), record.DueKey(nil, d.Route, d.Due, d.ID), record.LogKey(nil, d.Last))
			made = append(made, d)
		}
	}
	err := e.store.Do(func(b *store.Batch) {
		for _, behind := range []bool{true, false} { // who goes must not have its turn first
			for _, d := range made {
				if d.Waits() == behind {
					b.Order(e.store.RouteOf(d.Route), d.ID, &d.Delivery, &record.Delivery{})
				}
			}
		}
		for _, k := range keys {
			b.Delete(k)
		}
		for _, d := range made {
			b.Unmade(e.store.RouteOf(d.Route), &d.Delivery)
		}
	})
	if err == nil {
		r.signals, r.bound = nil, nil
	}
	return err
}
