package store

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
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

// runSweeper deletes what has expired, and history when there is no room, until ctx ends.
func (s *Store) runSweeper(ctx context.Context) {
	swept, rested := time.Now(), time.Now()
	var took time.Duration // by the last sweep
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.space.shed: // again and again while there is too much
		case <-s.space.relimited:
		case <-time.After(time.Until(swept.Add(s.sweepGap(took)))):
		}
		start := time.Now()
		if s.excess() > 0 && !start.Before(rested) {
			s.report("evict history", s.evict(ctx))
			if s.excess() > 0 { // nothing more can go for now
				rested = time.Now().Add(sweepShare * time.Since(start))
			}
			start = time.Now()
		}
		if !start.Before(swept.Add(s.sweepGap(took))) {
			s.report("sweep", s.Sweep(ctx))
			swept, took = time.Now(), time.Since(start)
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
	err := cmp.Or(
		s.trim(record.LogPrefix, record.LogKey(nil, old)),
		s.expireKeys(record.MillisOf(now.Add(-l.DedupWindow))),
		// A signal can be there for as long as a delivery of it waits, and its history is kept.
		s.expireTexts(now.Add(-l.MaxAge-l.Retention-2*day)),
		s.expireRows(now),
	)
	if err != nil {
		return err
	}
	rp := reapRule{
		until:       record.FirstID(now.Add(-min(l.Retention, l.MaxAge))),
		deleteUntil: record.FirstID(now.Add(-l.Retention)),
		expired:     func(r *record.Delivery) bool { return r.State != record.IsPending && r.Last < old },
		tooOld:      record.MillisOf(now.Add(-l.MaxAge)),
		items:       sweepItems,
	}
	for pos := (record.DeliveryID{}); pos != rp.until && ctx.Err() == nil; {
		done, err := s.reap(pos, &rp)
		if err == nil && len(done.old) > 0 {
			err = s.o.TooOld(ctx, done.old, rp.tooOld)
		}
		if err != nil {
			return err
		}
		pos = done.end
	}
	return nil
}

// trim deletes all keys with the prefix below end, if there are any.
func (s *Store) trim(prefix byte, end []byte) error {
	some, err := s.hasKey([]byte{prefix}, end)
	if err != nil || !some {
		return err
	}
	return s.Do(func(b *Batch) { b.DeleteRange([]byte{prefix}, end) })
}

// hasKey tells whether there is a key from lo to before hi.
func (s *Store) hasKey(lo, hi []byte) (some bool, err error) {
	err = s.Scan(lo, hi, func(_, _ []byte) (bool, error) { some = true; return false, nil })
	return some, err
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

// A reapRule says which deliveries reap deletes.
type reapRule struct {
	until       record.DeliveryID // only those made before are looked at
	deleteUntil record.DeliveryID // and only those made before are deleted, with signals that made none
	expired     func(r *record.Delivery) bool
	tooOld      record.Millis // pending ones made, or last sent again, before become dead, too_old
	items       int           // deliveries looked at at a time
}

// A reapResult says what reap did.
type reapResult struct {
	gone   int                 // deliveries it deleted
	first  record.DeliveryID   // none before was deleted
	end    record.DeliveryID   // where it ended
	oldest record.Stamp        // of the newest log entries of those deleted
	old    []record.DeliveryID // pending deliveries it met that are too old
}

// reap deletes, from pos on and as much as fits one batch, signals all of whose
// deliveries are expired, with these, in ranges.
func (s *Store) reap(pos record.DeliveryID, rp *reapRule) (reapResult, error) {
	// Finished deliveries must not be retried between the look and the deletion.
	s.Finished.Lock()
	defer s.Finished.Unlock()
	if err := s.Do(func(b *Batch) { b.lowPut = record.SignalID(record.MaxID) }); err != nil {
		return reapResult{}, err
	}
	found, done, err := s.look(pos, rp)
	if err != nil {
		return done, err
	}
	var expired []Found
	var runs [][2]record.DeliveryID // of ids to delete
	from := pos                     // where the present run begins
	for n := 0; len(found) > 0; found = found[n:] {
		signal := found[0].ID.Signal()
		for n = 1; n < len(found) && found[n].ID.Signal() == signal; n++ {
		}
		switch all, err := s.allExpired(found[:n], rp); {
		case err != nil:
			return done, err
		case all:
			expired = append(expired, found[:n]...)
			continue
		}
		if runs, err = s.addRun(runs, from, signal.Delivery(0), rp); err != nil {
			return done, err
		}
		from = signal.After()
	}
	if runs, err = s.addRun(runs, from, done.end, rp); err != nil || len(runs) == 0 {
		return done, err
	}
	raced := false
	err = s.Do(func(b *Batch) {
		// A signal put since the look, with an id from long ago, must not be met.
		if raced = bytes.Compare(b.lowPut[:], done.end[:]) < 0; !raced {
			b.reap(expired, runs)
		}
	})
	if err == nil && !raced {
		done.first, done.gone = runs[0][0], len(expired)
		for i := range expired {
			if last := expired[i].Last; i == 0 || last < done.oldest {
				done.oldest = last
			}
		}
	}
	return done, err
}

// look reads the deliveries from pos on, until there are no more or enough for
// a batch: of each signal all.
func (s *Store) look(pos record.DeliveryID, rp *reapRule) (found []Found, done reapResult, err error) {
	done.end = rp.until
	err = s.Scan(record.DeliveryKey(nil, pos), record.DeliveryKey(nil, rp.until), Parsed(ParseFound, func(d Found) (bool, error) {
		if n := len(found); n >= rp.items && found[n-1].ID.Signal() != d.ID.Signal() {
			done.end = d.ID.Signal().Delivery(0)
			return false, nil
		}
		found = append(found, d)
		if d.State == record.IsPending && max(record.MillisOf(d.ID.Time()), d.Since) < rp.tooOld {
			done.old = append(done.old, d.ID)
		}
		return true, nil
	}))
	return found, done, err
}

// allExpired tells whether the signal whose deliveries these are is deleted with them.
func (s *Store) allExpired(all []Found, rp *reapRule) (bool, error) {
	signal := all[0].ID.Signal()
	if bytes.Compare(signal[:], rp.deleteUntil[:]) >= 0 {
		return false, nil
	}
	for i := range all {
		if !rp.expired(&all[i].Delivery) {
			return false, nil
		}
	}
	// What a retry has added to it keeps it.
	more, err := s.hasKey(record.ExtraKey(nil, signal, record.DeliveryID{}), record.ExtraKey(nil, record.SignalID(signal.After()), record.DeliveryID{}))
	return !more, err
}

// addRun appends a run of ids, if there is anything in it: deliveries, or signals that made none.
func (s *Store) addRun(runs [][2]record.DeliveryID, from, before record.DeliveryID, rp *reapRule) ([][2]record.DeliveryID, error) {
	if bytes.Compare(before[:], rp.deleteUntil[:]) > 0 {
		before = rp.deleteUntil
	}
	if bytes.Compare(from[:], before[:]) >= 0 {
		return runs, nil
	}
	some, err := s.hasKey(record.DeliveryKey(nil, from), record.DeliveryKey(nil, before))
	if err == nil && !some {
		some, err = s.hasKey(record.SignalKey(nil, record.SignalID(from)), record.SignalKey(nil, record.SignalID(before)))
	}
	if some {
		runs = append(runs, [2]record.DeliveryID{from, before})
	}
	return runs, err
}

// reap deletes the deliveries with all else in the runs of ids.
func (b *Batch) reap(expired []Found, runs [][2]record.DeliveryID) {
	for _, r := range runs {
		for _, prefix := range []byte{record.SignalPrefix, record.DeliveryPrefix, record.BodyPrefix} {
			b.DeleteRange(append([]byte{prefix}, r[0][:]...), append([]byte{prefix}, r[1][:]...))
		}
	}
	for _, d := range expired {
		if d.Flags&record.OwnSignal != 0 {
			b.Delete(record.ExtraKey(nil, d.Signal, d.ID))
		}
		r := b.s.RouteOf(d.Route)
		b.Count(r).Expired++
		b.count(r, &d.Delivery, -1)
	}
}

const (
	evictLeast = 32               // deliveries looked at for one batch, at least
	shedLogged = 10 * time.Minute // how often it is logged that history is shed, at most
)

// evict deletes the oldest delivered history until the store is below its limit, or
// only what is pending or dead is left; also what a clock that was ahead has dated later.
func (s *Store) evict(ctx context.Context) error {
	var pos record.DeliveryID // all before stays
	for ctx.Err() == nil && s.excess() > 0 {
		until, err := s.beyondAll()
		if err != nil || pos == until {
			return err
		}
		shed, err := s.reap(pos, &reapRule{
			until:       until,
			deleteUntil: until,
			expired:     func(r *record.Delivery) bool { return r.State == record.IsDelivered },
			items:       s.evictItems(),
		})
		if err != nil {
			return err
		}
		if pos = shed.end; shed.gone == 0 {
			continue
		}
		s.space.evicted.Add(int64(shed.gone))
		s.space.shedLog.Do(s.logShed)
		// Log entries older than all that were deleted are deleted, too.
		if err := s.trim(record.LogPrefix, record.LogKey(nil, shed.oldest)); err != nil {
			return err
		}
		// The room is there once what was deleted is compacted, which is all that is compacted.
		for _, r := range [][2][]byte{
			{record.BodyKey(nil, shed.first), record.BodyKey(nil, shed.end)},
			{record.DeliveryKey(nil, shed.first), record.DeliveryKey(nil, shed.end)},
			{{record.LogPrefix}, record.LogKey(nil, max(shed.oldest, 1))},
			{record.SignalKey(nil, record.SignalID(shed.first)), record.SignalKey(nil, record.SignalID(shed.end))},
		} {
			err := s.Read(func(db *pebble.DB) error { return db.Compact(ctx, r[0], r[1], false) })
			if err != nil {
				return err
			}
		}
		s.lookAtDisk()
	}
	return nil
}

// evictItems is how many deliveries are to go at once: no more than needed, as
// far as can be told from how many the store has.
func (s *Store) evictItems() int {
	stored := int64(1)
	for _, r := range s.Routes() {
		for _, n := range r.Counts().In {
			stored += n
		}
	}
	some := s.excess() + s.limits.Load().shedAt()/64 // or it would be for the next signal again
	return int(min(max(some*stored/max(s.space.bytes.Load(), 1), evictLeast), sweepItems))
}

// logShed logs that history goes before its time.
func (s *Store) logShed() {
	bytes, free, _ := s.Size()
	why := fmt.Sprintf("the store has %s, queue.max_size is %s", size(bytes), size(s.limits.Load().MaxSize))
	if free < s.space.least.Load()/2 {
		why = fmt.Sprintf("the disk has %s free", size(free))
	}
	s.log.Warn("the oldest delivered history goes before queue.retention is over, to make room", slog.String("err", why))
}

// beyondAll is above all deliveries that are stored, and no id that is made from now on is below it.
func (s *Store) beyondAll() (record.DeliveryID, error) {
	id := record.FirstID(s.o.Now())
	err := s.ScanBack(record.DeliveryKey(nil, id), []byte{record.DeliveryPrefix + 1}, func(k, _ []byte) (bool, error) {
		newest, err := record.ParseID(k)
		id = newest.Signal().After()
		return false, err
	})
	return id, err
}
