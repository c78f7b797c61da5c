package queue

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"signalpost/queue/lane"
	"signalpost/queue/record"
)

// clockSlack is how far the clock may be set without anyone noticing.
const clockSlack = time.Second

// watchClock notices when the clock on the wall is set, until ctx ends: it
// differs then from the one that counts on, or from what was stored last.
func (q *Queue) watchClock(ctx context.Context) {
	look := time.NewTicker(time.Second)
	defer look.Stop()
	mono, wall := time.Now(), q.now().Round(0)
	var step time.Duration
	var handled time.Time // what was stored last, when it was seen to be ahead
	for {
		e := q.engine.Load()
		newest := e.store.Tail().Newest.Time()
		if id := q.ids.Newest().Time(); id.After(newest) {
			newest = id
		}
		ahead := newest.Sub(wall)
		switch {
		case step > clockSlack:
			q.log.Warn(fmt.Sprintf("the clock was set ahead by %v, or the machine was suspended: what waits may be tried sooner", step.Round(time.Second)))
		case step < -clockSlack:
			q.log.Warn(fmt.Sprintf("the clock was set back by %v: what waits is tried no later for that", -step.Round(time.Second)))
		case ahead > clockSlack && newest != handled:
			q.log.Warn(fmt.Sprintf("what was stored last is of %v ahead of now: the clock was wrong then, or is now; what waits is tried no later for that", ahead.Round(time.Second)))
		}
		if step < -clockSlack || ahead > clockSlack && newest != handled {
			handled = newest
			q.bringForward(ctx, e)
		}
		if step.Abs() > clockSlack {
			for _, s := range e.allSenders() {
				s.wake()
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
		m, w := time.Now(), q.now().Round(0)
		step = w.Sub(wall) - m.Sub(mono)
		mono, wall = m, w
	}
}

// bringForward makes deliveries due sooner that were made or tried while the clock
// was ahead: each waits as long as it had to from when it was tried, and no longer.
func (q *Queue) bringForward(ctx context.Context, e *engine) {
	late := amendment{
		of:     func(r *record.Delivery) bool { return e.rightDue(r) < r.Due },
		change: func(c *change) { c.now.Due = e.rightDue(&c.was) },
	}
	for _, s := range e.allSenders() {
		var waits []DeliveryID
		err := s.scanDue(lane.Place{Due: record.MillisOf(q.now()) + 1}, func(p lane.Place) bool {
			waits = append(waits, p.ID)
			return ctx.Err() == nil
		})
		if err == nil {
			_, err = e.amend(ctx, waits, late)
		}
		if err != nil && e.store.Err() == nil && ctx.Err() == nil {
			q.log.Error("what waits cannot be tried again sooner", slog.String("route", s.route.Name), slog.Any("err", err))
		}
	}
}

// rightDue is when a pending delivery should be due by the clock of now: its attempt,
// or its making, may be stamped with a later time.
func (e *engine) rightDue(r *record.Delivery) record.Millis {
	now := record.MillisOf(e.q.now())
	if r.State != record.IsPending || r.Due <= now {
		return r.Due
	}
	last, err := e.store.Entry(r.Last)
	switch {
	case r.Last == 0:
		return now
	case err != nil || last == nil:
		return r.Due // it is not known
	case last.Next != r.Due: // it was sent again on request since, to be tried at once
		return now
	}
	if tried := record.MillisOf(last.At.Time()); tried > now {
		return min(r.Due, now+max(r.Due, tried)-tried)
	}
	return r.Due
}
