package queue

import (
	"log/slog"
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

// takeBack removes from a store that has been opened, and not begun, what was
// refused. What cannot be read stays, and is said.
func (r *refusals) takeBack(e *engine) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := e.db.NewBatch()
	defer b.Close()
	touched := map[*lane]bool{}
	for _, f := range r.all {
		keys, found, err := e.tracesOf(f)
		if broken := e.broken(); broken != nil {
			return broken
		}
		if err != nil {
			e.log.Error("signals were refused while the disk failed, and are stored all the same", slog.String("signal", f.signals[0].id.String()), slog.Any("err", err))
			continue
		}
		for _, k := range keys {
			must(b.Delete(k, nil))
		}
		for _, d := range found {
			l := e.laneOf(d.route)
			l.counts.made--
			l.counts.in[d.state]--
			touched[l] = true
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

// tracesOf are the keys and deliveries that are there of a refused batch: all,
// or none.
func (e *engine) tracesOf(f refusal) (keys [][]byte, found []deliveryRecord, err error) {
	for _, s := range f.signals {
		k := signalKey(nil, s.id)
		if v, err := e.get(k); err != nil || v == nil {
			return nil, nil, err
		}
		keys = append(keys, k)
		for n := range s.deliveries {
			id := s.id.Delivery(n + 1)
			r, err := e.delivery(id)
			if err != nil {
				return nil, nil, err
			}
			keys = append(keys, deliveryKey(nil, id), bodyKey(nil, id), dueKey(nil, r.route, r.due, id))
			if r.last != 0 {
				keys = append(keys, logKey(nil, r.last))
			}
			found = append(found, r)
		}
	}
	if f.claim == nil {
		return keys, found, nil
	}
	k := idemKey(nil, f.claim.hash)
	v, err := e.get(k)
	if err != nil || v == nil {
		return keys, found, err
	}
	r, err := parseIdem(v)
	if err != nil {
		return nil, nil, err
	}
	return append(keys, k, idemTimeKey(nil, r.at, f.claim.hash)), found, nil
}
