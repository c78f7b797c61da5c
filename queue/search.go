package queue

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"signalpost/queue/record"
	"signalpost/queue/store"
)

const (
	// scanMost bounds how many records one page looks at: a filter that finds
	// little gives short pages, each with a cursor, instead of one long wait.
	scanMost = 100_000

	bodyCost  = 10   // of reading a body, in records
	bytesCost = 1024 // and how many bytes of it count as one more
	pageBytes = 4 << 20
)

// A walk bounds a search, and ends it with its context.
type walk struct {
	ctx  context.Context
	seen int
}

// exhausted is whether the page has to end here: enough records have been looked at.
func (w *walk) exhausted() bool { return w.seen >= scanMost }

// step counts a record that has been looked at.
func (w *walk) step() error {
	if w.seen++; w.seen%256 == 0 {
		return w.ctx.Err()
	}
	return nil
}

// Log returns a page of the delivery log, newest first. A page can be short
// though more follow. The error wraps ctx's if that ends.
func (q *Queue) Log(ctx context.Context, f LogFilter) (page LogPage, err error) {
	e := q.engine.Load()
	lo, hi, err := f.bounds()
	if err != nil {
		return page, err
	}
	page.Entries = make([]Entry, 0, min(f.Limit, 128))
	if f.Delivery != (DeliveryID{}) || f.Signal != (SignalID{}) {
		return page, e.logOf(ctx, f, lo, hi, &page)
	}
	w, at := walk{ctx: ctx}, record.Stamp(0)
	err = e.store.ScanBack(record.LogKey(nil, lo), record.LogKey(nil, hi), store.Parsed(e.store.ParseEntry, func(r store.Entry) (bool, error) {
		if len(page.Entries) >= f.Limit || w.exhausted() {
			if page.Next = cursor(at); w.exhausted() {
				page.SearchedTo = at.Time()
			}
			return false, nil
		}
		at = r.At
		if entry := e.entryOf(&r); f.match(&entry) {
			page.Entries = append(page.Entries, entry)
		}
		return true, w.step()
	}))
	return page, err
}

// logOf is Log for one delivery or one signal: it follows the entries of each
// delivery from the newest back.
func (e *engine) logOf(ctx context.Context, f LogFilter, lo, hi record.Stamp, page *LogPage) error {
	ids := []DeliveryID{f.Delivery}
	if f.Delivery == (DeliveryID{}) {
		var err error
		if ids, err = e.deliveriesOf(f.Signal); err != nil {
			return err
		}
	}
	err := e.eachOf(ids, func(d store.Found) (bool, error) {
		err := e.history(d.Last, func(r *store.Entry) bool {
			if entry := e.entryOf(r); r.At >= lo && r.At < hi && f.match(&entry) {
				page.Entries = append(page.Entries, entry)
			}
			return ctx.Err() == nil
		})
		return true, cmp.Or(err, ctx.Err())
	})
	if err != nil {
		return err
	}
	slices.SortFunc(page.Entries, func(a, b Entry) int { return b.Time.Compare(a.Time) })
	if len(page.Entries) > f.Limit {
		page.Entries = page.Entries[:f.Limit]
		page.Next = cursor(record.StampOf(page.Entries[f.Limit-1].Time))
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
	return matchGlob(f.Route, e.Route) && matchGlob(f.Type, e.Type) &&
		(f.Signal == SignalID{} || f.Signal == e.Signal) &&
		(f.Delivery == DeliveryID{} || f.Delivery == e.Delivery) &&
		(len(f.Verdicts) == 0 || slices.Contains(f.Verdicts, e.Verdict)) &&
		(len(f.Statuses) == 0 || inRanges(f.Statuses, e.Status)) &&
		(f.Text == "" || containsFold(e.Error, f.Text) || containsFold(e.Response, f.Text))
}

// matchGlob is whether the glob of a filter, "" for none, matches s.
func matchGlob(glob, s string) bool { return glob == "" || Glob(glob, s) }

// containsFold is whether s has the part, whatever the case of letters.
func containsFold(s, part string) bool {
	return strings.Contains(strings.ToLower(s), strings.ToLower(part))
}

// Deliveries returns a page of deliveries, newest first. A page can be short
// though more follow. The error wraps ctx's if that ends.
func (q *Queue) Deliveries(ctx context.Context, f Filter) (page DeliveryPage, err error) {
	e := q.engine.Load()
	var ids []DeliveryID
	err = e.search(ctx, f, func(d store.Found) (bool, error) {
		if len(ids) >= f.Limit {
			page.Next = ids[len(ids)-1].String()
			return false, nil
		}
		ids = append(ids, d.ID)
		return true, nil
	}, func(last DeliveryID) { page.Next, page.SearchedTo = last.String(), last.Time() })
	if err != nil {
		return page, err
	}
	page.Deliveries, err = e.infos(ids)
	return page, err
}

// search calls found with the deliveries that match, newest first, until it
// says stop; when it has looked at much it calls exhausted with the last it saw.
func (e *engine) search(ctx context.Context, f Filter, found func(store.Found) (bool, error), exhausted func(last DeliveryID)) error {
	lo, hi, err := keysBetween(record.DeliveryPrefix, f.Since, f.Until, f.After, ParseDeliveryID)
	if err != nil {
		return err
	}
	w := walk{ctx: ctx}
	try := func(d store.Found) (bool, error) {
		ok, err := e.match(&f, &d.Delivery)
		if ok && err == nil && f.Body != "" {
			ok, err = e.bodyContains(&w, &d, []byte(f.Body))
		}
		if err != nil || !ok {
			return true, err
		}
		return found(d)
	}
	if f.Signal != (SignalID{}) {
		ids, err := e.deliveriesOf(f.Signal)
		if err != nil {
			return err
		}
		slices.Reverse(ids)
		return e.eachOf(slices.DeleteFunc(ids, func(id DeliveryID) bool {
			k := record.DeliveryKey(nil, id)
			return bytes.Compare(k, lo) < 0 || bytes.Compare(k, hi) >= 0
		}), try)
	}
	return e.store.ScanBack(lo, hi, store.Parsed(store.ParseFound, func(d store.Found) (bool, error) {
		if more, err := try(d); err != nil || !more {
			return false, err
		}
		if err := w.step(); err != nil || w.exhausted() {
			exhausted(d.ID)
			return false, err
		}
		return true, nil
	}))
}

// bodyContains is whether the signal, or the delivery's own body, has the text, as it
// is written or as it reads: a producer may escape what it likes.
func (e *engine) bodyContains(w *walk, d *store.Found, text []byte) (bool, error) {
	s, err := e.store.Signal(d.Signal)
	body := s.Body
	if err == nil && d.Flags&record.OwnBody != 0 && !jsonContains(body, text) {
		var b record.Body
		b, err = e.store.Body(d.ID, &d.Delivery, &s)
		body = b.Body
	}
	w.seen += bodyCost + (len(s.Body)+len(body))/bytesCost
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return jsonContains(body, text), cmp.Or(err, w.ctx.Err())
}

// keysBetween are the keys with the prefix, each of an id, from lo to before hi that
// a filter's times and cursor leave.
func keysBetween[ID ~[16]byte](prefix byte, since, until time.Time, after string, parse func(string) (ID, error)) (lo, hi []byte, err error) {
	key := func(id [16]byte) []byte { return append([]byte{prefix}, id[:]...) }
	lo, hi = []byte{prefix}, []byte{prefix + 1}
	if !since.IsZero() {
		lo = key(record.FirstID(since))
	}
	if !until.IsZero() {
		hi = key(record.FirstID(until))
	}
	if after != "" {
		id, err := parse(after)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %w", ErrCursor, err)
		}
		if k := key(id); bytes.Compare(k, hi) < 0 {
			hi = k
		}
	}
	if bytes.Compare(lo, hi) > 0 {
		lo = hi
	}
	return lo, hi, nil
}

func inRanges(ranges []StatusRange, status int) bool {
	return slices.ContainsFunc(ranges, func(s StatusRange) bool { return s.From <= status && status <= s.To })
}

// match reads the log, or the signal, only if the filter asks for the status of
// the last attempt or the type.
func (e *engine) match(f *Filter, r *record.Delivery) (bool, error) {
	if f.Route != "" && !Glob(f.Route, e.routeName(r.Route)) ||
		f.State != "" && f.State != e.senderOf(r.Route).state(r.State) ||
		f.Reason != "" && f.Reason != r.Reason {
		return false, nil
	}
	if len(f.Statuses) > 0 {
		ok := false
		err := e.history(r.Last, func(r *store.Entry) bool {
			ok = r.Attempt > 0 && inRanges(f.Statuses, r.Status)
			return r.Attempt == 0 // an end without an attempt
		})
		if err != nil || !ok {
			return false, err
		}
	}
	if f.Type == "" {
		return true, nil
	}
	s, err := e.store.Signal(r.Signal)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return Glob(f.Type, s.Type), err
}

// Signals returns a page of the stored signals, newest first, and the cursor of
// the next page, "" on the last. A page can be short, or empty, though more
// follow. The error wraps ctx's if that ends.
func (q *Queue) Signals(ctx context.Context, f SignalFilter) (page []Signal, next string, err error) {
	e := q.engine.Load()
	lo, hi, err := keysBetween(record.SignalPrefix, f.Since, f.Until, f.After, ParseSignalID)
	if err != nil {
		return nil, "", err
	}
	w, size, last := walk{ctx: ctx}, 0, SignalID{}
	err = e.store.ScanBack(lo, hi, store.Parsed(e.parseSignal, func(s Signal) (bool, error) {
		if w.exhausted() || matchGlob(f.Type, s.Type) && (len(page) >= f.Limit || size >= pageBytes) {
			next = last.String()
			return false, nil
		}
		if matchGlob(f.Type, s.Type) {
			page, size = append(page, s), size+len(s.Body)
		}
		last = s.ID
		w.seen += len(s.Body) / bytesCost
		return true, w.step()
	}))
	return page, next, err
}

// EachSignal calls yield with the stored signals that match, oldest first, until
// it fails, whose error it returns, or ctx ends. Limit and After are ignored.
// A few of them are in memory at a time, and nothing is held up while yield is slow.
func (q *Queue) EachSignal(ctx context.Context, f SignalFilter, yield func(Signal) error) error {
	e := q.engine.Load()
	lo, hi, err := keysBetween(record.SignalPrefix, f.Since, f.Until, "", ParseSignalID)
	for more := true; more && err == nil; {
		var some []Signal
		w, size := walk{ctx: ctx}, 0
		more = false
		err = e.store.Scan(lo, hi, store.Parsed(e.parseSignal, func(s Signal) (bool, error) {
			if matchGlob(f.Type, s.Type) {
				some, size = append(some, s), size+len(s.Body)
			}
			lo = append(record.SignalKey(nil, s.ID), 0)
			err := w.step()
			more = len(some) >= 256 || size >= pageBytes/4 || w.exhausted()
			return !more, err
		}))
		for _, s := range some {
			if err = cmp.Or(err, ctx.Err()); err == nil {
				err = yield(s)
			}
		}
	}
	return err
}

// parseSignal makes a signal of its key and value.
func (e *engine) parseSignal(k, v []byte) (Signal, error) {
	id, err := record.ParseID(k)
	if err != nil {
		return Signal{}, err
	}
	s, err := record.ParseSignal(v)
	return e.signalOf(SignalID(id), &s), err
}

// signalOf is a signal as it was put.
func (e *engine) signalOf(id SignalID, s *record.Signal) Signal {
	return Signal{ID: id, Type: s.Type, Config: e.store.Text(s.Config), Traceparent: s.Traceparent, Tracestate: s.Tracestate, Body: s.Body}
}

// jsonContains is whether the JSON has the text, as it is written or as it reads.
func jsonContains(body, text []byte) bool {
	return bytes.Contains(body, text) || bytes.IndexByte(body, '\\') >= 0 && bytes.Contains(unescape(body), text)
}

// unescape replaces the escapes of JSON by what they mean.
func unescape(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for {
		i := bytes.IndexByte(b, '\\')
		if i < 0 || i+1 == len(b) {
			return append(out, b...)
		}
		out = append(out, b[:i]...)
		c := b[i+1]
		switch unit, ok := codeUnit(b[i:]); {
		case ok:
			if low, ok := codeUnit(b[i+6:]); ok && utf16.IsSurrogate(unit) {
				unit, i = utf16.DecodeRune(unit, low), i+6
			}
			out, i = utf8.AppendRune(out, unit), i+4
		case strings.IndexByte("bfnrt", c) >= 0:
			out = append(out, "\b\f\n\r\t"[strings.IndexByte("bfnrt", c)])
		default:
			out = append(out, c)
		}
		b = b[i+2:]
	}
}

// codeUnit is that of the \uXXXX which b begins with.
func codeUnit(b []byte) (rune, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(b[2:6]), 16, 16)
	return rune(n), err == nil
}
