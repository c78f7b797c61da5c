package queue

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

const (
	sweepItems = 4096                   // deliveries looked at for one batch
	evictLeast = 32                     // likewise, when history is shed before its time
	sweepMost  = time.Minute            // between sweeps
	sweepLeast = 100 * time.Millisecond // likewise
	sweepShare = 50                     // a sweep rests so many times as long as it took
)

// evictItems is how many deliveries are to go at once: no more than needed, as
// far as can be told from how many the store has.
func (e *engine) evictItems() int {
	stored := int64(1)
	for _, l := range e.allLanes() {
		l.mu.Lock()
		for _, n := range l.shown.in {
			stored += n
		}
		l.mu.Unlock()
	}
	some := e.excess() + e.limits.Load().shedAt()/64 // or it would be for the next signal again
	return int(min(max(some*stored/max(e.bytes.Load(), 1), evictLeast), sweepItems))
}

// tend sweeps out what has expired, and history when there is no room, until ctx ends.
func (e *engine) tend(ctx context.Context) {
	shed := e.shed
	var rested <-chan time.Time // set while shed is nil
	next := time.Now().Add(e.sweepGap(0))
	sweep := time.NewTimer(time.Until(next))
	defer sweep.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-shed:
			start := time.Now()
			e.report("evict history", e.evict(ctx))
			if e.crowded() { // nothing more can go for now
				shed = nil
				rested = time.After(sweepShare * time.Since(start))
			}
		case <-rested:
			shed, rested = e.shed, nil
		case <-e.relimited:
			if at := time.Now().Add(e.sweepGap(0)); at.Before(next) {
				next = at
				sweep.Reset(time.Until(next))
			}
		case <-sweep.C:
			start := time.Now()
			e.report("sweep", e.sweep(ctx))
			next = time.Now().Add(e.sweepGap(time.Since(start)))
			sweep.Reset(time.Until(next))
		}
	}
}

func (e *engine) report(what string, err error) {
	if err != nil && e.broken() == nil {
		e.log.Error(what+" failed; it is tried again", slog.Any("err", err))
	}
}

// sweepGap is the time to the next sweep after one that took so long.
func (e *engine) sweepGap(took time.Duration) time.Duration {
	l := e.limits.Load()
	shortest := min(l.Retention, l.MaxAge, l.DedupWindow)
	return max(min(shortest/4, sweepMost), sweepLeast, sweepShare*took)
}

// sweep deletes what has outlived its retention and ends what has waited too long.
func (e *engine) sweep(ctx context.Context) error {
	l := e.limits.Load()
	now := time.Now()
	if err := e.trim(keyLog, logKey(nil, toStamp(now.Add(-l.Retention)))); err != nil {
		return err
	}
	if err := e.expireKeys(toMillis(now.Add(-l.DedupWindow))); err != nil {
		return err
	}
	old := toStamp(now.Add(-l.Retention))
	_, err := e.reap(ctx, DeliveryID{}, reaping{
		until:   firstID(now.Add(-min(l.Retention, l.MaxAge))),
		goUntil: firstID(now.Add(-l.Retention)),
		expired: func(r *deliveryRecord) bool { return r.state != pending && r.last < old },
		tooOld:  toMillis(now.Add(-l.MaxAge)),
		items:   sweepItems,
	})
	return err
}

// trim deletes all keys with the prefix below end, if there are any.
func (e *engine) trim(prefix byte, end []byte) error {
	some := false
	err := e.scan([]byte{prefix}, end, func(_, _ []byte) (bool, error) {
		some = true
		return false, nil
	})
	if err != nil || !some {
		return err
	}
	return e.do(func(w *writer) { w.deleteRange([]byte{prefix}, end) })
}

// expireKeys forgets the idempotency keys bound before the time.
func (e *engine) expireKeys(before millis) error {
	for {
		var old [][]byte
		err := e.scan([]byte{keyIdemTime}, idemTimeKey(nil, before, idemHash{}), func(k, _ []byte) (bool, error) {
			old = append(old, bytes.Clone(k))
			return len(old) < sweepItems, nil
		})
		if err != nil || len(old) == 0 {
			return err
		}
		// A key bound again since then has a later time: its binding stays.
		if err := e.do(func(w *writer) { w.bound = map[idemHash]bool{} }); err != nil {
			return err
		}
		var hashes []idemHash
		for _, k := range old {
			at, h, err := parseIdemTimeKey(k)
			if err != nil {
				return err
			}
			v, err := e.get(idemKey(nil, h))
			if err != nil {
				return err
			}
			if r, err := parseIdem(v); err == nil && r.at == at {
				hashes = append(hashes, h)
			}
		}
		err = e.do(func(w *writer) {
			for _, h := range hashes {
				if !w.bound[h] { // nor was it since the look
					w.k = idemKey(w.k[:0], h)
					w.delete(w.k)
				}
			}
			w.bound = nil
			w.deleteRange([]byte{keyIdemTime}, append(old[len(old)-1], 0))
		})
		if err != nil {
			return err
		}
	}
}

// A reaping says which deliveries go.
type reaping struct {
	until   DeliveryID // only those made before are looked at
	goUntil DeliveryID // and only those made before can go, with signals that made none
	expired func(r *deliveryRecord) bool
	tooOld  millis // pending ones made, or last sent again, before become dead, too_old
	some    bool   // stop when some have gone
	items   int    // deliveries looked at for one batch
}

// reap deletes, from pos on, signals all of whose deliveries are expired, with these, in
// ranges, and ends pending ones that are too old.
func (e *engine) reap(ctx context.Context, pos DeliveryID, rp reaping) (reaped, error) {
	all := reaped{first: rp.until, end: pos}
	for ctx.Err() == nil {
		some, err := e.reapSome(all.end, &rp)
		if err != nil {
			return all, err
		}
		if all.gone == 0 {
			all.first = some.first
		}
		all.gone += some.gone
		all.end = some.end
		if len(some.old) > 0 {
			if _, err := e.amend(ctx, some.old, tooOldAmendment(rp.tooOld)); err != nil {
				return all, err
			}
		}
		if all.end == rp.until || rp.some && all.gone > 0 {
			break
		}
	}
	return all, nil
}

func tooOldAmendment(before millis) amendment {
	return amendment{
		of: func(r *deliveryRecord) bool { return r.state == pending && r.since < before },
		change: func(c *change, _ *shaped) []Accepted {
			c.die(TooOld, "it waited longer than queue.max_age")
			return nil
		},
	}
}

// A reaped says what reap or reapSome did.
type reaped struct {
	gone  int        // deliveries it deleted
	first DeliveryID // none before was deleted
	end   DeliveryID // where it ended
	old   []target   // reapSome's: pending deliveries it met that are too old
}

// reapSome reaps from pos on, as much as fits one batch.
func (e *engine) reapSome(pos DeliveryID, rp *reaping) (done reaped, err error) {
	// Finished deliveries must not be retried between the look and the deletion.
	e.amending.Lock()
	defer e.amending.Unlock()
	if err := e.do(func(w *writer) { w.lowPut = maxSignal }); err != nil {
		return reaped{}, err
	}
	type tally [storedStates]int64
	var (
		runs    [][2]DeliveryID // to be deleted, from and before
		tallies = map[*lane]tally{}
		extras  [][]byte // keys to be deleted with them

		from    = pos // of the run
		group   SignalID
		members []deliveryRecord
		ids     []DeliveryID
		seen    int

		leaned = leaning{e: e, to: pos.signal(), until: rp.until, items: rp.items}
	)
	addRun := func(before DeliveryID) {
		if bytes.Compare(before[:], rp.goUntil[:]) > 0 {
			before = rp.goUntil
		}
		if bytes.Compare(from[:], before[:]) < 0 {
			runs = append(runs, [2]DeliveryID{from, before})
		}
	}
	closeGroup := func() error {
		if len(members) == 0 {
			return nil
		}
		stays, err := leaned.on(group)
		if err != nil {
			return err
		}
		goes := !stays && bytes.Compare(group[:], rp.goUntil[:]) < 0
		for i := range members {
			goes = goes && rp.expired(&members[i])
		}
		if goes {
			for i := range members {
				l := e.laneOf(members[i].route)
				t := tallies[l]
				t[members[i].state]++
				tallies[l] = t
				if members[i].flags&ownSignal != 0 {
					extras = append(extras, extraKey(nil, members[i].signal, ids[i]))
				}
			}
			done.gone += len(members)
		} else {
			addRun(group.Delivery(0))
			from = group.after()
		}
		members, ids = members[:0], ids[:0]
		return nil
	}
	done.end = rp.until
	err = e.scan(deliveryKey(nil, pos), deliveryKey(nil, rp.until), func(k, v []byte) (bool, error) {
		var id DeliveryID
		copy(id[:], k[1:])
		r, err := parseDelivery(id, v)
		if err != nil {
			return false, err
		}
		if s := id.signal(); s != group {
			if err := closeGroup(); err != nil {
				return false, err
			}
			if seen >= rp.items {
				done.end = s.Delivery(0)
				return false, nil
			}
			group = s
		}
		seen++
		members, ids = append(members, r), append(ids, id)
		if r.state == pending && max(toMillis(id.Time()), r.since) < rp.tooOld {
			done.old = append(done.old, target{id: id, found: r})
		}
		return true, nil
	})
	if err != nil {
		return reaped{}, err
	}
	if err := closeGroup(); err != nil {
		return reaped{}, err
	}
	addRun(done.end)
	if runs, err = e.inhabited(runs); err != nil || len(runs) == 0 {
		done.gone = 0
		return done, err
	}
	done.first = runs[0][0]
	raced := false
	err = e.do(func(w *writer) {
		// A signal put since the look, with an id from long ago, must not be met.
		if bytes.Compare(w.lowPut[:], done.end[:]) < 0 {
			raced = true
			return
		}
		for _, r := range runs {
			for _, prefix := range []byte{keySignal, keyDelivery, keyBody} {
				w.deleteRange(append([]byte{prefix}, r[0][:]...), append([]byte{prefix}, r[1][:]...))
			}
		}
		for _, k := range extras {
			w.delete(k)
		}
		for l, t := range tallies {
			c := w.count(l)
			for s, n := range t {
				c.in[s] -= n
				c.expired += n
			}
		}
	})
	if err != nil || raced {
		done.gone = 0
	}
	return done, err
}

// leaning knows which signals later deliveries lean on. It is asked of signals
// in order, and reads ahead by so many items.
type leaning struct {
	e     *engine
	known map[SignalID]bool // of those before to
	to    SignalID
	until DeliveryID
	items int
}

func (l *leaning) on(s SignalID) (bool, error) {
	for bytes.Compare(l.to[:], s[:]) <= 0 {
		lo := append([]byte{keyExtra}, l.to[:]...)
		hi := append([]byte{keyExtra}, l.until[:]...)
		l.known, l.to = map[SignalID]bool{}, SignalID(l.until)
		err := l.e.scan(lo, hi, func(k, _ []byte) (bool, error) {
			var x SignalID
			copy(x[:], k[1:])
			if len(l.known) == l.items && !l.known[x] {
				l.to = x
				return false, nil
			}
			l.known[x] = true
			return true, nil
		})
		if err != nil {
			return false, err
		}
		if l.to == SignalID(l.until) {
			break
		}
	}
	return l.known[s], nil
}

// inhabited are the runs, which are in order, in which there is a signal or a delivery.
func (e *engine) inhabited(runs [][2]DeliveryID) ([][2]DeliveryID, error) {
	some := make([]bool, len(runs))
	for _, prefix := range []byte{keySignal, keyDelivery} {
		err := e.read(func(db *pebble.DB) error {
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
	kept := runs[:0]
	for i, r := range runs {
		if some[i] {
			kept = append(kept, r)
		}
	}
	return kept, nil
}

// evict sheds the oldest delivered history until the store is below its
// limit, or only what is owed or dead is left. Ids that a clock which was
// ahead has made count as well.
func (e *engine) evict(ctx context.Context) error {
	var pos DeliveryID // all before stays
	for ctx.Err() == nil && e.crowded() {
		until, err := e.beyondAll()
		if err != nil {
			return err
		}
		var before stamp // log entries older than all that goes, go too
		shed, err := e.reap(ctx, pos, reaping{
			until:   until,
			goUntil: until,
			expired: func(r *deliveryRecord) bool {
				if r.state != delivered {
					return false
				}
				if before == 0 || r.last < before {
					before = r.last
				}
				return true
			},
			some:  true,
			items: e.evictItems(),
		})
		if err != nil || shed.gone == 0 {
			return err
		}
		e.evicted.Add(int64(shed.gone))
		e.saySheds()
		if err := e.trim(keyLog, logKey(nil, before)); err != nil {
			return err
		}
		// Room comes when what was deleted is compacted, and that alone.
		for _, r := range [][2][]byte{
			{bodyKey(nil, shed.first), bodyKey(nil, shed.end)}, {deliveryKey(nil, shed.first), deliveryKey(nil, shed.end)},
			{{keyLog}, logKey(nil, max(before, 1))}, {append([]byte{keySignal}, shed.first[:]...), append([]byte{keySignal}, shed.end[:]...)},
		} {
			err := e.read(func(db *pebble.DB) error { return db.Compact(ctx, r[0], r[1], false) })
			if err != nil {
				return err
			}
		}
		pos = shed.end
		e.watchDisk()
	}
	return nil
}

var maxSignal = func() (s SignalID) {
	for i := range s {
		s[i] = 0xff
	}
	return s
}()

// shedSaid is how often it is logged that history is shed, at most.
const shedSaid = 10 * time.Minute

// saySheds says that history goes before its time. It is the sweeper's.
func (e *engine) saySheds() {
	if !e.shedding.IsZero() && time.Since(e.shedding) < shedSaid {
		return
	}
	e.shedding = time.Now()
	why := fmt.Sprintf("the store has %d bytes, queue.max_size is %d", e.bytes.Load(), e.limits.Load().MaxSize)
	if free := e.free.Load(); free < e.reserved.Load()/2 {
		why = fmt.Sprintf("the disk has %d bytes free", free)
	}
	e.log.Warn("the oldest delivered history goes before queue.retention is over, to make room", slog.String("err", why))
}

// beyondAll is above all deliveries that are stored, and no id that is made from now on is below it.
func (e *engine) beyondAll() (DeliveryID, error) {
	id := firstID(time.Now())
	return id, e.scanBack(deliveryKey(nil, id), []byte{keyDelivery + 1}, func(k, _ []byte) (bool, error) {
		copy(id[:], k[1:])
		id = id.signal().after()
		return false, nil
	})
}

func minSignal(a, b SignalID) SignalID {
	if bytes.Compare(a[:], b[:]) < 0 {
		return a
	}
	return b
}

// after is the first delivery id beyond all of the signal's.
func (s SignalID) after() DeliveryID {
	d := s.Delivery(MaxDeliveries)
	for i := 15; i >= 0; i-- {
		if d[i]++; d[i] != 0 {
			break
		}
	}
	return d
}
