package queue

import (
	"context"
	"errors"
	"slices"
	"time"

	"signalpost/queue/record"
	"signalpost/queue/store"
)

// Follow calls yield with the last f.Limit entries that match (0: none),
// oldest first, then with each new one, without a gap, until ctx ends or the
// queue closes (then it returns nil) or yield fails (then it returns that).
// begin, unless nil, is called first, when no entry made from then on is missed;
// its error, too, ends all.
// However slow yield is, nothing is kept in memory for it. Entries that were
// made while the clock was ahead may come again once it gets there.
func (q *Queue) Follow(ctx context.Context, f LogFilter, begin func() error, yield func(Entry) error) error {
	e := q.engine.Load()
	tail := e.store.Tail()
	pos, steps := tail.Newest, tail.Steps
	if begin != nil {
		if err := begin(); err != nil {
			return err
		}
	}
	if err := q.yieldLast(ctx, f, pos, yield); err != nil {
		if errors.Is(err, ErrClosed) && q.closed.Load() {
			return nil
		}
		return err
	}
	for ctx.Err() == nil {
		wake := e.wakeNext()
		if tail = e.store.Tail(); tail.Steps != steps {
			pos, steps = tail.From-1, tail.Steps
		}
		page, last, err := e.logAfter(pos, max(pos, tail.Newest))
		if errors.Is(err, store.ErrFailed) || errors.Is(err, ErrClosed) {
			if e, err = q.engineAfter(ctx, e); e == nil {
				return err
			}
			steps = e.store.Tail().Steps
			continue
		}
		if err != nil {
			return err
		}
		for i := range page {
			if f.match(&page[i]) && f.during(page[i].Time) {
				if err := yield(page[i]); err != nil {
					return err
				}
			}
		}
		if last > pos {
			pos = last
			continue
		}
		select {
		case <-wake:
		case <-ctx.Done():
		}
	}
	return nil
}

// yieldLast calls yield with the last entries up to pos.
func (q *Queue) yieldLast(ctx context.Context, f LogFilter, pos record.Stamp, yield func(Entry) error) error {
	if u := (pos + 1).Time(); f.Until.IsZero() || u.Before(f.Until) {
		f.Until = u
	}
	want := f.Limit
	var page []Entry
	f.After = ""
	for len(page) < want {
		f.Limit = want - len(page)
		some, err := q.Log(ctx, f)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		page = append(page, some.Entries...)
		if f.After = some.Next; f.After == "" {
			break
		}
	}
	for _, entry := range slices.Backward(page) {
		if err := yield(entry); err != nil {
			return err
		}
	}
	return nil
}

// engineAfter waits a little for the engine that comes after e, which has
// ended, and returns it, or e. It returns nil when there is none to come.
func (q *Queue) engineAfter(ctx context.Context, e *engine) (*engine, error) {
	if fresh := q.engine.Load(); fresh != e {
		return fresh, nil
	}
	if q.closed.Load() {
		return nil, nil
	}
	select {
	case <-ctx.Done():
		return nil, nil
	case <-time.After(100 * time.Millisecond):
		return e, nil
	}
}

func (f *LogFilter) during(t time.Time) bool {
	return (f.Since.IsZero() || !t.Before(f.Since)) && (f.Until.IsZero() || t.Before(f.Until))
}

// logAfter returns some entries after pos, up to newest, oldest first.
func (e *engine) logAfter(pos, newest record.Stamp) (page []Entry, last record.Stamp, err error) {
	const most = 256
	err = e.store.Entries(pos+1, newest+1, func(r store.Entry) (bool, error) {
		page, last = append(page, e.entryOf(&r)), r.At
		return len(page) < most, nil
	})
	return page, last, err
}

// wakeNext returns a channel that is closed when the log grows, or the engine ends.
func (e *engine) wakeNext() <-chan struct{} {
	e.follow.Lock()
	defer e.follow.Unlock()
	if e.logged == nil {
		e.logged = make(chan struct{})
	}
	return e.logged
}

func (e *engine) wakeFollowers() {
	e.follow.Lock()
	defer e.follow.Unlock()
	if e.logged != nil {
		close(e.logged)
		e.logged = nil
	}
}
