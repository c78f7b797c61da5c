package queue

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"signalpost/queue/lane"
	"signalpost/queue/record"
)

// A meter counts what goes to and comes from a disk.
type meter struct {
	mu       sync.Mutex
	read     int // bytes of tables: what is read of the log is bounded by the memtable
	unsynced int // bytes written to the log since its last sync
	most     int // of unsynced
	syncs    int // of the log
}

func (m *meter) hook(o fsOp, after bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	log := strings.HasSuffix(o.name, ".log")
	switch {
	case o.kind == "read" && !log:
		m.read += o.size
	case after && log && o.kind == "write":
		m.unsynced += o.size
		m.most = max(m.most, m.unsynced)
	case after && log && o.kind == "sync":
		m.unsynced = 0
		m.syncs++
	}
	return nil
}

// reset begins anew and returns what was counted.
func (m *meter) reset() (read, most, syncs int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	read, most, syncs = m.read, m.most, m.syncs
	m.read, m.most, m.syncs = 0, 0, 0
	return read, most, syncs
}

// flush brings all to tables, as a store that has run for long has most in them.
func (r *rig) flush() {
	r.t.Helper()
	if err := r.engine.Load().store.Read(func(db *pebble.DB) error { return db.Flush() }); err != nil {
		r.t.Fatal(err)
	}
}

// TestManyRoutes: what a start reads, and what is held in memory, depends on
// the number of routes, and not on how much each owes.
func TestManyRoutes(t *testing.T) {
	bulk(t)
	const n = 1000
	type cost struct{ open, first, held int }
	var costs []cost
	for _, backlog := range []int{10, 80} {
		bubble(t, fmt.Sprintf("%d routes that owe %d each", n, backlog), func(t *testing.T) {
			m := &meter{}
			var paused, routes []Route
			for i := range n {
				r := route(fmt.Sprintf("route-%d", i))
				r.Concurrency = 1
				routes = append(routes, r)
				r.Paused = true
				paused = append(paused, r)
			}
			r := newRigOn(t, &hookFS{FS: vfs.NewMem(), hook: m.hook}, Limits{}, paused...)
			for i := 0; i < n*backlog; i += 500 { // the routes in turn
				batch := make([]Accepted, 500)
				for j := range batch {
					batch[j] = Accepted{
						Signal:     Signal{ID: r.NewSignalID(), Type: "lead", Body: []byte(`{"signal_type":"lead"}`)},
						Deliveries: []Made{{Route: routes[(i+j)%n].Name}},
					}
				}
				r.putAll(batch...)
			}
			r.flush()
			compact := func(db *pebble.DB) error { return db.Compact(t.Context(), []byte{0}, []byte{0xff}, false) }
			if err := r.engine.Load().store.Read(compact); err != nil { // or the start would be measured with compactions behind it
				t.Fatal(err)
			}
			r.close()
			m.reset()
			r.open()
			c := cost{}
			c.open, _, _ = m.reset()
			r.set(time.Hour, nil)
			r.configure(routes...)
			synctest.Wait()
			c.first, _, _ = m.reset()
			if s := r.taken(); len(s) != n {
				t.Errorf("%d attempts are under way, want one a route", len(s))
			}
			for _, route := range routes {
				held, _ := r.inMemory(route.Name)
				c.held += held
			}
			t.Logf("%d routes that owe %d each: %d KiB read to open, %d KiB to begin, %d ids held", n, backlog, c.open>>10, c.first>>10, c.held)
			costs = append(costs, c)
		})
	}
	if len(costs) == 2 {
		few, more := costs[0], costs[1]
		if more.open > 2*few.open+64<<10 {
			t.Errorf("with eight times the backlog a start reads %d bytes instead of %d", more.open, few.open)
		}
	}
}

// TestSearchSkipsWhatWasDone: to find what is due, a lane walks over what was
// done since the low-water mark was last moved up, and no more.
func TestSearchSkipsWhatWasDone(t *testing.T) {
	bubble(t, "done", func(t *testing.T) {
		r := newRig(t, route("crm"))
		steps := func() int {
			t.Helper()
			s := r.sender("crm")
			from := ask(s, (*lane.Lane).Low)
			n := 0
			err := r.engine.Load().store.Read(func(db *pebble.DB) error {
				it, err := db.NewIter(&pebble.IterOptions{LowerBound: record.DueKey(nil, s.route.Num, from, DeliveryID{}), UpperBound: record.DueKey(nil, s.route.Num+1, 0, DeliveryID{})})
				if err != nil {
					return err
				}
				it.First()
				n = it.Stats().ForwardStepCount[pebble.InternalIterCall]
				return it.Close()
			})
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		for range 20 {
			r.putMany("crm", many(1000))
			time.Sleep(time.Second)
			if n := steps(); n > 2*many(1000) {
				t.Fatalf("the search walks over %d keys, %d were done a second ago", n, many(1000))
			}
		}
		r.SetPaused("crm", true)
		r.put("crm")
		r.restart()
		if n := steps(); n > 2*many(1000) {
			t.Errorf("after a restart the search walks over %d keys, %d were done before it", n, 20*many(1000))
		}
	})
}

// TestSweepInSteps: however much goes at once, no commit waits for more than
// one step of it.
func TestSweepInSteps(t *testing.T) {
	bulk(t)
	const (
		most = 2 << 20 // bytes of one step in the log
		n    = 12_000
	)
	for _, what := range []string{"retention", "max age", "idempotency keys"} {
		bubble(t, what, func(t *testing.T) {
			m := &meter{}
			l := Limits{Retention: 3 * time.Hour, MaxAge: 100 * time.Hour, DedupWindow: 2 * time.Hour}
			if what == "max age" {
				l.MaxAge, l.Retention = time.Hour, 100*time.Hour
			}
			r := newRigOn(t, &hookFS{FS: vfs.NewMem(), hook: m.hook}, l, route("crm"), route("slow"))
			r.SetPaused("slow", true)
			for i := range n / 500 {
				batch := make([]Accepted, 500)
				for j := range batch {
					to := "crm"
					if what == "max age" || j%50 == 0 { // so that what goes is in many ranges
						to = "slow"
					}
					batch[j] = Accepted{Signal: Signal{ID: r.NewSignalID(), Type: "lead", Body: []byte("{}")}, Deliveries: []Made{{Route: to}}}
				}
				if what != "idempotency keys" {
					r.putAll(batch...)
					continue
				}
				for j := range batch {
					key := fmt.Sprint(i, " ", j)
					c, _, err := r.Claim(t.Context(), key, [32]byte{})
					if err != nil {
						t.Fatal(err)
					}
					if err := r.Put(batch[j:j+1], c, []byte("the answer")); err != nil {
						t.Fatal(err)
					}
				}
			}
			count := func() int {
				return map[string]int{
					"retention": r.keysOf(record.DeliveryPrefix), "max age": r.keysOf(record.DuePrefix), "idempotency keys": r.keysOf(record.IdemPrefix),
				}[what]
			}
			before := count()
			m.reset()
			time.Sleep(6 * time.Hour)
			gone := before - count()
			_, largest, syncs := m.reset()
			t.Logf("%d of %d gone in %d commits, the largest of %d KiB", gone, before, syncs, largest>>10)
			if gone < before*9/10 {
				t.Errorf("%d of %d are gone", gone, before)
			}
			if largest > most {
				t.Errorf("one commit had %d bytes", largest)
			}
			if syncs < gone/4096 {
				t.Errorf("%d went in %d commits", gone, syncs)
			}
		})
	}
}

// TestDiskUse: a body is on disk once, beside a bounded log: when everything
// waits, and when everything is delivered.
func TestDiskUse(t *testing.T) {
	bulk(t)
	const (
		size     = 1000
		tables   = 1.2      // times what was accepted
		delivers = 1.35     // the same, with the delivery log
		logs     = 80 << 20 // whatever was accepted: those that Pebble writes, and keeps to write anew
	)
	dir := filepath.Join(t.TempDir(), "data")
	q, err := Open(Options{Path: dir, Courier: &endpoint{}})
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close(t.Context())
	r := &rig{t: t, Queue: q}
	crm := route("crm")
	crm.Paused = true
	r.configure(crm)
	accepted := 0
	for accepted < 96<<20 {
		batch := make([]Accepted, 500)
		for i := range batch {
			batch[i] = Accepted{Signal: Signal{ID: r.NewSignalID(), Type: "lead", Body: noise(size)}, Deliveries: []Made{{Route: "crm"}}}
			accepted += size
		}
		r.putAll(batch...)
	}
	look := func(when string, most float64) {
		t.Helper()
		r.settle()
		inTables, inLogs := 0, 0
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			i, err := e.Info()
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(e.Name(), ".log") {
				inLogs += int(i.Size())
			} else {
				inTables += int(i.Size())
			}
		}
		ratio := float64(inTables) / float64(accepted)
		t.Logf("%s: %d MiB accepted, %.2f of it in tables, %d MiB in logs: %.2f in all", when, accepted>>20, ratio, inLogs>>20, float64(inTables+inLogs)/float64(accepted))
		if ratio > most || inLogs > logs {
			t.Errorf("%s: %.2f of what was accepted is in tables, at most %.2f should be; %d MiB in logs", when, ratio, most, inLogs>>20)
		}
	}
	look("queued", tables)
	r.configure(route("crm"))
	r.idle("crm")
	look("delivered", delivers)
}

// settle waits until Pebble has nothing left to do in the background.
func (r *rig) settle() {
	r.t.Helper()
	r.flush()
	quiet := 0
	r.until("Pebble rests", func() bool {
		var m *pebble.Metrics
		if err := r.engine.Load().store.Read(func(db *pebble.DB) error { m = db.Metrics(); return nil }); err != nil {
			r.t.Fatal(err)
		}
		if quiet++; m.Compact.NumInProgress > 0 || m.Flush.NumInProgress > 0 || m.Table.ZombieCount > 0 || m.Table.ObsoleteCount > 0 {
			quiet = 0
		}
		return quiet > 10
	})
}
