package queue

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"

	"signalpost/queue/record"
	"signalpost/queue/store"
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
	next, seen, at := "", 0, record.Stamp(0)
	err = e.store.ScanBack(record.LogKey(nil, lo), record.LogKey(nil, hi), func(k, v []byte) (bool, error) {
		if len(page) >= f.Limit || seen >= scanMost {
			next = cursor(at)
			return false, nil
		}
		seen++
		r, err := e.store.ParseEntry(k, v)
		if err != nil {
			return false, err
		}
		at = r.At
		if entry := e.entryOf(&r); f.match(&entry) {
			page = append(page, entry)
		}
		return true, nil
	})
	return page, next, err
}

// logOf is Log for one delivery or one signal: it follows the entries of each
// delivery from the newest back.
func (e *engine) logOf(f LogFilter, lo, hi record.Stamp, page []Entry) ([]Entry, string, error) {
	ids := []DeliveryID{f.Delivery}
	if f.Delivery == (DeliveryID{}) {
		var err error
		if ids, err = e.deliveriesOf(f.Signal); err != nil {
			return nil, "", err
		}
	}
	for _, id := range ids {
		r, err := e.store.Delivery(id)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, "", err
		}
		err = e.history(r.Last, func(r *store.Entry) bool {
			if entry := e.entryOf(r); r.At >= lo && r.At < hi && f.match(&entry) {
				page = append(page, entry)
			}
			return true
		})
		if err != nil {
			return nil, "", err
		}
	}
	slices.SortFunc(page, func(a, b Entry) int { return b.Time.Compare(a.Time) })
	if len(page) > f.Limit {
		page = page[:f.Limit]
		return page, cursor(record.StampOf(page[len(page)-1].Time)), nil
	}
	return page, "", nil
}

// history calls f with the log entries of one delivery from the newest back,
// until it says stop or the rest has expired.
func (e *engine) history(at record.Stamp, f func(*store.Entry) bool) error {
	for at != 0 {
		r, err := e.store.Entry(at)
		if err != nil || r == nil || !f(r) {
			return err
		}
		at = r.Prev
	}
	return nil
}

// bounds are the stamps from lo to before hi that the filter's times and cursor leave.
func (f *LogFilter) bounds() (lo, hi record.Stamp, err error) {
	hi = math.MaxInt64
	if !f.Since.IsZero() {
		lo = record.StampOf(f.Since)
	}
	if !f.Until.IsZero() {
		hi = record.StampOf(f.Until)
	}
	if f.After != "" {
		b, err := hex.DecodeString(f.After)
		if err != nil || len(b) != 8 {
			return 0, 0, fmt.Errorf("%w %q: not one that this log gave", ErrCursor, f.After)
		}
		at, _ := record.ParseLogKey(append([]byte{record.LogPrefix}, b...))
		hi = min(hi, at)
	}
	return lo, max(lo, hi), nil
}

func cursor(at record.Stamp) string { return hex.EncodeToString(record.LogKey(nil, at)[1:]) }

func (f *LogFilter) match(e *Entry) bool {
	return (f.Route == "" || f.Route == e.Route) &&
		(f.Type == "" || f.Type == e.Type) &&
		(f.Signal == SignalID{} || f.Signal == e.Signal) &&
		(f.Delivery == DeliveryID{} || f.Delivery == e.Delivery) &&
		(f.Verdict == "" || f.Verdict == e.Verdict) &&
		(f.Status == 0 || f.Status == e.Status)
}

// Deliveries returns a page of deliveries, newest first, and the cursor of
// the next page, "" on the last. A page can be short though more follow.
func (q *Queue) Deliveries(f Filter) ([]Info, string, error) {
	e := q.engine.Load()
	var ids []DeliveryID
	next := ""
	err := e.search(f, func(d store.Found) (bool, error) {
		if len(ids) >= f.Limit {
			next = ids[len(ids)-1].String()
			return false, nil
		}
		ids = append(ids, d.ID)
		return true, nil
	}, func(last DeliveryID) { next = last.String() })
	if err != nil {
		return nil, "", err
	}
	page, err := e.infos(ids)
	return page, next, err
}

// infos describes the deliveries that are still there.
func (e *engine) infos(ids []DeliveryID) ([]Info, error) {
	infos := make([]Info, 0, len(ids))
	for _, id := range ids {
		r, err := e.store.Delivery(id)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		info, err := e.info(store.Found{ID: id, Delivery: r})
		if err != nil {
			return nil, err
		}
		infos = append(infos, info)
	}
	return infos, nil
}

// search calls found with the deliveries that match, newest first, until it
// says stop; after scanMost records it calls tired with the last it saw.
func (e *engine) search(f Filter, found func(store.Found) (bool, error), tired func(DeliveryID)) error {
	lo, hi, err := f.bounds()
	if err != nil {
		return err
	}
	try := func(id DeliveryID, r record.Delivery) (bool, error) {
		if ok, err := e.match(&f, &r); err != nil || !ok {
			return true, err
		}
		return found(store.Found{ID: id, Delivery: r})
	}
	if f.Signal != (SignalID{}) {
		return e.searchSignal(f.Signal, lo, hi, try)
	}
	seen := 0
	return e.store.ScanBack(lo, hi, func(k, v []byte) (bool, error) {
		id, err := record.ParseID(k)
		if err != nil {
			return false, err
		}
		r, err := record.ParseDelivery(id, v)
		if err != nil {
			return false, err
		}
		if more, err := try(id, r); err != nil || !more {
			return false, err
		}
		if seen++; seen >= scanMost {
			tired(id)
			return false, nil
		}
		return true, nil
	})
}

// searchSignal calls try with the deliveries of one signal, newest first.
func (e *engine) searchSignal(s SignalID, lo, hi []byte, try func(DeliveryID, record.Delivery) (bool, error)) error {
	ids, err := e.deliveriesOf(s)
	if err != nil {
		return err
	}
	slices.SortFunc(ids, func(a, b DeliveryID) int { return bytes.Compare(b[:], a[:]) })
	for _, id := range ids {
		k := record.DeliveryKey(nil, id)
		if bytes.Compare(k, lo) < 0 || bytes.Compare(k, hi) >= 0 {
			continue
		}
		r, err := e.store.Delivery(id)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if more, err := try(id, r); err != nil || !more {
			return err
		}
	}
	return nil
}

// bounds are the delivery keys from lo to before hi that the filter's times and cursor leave.
func (f *Filter) bounds() (lo, hi []byte, err error) {
	lo, hi = []byte{record.DeliveryPrefix}, []byte{record.DeliveryPrefix + 1}
	if !f.Since.IsZero() {
		lo = record.DeliveryKey(nil, record.FirstID(f.Since))
	}
	if !f.Until.IsZero() {
		hi = record.DeliveryKey(nil, record.FirstID(f.Until))
	}
	if f.After != "" {
		id, err := ParseDeliveryID(f.After)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %w", ErrCursor, err)
		}
		if k := record.DeliveryKey(nil, id); bytes.Compare(k, hi) < 0 {
			hi = k
		}
	}
	if bytes.Compare(lo, hi) > 0 {
		lo = hi
	}
	return lo, hi, nil
}

// match reads the signal only if the filter asks for its type.
func (e *engine) match(f *Filter, r *record.Delivery) (bool, error) {
	if f.Route != "" && e.routeName(r.Route) != f.Route ||
		f.State != "" && f.State != e.senderOf(r.Route).state(r.State) ||
		f.Reason != "" && f.Reason != r.Reason {
		return false, nil
	}
	if f.Type == "" {
		return true, nil
	}
	s, err := e.store.Signal(r.Signal)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return s.Type == f.Type, err
}

func (e *engine) routeName(n record.RouteNum) string {
	if r := e.store.RouteOf(n); r != nil {
		return r.Name
	}
	return ""
}

// deliveriesOf are the ids of a signal's deliveries that are there, in order.
func (e *engine) deliveriesOf(s SignalID) (ids []DeliveryID, err error) {
	if s != DeliveryID(s).Signal() {
		return nil, nil // no signal has such an id
	}
	err = e.store.Scan(record.DeliveryKey(nil, s.Delivery(0)), record.DeliveryKey(nil, s.After()), func(k, _ []byte) (bool, error) {
		id, err := record.ParseID(k)
		ids = append(ids, id)
		return true, err
	})
	if err != nil {
		return nil, err
	}
	var none, all DeliveryID
	for i := range all {
		all[i] = 0xff
	}
	return ids, e.store.Scan(record.ExtraKey(nil, s, none), record.ExtraKey(nil, s, all), func(k, _ []byte) (bool, error) {
		_, id, err := record.ParseExtraKey(k)
		ids = append(ids, id)
		return true, err
	})
}

func (e *engine) info(r store.Found) (Info, error) {
	i := Info{
		ID: r.ID, Signal: r.Signal, Route: e.routeName(r.Route), State: e.senderOf(r.Route).state(r.State), Reason: r.Reason,
		Created: r.ID.Time(), Attempts: r.Attempts,
	}
	if i.State == StatePending {
		t := e.senderOf(r.Route).when(r.Due.Time())
		i.NextAttempt = &t
	}
	err := e.history(r.Last, func(r *store.Entry) bool {
		entry := e.entryOf(r)
		if i.Last, i.Type = &entry, entry.Type; i.NextAttempt != nil && entry.NextAttempt != nil && i.NextAttempt.After(*entry.NextAttempt) {
			entry.NextAttempt = i.NextAttempt
		}
		return false
	})
	if err != nil || i.Last != nil {
		return i, err
	}
	s, err := e.store.Signal(r.Signal)
	i.Type = s.Type
	return i, err
}

// Delivery returns one delivery whole. The error wraps ErrNotFound if there is none.
func (q *Queue) Delivery(id DeliveryID) (d Detail, err error) {
	e := q.engine.Load()
	r, err := e.store.Delivery(id)
	if err != nil {
		return d, err
	}
	if d.Info, err = e.info(store.Found{ID: id, Delivery: r}); err != nil {
		return d, err
	}
	s, err := e.store.Signal(r.Signal)
	if err != nil {
		return d, err
	}
	d.Traceparent, d.SignalBody = s.Traceparent, s.Body
	switch {
	case r.Flags&record.OwnBody != 0:
		if d.Body, err = e.store.Body(id); err != nil {
			return d, err
		}
	case r.Flags&record.NoBody == 0:
		d.Body = s.Body
	}
	d.Log = []Entry{}
	err = e.history(r.Last, func(r *store.Entry) bool {
		if d.Log = append(d.Log, e.entryOf(r)); d.Sent.IsZero() && r.Started != 0 {
			d.Request, d.Sent = r.RequestText, r.Started.Time()
		}
		return true
	})
	if slices.Reverse(d.Log); len(d.Log) > 0 {
		d.Log[len(d.Log)-1] = *d.Last
	}
	return d, err
}

// Signal returns a signal as received, and its deliveries in the order of
// their ids. The error wraps ErrNotFound if there is none.
func (q *Queue) Signal(id SignalID) (Signal, []Info, error) {
	e := q.engine.Load()
	s, err := e.store.Signal(id)
	if err != nil {
		return Signal{}, nil, err
	}
	out := Signal{ID: id, Type: s.Type, Config: e.store.Text(s.Config), Traceparent: s.Traceparent, Body: s.Body}
	ids, err := e.deliveriesOf(id)
	if err != nil {
		return out, nil, err
	}
	infos, err := e.infos(ids)
	return out, infos, err
}
