package queue

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync"

	"signalpost/queue/lane"
	"signalpost/queue/record"
	"signalpost/queue/store"
)

// Put stores the signals, all their deliveries and the claim's answer in one
// batch, and returns after its fsync. claim may be nil. An error wraps
// ErrUnavailable or ErrClosed, and nothing of the batch is kept, unless the
// disk failed in the midst of it and the process ends before it works again.
func (q *Queue) Put(batch []Accepted, claim *Claim, answer []byte) error {
	e := q.engine.Load()
	e.putting.RLock()
	defer e.putting.RUnlock()
	if err := e.store.Ready(); err != nil {
		return err
	}
	for i := range batch {
		if n := len(batch[i].Deliveries); n > MaxDeliveries {
			return fmt.Errorf("%w: signal %s makes %d deliveries, at most %d fit", ErrUnavailable, batch[i].ID, n, MaxDeliveries)
		}
	}
	p, ok := e.puts.Get().(*putOp)
	if !ok {
		p = &putOp{e: e, end: make(chan error, 1)}
	}
	p.batch, p.claim, p.answer = batch, claim, answer
	if claim != nil {
		claim.put = true
	}
	e.store.Submit(p)
	if err := e.store.Await(p.end); err != nil {
		if err == ErrClosed {
			return err
		}
		q.refused.add(batch, claim)
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	clear(p.made)
	*p = putOp{e: e, made: p.made[:0], end: p.end}
	e.puts.Put(p)
	if claim != nil {
		claim.bound = true
		claim.Release()
	}
	return nil
}

// putOp writes signals and their deliveries.
type putOp struct {
	e      *engine
	batch  []Accepted
	claim  *Claim
	answer []byte
	made   []made
	end    chan error
}

// made is a new delivery as it was written.
type made struct {
	sender *sender
	signal *Accepted
	made   *Made
	id     DeliveryID
	stored record.Delivery
}

func (p *putOp) Urgent() bool { return true }

func (p *putOp) Write(b *store.Batch) {
	for i := range p.batch {
		s := &p.batch[i]
		b.PutSignal(s.ID, record.Signal{Config: b.Text(s.Config), Type: s.Type, Traceparent: s.Traceparent, Tracestate: s.Tracestate, Body: s.Body})
		if s.Note != nil {
			b.Set(record.NoteKey(nil, s.Note.Name), s.Note.Value)
		}
		for n := range s.Deliveries {
			p.made = append(p.made, p.e.make(b, s, &s.Deliveries[n], s.ID.Delivery(n+1), 0))
		}
	}
	if p.claim != nil {
		b.Bind(p.claim.hash, record.Idem{At: record.MillisOf(p.e.q.now()), Digest: p.claim.digest, Answer: p.answer})
	}
}

// make writes one new delivery, and its log entry if it is dead from the start.
func (e *engine) make(b *store.Batch, s *Accepted, m *Made, id DeliveryID, flags uint16) made {
	route := b.Route(m.Route)
	to := e.sender(route)
	r := record.Delivery{Flags: flags, Route: route.Num, Signal: s.ID}
	if m.Error != "" {
		r.State, r.Reason = record.IsDead, Transform
		r.Flags |= record.NoBody
		died := store.Entry{Entry: record.Entry{Delivery: id, Signal: s.ID, Type: s.Type, Verdict: Dead, Reason: Transform, Error: m.Error}}
		b.Log(route, &died)
		r.Last, r.Cause = died.At, b.Fail(route, id, causeOf(&died.Entry))
	} else {
		var own record.Body
		if own, r.Flags = m.stored(s.Body, r.Flags); r.HasBody() {
			b.PutBody(id, r.Flags, own)
		}
		// Where the clock went back, ids are ahead of it.
		r.Due = min(record.MillisOf(id.Time()), record.MillisOf(e.q.now()))
		r.Order = record.OrderOf(m.Order)
		if b.Order(route, id, &record.Delivery{}, &r); !r.Waits() {
			b.AddDue(route, r.Due, id)
			to.writing(r.Due, id)
		}
	}
	b.PutDelivery(id, &r)
	b.Made(route, &r)
	return made{to, s, m, id, r}
}

// stored returns what has to be stored of a new delivery beside the signal's bytes,
// and flags with those set that say so.
func (m *Made) stored(signal []byte, flags uint16) (own record.Body, _ uint16) {
	flags &^= record.NoBody | record.OwnBody | record.Shaped
	if m.Body != nil && !bytes.Equal(m.Body, signal) {
		own.Body, flags = m.Body, flags|record.OwnBody
	}
	if m.Shape != "" {
		own.Shape, flags = m.Shape, flags|record.Shaped
	}
	return own, flags
}

func (p *putOp) Done(err error) {
	offerMade(p.made, err)
	p.end <- err
}

// offerMade hands new deliveries that are due to their lanes, or drops them after an error.
func offerMade(all []made, err error) {
	for i := range all {
		m := &all[i]
		if m.stored.Due == 0 {
			continue
		}
		p, s := lane.Place{Due: m.stored.Due, ID: m.id}, m.signal
		m.sender.update(func(l *lane.Lane) {
			if err != nil {
				l.Forget(m.id)
				return
			}
			body := m.made.Body
			if body == nil {
				body = s.Body
			}
			l.Offer(lane.Item{Place: p, Size: len(body) + len(m.made.Shape), Load: &pendingDelivery{
				Delivery: Delivery{ID: m.id, Signal: s.ID, Route: m.sender.route.Name, Type: s.Type, Traceparent: s.Traceparent, Tracestate: s.Tracestate, Body: body, Shape: m.made.Shape},
				stored:   m.stored,
			}})
		})
	}
}

// refusals are the signals and idempotency keys of Puts that failed after they had been
// handed to an engine. The disk may hold them all the same; since their Put was answered
// with an error, they are removed when the store is open again.
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
