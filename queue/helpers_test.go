package queue

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"signalpost/queue/store"
)

// TestMain has the low-water marks moved up at every second batch, so that one
// moved too far shows. Benchmarks run with what the program runs with.
func TestMain(m *testing.M) {
	flag.Parse()
	if flag.Lookup("test.bench").Value.String() == "" {
		lowEvery = 2
	}
	os.Exit(m.Run())
}

// Outcomes that couriers of the tests return.
var (
	ok200 = Outcome{Verdict: Delivered, Status: 200}
	no404 = Outcome{Verdict: Retry, Status: 404, Error: "404 Not Found"}
	no503 = Outcome{Verdict: Retry, Status: 503, Error: "503 Service Unavailable", Fault: true}
	no410 = Outcome{Verdict: Dead, Reason: Gone, Status: 410, Error: "410 Gone"}
)

// A shot is one call of an endpoint.
type shot struct {
	Delivery
	attempt int
	at      time.Time
}

// An endpoint is a courier that keeps what it was handed. It takes its time,
// then answers with what answer says, 200 by default.
type endpoint struct {
	mu     sync.Mutex
	answer func(s shot) (Outcome, error)
	takes  time.Duration
	shots  []shot
	active map[string]int // by route
	most   map[string]int // most that were active at once

	schedules map[string]Schedule // by route; missing: usual
}

// usual is the default schedule, but without jitter.
var usual = Schedule{Attempts: 10, First: 5 * time.Second, Window: 24 * time.Hour}

// schedule sets the schedule of a route from now on.
func (p *endpoint) schedule(route string, s Schedule) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.schedules == nil {
		p.schedules = map[string]Schedule{}
	}
	p.schedules[route] = s
}

// by completes an outcome as a courier does that follows the schedule.
func (o Outcome) by(s Schedule, d Delivery) Outcome {
	switch {
	case o.Verdict == Retry && d.Step >= s.Attempts:
		o.Verdict, o.Reason = Dead, Exhausted
	case o.Verdict == Retry && o.Gap == 0:
		o.Gap = s.Gap(d.Step, rand.Float64(), 0)
	}
	return o
}

func (p *endpoint) Deliver(ctx context.Context, d Delivery, attempt int) (Outcome, error) {
	s := shot{d, attempt, time.Now()}
	p.mu.Lock()
	if p.active == nil {
		p.active, p.most = map[string]int{}, map[string]int{}
	}
	p.shots = append(p.shots, s)
	p.active[d.Route]++
	p.most[d.Route] = max(p.most[d.Route], p.active[d.Route])
	answer, takes := p.answer, p.takes
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		p.active[d.Route]--
		p.mu.Unlock()
	}()
	if takes > 0 {
		select {
		case <-time.After(takes):
		case <-ctx.Done():
			return Outcome{}, ctx.Err()
		}
	}
	if answer == nil {
		return ok200, nil
	}
	o, err := answer(s)
	p.mu.Lock()
	defer p.mu.Unlock()
	schedule, ok := p.schedules[d.Route]
	if !ok {
		schedule = usual
	}
	return o.by(schedule, d), err
}

// set changes how it answers and how long that takes, from now on.
func (p *endpoint) set(takes time.Duration, answer func(s shot) (Outcome, error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.takes, p.answer = takes, answer
}

// always answers with the outcome.
func always(o Outcome) func(shot) (Outcome, error) {
	return func(shot) (Outcome, error) { return o, nil }
}

// taken are the shots since it was last called.
func (p *endpoint) taken() []shot {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.shots
	p.shots = nil
	return s
}

// mostActive is the highest number of attempts of the route that were under
// way at once since it was last called.
func (p *endpoint) mostActive(route string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.most[route]
	p.most[route] = p.active[route]
	return n
}

// A rig is a queue on a store in memory.
type rig struct {
	*Queue
	*endpoint
	t       testing.TB
	fs      vfs.FS
	options Options
	limits  Limits
	routes  []Route
}

const storePath = "store"

// newRig opens a queue. When the test ends it is closed and its store checked.
func newRig(t testing.TB, routes ...Route) *rig {
	t.Helper()
	return newRigOn(t, vfs.NewMem(), Limits{}, routes...)
}

func newRigOn(t testing.TB, fs vfs.FS, l Limits, routes ...Route) *rig {
	t.Helper()
	r := &rig{t: t, fs: fs, endpoint: &endpoint{}, limits: l, routes: routes}
	r.options = Options{Path: storePath, Courier: r.endpoint, Limits: l, prompt: time.Now().Year() == 2000} // in a bubble no time passes until an outcome is there
	r.options = over(r.options, fs)
	r.open()
	t.Cleanup(r.close)
	return r
}

func (r *rig) open() {
	r.t.Helper()
	q, err := open(r.options, r.fs)
	if err != nil {
		r.t.Fatal(err)
	}
	r.Queue = q
	r.configure(r.routes...)
}

// lazily has outcomes wait to share an fsync, as they do outside of tests.
func (r *rig) lazily() *rig {
	r.options.prompt = false
	r.restart()
	return r
}

// configure makes the routes those of the config.
func (r *rig) configure(routes ...Route) {
	r.t.Helper()
	r.routes = routes
	if err := r.Configure(r.limits, routes); err != nil {
		r.t.Fatal(err)
	}
}

// close closes the queue, attempts under way given back, and proves its store.
func (r *rig) close() {
	r.t.Helper()
	if n := r.Status().Unaccounted; n != 0 {
		r.t.Errorf("%d deliveries are unaccounted for", n)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := r.Close(ctx); err != nil {
		r.t.Error("close:", err)
	}
	if err := check(storePath, r.fs); err != nil {
		r.t.Error(err)
	}
}

func (r *rig) restart() {
	r.t.Helper()
	r.close()
	r.open()
}

func route(name string) Route {
	return Route{Name: name, Concurrency: 8, Target: "https://" + name}
}

// put stores one signal with a delivery to each of the routes, its own bytes.
func (r *rig) put(routes ...string) SignalID {
	r.t.Helper()
	a := Accepted{Signal: Signal{ID: r.NewSignalID(), Type: "lead", Body: []byte(`{"signal_type":"lead"}`)}}
	for _, name := range routes {
		a.Deliveries = append(a.Deliveries, Made{Route: name})
	}
	r.putAll(a)
	return a.ID
}

func (r *rig) putAll(batch ...Accepted) {
	r.t.Helper()
	if err := r.Put(batch, nil, nil); err != nil {
		r.t.Fatal(err)
	}
}

// putMany stores n signals, one delivery to the route each, some to a batch.
func (r *rig) putMany(route string, n int) []DeliveryID {
	r.t.Helper()
	ids := make([]DeliveryID, 0, n)
	for n > 0 {
		batch := make([]Accepted, min(n, 1000))
		for i := range batch {
			batch[i] = Accepted{
				Signal:     Signal{ID: r.NewSignalID(), Type: "lead", Body: []byte(`{"signal_type":"lead"}`)},
				Deliveries: []Made{{Route: route}},
			}
			ids = append(ids, batch[i].ID.Delivery(1))
		}
		r.putAll(batch...)
		n -= len(batch)
	}
	return ids
}

// status is what Status says of the route.
func (r *rig) status(route string) RouteStatus {
	r.t.Helper()
	for _, s := range r.Status().Routes {
		if s.Name == route {
			return s
		}
	}
	r.t.Fatalf("status lacks the route %s", route)
	return RouteStatus{}
}

// detail is the delivery whole.
func (r *rig) detail(id DeliveryID) Detail {
	r.t.Helper()
	d, err := r.Queue.Delivery(id)
	if err != nil {
		r.t.Fatal(err)
	}
	return d
}

// all are the deliveries that match, over all pages.
func (r *rig) all(f Filter) []Info {
	r.t.Helper()
	var all []Info
	f.Limit = max(f.Limit, 1)
	for {
		found, err := r.Deliveries(context.Background(), f)
		page, next := found.Deliveries, found.Next
		if err != nil {
			r.t.Fatal(err)
		}
		if len(page) > f.Limit {
			r.t.Fatalf("a page of %d has %d deliveries", f.Limit, len(page))
		}
		all = append(all, page...)
		if f.After = next; next == "" {
			return all
		}
	}
}

// log is the delivery log, newest first, over all pages.
func (r *rig) entries(f LogFilter) []Entry {
	r.t.Helper()
	var all []Entry
	f.Limit = max(f.Limit, 1)
	for {
		found, err := r.Log(context.Background(), f)
		page, next := found.Entries, found.Next
		if err != nil {
			r.t.Fatal(err)
		}
		if len(page) > f.Limit {
			r.t.Fatalf("a page of %d has %d entries", f.Limit, len(page))
		}
		all = append(all, page...)
		if f.After = next; next == "" {
			return all
		}
	}
}

// wantState fails the test unless the delivery is in the state for the reason.
func (r *rig) wantState(id DeliveryID, s State, why Reason) {
	r.t.Helper()
	if d := r.detail(id); d.State != s || d.Reason != why {
		r.t.Errorf("%s is %s %q, want %s %q", id, d.State, d.Reason, s, why)
	}
}

// bubble runs the test with a clock that stands still while anyone is at work.
// It does not end before every goroutine of the test has.
func bubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}

// inMemory are the numbers of deliveries that the route's lane holds: all it
// keeps from the disk, and those of them that are ready.
func (r *rig) inMemory(route string) (held, ready int) {
	s := r.sender(route)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lane.Sizes()
}

// sender is that of the route.
func (r *rig) sender(route string) *sender {
	e := r.engine.Load()
	return e.sender(e.store.Route(route))
}

// check proves the invariants of a store.
func check(path string, fs vfs.FS) error { return store.Check(path, fs) }

// stallAfter is how long a disk may fail to answer.
const stallAfter = 10 * time.Second

// silent is the logger of a database.
type silent struct{}

func (silent) Infof(string, ...any)         {}
func (silent) Errorf(string, ...any)        {}
func (silent) Fatalf(f string, args ...any) { panic(fmt.Sprintf(f, args...)) }

// idle waits, outside a bubble, until the route owes nothing and its lane has
// let go of everything.
func (r *rig) idle(route string) {
	r.t.Helper()
	r.until(route+" comes to rest", func() bool {
		held, ready := r.inMemory(route)
		return held == 0 && ready == 0 && r.status(route).Pending == 0
	})
}

// until waits, outside a bubble, for what must come, and takes far less than the
// five minutes it has, also on a machine that does thirty things at once.
func (r *rig) until(what string, f func() bool) {
	r.t.Helper()
	for last := time.Now().Add(5 * time.Minute); !f(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(last) {
			r.t.Fatalf("waited in vain: %s; %+v", what, r.Status())
		}
	}
}

// offsets are the times of the shots, from start on.
func offsets(start time.Time, shots []shot) []time.Duration {
	var at []time.Duration
	for _, s := range shots {
		at = append(at, s.at.Sub(start).Round(time.Millisecond))
	}
	return at
}

// once fails the test unless the shots are exactly one of each delivery.
func once(t testing.TB, shots []shot, ids []DeliveryID) {
	t.Helper()
	n := make(map[DeliveryID]int, len(ids))
	for _, s := range shots {
		n[s.Delivery.ID]++
	}
	for _, id := range ids {
		if n[id] != 1 {
			t.Fatalf("%s was attempted %d times, want once", id, n[id])
		}
	}
	if len(n) != len(ids) {
		t.Fatalf("%d deliveries were attempted, want %d", len(n), len(ids))
	}
}

func mustBe(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error is %v, want one that wraps %q", err, want)
	}
}

// noise is a JSON string that does not compress.
func noise(n int) []byte {
	b := make([]byte, n/2)
	crand.Read(b)
	return append(hex.AppendEncode([]byte{'"'}, b), '"')
}

func deliveryIDs(infos []Info) []DeliveryID {
	var ids []DeliveryID
	for _, i := range infos {
		ids = append(ids, i.ID)
	}
	return ids
}

// bulk skips a test that writes much and in which nothing is at once, where the
// race detector watches: it would take a minute and find nothing.
func bulk(t *testing.T) {
	t.Helper()
	if raceEnabled {
		t.Skip("bulk, which the race detector has no use for")
	}
}

// many is n, or an eighth of it where the race detector watches: Pebble then
// checks itself at each read.
func many(n int) int {
	if raceEnabled {
		return n / 8
	}
	return n
}

func newestFirst(ids []DeliveryID) []DeliveryID {
	ids = slices.Clone(ids)
	slices.SortFunc(ids, func(a, b DeliveryID) int { return bytes.Compare(b[:], a[:]) })
	return ids
}
