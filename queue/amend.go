package queue

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"signalpost/queue/lane"
	"signalpost/queue/record"
	"signalpost/queue/store"
)

const (
	amendItems  = 500 // deliveries that are looked for at a time, when many are amended
	amendAtOnce = 256 // of them amended at once, so that they share fsyncs, if their bodies are small
)

// Retry makes a delivery due at once: attempt numbers go on, the schedule
// starts anew, the id stays. With always its body is made anew by reshape
// first; a delivery that died of its expression is always reshaped. The error
// wraps ErrNotFound, or ErrHeld if its route is not in the config. A delivery
// whose attempt is under way is left to it.
func (q *Queue) Retry(id DeliveryID, always bool, reshape Reshape) error {
	e := q.engine.Load()
	r, err := e.store.Delivery(id)
	if err != nil {
		return err
	}
	if l := e.senderOf(r.Route); l.state(record.IsPending) == StateHeld {
		return fmt.Errorf("delivery %s: %w: its route %q is not in the config", id, ErrHeld, e.routeName(r.Route))
	}
	_, err = e.amend(context.Background(), []DeliveryID{id}, e.retry(always, reshape))
	return err
}

// RetryAll does what Retry does to all deliveries that match, and returns how
// many. Those of routes that are not in the config are passed over, and so are
// those that were discarded unless f names that reason. f.State is StateDead,
// StateDelivered or StatePending. With dry it only counts.
func (q *Queue) RetryAll(ctx context.Context, f Filter, always bool, reshape Reshape, dry bool) (int, error) {
	e := q.engine.Load()
	a := e.retry(always, reshape)
	can := a.of
	a.of = func(r *record.Delivery) bool { return can(r) && (r.Reason != Discarded || f.Reason == Discarded) }
	return e.amendAll(ctx, f, dry, a)
}

// Discard makes a pending or held delivery dead, reason discarded. One whose
// attempt is under way makes no further one. The error wraps ErrNotFound, or
// ErrFinished if there is nothing left to give up.
func (q *Queue) Discard(id DeliveryID) error {
	e := q.engine.Load()
	n, err := e.amend(context.Background(), []DeliveryID{id}, discard(func(r *record.Delivery) bool { return r.State == record.IsPending }))
	if n > 0 || err != nil {
		return err
	}
	r, err := e.store.Delivery(id)
	if err != nil {
		return err
	}
	return fmt.Errorf("delivery %s: %w: it is %s", id, ErrFinished, e.senderOf(r.Route).state(r.State))
}

// DiscardAll makes all deliveries that match dead, reason discarded, and returns
// how many. f.State is StatePending, StateHeld, StateDead, or "" for all
// three. One whose attempt is under way makes no further one. With dry it only counts.
func (q *Queue) DiscardAll(ctx context.Context, f Filter, dry bool) (int, error) {
	return q.engine.Load().amendAll(ctx, f, dry, discard(func(r *record.Delivery) bool {
		return r.State != record.IsDelivered && r.Reason != Discarded
	}))
}

// An amendment is a change that someone asks for, beside what attempts bring about.
type amendment struct {
	of     func(r *record.Delivery) bool // whether it applies to the delivery
	change func(c *change)               // fills in c.now and c.entry
	giveUp bool                          // what is under way is noted to die when its attempt fails

	retry   bool // the body may be made anew: always, or if there is none
	always  bool
	reshape Reshape
}

// A target is a delivery that an amendment is meant for, as it was read, and
// what its signal was shaped to, if that is needed.
type target struct {
	store.Found
	signal *Signal // nil: nothing was shaped
	made   []Made
	err    error // of the expression
}

func discard(of func(r *record.Delivery) bool) amendment {
	return amendment{of: of, change: func(c *change) { c.die(Discarded, "") }, giveUp: true}
}

func (e *engine) retry(always bool, reshape Reshape) amendment {
	return amendment{
		of: func(r *record.Delivery) bool { return e.senderOf(r.Route).state(record.IsPending) == StatePending },
		change: func(c *change) {
			c.now.State, c.now.Reason = record.IsPending, ""
			c.now.Base, c.now.Due = c.now.Attempts, record.MillisOf(e.q.now())
			c.now.Flags |= record.Revived // queue.max_age counts anew
			c.now.Since = c.now.Due
		},
		retry: true, always: always, reshape: reshape,
	}
}

// amendAll amends all deliveries that match, newest first, some at a time.
func (e *engine) amendAll(ctx context.Context, f Filter, dry bool, a amendment) (n int, err error) {
	// What matched when it was found and does not any more, when it is amended, is left.
	of, now := a.of, Filter{State: f.State, Route: f.Route, Reason: f.Reason}
	a.of = func(r *record.Delivery) bool {
		ok, err := e.match(&now, r)
		return ok && err == nil && of(r)
	}
	f.After = ""
	for more := true; more && err == nil; {
		if err = ctx.Err(); err != nil {
			break
		}
		var ids []DeliveryID
		more = false
		err = e.search(ctx, f, func(d store.Found) (bool, error) {
			if a.of(&d.Delivery) {
				ids = append(ids, d.ID)
			}
			f.After, more = d.ID.String(), len(ids) == amendItems
			return !more, nil
		}, func(last DeliveryID) { f.After, more = last.String(), true })
		done := 0
		if err == nil && dry {
			done = len(ids)
		} else if err == nil {
			done, err = e.amend(ctx, ids, a)
		}
		n += done
	}
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("stopped after %d deliveries: %w", n, err)
	}
	return n, err
}

// amend amends the deliveries, and returns how many it was. The first of an order
// comes last: those behind it, which are to die as well, must not have their turn before.
func (e *engine) amend(ctx context.Context, ids []DeliveryID, a amendment) (int, error) {
	n, first, err := e.amendSome(ctx, ids, a, false)
	if len(first) > 0 && err == nil {
		var more int
		more, _, err = e.amendSome(ctx, first, a, true)
		n += more
	}
	return n, err
}

// amendSome amends as many at once as memory allows. It leaves those that are the
// first of an order unless they are included. Bodies are made before anything is locked, one after the
// other: expressions can be slow, and others amend too.
func (e *engine) amendSome(ctx context.Context, ids []DeliveryID, a amendment, included bool) (_ int, first []DeliveryID, _ error) {
	var n atomic.Int64
	memory := semaphore.NewWeighted(store.GroupBytes)
	all, ctx := errgroup.WithContext(ctx)
	for _, id := range ids {
		t, err := e.target(id, &a, included)
		if t == nil && err == nil {
			continue
		}
		if err == nil && t.first(included) {
			first = append(first, id)
			continue
		}
		size := int64(store.GroupBytes / amendAtOnce)
		if err == nil {
			for _, m := range t.made {
				size += int64(len(m.Body) + len(m.Shape))
			}
			size = min(size, store.GroupBytes)
			err = memory.Acquire(ctx, size)
		}
		if err != nil {
			all.Go(func() error { return err })
			break
		}
		all.Go(func() (err error) {
			defer memory.Release(size)
			for t != nil && err == nil {
				var done bool
				if done, err = e.apply(t, &a); done && err == nil {
					n.Add(1)
					return nil
				}
				if err == nil { // it has changed since
					t, err = e.target(id, &a, true)
				}
			}
			return err
		})
	}
	err := all.Wait()
	return int(n.Load()), first, err
}

// first is whether the target is the first of its chain, and such are not included.
func (t *target) first(included bool) bool { return !included && t.InChain() && !t.Waits() }

// target reads a delivery that is to be amended, and makes its body anew if
// that is to be. It is nil if the amendment does not apply, or no more.
func (e *engine) target(id DeliveryID, a *amendment, included bool) (*target, error) {
	r, err := e.store.Delivery(id)
	if errors.Is(err, ErrNotFound) || err == nil && !a.of(&r) {
		return nil, nil
	}
	t := &target{Found: store.Found{ID: id, Delivery: r}}
	if err != nil || t.first(included) || !a.retry || !a.always && r.Flags&record.NoBody == 0 {
		return t, err
	}
	if a.reshape == nil {
		return nil, fmt.Errorf("delivery %s has no body and is not reshaped", id)
	}
	s, err := e.store.Signal(r.Signal)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	signal := e.signalOf(r.Signal, &s)
	t.signal = &signal
	if t.made, t.err = a.reshape(signal, e.routeName(r.Route)); errors.Is(t.err, ErrUnavailable) {
		return nil, t.err
	}
	return t, nil
}

// apply amends a delivery. It is not done if the delivery is being written, or has
// changed since it was read; then it has to be read again. One whose attempt is under
// way is left to the attempt, but for a note that it was given up.
func (e *engine) apply(t *target, a *amendment) (done bool, err error) {
	e.store.Finished.RLock()
	defer e.store.Finished.RUnlock()
	c := &change{sender: e.senderOf(t.Route), id: t.ID, due: t.Due, was: t.Delivery, now: t.Delivery}
	if !c.wasDue() {
		c.due = lane.Never
	}
	switch c.sender.lease(c.place(), a.giveUp) {
	case lane.LeaseBusy:
		time.Sleep(time.Millisecond)
		return false, nil
	case lane.LeaseUnderWay:
		if !a.giveUp {
			return true, nil
		}
		c.giveUp = true
		c.now.Flags |= record.GivenUp
		return true, e.write(c, nil)
	}
	// What was read before the lease was taken may be older than it.
	if now, err := e.store.Delivery(t.ID); err != nil || now != t.Delivery {
		if err != nil {
			now.Due = t.Due
		}
		c.sender.update(func(l *lane.Lane) {
			if c.due == lane.Never {
				l.Overtaken(t.ID, now.Due)
			} else {
				l.Settled(t.ID, 0, now.Due)
			}
		})
		if errors.Is(err, ErrNotFound) {
			err = nil
		}
		return false, err
	}
	var more []Accepted
	if a.change(c); t.signal != nil {
		more = c.reshape(t)
	}
	if c.now.Order == (record.OrderID{}) {
		c.now.Flags &^= record.OutOfOrder
	} else if c.was.State != record.IsPending && c.now.State == record.IsPending {
		c.now.Flags |= record.OutOfOrder
	}
	if c.entry != nil {
		s, _ := e.store.Signal(c.was.Signal) // what is damaged can be given up all the same
		c.entry.Type = s.Type
	}
	err = e.write(c, more)
	return err != nil || !c.overtaken, err
}

// write writes an amendment and the deliveries it adds, and waits until they are on disk.
func (e *engine) write(c *change, more []Accepted) error {
	var added []made
	err := e.store.Do(func(b *store.Batch) {
		if c.Write(b); c.overtaken {
			return
		}
		for i := range more {
			s, id := &more[i], e.q.NewSignalID().Delivery(1)
			b.PutExtra(s.ID, id)
			added = append(added, e.make(b, s, &s.Deliveries[0], id, record.OwnSignal))
		}
	}, func(err error) {
		c.Done(err)
		offerMade(added, err)
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return nil
}

// reshape makes the body of c what its signal was shaped to. What goes beyond
// one body is returned as deliveries to be made.
func (c *change) reshape(t *target) (more []Accepted) {
	if t.err != nil {
		t.made = []Made{{Error: t.err.Error()}}
	}
	if len(t.made) == 0 {
		c.die(Filtered, "")
		return nil
	}
	if first := &t.made[0]; first.Error != "" {
		c.now.Flags = c.now.Flags&^(record.OwnBody|record.Shaped) | record.NoBody
		c.die(Transform, first.Error)
	} else {
		c.own, c.now.Flags = first.stored(t.signal.Body, c.now.Flags)
		c.now.Order, c.reshaped = record.OrderOf(first.Order), true
	}
	for _, m := range t.made[1:] {
		m.Route = c.sender.route.Name
		more = append(more, Accepted{Signal: *t.signal, Deliveries: []Made{m}})
	}
	return more
}

// endTooOld ends what has been pending since before.
func (e *engine) endTooOld(ctx context.Context, found []DeliveryID, before record.Millis) error {
	_, err := e.amend(ctx, found, amendment{
		of:     func(r *record.Delivery) bool { return r.State == record.IsPending && r.Since < before },
		change: func(c *change) { c.die(TooOld, "it waited longer than queue.max_age") },
	})
	return err
}
