package fleet

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"signalpost/proxy/fleet/natstest"
	"signalpost/queue"
)

// A crash may not be known to NATS yet when its sidecar is asked, which then is waited for.
func init() { digestFor = 10 * time.Second }

// A recorder is a courier that keeps what was delivered, by how often.
type recorder struct {
	mu   sync.Mutex
	got  map[queue.DeliveryID]int
	down bool // nothing is delivered
}

func (r *recorder) Deliver(_ context.Context, d queue.Delivery, _ int) (queue.Outcome, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down {
		return queue.Outcome{Verdict: queue.Retry, Status: 404, Gap: 100 * time.Millisecond}, nil
	}
	r.got[d.ID]++
	return queue.Outcome{Verdict: queue.Delivered, Status: 200}, nil
}

func (r *recorder) set(down bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = down
}

func (r *recorder) has(id queue.DeliveryID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.got[id] > 0
}

// A sidecar is a node with its own queue.
type sidecar struct {
	*Node
	t     testing.TB
	queue *queue.Queue
}

var routes = []queue.Route{{Name: "crm", Concurrency: 8, Target: "x"}}

// join has a sidecar join the fleet, which must be left by stop or crash.
func join(t testing.TB, c *natstest.Cluster, name, folder string, courier queue.Courier, change ...func(*Node)) *sidecar {
	t.Helper()
	return joinWith(t, Options{
		Servers: c.URLs(), Name: name, Replicas: len(c.Nodes), Folder: folder, ttl: 2 * time.Second, Remember: time.Minute,
		Log: slog.New(slog.NewTextHandler(testOutput{t}, nil)),
	}, courier, change...)
}

func joinWith(t testing.TB, o Options, courier queue.Courier, change ...func(*Node)) *sidecar {
	t.Helper()
	limits := queue.Limits{}
	if o.Name == "brief" {
		limits.Retention, limits.MaxAge = 300*time.Millisecond, time.Hour
	}
	n, err := Join(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range change {
		f(n)
	}
	q, err := queue.Open(queue.Options{Courier: n.Courier(courier), Journal: n.Journal, Log: n.log, Limits: limits, Failing: n.Failing})
	if err != nil {
		t.Fatal(err)
	}
	n.Start(q, func(gate func(queue.Courier) queue.Courier, journal func() (string, queue.Log, error)) (*queue.Queue, error) {
		return queue.Open(queue.Options{Courier: gate(courier), Journal: journal, Log: n.log, Limits: limits, Failing: n.Failing})
	})
	if err := n.Configure(limits, routes); err != nil {
		t.Fatal(err)
	}
	return &sidecar{n, t, q}
}

// prove checks all ledgers of the fleet.
func prove(t testing.TB, c *natstest.Cluster, name string) {
	t.Helper()
	all, err := Look(t.Context(), Options{Servers: c.URLs(), Name: name, Log: slog.New(slog.DiscardHandler)}, true)
	if err != nil || len(all) == 0 {
		t.Errorf("%d ledgers: %v", len(all), err)
	}
	for _, l := range all {
		if l.Fault != nil {
			t.Errorf("%+v: %v", l, l.Fault)
		}
	}
}

type testOutput struct{ t testing.TB }

func (o testOutput) Write(b []byte) (int, error) { o.t.Log(string(b)); return len(b), nil }

// stop ends the sidecar in order.
func (s *sidecar) stop() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		s.t.Error(err)
	}
	if err := s.queue.Close(ctx); err != nil {
		s.t.Error(err)
	}
	s.Leave()
}

// crash has it be gone for the others, without a word.
func (s *sidecar) crash() {
	s.cancel()
	s.nc.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = s.Stop(ctx)
	_ = s.queue.Close(ctx)
	s.disconnect()
}

// put stores one signal with one delivery.
func (s *sidecar) put() (queue.DeliveryID, error) {
	a := queue.Accepted{Signal: queue.Signal{ID: s.queue.NewSignalID(), Type: "lead", Body: []byte(`{"signal_type":"lead"}`)}, Deliveries: []queue.Made{{Route: "crm"}}}
	return a.ID.Delivery(1), s.queue.Put([]queue.Accepted{a}, nil, nil)
}

func (s *sidecar) puts(n int) (ids []queue.DeliveryID) {
	s.t.Helper()
	for range n {
		id, err := s.put()
		if err != nil {
			s.t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

// eventually waits until f is nil.
func eventually(t testing.TB, within time.Duration, f func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	t.Fatal(err)
}

func (r *recorder) missing(ids []queue.DeliveryID) error {
	n := 0
	for _, id := range ids {
		if !r.has(id) {
			n++
		}
	}
	if n > 0 {
		return fmt.Errorf("%d of %d are not delivered", n, len(ids))
	}
	return nil
}

// TestAdoption: what a sidecar that is gone, with its disk, had accepted is
// delivered by another: when its keys run out after a crash, at once after a stop.
func TestAdoption(t *testing.T) {
	c := natstest.Start(t, 3)
	r := &recorder{got: map[queue.DeliveryID]int{}, down: true}
	a := join(t, c, "app", t.TempDir(), r)
	b := join(t, c, "app", t.TempDir(), r)
	defer func() { b.stop() }()
	ids := a.puts(100)
	a.crash()
	r.set(false)
	eventually(t, 20*time.Second, func() error { return r.missing(ids) })

	r.set(true)
	a = join(t, c, "app", t.TempDir(), r)
	ids = a.puts(100)
	a.stop()
	r.set(false)
	eventually(t, 20*time.Second, func() error { return r.missing(ids) })
	if n := b.counters.Adoptions; n != 2 {
		t.Errorf("%d adoptions", n)
	}
}

// TestRestart: a sidecar that comes back with its disk has its ledger again,
// also at once after it was killed, and one whose view was damaged too.
func TestRestart(t *testing.T) {
	c := natstest.Start(t, 1)
	r := &recorder{got: map[queue.DeliveryID]int{}, down: true}
	folder := t.TempDir()
	a := join(t, c, "app", folder, r)
	ledger := a.own.ID
	var ids []queue.DeliveryID
	for _, end := range []func(){
		func() { a.crash() },
		func() { a.stop() },
		func() {
			a.stop()
			tables, _ := filepath.Glob(filepath.Join(folder, ledger.String(), "MANIFEST-*"))
			for _, f := range tables {
				if err := os.Truncate(f, 10); err != nil {
					t.Error(err)
				}
			}
		},
		func() { a.stop(); _ = os.RemoveAll(filepath.Join(folder, ledger.String())) },
	} {
		ids = append(ids, a.puts(20)...)
		large := queue.Accepted{Signal: queue.Signal{ID: a.queue.NewSignalID(), Type: "lead", Body: noise(2*pieceBytes + 9)}, Deliveries: []queue.Made{{Route: "crm"}}}
		if err := a.queue.Put([]queue.Accepted{large}, nil, nil); err != nil {
			t.Error(err)
		}
		ids = append(ids, large.ID.Delivery(1))
		end()
		prove(t, c, "app")
		a = join(t, c, "app", folder, r)
		if a.own.ID != ledger {
			t.Errorf("its ledger is %s now", a.own.ID)
		}
	}
	r.set(false)
	eventually(t, 30*time.Second, func() error { return r.missing(ids) })
	if _, err := Join(Options{Servers: c.URLs(), Name: "app", Replicas: 1, Folder: folder, Log: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), "another process has it open") {
		t.Errorf("a second sidecar in the folder: %v", err)
	}
	if _, err := Join(Options{Servers: c.URLs(), Name: "app", Replicas: 3, Folder: t.TempDir(), Log: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), "its replicas is 1, and has to be 3") {
		t.Errorf("a stream with other settings: %v", err)
	}
	a.stop()
	if err := queue.Check(filepath.Join(folder, ledger.String())); err != nil {
		t.Error(err)
	}
}

// noise is JSON that does not compress.
func noise(n int) []byte {
	b := make([]byte, n/2)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return fmt.Appendf(nil, "%q", hex.EncodeToString(b))
}

// TestDeposed: a sidecar whose ledger another has taken over, since it was not
// heard of, appends nothing to it any more, and goes on with a new one.
func TestDeposed(t *testing.T) {
	c := natstest.Start(t, 1)
	r := &recorder{got: map[queue.DeliveryID]int{}, down: true}
	a := join(t, c, "app", t.TempDir(), r)
	b := join(t, c, "app", t.TempDir(), r)
	ids := a.puts(20)
	lost := a.own
	lost.key.Lock()
	lost.released = true // so that it renews nothing, and learns nothing by that
	a.owners.Delete(context.Background(), lost.ID.String())
	lost.key.Unlock()
	eventually(t, 30*time.Second, func() error {
		if len(b.Adopted()) == 0 {
			return errors.New("it is not adopted")
		}
		return nil
	})
	eventually(t, 30*time.Second, func() error {
		id, err := a.put()
		if err == nil {
			ids = append(ids, id)
		}
		return err
	})
	if a.own == lost || a.counters.Deposed != 1 {
		t.Errorf("its ledger is the same: %v; it was deposed %d times", a.own == lost, a.counters.Deposed)
	}
	r.set(false)
	eventually(t, 30*time.Second, func() error { return r.missing(ids) })
	a.stop()
	b.stop()
}

// TestShares: of a route's rate each sidecar has its part, and one that fails for
// one sidecar gets only probes from the others.
func TestShares(t *testing.T) {
	c := natstest.Start(t, 1)
	fails := courierFunc(func() queue.Outcome {
		return queue.Outcome{Verdict: queue.Retry, Status: 503, Fault: true, Gap: time.Hour}
	})
	a := join(t, c, "app", t.TempDir(), fails)
	b := join(t, c, "app", t.TempDir(), &recorder{got: map[queue.DeliveryID]int{}})
	limited := []queue.Route{{Name: "crm", Concurrency: 8, Rate: 1000, Target: "x"}}
	eventually(t, 30*time.Second, func() error {
		if err := a.Configure(queue.Limits{}, limited); err != nil {
			return err
		}
		a.configuring.Lock()
		defer a.configuring.Unlock()
		if r := a.own.configured[0]; r.Rate != 500 || r.Concurrency != 8 {
			return fmt.Errorf("one of two sidecars has %+v", r)
		}
		return nil
	})
	a.puts(10)
	eventually(t, 30*time.Second, func() error {
		if s := b.queue.Status().Routes[0]; s.State != queue.RouteFailing {
			return fmt.Errorf("for the other the route is %s", s.State)
		}
		return nil
	})
	a.stop()
	b.stop()
}

type courierFunc func() queue.Outcome

func (f courierFunc) Deliver(context.Context, queue.Delivery, int) (queue.Outcome, error) {
	return f(), nil
}

// TestCuts: connections that break at any moment lose, repeat and reorder nothing.
func TestCuts(t *testing.T) {
	c := natstest.Start(t, 3)
	r := &recorder{got: map[queue.DeliveryID]int{}, down: true}
	a := join(t, c, "app", t.TempDir(), r)
	var mu sync.Mutex
	var ids []queue.DeliveryID
	var putting sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		putting.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if id, err := a.put(); err == nil {
					mu.Lock()
					ids = append(ids, id)
					mu.Unlock()
				} else if !errors.Is(err, queue.ErrUnavailable) {
					t.Error(err)
				}
			}
		})
	}
	for i := range 30 {
		n := c.Nodes[i%3]
		n.Cut()
		time.Sleep(time.Duration(rand.IntN(80)) * time.Millisecond)
		n.Mend()
		time.Sleep(time.Duration(rand.IntN(80)) * time.Millisecond)
	}
	close(stop)
	putting.Wait()
	if len(ids) < 10 {
		t.Errorf("only %d were accepted", len(ids))
	}
	a.stop()
	r.set(false)
	b := join(t, c, "app", t.TempDir(), r)
	eventually(t, 30*time.Second, func() error { return r.missing(ids) })
	var unaccounted int64
	for _, q := range b.Adopted() {
		unaccounted += q.Status().Unaccounted
	}
	for id, n := range r.got {
		if n != 1 {
			t.Errorf("%s was delivered %d times", id, n)
		}
	}
	if n := a.counters.Deposed; n > 0 {
		t.Errorf("it took %d of its own records for another's", n)
	}
	b.stop()
	if unaccounted != 0 {
		t.Errorf("%d are unaccounted for", unaccounted)
	}
	prove(t, c, "app")
}

// TestSnapshots: a ledger does not grow with time, what a snapshot has is purged,
// and a view is made of the rest. A ledger of which nothing is left is ended.
func TestSnapshots(t *testing.T) {
	c := natstest.Start(t, 1)
	r := &recorder{got: map[queue.DeliveryID]int{}, down: true}
	often := func(n *Node) { n.snapshotBytes, n.tidyEvery = 32<<10, 100*time.Millisecond }
	folder := t.TempDir()
	a := join(t, c, "brief", folder, r, often)
	id := a.own.ID
	var ids []queue.DeliveryID
	for i := range 3 {
		ids = append(ids, a.puts(100)...)
		eventually(t, 30*time.Second, func() error {
			all, err := a.Ledgers(context.Background())
			a.own.log.mu.Lock()
			defer a.own.log.mu.Unlock()
			if n := all[id]; err == nil && (n > 50 || a.own.log.snapshot == nil) {
				err = fmt.Errorf("round %d: the ledger has %d records", i, n)
			}
			return err
		})
	}
	eventually(t, 30*time.Second, func() error {
		objects, err := a.views.List(context.Background())
		a.own.log.mu.Lock()
		defer a.own.log.mu.Unlock()
		if needed := len(a.own.log.snapshot.Files); err == nil && len(objects) > needed {
			err = fmt.Errorf("%d objects are kept, %d needed", len(objects), needed)
		}
		return err
	})
	prove(t, c, "brief")
	a.stop()
	a = join(t, c, "brief", folder, r, often)
	eventually(t, time.Minute, func() error { // also of those of the process before, and what tells of them
		ids = append(ids, a.puts(10)...) // the stop may have come in the middle of a snapshot: the next removes what that left
		a.own.log.mu.Lock()
		defer a.own.log.mu.Unlock()
		if a.own.log.snapshot == nil {
			return errors.New("there is no snapshot")
		}
		s, err := a.js.Stream(context.Background(), "OBJ_brief_VIEWS")
		if err != nil {
			return err
		}
		info, err := s.Info(context.Background(), jetstream.WithSubjectFilter("$O.brief_VIEWS.M.>"))
		if err != nil {
			return err
		}
		if n, needed := len(info.State.Subjects), len(a.own.log.snapshot.Files); n != needed {
			err = fmt.Errorf("NATS knows of %d objects, %d are needed", n, needed)
		}
		return err
	})
	a.stop()
	b := join(t, c, "brief", t.TempDir(), r, often)
	r.set(false)
	eventually(t, 30*time.Second, func() error { return r.missing(ids) })
	eventually(t, time.Minute, func() error { // the sweeps take their time
		all, err := b.Ledgers(context.Background())
		if n := all[id]; err == nil && (n != 1 || len(b.Adopted()) > 0) {
			err = fmt.Errorf("the ledger has %d records, and is run: %v", n, len(b.Adopted()) > 0)
		}
		return err
	})
	a = join(t, c, "brief", folder, r)
	if a.own.ID == id {
		t.Error("a ledger that has ended goes on")
	}
	a.stop()
	b.stop()
}

// TestFlippedByte: a byte that changed on the disks of NATS is noticed, and what
// stands before it is not taken for all there is.
func TestFlippedByte(t *testing.T) {
	c := natstest.Start(t, 1)
	r := &recorder{got: map[queue.DeliveryID]int{}, down: true}
	folder := t.TempDir()
	a := join(t, c, "app", folder, r)
	a.puts(20)
	id := a.own.ID
	a.stop()
	c.Nodes[0].Stop()
	flipped := 0
	_ = filepath.WalkDir(c.Nodes[0].Store(), func(path string, _ os.DirEntry, _ error) error {
		if b, err := os.ReadFile(path); err == nil && strings.HasSuffix(path, ".blk") && strings.Contains(path, "app_LOG_") {
			if at := strings.LastIndex(string(b), "signal_type"); at > 0 {
				b[at] ^= 1
				flipped++
				if err := os.WriteFile(path, b, 0o600); err != nil {
					t.Error(err)
				}
			}
		}
		return nil
	})
	if flipped != 1 {
		t.Fatalf("%d bytes were flipped", flipped)
	}
	c.Nodes[0].Start()
	c.Ready()
	_ = os.RemoveAll(filepath.Join(folder, id.String()))
	var refused error
	n, err := Join(Options{Servers: c.URLs(), Name: "app", Replicas: 1, Folder: folder, Log: slog.New(slog.DiscardHandler), ttl: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer n.disconnect()
	_, refused = queue.Open(queue.Options{Courier: r, Journal: n.Journal})
	if refused == nil || !strings.Contains(refused.Error(), "ledger "+id.String()) {
		t.Errorf("it is opened all the same, or not named: %v", refused)
	}
	all, err := Look(t.Context(), Options{Servers: c.URLs(), Name: "app", Log: slog.New(slog.DiscardHandler)}, true)
	if err != nil || len(all) != 1 || all[0].Fault == nil {
		t.Errorf("a check finds %+v, %v", all, err)
	}
}
