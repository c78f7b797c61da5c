package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"signalpost/queue/record"
	"signalpost/queue/store/disk"
)

const path = "store"

// openOn opens the store on a file system and starts it.
func openOn(t *testing.T, fs vfs.FS, log Log) *Store {
	t.Helper()
	s, err := tryOpen(fs, log)
	if err != nil {
		t.Fatal(err)
	}
	s.Start(Limits{}.WithDefaults())
	return s
}

func tryOpen(fs vfs.FS, log Log) (*Store, error) {
	f, err := disk.Open(path, fs)
	if err != nil {
		return nil, err
	}
	s, err := Open(f, Options{
		Log: slog.New(slog.DiscardHandler), Now: time.Now, LowEvery: 2, Journal: log,
		Low:    func(r *Route) record.Millis { return 0 },
		TooOld: func(context.Context, []record.DeliveryID, record.Millis) error { return nil },
	})
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return s, nil
}

func (s *Store) stop(t *testing.T) {
	t.Helper()
	if err := errors.Join(s.Close(func() {}), s.folder.Close()); err != nil {
		t.Error(err)
	}
}

// put writes a signal with one delivery to the route.
func (s *Store) put(ids *record.IDs, route string) (record.SignalID, error) {
	id := ids.Next(time.Now())
	return id, s.Do(func(b *Batch) { b.putOne(id, route) })
}

func (b *Batch) putOne(id record.SignalID, route string) {
	r := b.Route(route)
	b.PutSignal(id, record.Signal{Type: "lead", Body: []byte("{}")})
	d := record.Delivery{State: record.IsDelivered, Route: r.Num, Signal: id}
	e := Entry{Entry: record.Entry{Delivery: id.Delivery(1), Signal: id, Type: "lead", Attempt: 1, Verdict: record.Delivered}}
	b.Log(r, &e)
	d.Last = e.At
	b.PutDelivery(id.Delivery(1), &d)
	b.Made(r, &d)
}

// content is all that the store holds, but for what is the view's own.
func (s *Store) content(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := s.Scan([]byte{0}, []byte{0xff}, func(k, v []byte) (bool, error) {
		if k[0] != record.MetaPrefix && !bytes.Equal(k, positionKey) {
			all[string(k)] = string(v)
		}
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// A fakeLog is a Log in memory, whose next Append can fail.
type fakeLog struct {
	mu      sync.Mutex
	records [][]byte
	refuse  bool // the next is not there, and its Append fails
	lose    bool // the next is there, and its Append fails
	twice   bool // Read yields each record twice
	gate    chan struct{}

	down     bool              // it cannot be read
	begins   uint64            // positions up to it are gone
	snapshot map[string][]byte // files of a view
}

var errFake = errors.New("no quorum")

func (l *fakeLog) Append(r []byte) (uint64, error) {
	if l.gate != nil {
		<-l.gate
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refuse {
		l.refuse = false
		return 0, errFake
	}
	l.records = append(l.records, bytes.Clone(r))
	if l.lose {
		l.lose = false
		return 0, errFake
	}
	return uint64(len(l.records)), nil
}

func (l *fakeLog) Read(after uint64, f func(uint64, []byte) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		return errFake
	}
	if after < l.begins {
		return fmt.Errorf("%d records are gone: %w", l.begins, ErrStale)
	}
	for i := after; i < uint64(len(l.records)); i++ {
		for range map[bool]int{false: 1, true: 2}[l.twice] {
			if err := f(i+1, l.records[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *fakeLog) Restore(write func(string, io.Reader) error) error {
	for name, content := range l.snapshot {
		if err := write(name, bytes.NewReader(content)); err != nil {
			return err
		}
	}
	return nil
}

// TestViewIsRenewed: a view that is damaged, or stands at records that the log
// lacks by now, is made anew, from a snapshot where there is one.
func TestViewIsRenewed(t *testing.T) {
	log := &fakeLog{snapshot: map[string][]byte{}}
	mem := vfs.NewMem()
	s := openOn(t, mem, log)
	var ids record.IDs
	put := func(s *Store, n int) {
		for range n {
			if _, err := s.put(&ids, "a"); err != nil {
				t.Fatal(err)
			}
		}
	}
	put(s, 50)
	s.stop(t)
	names, _ := mem.List(path)
	for _, name := range names {
		if strings.HasPrefix(name, "MANIFEST-") {
			f, err := mem.Create(path+"/"+name, vfs.WriteCategoryUnspecified)
			if err := errors.Join(err, f.Close()); err != nil {
				t.Fatal(err)
			}
		}
	}
	log.down = true
	if _, err := tryOpen(mem, log); err == nil {
		t.Error("it is opened without its log")
	}
	if kept, _ := mem.List(path + "/.aside"); len(kept) < 3 {
		t.Errorf("of the view there is only %q while the log cannot be read", kept)
	}
	log.down = false
	s = openOn(t, mem, log)
	if names, _ := mem.List(path); slices.Contains(names, ".aside") {
		t.Error("what was set aside is kept")
	}
	put(s, 50)
	err := s.Snapshot(func(position uint64, files []File) error {
		tables := 0
		for _, f := range files {
			r, err := f.Open()
			if err != nil {
				return err
			}
			if log.snapshot[f.Name], err = io.ReadAll(r); err != nil || int64(len(log.snapshot[f.Name])) != f.Size {
				t.Errorf("%s has %d bytes of %d: %v", f.Name, len(log.snapshot[f.Name]), f.Size, err)
			}
			if f.Table {
				tables++
			}
			r.Close()
		}
		if position != 100 {
			t.Errorf("the snapshot stands at %d of 100, with %d tables", position, tables)
		}
		log.begins = position
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	put(s, 50)
	if s.Empty() {
		t.Error("it is said to be empty")
	}
	want := s.content(t)
	s.stop(t)
	old := vfs.NewMem()
	stale := openOn(t, old, &fakeLog{records: log.records[:70]})
	stale.stop(t)
	for name, fs := range map[string]*vfs.MemFS{"from nothing": vfs.NewMem(), "of long ago": old, "as it was closed": mem} {
		s := openOn(t, fs, log)
		if got := s.content(t); !maps.Equal(got, want) {
			t.Errorf("%s: it holds %d keys, want %d", name, len(got), len(want))
		}
		s.stop(t)
		if err := Check(path, fs); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestViewIsRebuilt: what a log has is all there is to a store: a view made of
// it anew, whole or from where a crash left one, equals the one that wrote it.
func TestViewIsRebuilt(t *testing.T) {
	log := &fakeLog{}
	mem := vfs.NewCrashableMem()
	s := openOn(t, mem, log)
	var ids record.IDs
	var early *vfs.MemFS
	for i := range 300 {
		if _, err := s.put(&ids, fmt.Sprint("route", i%3)); err != nil {
			t.Fatal(err)
		}
		if i == 200 {
			early = mem.CrashClone(vfs.CrashCloneCfg{})
		}
	}
	if err := s.Do(func(b *Batch) { b.DeleteRange([]byte{record.BodyPrefix}, []byte{record.BodyPrefix + 1}) }); err != nil {
		t.Fatal(err)
	}
	want := s.content(t)
	wantTail, wantNewest := s.Tail().Newest, ids.Next(time.Now())
	s.stop(t)
	if len(want) < 900 {
		t.Fatalf("it holds %d keys", len(want))
	}
	for name, fs := range map[string]*vfs.MemFS{"from nothing": vfs.NewMem(), "from what a crash left": early, "as it was closed": mem} {
		for _, log.twice = range []bool{false, true} {
			s := openOn(t, fs, log)
			if got := s.content(t); !maps.Equal(got, want) {
				t.Errorf("%s: it holds %d keys, want %d", name, len(got), len(want))
			}
			if s.Tail().Newest != wantTail || bytes.Compare(s.lastSignal[:], wantNewest[:]) >= 0 {
				t.Errorf("%s: it does not know its newest entry or id", name)
			}
			for _, r := range s.Routes() {
				if c := r.Counts(); c.Made != 100 || c.Unaccounted() != 0 {
					t.Errorf("%s: %s has %+v", name, r.Name, c)
				}
			}
			if _, err := s.put(&ids, "route1"); err != nil {
				t.Error(err)
			}
			s.stop(t)
			log.records = log.records[:len(log.records)-1] // as if it had not been
			if err := Check(path, fs); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if fs == mem {
				break // it is ahead of the log now
			}
			fs = vfs.NewMem()
		}
	}
}

// TestAppendFails: the store fails with it, and what is there when it is open
// again is what the log has.
func TestAppendFails(t *testing.T) {
	for name, fail := range map[string]func(l *fakeLog){
		"refused":                  func(l *fakeLog) { l.refuse = true },
		"the acknowledgement lost": func(l *fakeLog) { l.lose = true },
	} {
		log := &fakeLog{}
		mem := vfs.NewMem()
		s := openOn(t, mem, log)
		var ids record.IDs
		kept, err := s.put(&ids, "a")
		if err != nil {
			t.Fatal(err)
		}
		log.mu.Lock()
		fail(log)
		log.mu.Unlock()
		id, err := s.put(&ids, "a")
		if !errors.Is(err, errFake) || !errors.Is(s.Err(), errFake) || !errors.Is(s.Ready(), ErrUnavailable) {
			t.Errorf("%s: the answer is %v, the store's state %v", name, err, s.Err())
		}
		_ = s.Close(func() {})
		_ = s.folder.Close()
		s = openOn(t, mem, log)
		if _, err := s.Signal(kept); err != nil {
			t.Errorf("%s: what was acknowledged: %v", name, err)
		}
		_, err = s.Signal(id)
		if there := err == nil; there != (len(log.records) == 2) {
			t.Errorf("%s: the log has %d records, and the signal is there: %v", name, len(log.records), there)
		}
		if _, err := s.put(&ids, "a"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		s.stop(t)
	}
}

// TestBatchesGatherBehindAnAppend: while one record is on its way the next
// batch takes what comes, and nothing is acknowledged or readable before its record is.
func TestBatchesGatherBehindAnAppend(t *testing.T) {
	log := &fakeLog{gate: make(chan struct{})}
	s := openOn(t, vfs.NewMem(), log)
	var ids record.IDs
	done := make(chan record.SignalID, 100)
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			id, err := s.put(&ids, "a")
			if err != nil {
				t.Error(err)
			}
			done <- id
		})
	}
	time.Sleep(10 * time.Millisecond)
	if n := len(s.content(t)); len(done) != 0 || n != 0 {
		t.Errorf("%d are acknowledged, %d keys readable before the first record is", len(done), n)
	}
	close(log.gate)
	wg.Wait()
	if n := len(log.records); n > 50 {
		t.Errorf("%d records for 100 operations that came at once", n)
	}
	s.stop(t)
}

// A signal with an id from long ago, put between the sweeper's look and its
// deletion of a range of ids, stays.
func TestSweepMeetsNothingItHasNotSeen(t *testing.T) {
	s := openOn(t, vfs.NewMem(), nil)
	defer s.stop(t)
	var ids record.IDs
	first := ids.Next(time.Now())
	late := ids.Next(time.Now())
	if err := s.Do(func(b *Batch) { b.putOne(first, "crm") }); err != nil {
		t.Fatal(err)
	}
	if _, err := s.put(&ids, "crm"); err != nil {
		t.Fatal(err)
	}
	until := record.FirstID(time.Now().Add(time.Hour))
	put := false
	reap := func() reapResult {
		t.Helper()
		done, err := s.reap(record.DeliveryID{}, &reapRule{
			until: until, deleteUntil: until, items: sweepItems,
			expired: func(r *record.Delivery) bool {
				if !put {
					put = true
					if err := s.Do(func(b *Batch) { b.putOne(late, "slow") }); err != nil {
						t.Error(err)
					}
				}
				return r.Route == 1
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		return done
	}
	if done := reap(); done.gone != 0 {
		t.Errorf("%d are gone, they are to go next time", done.gone)
	}
	if _, err := s.Delivery(late.Delivery(1)); err != nil {
		t.Error(err)
	}
	if done := reap(); done.gone != 2 {
		t.Errorf("%d are gone the next time", done.gone)
	}
	if _, err := s.Delivery(late.Delivery(1)); err != nil {
		t.Error(err)
	}
}

// TestCheckFindsDamage: whatever key or value is not what it should be is a
// fault that is told, and no panic.
func TestCheckFindsDamage(t *testing.T) {
	for _, prefix := range []byte{
		record.RoutePrefix, record.CountsPrefix, record.SignalPrefix, record.DeliveryPrefix, record.BodyPrefix, record.ExtraPrefix,
		record.DuePrefix, record.LogPrefix, record.IdemPrefix, record.IdemTimePrefix,
	} {
		for _, rest := range []string{"", "\x01", "\x00\x00\x00\x01\x00", "sixteen bytes ok", "seventeen bytes o", "28 bytes are a due key, look"} {
			mem := vfs.NewMem()
			s := openOn(t, mem, nil)
			if _, err := s.put(new(record.IDs), "a"); err != nil {
				t.Fatal(err)
			}
			k := append([]byte{prefix}, rest...)
			if err := s.Do(func(b *Batch) { b.Set(k, []byte("?")) }); err != nil {
				t.Fatal(err)
			}
			s.stop(t)
			if err := Check(path, mem); err == nil && prefix != record.IdemTimePrefix { // whose lone keys do no harm
				t.Errorf("the key %q is fine", k)
			}
		}
	}
}

// TestInternals: what internals.go knows of Pebble is so.
func TestInternals(t *testing.T) {
	mem := vfs.NewMem()
	var flushed []error
	po := &pebble.Options{FS: mem, FormatMajorVersion: pebble.FormatNewest, Logger: silent{}, EventListener: &pebble.EventListener{
		FlushEnd: func(i pebble.FlushInfo) { flushed = append(flushed, i.Err) },
	}}
	db, err := pebble.Open(path, po)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Set([]byte("a"), nil, nil), db.SingleDelete([]byte("a"), nil), db.Flush()); err != nil {
		t.Fatal(err)
	}
	if len(flushed) != 1 || !isEmptyTable(flushed[0]) {
		t.Errorf("a flush of nothing ends with %v", flushed)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := mem.List(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if len(n) > 22 && n[:22] == "marker.format-version." {
			if err := mem.Remove(mem.PathJoin(path, n)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := mem.Create(mem.PathJoin(path, "marker.format-version.000099.999"), vfs.WriteCategoryUnspecified); err != nil {
		t.Fatal(err)
	}
	if _, err := pebble.Open(path, po); !isNewerFormat(err) {
		t.Errorf("a newer format is %v", err)
	}
}

// TestCheckProves: each thing that Check proves is seen to fail when it is not so.
func TestCheckProves(t *testing.T) {
	at, order := record.MillisOf(time.Now()), record.OrderOf("a")
	for name, spoil := range map[string]func(b *Batch, r *Route, waits, done record.SignalID){
		"nothing is amiss": nil,
		"no due key":       func(b *Batch, r *Route, waits, _ record.SignalID) { b.RemoveDue(r, at, waits.Delivery(1)) },
		"a second due key": func(b *Batch, r *Route, waits, _ record.SignalID) { b.AddDue(r, at+1, waits.Delivery(1)) },
		"due when done":    func(b *Batch, r *Route, _, done record.SignalID) { b.AddDue(r, at, done.Delivery(1)) },
		"no signal":        func(b *Batch, _ *Route, waits, _ record.SignalID) { b.Delete(record.SignalKey(nil, waits)) },
		"no body":          func(b *Batch, _ *Route, waits, _ record.SignalID) { b.Delete(record.BodyKey(nil, waits.Delivery(1))) },
		"a body too many": func(b *Batch, _ *Route, waits, _ record.SignalID) {
			b.PutBody(waits.Delivery(2), record.OwnBody, record.Body{})
		},
		"an extra of none": func(b *Batch, _ *Route, waits, _ record.SignalID) { b.PutExtra(waits, waits.Delivery(2)) },
		"counts":           func(b *Batch, r *Route, _, _ record.SignalID) { b.Made(r, &record.Delivery{State: record.IsDead}) },
		"unaccounted": func(b *Batch, r *Route, _, _ record.SignalID) {
			b.Made(r, &record.Delivery{})
			b.Count(r).In[record.IsPending]--
		},
		"a cause that nobody names": func(b *Batch, r *Route, _, _ record.SignalID) {
			b.count(r, &record.Delivery{State: record.IsDead, Cause: 7}, 1)
			b.Count(r).In[record.IsDead]--
		},
		"accepted by statistics": func(b *Batch, r *Route, _, _ record.SignalID) { b.Row(r).Accepted++ },
		"an attempt that statistics lack": func(b *Batch, r *Route, _, done record.SignalID) {
			b.Log(r, &Entry{Entry: record.Entry{Delivery: done.Delivery(1), Signal: done, Verdict: record.Retry, Sent: record.Sent{Trigger: record.Scheduled}}})
		},
		"discarded":    func(b *Batch, r *Route, _, _ record.SignalID) { b.Count(r).Discarded++ },
		"the low mark": func(b *Batch, r *Route, _, _ record.SignalID) { b.Count(r).Low = at + 1 },
		"another's entry": func(b *Batch, r *Route, waits, done record.SignalID) {
			b.Log(r, &Entry{Entry: record.Entry{Delivery: waits.Delivery(1), Signal: waits, Verdict: record.Retry, Prev: b.Newest()}})
		},
		"a key that never expires": func(b *Batch, _ *Route, _, _ record.SignalID) {
			r := record.Idem{At: at}
			b.Set(record.IdemKey(nil, record.IdemHash{1}), r.Append(nil))
		},
		"the first of a chain has gone": func(b *Batch, r *Route, waits, done record.SignalID) {
			b.Set(record.ChainKey(nil, r.Num, order), (&record.Chain{Head: done.Delivery(1), From: waits.Delivery(4), Waiting: 1}).Append(nil))
		},
		"another is first in its chain": func(b *Batch, r *Route, waits, _ record.SignalID) {
			b.Set(record.ChainKey(nil, r.Num, order), (&record.Chain{Head: waits.Delivery(4), From: waits.Delivery(4), Waiting: 1}).Append(nil))
		},
		"more behind than a chain says": func(b *Batch, r *Route, waits, _ record.SignalID) {
			b.Set(record.ChainKey(nil, r.Num, order), (&record.Chain{Head: waits.Delivery(3)}).Append(nil))
		},
		"one behind that would not be found": func(b *Batch, r *Route, waits, _ record.SignalID) {
			b.Set(record.ChainKey(nil, r.Num, order), (&record.Chain{Head: waits.Delivery(3), From: waits.Delivery(5), Waiting: 1}).Append(nil))
		},
		"no chain": func(b *Batch, r *Route, _, _ record.SignalID) { b.Delete(record.ChainKey(nil, r.Num, order)) },
		"no place behind": func(b *Batch, r *Route, waits, _ record.SignalID) {
			b.Delete(record.BehindKey(nil, r.Num, order, waits.Delivery(4)))
		},
		"a place of nobody": func(b *Batch, r *Route, waits, _ record.SignalID) {
			b.Set(record.BehindKey(nil, r.Num, order, waits.Delivery(5)), nil)
		},
		"due while behind": func(b *Batch, r *Route, waits, _ record.SignalID) { b.AddDue(r, 0, waits.Delivery(4)) },
		"a route twice":    func(b *Batch, _ *Route, _, _ record.SignalID) { b.Set(record.RouteKey(nil, 9), []byte("a")) },
	} {
		mem := vfs.NewMem()
		s := openOn(t, mem, nil)
		s.o.LowEvery = 1 << 30
		var ids record.IDs
		waits, done := ids.Next(time.Now()), ids.Next(time.Now())
		err := s.Do(func(b *Batch) {
			b.putOne(done, "a")
			r := b.Route("a")
			b.PutSignal(waits, record.Signal{Type: "lead"})
			d := record.Delivery{Flags: record.OwnBody, Route: r.Num, Signal: waits, Due: at}
			b.PutBody(waits.Delivery(1), d.Flags, record.Body{Body: []byte("1")})
			b.AddDue(r, at, waits.Delivery(1))
			b.PutDelivery(waits.Delivery(1), &d)
			b.Made(r, &d)
			for n := 3; n <= 4; n++ {
				d := record.Delivery{Route: r.Num, Signal: waits, Due: at, Order: order}
				if b.Order(r, waits.Delivery(n), &record.Delivery{}, &d); !d.Waits() {
					b.AddDue(r, at, waits.Delivery(n))
				}
				b.PutDelivery(waits.Delivery(n), &d)
				b.Made(r, &d)
			}
		})
		if err == nil && spoil != nil {
			err = s.Do(func(b *Batch) { spoil(b, s.Route("a"), waits, done) })
		}
		if err != nil {
			t.Fatal(err)
		}
		s.stop(t)
		if err := Check(path, mem); (err != nil) != (spoil != nil) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestStatisticsWithinABatch: what a batch counts before an hour is over and
// after is of its own minute and hour each, when the clock has been set back as well.
func TestStatisticsWithinABatch(t *testing.T) {
	mem := vfs.NewMem()
	s, err := tryOpen(mem, nil)
	if err != nil {
		t.Fatal(err)
	}
	var ahead atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	s.o.Now = now
	s.Start(Limits{}.WithDefaults())
	first := now()
	var ids record.IDs
	batch := func(b *Batch, steps ...time.Duration) {
		for _, step := range steps {
			ahead.Store(int64(step))
			id := ids.Next(now())
			r := b.Route("a")
			b.PutSignal(id, record.Signal{Type: "lead"})
			e := Entry{Entry: record.Entry{Delivery: id.Delivery(1), Signal: id, Attempt: 1, Verdict: record.Dead, Sent: record.Sent{Trigger: record.Scheduled, Class: record.Class4xx}}}
			b.Log(r, &e)
			b.Row(r).Attempt(&e.Entry)
			d := record.Delivery{State: record.IsDead, Reason: record.Gone, Route: r.Num, Signal: id, Last: e.At}
			d.Cause = b.Fail(r, id.Delivery(1), record.Cause{Class: record.Class4xx, Error: "no"})
			b.PutDelivery(id.Delivery(1), &d)
			b.Made(r, &d)
		}
	}
	err = s.Do(func(b *Batch) { batch(b, 0, time.Hour); ahead.Store(0) })
	if err == nil {
		err = s.Do(func(b *Batch) { batch(b, 0) })
	}
	if err != nil {
		t.Fatal(err)
	}
	count := map[time.Duration]int64{}
	err = s.Rows(record.MinutePrefix, first.Add(-time.Minute), first.Add(2*time.Hour), func(at record.RowAt, r record.Row) error {
		count[at.At.Sub(first).Round(time.Hour)] += r.Dead
		return nil
	})
	if err != nil || count[0] != 2 || count[time.Hour] != 1 {
		t.Errorf("deaths by hour: %v, %v", count, err)
	}
	count = map[time.Duration]int64{}
	var failures []int64
	err = s.Failures(first.Truncate(time.Hour), first.Add(2*time.Hour), func(_ record.CauseOf, f record.Failures) error {
		failures = append(failures, f.Count)
		return nil
	})
	if err != nil || !slices.Equal(failures, []int64{2, 1}) {
		t.Errorf("failures by hour: %v, %v", failures, err)
	}
	s.stop(t)
	if err := Check(path, mem); err != nil {
		t.Error(err)
	}
}
