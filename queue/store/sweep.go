package store

import (
	"bytes"
	"context"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"signalpost/queue/record"
)

const (
	sweepItems = 4096                   // deliveries looked at for one batch
	sweepMost  = time.Minute            // between sweeps
	sweepLeast = 100 * time.Millisecond // likewise
	sweepShare = 50                     // a sweep rests so many times as long as it took
)

// tend sweeps out what has expired, and history when there is no room, until ctx ends.
func (s *Store) tend(ctx context.Context) {
	shed := s.room.shed
	var rested <-chan time.Time // set while shed is nil
	next := time.Now().Add(s.sweepGap(0))
	sweep := time.NewTimer(time.Until(next))
	defer sweep.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-shed:
			start := time.Now()
			s.report("evict history", s.evict(ctx))
			if s.excess() > 0 { // nothing more can go for now
				shed = nil
				rested = time.After(sweepShare * time.Since(start))
			}
		case <-rested:
			shed, rested = s.room.shed, nil
		case <-s.room.relimited:
			if at := time.Now().Add(s.sweepGap(0)); at.Before(next) {
				next = at
				sweep.Reset(time.Until(next))
			}
		case <-sweep.C:
			start := time.Now()
			s.report("sweep", s.Sweep(ctx))
			next = time.Now().Add(s.sweepGap(time.Since(start)))
			sweep.Reset(time.Until(next))
		}
	}
}

func (s *Store) report(what string, err error) {
	if err != nil && s.Err() == nil {
		s.log.Error(what+" failed; it is tried again", slog.Any("err", err))
	}
}

// sweepGap is the time to the next sweep after one that took so long.
func (s *Store) sweepGap(took time.Duration) time.Duration {
	l := s.limits.Load()
	shortest := min(l.Retention, l.MaxAge, l.DedupWindow)
	return max(min(shortest/4, sweepMost), sweepLeast, sweepShare*took)
}

// Sweep deletes what has outlived its retention and ends what has waited too
// long. The store does so by itself now and then.
func (s *Store) Sweep(ctx context.Context) error {
	l := s.limits.Load()
	now := s.o.Now()
	old := record.StampOf(now.Add(-l.Retention))
	if err := s.trim(record.LogPrefix, record.LogKey(nil, old)); err != nil {
		return err
	}
	if err := s.expireKeys(record.MillisOf(now.Add(-l.DedupWindow))); err != nil {
		return err
	}
	// A signal can be there for as long as a delivery of it waits, and its history is kept.
	if err := s.expireTexts(now.Add(-l.MaxAge - l.Retention - 2*day)); err != nil {
		return err
	}
	if err := s.tendRows(now); err != nil {
		return err
	}
	_, err := s.reap(ctx, record.DeliveryID{}, reaping{
		until:   record.FirstID(now.Add(-min(l.Retention, l.MaxAge))),
		goUntil: record.FirstID(now.Add(-l.Retention)),
		expired: func(r *record.Delivery) bool { return r.State != record.IsPending && r.Last < old },
		tooOld:  record.MillisOf(now.Add(-l.MaxAge)),
		items:   sweepItems,
	})
	return err
}

// trim deletes all keys with the prefix below end, if there are any.
func (s *Store) trim(prefix byte, end []byte) error {
	some := false
	err := s.Scan([]byte{prefix}, end, func(_, _ []byte) (bool, error) {
		some = true
		return false, nil
	})
	if err != nil || !some {
		return err
	}
	return s.Do(func(b *Batch) { b.DeleteRange([]byte{prefix}, end) })
}

// expireKeys forgets the idempotency keys bound before the time.
func (s *Store) expireKeys(before record.Millis) error {
	for {
		var old [][]byte
		err := s.Scan([]byte{record.IdemTimePrefix}, record.IdemTimeKey(nil, before, record.IdemHash{}), func(k, _ []byte) (bool, error) {
			old = append(old, bytes.Clone(k))
			return len(old) < sweepItems, nil
		})
		if err != nil || len(old) == 0 {
			return err
		}
		// A key bound again since then has a later time: its binding stays.
		if err := s.Do(func(b *Batch) { b.bound = map[record.IdemHash]bool{} }); err != nil {
			return err
		}
		var hashes []record.IdemHash
		for _, k := range old {
			at, h, err := record.ParseIdemTimeKey(k)
			if err != nil {
				return err
			}
			v, err := s.Get(record.IdemKey(nil, h))
			if err != nil {
				return err
			}
			if r, err := record.ParseIdem(v); err == nil && r.At == at {
				hashes = append(hashes, h)
			}
		}
		err = s.Do(func(b *Batch) {
			for _, h := range hashes {
				if !b.bound[h] { // nor was it since the look
					b.Delete(record.IdemKey(nil, h))
				}
			}
			b.bound = nil
			b.DeleteRange([]byte{record.IdemTimePrefix}, append(old[len(old)-1], 0))
		})
		if err != nil {
			return err
		}
	}
}

// A reaping says which deliveries go.
type reaping struct {
	until   record.DeliveryID // only those made before are looked at
	goUntil record.DeliveryID // and only those made before can go, with signals that made none
	expired func(r *record.Delivery) bool
	tooOld  record.Millis // pending ones made, or last sent again, before become dead, too_old
	some    bool          // stop when some have gone
	items   int           // deliveries looked at for one batch
}

// A reaped says what reap or a step of it did.
type reaped struct {
	gone  int                 // deliveries it deleted
	first record.DeliveryID   // none before was deleted
	end   record.DeliveryID   // where it ended
	old   []record.DeliveryID // a step's: pending deliveries it met that are too old
}

// reap deletes, from pos on, signals all of whose deliveries are expired, with
// these, in ranges, and ends pending ones that are too old.
func (s *Store) reap(ctx context.Context, pos record.DeliveryID, rp reaping) (reaped, error) {
	all := reaped{first: rp.until, end: pos}
	for ctx.Err() == nil {
		some, err := s.reapSome(all.end, &rp)
		if err != nil {
			return all, err
		}
		if all.gone == 0 {
			all.first = some.first
		}
		all.gone += some.gone
		all.end = some.end
		if len(some.old) > 0 {
			if err := s.o.TooOld(ctx, some.old, rp.tooOld); err != nil {
				return all, err
			}
		}
		if all.end == rp.until || rp.some && all.gone > 0 {
			break
		}
	}
	return all, nil
}

// reapSome reaps from pos on, as much as fits one batch.
func (s *Store) reapSome(pos record.DeliveryID, rp *reaping) (reaped, error) {
	// Finished deliveries must not be retried between the look and the deletion.
	s.Finished.Lock()
	defer s.Finished.Unlock()
	if err := s.Do(func(b *Batch) { b.lowPut = maxSignal }); err != nil {
		return reaped{}, err
	}
	l := look{s: s, reaping: rp, from: pos}
	l.done.end = rp.until
	l.extra = extras{s: s, to: pos.Signal(), until: rp.until, items: rp.items}
	if err := l.walk(pos); err != nil {
		return reaped{}, err
	}
	runs, err := s.nonEmpty(l.runs)
	if err != nil || len(runs) == 0 {
		l.done.gone = 0
		return l.done, err
	}
	l.done.first = runs[0][0]
	raced := false
	err = s.Do(func(b *Batch) {
		// A signal put since the look, with an id from long ago, must not be met.
		if raced = bytes.Compare(b.lowPut[:], l.done.end[:]) < 0; !raced {
			l.delete(b, runs)
		}
	})
	if err != nil || raced {
		l.done.gone = 0
	}
	return l.done, err
}

// A look is what a step of a reaping sees, signal by signal.
type look struct {
	*reaping
	s     *Store
	extra extras
	done  reaped
	runs  [][2]record.DeliveryID // to be deleted, from and before
	from  record.DeliveryID      // of the run that goes on
	all   []Found                // in the runs
	keys  [][]byte               // to be deleted with them

	signal  record.SignalID // whose deliveries these are:
	members []Found
	seen    int
}

// walk looks at deliveries from pos on, until there are no more or enough for a batch.
func (l *look) walk(pos record.DeliveryID) error {
	err := l.s.Scan(record.DeliveryKey(nil, pos), record.DeliveryKey(nil, l.until), func(k, v []byte) (bool, error) {
		id, err := record.ParseID(k)
		if err != nil {
			return false, err
		}
		r, err := record.ParseDelivery(id, v)
		if err != nil {
			return false, err
		}
		if next := id.Signal(); next != l.signal {
			if err := l.decide(); err != nil {
				return false, err
			}
			if l.seen >= l.items {
				l.done.end = next.Delivery(0)
				return false, nil
			}
			l.signal = next
		}
		l.seen++
		l.members = append(l.members, Found{id, r})
		if r.State == record.IsPending && max(record.MillisOf(id.Time()), r.Since) < l.tooOld {
			l.done.old = append(l.done.old, id)
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	if err := l.decide(); err != nil {
		return err
	}
	l.closeRun(l.done.end)
	return nil
}

// decide has the signal go whose deliveries have all been seen, or ends the run before it.
func (l *look) decide() error {
	if len(l.members) == 0 {
		return nil
	}
	stays, err := l.extra.has(l.signal)
	if err != nil {
		return err
	}
	goes := !stays && bytes.Compare(l.signal[:], l.goUntil[:]) < 0
	for i := range l.members {
		goes = goes && l.expired(&l.members[i].Delivery)
	}
	if !goes {
		l.closeRun(l.signal.Delivery(0))
		l.from = l.signal.After()
		l.members = l.members[:0]
		return nil
	}
	for _, m := range l.members {
		if m.Flags&record.OwnSignal != 0 {
			l.keys = append(l.keys, record.ExtraKey(nil, m.Delivery.Signal, m.ID))
		}
	}
	l.done.gone += len(l.members)
	l.all = append(l.all, l.members...)
	l.members = l.members[:0]
	return nil
}

func (l *look) closeRun(before record.DeliveryID) {
	if bytes.Compare(before[:], l.goUntil[:]) > 0 {
		before = l.goUntil
	}
	if bytes.Compare(l.from[:], before[:]) < 0 {
		l.runs = append(l.runs, [2]record.DeliveryID{l.from, before})
	}
}

func (l *look) delete(b *Batch, runs [][2]record.DeliveryID) {
	for _, r := range runs {
		for _, prefix := range []byte{record.SignalPrefix, record.DeliveryPrefix, record.BodyPrefix} {
			b.DeleteRange(append([]byte{prefix}, r[0][:]...), append([]byte{prefix}, r[1][:]...))
		}
	}
	for _, k := range l.keys {
		b.Delete(k)
	}
	for _, d := range l.all {
		r := l.s.RouteOf(d.Route)
		b.Count(r).Expired++
		b.count(r, &d.Delivery, -1)
	}
}

// extras knows which signals have deliveries that were added later, which
// keep them. It is asked of signals in order, and reads ahead by so many items.
type extras struct {
	s     *Store
	known map[record.SignalID]bool // of those before to
	to    record.SignalID
	until record.DeliveryID
	items int
}

func (e *extras) has(s record.SignalID) (bool, error) {
	for bytes.Compare(e.to[:], s[:]) <= 0 {
		lo := append([]byte{record.ExtraPrefix}, e.to[:]...)
		hi := append([]byte{record.ExtraPrefix}, e.until[:]...)
		e.known, e.to = map[record.SignalID]bool{}, record.SignalID(e.until)
		err := e.s.Scan(lo, hi, func(k, _ []byte) (bool, error) {
			x, _, err := record.ParseExtraKey(k)
			if len(e.known) == e.items && !e.known[x] {
				e.to = x
				return false, err
			}
			e.known[x] = true
			return true, err
		})
		if err != nil {
			return false, err
		}
		if e.to == record.SignalID(e.until) {
			break
		}
	}
	return e.known[s], nil
}

// nonEmpty are the runs, which are in order, in which there is a signal or a delivery.
func (s *Store) nonEmpty(runs [][2]record.DeliveryID) (kept [][2]record.DeliveryID, err error) {
	some := make([]bool, len(runs))
	for _, prefix := range []byte{record.SignalPrefix, record.DeliveryPrefix} {
		err := s.Read(func(db *pebble.DB) error {
			it, err := db.NewIter(&pebble.IterOptions{LowerBound: []byte{prefix}, UpperBound: []byte{prefix + 1}})
			if err != nil {
				return err
			}
			k := []byte{prefix}
			for i, r := range runs {
				k = append(k[:1], r[0][:]...)
				some[i] = some[i] || it.SeekGE(k) && bytes.Compare(it.Key()[1:], r[1][:]) < 0
			}
			return it.Close() // with what it met
		})
		if err != nil {
			return nil, err
		}
	}
	for i, r := range runs {
		if some[i] {
			kept = append(kept, r)
		}
	}
	return kept, nil
}

var maxSignal = func() (s record.SignalID) {
	for i := range s {
		s[i] = 0xff
	}
	return s
}()
