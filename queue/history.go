package queue

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// scanMost bounds how many records one page looks at: a filter that finds
// little gives short pages, each with a cursor, instead of one long wait.
const scanMost = 100_000

// Log returns a page of the delivery log, newest first, and the cursor of the
// next page, "" on the last. A page can be short though more follow.
func (q *Queue) Log(f LogFilter) ([]Entry, string, error) {
	e := q.engine.Load()
	lo, hi, err := f.bounds()
	if err != nil {
		return nil, "", err
	}
	page := make([]Entry, 0, min(f.Limit, 128))
	if f.Delivery != (DeliveryID{}) || f.Signal != (SignalID{}) {
		return e.logOf(f, lo, hi, page)
	}
	next, seen, at := "", 0, stamp(0)
	err = e.scanBack(logKey(nil, lo), logKey(nil, hi), func(k, v []byte) (bool, error) {
		if len(page) >= f.Limit || seen >= scanMost {
			next = cursor(at)
			return false, nil
		}
		seen++
		var entry Entry
		var err error
		if at, entry, err = e.parseEntry(k, v); err != nil {
			return false, err
		}
		if f.match(&entry) {
			page = append(page, entry)
		}
		return true, nil
	})
	return page, next, err
}

// logOf is Log for one delivery or one signal: it follows the entries of each
// delivery from the newest back.
func (e *engine) logOf(f LogFilter, lo, hi stamp, page []Entry) ([]Entry, string, error) {
	ids := []DeliveryID{f.Delivery}
	if f.Delivery == (DeliveryID{}) {
		var err error
		if ids, err = e.deliveriesOf(f.Signal); err != nil {
			return nil, "", err
		}
	}
	for _, id := range ids {
		r, err := e.delivery(id)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, "", err
		}
		err = e.chain(r.last, func(at stamp, entry Entry) bool {
			if at >= lo && at < hi && f.match(&entry) {
				page = append(page, entry)
			}
			return at >= lo
		})
		if err != nil {
			return nil, "", err
		}
	}
	slices.SortFunc(page, func(a, b Entry) int { return b.Time.Compare(a.Time) })
	if len(page) > f.Limit {
		page = page[:f.Limit]
		return page, cursor(toStamp(page[len(page)-1].Time)), nil
	}
	return page, "", nil
}

// chain calls f with the log entries of one delivery from the newest back,
// until it says stop or the rest has expired.
func (e *engine) chain(at stamp, f func(stamp, Entry) bool) error {
	for at != 0 {
		v, err := e.get(logKey(nil, at))
		if err != nil || v == nil {
			return err
		}
		r, err := parseLog(v)
		if err != nil {
			return fmt.Errorf("store %s: %w", e.o.Path, err)
		}
		if !f(at, r.entry(at, e.routeName(r.route))) {
			return nil
		}
		at = r.prev
	}
	return nil
}

func (e *engine) parseEntry(k, v []byte) (stamp, Entry, error) {
	at, err := parseLogKey(k)
	if err != nil {
		return 0, Entry{}, err
	}
	r, err := parseLog(v)
	if err != nil {
		return at, Entry{}, err
	}
	return at, r.entry(at, e.routeName(r.route)), nil
}

func (e *engine) routeName(n routeNum) string {
	if l := e.laneOf(n); l != nil {
		return l.name
	}
	return ""
}

// bounds are the stamps from lo to before hi that the filter's times and cursor leave.
func (f *LogFilter) bounds() (lo, hi stamp, err error) {
	hi = math.MaxInt64
	if !f.Since.IsZero() {
		lo = toStamp(f.Since)
	}
	if !f.Until.IsZero() {
		hi = toStamp(f.Until)
	}
	if f.After != "" {
		b, err := hex.DecodeString(f.After)
		if err != nil || len(b) != 8 {
			return 0, 0, fmt.Errorf("%w %q: not one that this log gave", ErrCursor, f.After)
		}
		at, _ := parseLogKey(append([]byte{keyLog}, b...))
		hi = min(hi, at)
	}
	return lo, max(lo, hi), nil
}

func cursor(at stamp) string { return hex.EncodeToString(logKey(nil, at)[1:]) }

func (f *LogFilter) match(e *Entry) bool {
	return (f.Route == "" || f.Route == e.Route) &&
		(f.Type == "" || f.Type == e.Type) &&
		(f.Signal == SignalID{} || f.Signal == e.Signal) &&
		(f.Delivery == DeliveryID{} || f.Delivery == e.Delivery) &&
		(f.Verdict == "" || f.Verdict == e.Verdict) &&
		(f.Status == 0 || f.Status == e.Status)
}

func (f *LogFilter) during(t time.Time) bool {
	return (f.Since.IsZero() || !t.Before(f.Since)) && (f.Until.IsZero() || t.Before(f.Until))
}

// Follow calls yield with the last f.Limit entries that match (0: none),
// oldest first, then with each new one, without a gap, until ctx ends or the
// queue closes (then it returns nil) or yield fails (then it returns that).
// However slow yield is, nothing is kept in memory for it.
func (q *Queue) Follow(ctx context.Context, f LogFilter, yield func(Entry) error) error {
	e := q.engine.Load()
	pos, err := e.newest()
	if err != nil {
		return q.unlessClosed(err)
	}
	if f.Limit > 0 {
		old := f
		old.After = ""
		if u := (pos + 1).time(); f.Until.IsZero() || u.Before(f.Until) {
			old.Until = u
		}
		var page []Entry
		for len(page) < f.Limit {
			old.Limit = f.Limit - len(page)
			some, next, err := q.Log(old)
			if err != nil {
				return q.unlessClosed(err)
			}
			page = append(page, some...)
			if old.After = next; next == "" || ctx.Err() != nil {
				break
			}
		}
		for _, entry := range slices.Backward(page) {
			if err := yield(entry); err != nil {
				return err
			}
		}
	}
	for ctx.Err() == nil {
		wake := e.wakeNext()
		page, last, err := e.logAfter(pos, 256)
		if errors.Is(err, ErrClosed) || errors.Is(err, errFailed) {
			if fresh := q.engine.Load(); fresh != e {
				e = fresh
				continue
			}
			if q.Ready() == ErrClosed {
				return nil
			}
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
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

// unlessClosed is err, or nil if there is one because the queue has closed.
func (q *Queue) unlessClosed(err error) error {
	if errors.Is(err, ErrClosed) && q.closed.Load() {
		return nil
	}
	return err
}

func (e *engine) newest() (at stamp, err error) {
	err = e.scanBack([]byte{keyLog}, []byte{keyLog + 1}, func(k, _ []byte) (_ bool, err error) {
		at, err = parseLogKey(k)
		return false, err
	})
	return at, err
}

// logAfter returns at most limit entries after pos, oldest first.
func (e *engine) logAfter(pos stamp, limit int) (page []Entry, last stamp, err error) {
	err = e.scan(logKey(nil, pos+1), []byte{keyLog + 1}, func(k, v []byte) (bool, error) {
		at, entry, err := e.parseEntry(k, v)
		if err != nil {
			return false, err
		}
		page, last = append(page, entry), at
		return len(page) < limit, nil
	})
	return page, last, err
}

// wakeNext is closed when the log grows, or the engine ends.
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

// Deliveries returns a page of deliveries, newest first, and the cursor of
// the next page, "" on the last. A page can be short though more follow.
func (q *Queue) Deliveries(f Filter) ([]Info, string, error) {
	e := q.engine.Load()
	page := make([]Info, 0, min(f.Limit, 128))
	next := ""
	err := e.search(f, func(id DeliveryID, r deliveryRecord) (bool, error) {
		if len(page) >= f.Limit {
			next = page[len(page)-1].ID.String()
			return false, nil
		}
		page = append(page, Info{ID: id})
		return true, nil
	}, func(last DeliveryID) { next = last.String() })
	if err != nil {
		return nil, "", err
	}
	out := page[:0]
	for _, i := range page {
		info, err := e.info(i.ID)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, "", err
		}
		out = append(out, info)
	}
	return out, next, nil
}

// search calls found with the deliveries that match, newest first, until it
// says stop; after scanMost records it calls tired with the last it saw.
func (e *engine) search(f Filter, found func(DeliveryID, deliveryRecord) (bool, error), tired func(DeliveryID)) error {
	lo, hi, err := f.bounds()
	if err != nil {
		return err
	}
	if f.Signal != (SignalID{}) {
		ids, err := e.deliveriesOf(f.Signal)
		if err != nil {
			return err
		}
		slices.SortFunc(ids, func(a, b DeliveryID) int { return bytes.Compare(b[:], a[:]) })
		for _, id := range ids {
			k := deliveryKey(nil, id)
			if bytes.Compare(k, lo) < 0 || bytes.Compare(k, hi) >= 0 {
				continue
			}
			r, err := e.delivery(id)
			if errors.Is(err, ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			ok, err := e.match(&f, &r)
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
			if more, err := found(id, r); err != nil || !more {
				return err
			}
		}
		return nil
	}
	seen := 0
	return e.scanBack(lo, hi, func(k, v []byte) (bool, error) {
		var id DeliveryID
		copy(id[:], k[1:])
		r, err := parseDelivery(id, v)
		if err != nil {
			return false, err
		}
		ok, err := e.match(&f, &r)
		if err != nil {
			return false, err
		}
		if ok {
			if more, err := found(id, r); err != nil || !more {
				return false, err
			}
		}
		if seen++; seen >= scanMost {
			tired(id)
			return false, nil
		}
		return true, nil
	})
}

// bounds are the delivery keys from lo to before hi that the filter's times and cursor leave.
func (f *Filter) bounds() (lo, hi []byte, err error) {
	lo, hi = []byte{keyDelivery}, []byte{keyDelivery + 1}
	if !f.Since.IsZero() {
		lo = deliveryKey(nil, firstID(f.Since))
	}
	if !f.Until.IsZero() {
		hi = deliveryKey(nil, firstID(f.Until))
	}
	if f.After != "" {
		id, err := ParseDeliveryID(f.After)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %w", ErrCursor, err)
		}
		if k := deliveryKey(nil, id); bytes.Compare(k, hi) < 0 {
			hi = k
		}
	}
	if bytes.Compare(lo, hi) > 0 {
		lo = hi
	}
	return lo, hi, nil
}

// firstID is below all ids made at t or later and above all made before, to the millisecond.
func firstID(t time.Time) (id DeliveryID) {
	ms := toMillis(t)
	if ms.time().Before(t) {
		ms++
	}
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i))
	}
	return id
}

// match reads the signal only if the filter asks for its type.
func (e *engine) match(f *Filter, r *deliveryRecord) (bool, error) {
	l := e.laneOf(r.route)
	if f.Route != "" && (l == nil || l.name != f.Route) ||
		f.State != "" && f.State != l.state(r.state) ||
		f.Reason != "" && f.Reason != reasons[r.reason] {
		return false, nil
	}
	if f.Type == "" {
		return true, nil
	}
	s, err := e.signal(r.signal)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return s.kind == f.Type, err
}

// state is how a delivery of the lane in a stored state is called.
func (l *lane) state(s storedState) State {
	switch s {
	case delivered:
		return StateDelivered
	case dead:
		return StateDead
	}
	if l != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.known {
			return StatePending
		}
	}
	return StateHeld
}

// deliveriesOf are the ids of a signal's deliveries that are there, in order.
func (e *engine) deliveriesOf(s SignalID) (ids []DeliveryID, err error) {
	collect := func(at int) func(k, _ []byte) (bool, error) {
		return func(k, _ []byte) (bool, error) {
			var id DeliveryID
			copy(id[:], k[at:])
			ids = append(ids, id)
			return true, nil
		}
	}
	if s != DeliveryID(s).signal() {
		return nil, nil // no signal has such an id
	}
	err = e.scan(deliveryKey(nil, s.Delivery(0)), deliveryKey(nil, s.after()), collect(1))
	if err != nil {
		return nil, err
	}
	var none, all DeliveryID
	for i := range all {
		all[i] = 0xff
	}
	return ids, e.scan(extraKey(nil, s, none), extraKey(nil, s, all), collect(17))
}

func (e *engine) info(id DeliveryID) (Info, error) {
	r, err := e.delivery(id)
	if err != nil {
		return Info{}, err
	}
	l := e.laneOf(r.route)
	i := Info{
		ID: id, Signal: r.signal, Route: e.routeName(r.route), State: l.state(r.state), Reason: reasons[r.reason],
		Created: id.Time(), Attempts: r.attempts,
	}
	if i.State == StatePending {
		t := r.due.time()
		i.NextAttempt = &t
	}
	err = e.chain(r.last, func(_ stamp, entry Entry) bool {
		i.Last, i.Type = &entry, entry.Type
		return false
	})
	if err != nil || i.Last != nil {
		return i, err
	}
	s, err := e.signal(r.signal)
	i.Type = s.kind
	return i, err
}

// Delivery returns one delivery whole. The error wraps ErrNotFound if there is none.
func (q *Queue) Delivery(id DeliveryID) (Detail, error) {
	e := q.engine.Load()
	info, err := e.info(id)
	if err != nil {
		return Detail{}, err
	}
	d := Detail{Info: info}
	r, err := e.delivery(id)
	if err != nil {
		return d, err
	}
	s, err := e.signal(r.signal)
	if err != nil {
		return d, err
	}
	d.Traceparent, d.SignalBody = s.traceparent, s.body
	switch {
	case r.flags&ownBody != 0:
		if d.Body, err = e.body(id); err != nil {
			return d, err
		}
	case r.flags&noBody == 0:
		d.Body = s.body
	}
	d.Log = []Entry{}
	err = e.chain(r.last, func(_ stamp, entry Entry) bool {
		d.Log = append(d.Log, entry)
		return true
	})
	slices.Reverse(d.Log)
	return d, err
}

// Signal returns a signal as received, and its deliveries in the order of
// their ids. The error wraps ErrNotFound if there is none.
func (q *Queue) Signal(id SignalID) (Signal, []Info, error) {
	e := q.engine.Load()
	s, err := e.signal(id)
	if err != nil {
		return Signal{}, nil, err
	}
	out := Signal{ID: id, Type: s.kind, Traceparent: s.traceparent, Body: s.body}
	ids, err := e.deliveriesOf(id)
	if err != nil {
		return out, nil, err
	}
	infos := make([]Info, 0, len(ids))
	for _, d := range ids {
		i, err := e.info(d)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return out, nil, err
		}
		infos = append(infos, i)
	}
	return out, infos, nil
}

// Status describes the queue. It costs a seek for each route that owes something.
func (q *Queue) Status() Status {
	e := q.engine.Load()
	s := Status{Bytes: e.bytes.Load(), Free: e.free.Load(), Evicted: e.evicted.Load(), Accepting: true, Routes: []RouteStatus{}}
	if err := q.Ready(); err != nil {
		s.Accepting, s.Reason = false, err.Error()
	}
	for _, l := range e.allLanes() {
		l.mu.Lock()
		s.Unaccounted += l.shown.unaccounted()
		left := l.shown.in[pending] + l.shown.in[delivered] + l.shown.in[dead]
		known := l.known
		l.mu.Unlock()
		if known || left > 0 {
			s.Routes = append(s.Routes, l.status(e))
		}
	}
	slices.SortFunc(s.Routes, func(a, b RouteStatus) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
	return s
}
