package queue

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

var campaignSeed = flag.Uint64("campaign.seed", 0, "repeat the campaign of faults from this seed")

// A campaign is a queue under load that meets one fault after the other. It
// keeps what was acknowledged and what was delivered, over all its lives.
type campaign struct {
	t       *testing.T
	rng     *rand.Rand
	mem     *vfs.MemFS
	ahead   atomic.Int64                 // how far the clock on the wall is set ahead, in nanoseconds
	broken  atomic.Pointer[func() error] // what a sync of a log meets
	mended  time.Time                    // when one last did; guarded by mu
	bad     atomic.Value                 // what the couriers meet, a string
	endless context.Context              // ends with the load

	mu    sync.Mutex
	life  *campaignLife
	acked []Accepted
	order map[string][]campaignOrder // of what was acknowledged and has one, by key, but for what has ended
	sent  map[DeliveryID]Verdict     // the newest of each
	twice int                        // deliveries that arrived again
}

// A campaignOrder is a delivery that has an order, and when it was put and acknowledged.
type campaignOrder struct {
	id         DeliveryID
	put, acked time.Time
}

// A campaignLife is one process.
type campaignLife struct {
	*Queue
	ended bool // killed: what it is answered from now on nobody hears
}

// campaignRoutes answer as their names say, and in bad times worse.
var campaignRoutes = []Route{{Name: "fine", Concurrency: 4}, {Name: "flaky", Concurrency: 2}, {Name: "limited", Concurrency: 8, Rate: 20}}

type courierFunc func(ctx context.Context, d Delivery, attempt int) (Outcome, error)

func (f courierFunc) Deliver(ctx context.Context, d Delivery, attempt int) (Outcome, error) {
	return f(ctx, d, attempt)
}

func (c *campaign) hook(o fsOp, after bool) error {
	if f := c.broken.Load(); f != nil && !after && o.kind == "sync" && strings.HasSuffix(o.name, ".log") {
		return (*f)()
	}
	return nil
}

// open begins a life on what the one before has left.
func (c *campaign) open() {
	l := &campaignLife{}
	var roll sync.Mutex
	rng := rand.New(rand.NewPCG(c.rng.Uint64(), 0))
	q, err := open(Options{
		Path:  storePath,
		clock: func(t time.Time) time.Time { return t.Add(time.Duration(c.ahead.Load())) },
		Courier: courierFunc(func(ctx context.Context, d Delivery, attempt int) (Outcome, error) {
			roll.Lock()
			n, takes := rng.IntN(100), time.Duration(rng.IntN(50))*time.Millisecond
			roll.Unlock()
			time.Sleep(takes)
			out := ok200
			switch bad := c.bad.Load(); {
			case bad == "shortage":
				return Outcome{}, fmt.Errorf("%w: too many open files", ErrShortage)
			case bad == "down":
				out = no503
			case d.Route == "flaky" && n < 30:
				out = no404
			case d.Route == "flaky" && n < 35:
				out = no410
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			if l.ended || ctx.Err() != nil {
				return Outcome{}, context.Canceled
			}
			if c.sent[d.ID] == Delivered {
				c.twice++
			}
			for key, all := range c.order {
				c.order[key] = slices.DeleteFunc(all, func(o campaignOrder) bool { return o.id != d.ID && c.sent[o.id] != "" && c.sent[o.id] != Retry })
				if i := slices.IndexFunc(c.order[key], func(o campaignOrder) bool { return o.id == d.ID }); i >= 0 {
					if first := c.order[key][0]; first.acked.Before(c.order[key][i].put) {
						c.t.Errorf("%s went before %s, of the same order", d.ID, first.id)
					}
				}
			}
			c.sent[d.ID] = out.Verdict
			return out.by(Schedule{Attempts: 1000, First: time.Second, Window: time.Hour}, d), nil
		}),
	}, &hookFS{FS: c.mem, hook: c.hook})
	if err != nil {
		c.t.Fatal(err)
	}
	if err := q.Configure(Limits{Retention: 90 * 24 * time.Hour, MaxAge: 60 * 24 * time.Hour}, campaignRoutes); err != nil {
		c.t.Fatal(err)
	}
	l.Queue = q
	c.mu.Lock()
	c.life = l
	c.mu.Unlock()
}

// load puts signals until the campaign ends. What is not refused is answered soon.
func (c *campaign) load(rng *rand.Rand) {
	for c.endless.Err() == nil {
		time.Sleep(time.Duration(rng.IntN(1000)) * time.Millisecond)
		c.mu.Lock()
		l := c.life
		c.mu.Unlock()
		batch := make([]Accepted, 1+rng.IntN(3))
		for i := range batch {
			batch[i] = Accepted{Signal: Signal{ID: l.NewSignalID(), Type: "lead", Body: []byte(`{"n":1}`)}}
			for _, r := range campaignRoutes {
				if rng.IntN(2) == 0 {
					m := Made{Route: r.Name}
					if n := rng.IntN(10); n < 2 {
						m.Order = fmt.Sprint(n)
					}
					batch[i].Deliveries = append(batch[i].Deliveries, m)
				}
			}
		}
		start := time.Now()
		err := l.Put(batch, nil, nil)
		took := time.Since(start)
		c.mu.Lock()
		switch {
		case l.ended:
		case err == nil:
			for _, a := range batch {
				for i, m := range a.Deliveries {
					if m.Order != "" {
						c.order[m.Route+m.Order] = append(c.order[m.Route+m.Order], campaignOrder{a.ID.Delivery(i + 1), start, time.Now()})
					}
				}
			}
			if c.acked = append(c.acked, batch...); took > 2*time.Second && (start.After(c.mended) || took > stallAfter+3*time.Second) {
				c.t.Errorf("an answer took %v", took)
			}
		case !errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrClosed):
			c.t.Error(err)
		}
		c.mu.Unlock()
	}
}

// end ends the life: by a kill, of which some of what was not synced is kept, or in peace.
func (c *campaign) end(kill bool) {
	c.mu.Lock()
	l := c.life
	left := c.mem
	if kill {
		l.ended = true
		left = c.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: c.rng.IntN(101), RNG: c.rng})
	}
	c.mu.Unlock()
	c.broken.Store(nil)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := l.Close(ctx); err != nil && !kill {
		c.t.Errorf("close: %v", err)
	}
	c.mem = left
}

func (c *campaign) ready() error { return c.life.Ready() }

// until waits for something, a minute at most.
func (c *campaign) until(what string, ok func() bool) {
	c.t.Helper()
	for range 600 {
		if ok() {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	c.t.Fatalf("%s: not within a minute: %v", what, c.ready())
}

// spoil removes the logs of the store, or cuts them, and begins anew when it has been noticed.
func (c *campaign) spoil(cut bool) {
	time.Sleep(1500 * time.Millisecond) // they have been looked at
	names, err := c.mem.List(storePath)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, n := range names {
		if !strings.HasSuffix(n, ".log") {
			continue
		}
		if err := c.mem.Remove(c.mem.PathJoin(storePath, n)); err != nil {
			c.t.Fatal(err)
		}
		if cut {
			f, err := c.mem.Create(c.mem.PathJoin(storePath, n), vfs.WriteCategoryUnspecified)
			if err != nil {
				c.t.Fatal(err)
			}
			f.Close()
		}
	}
	c.until("the logs are missed", func() bool { return c.ready() != nil })
	time.Sleep(time.Second)
	c.end(false)
	c.open()
}

// faults are what the campaign meets. Each is over when it returns, but for the clock.
func (c *campaign) faults() map[string]func() {
	some := func(most time.Duration) time.Duration { return time.Duration(c.rng.Int64N(int64(most))) }
	breaks := func(f func() error, most time.Duration) {
		mended := time.Now().Add(some(most))
		c.mu.Lock()
		c.mended = mended
		c.mu.Unlock()
		c.broken.Store(&f)
		time.Sleep(time.Until(mended))
		c.broken.Store(nil)
		c.until("it accepts again", func() bool { return c.ready() == nil })
	}
	bad := func(what string) func() {
		return func() { c.bad.Store(what); time.Sleep(some(20 * time.Second)); c.bad.Store("") }
	}
	return map[string]func(){
		"kill":        func() { c.end(true); c.open() },
		"restart":     func() { c.end(false); c.open() },
		"logs gone":   func() { c.spoil(false) },
		"logs cut":    func() { c.spoil(true) },
		"clock ahead": func() { c.ahead.Add(int64(some(24 * time.Hour))) },
		"clock back":  func() { c.ahead.Add(-int64(some(24 * time.Hour))) },
		"clock right": func() { c.ahead.Store(0) },
		"disk full":   func() { breaks(func() error { return syscall.ENOSPC }, 5*time.Second) },
		"disk slow":   func() { breaks(func() error { time.Sleep(700 * time.Millisecond); return nil }, 5*time.Second) },
		"disk hangs": func() {
			breaks(func() error {
				c.mu.Lock()
				mended := c.mended
				c.mu.Unlock()
				time.Sleep(time.Until(mended))
				return nil
			}, 20*time.Second)
		},
		"shortage":      bad("shortage"),
		"receiver down": bad("down"),
	}
}

// TestCampaign: a queue under load that meets 240 faults in random order, of
// the process, the disk, the store's files, the clock, the machine and the
// receivers, loses nothing that it acknowledged and leaves nothing unaccounted.
func TestCampaign(t *testing.T) {
	seed := *campaignSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("repeat with -campaign.seed=%d", seed)
	synctest.Test(t, func(t *testing.T) {
		endless, stop := context.WithCancel(context.Background())
		c := &campaign{t: t, rng: rand.New(rand.NewPCG(seed, 0)), mem: vfs.NewCrashableMem(), endless: endless, sent: map[DeliveryID]Verdict{}, order: map[string][]campaignOrder{}}
		c.bad.Store("")
		c.open()
		var load sync.WaitGroup
		defer load.Wait()
		defer stop()
		for range 4 {
			rng := rand.New(rand.NewPCG(c.rng.Uint64(), 1))
			load.Go(func() { c.load(rng) })
		}
		faults := c.faults()
		names := slices.Sorted(maps.Keys(faults))
		met := map[string]int{}
		for range many(240) {
			name := names[c.rng.IntN(len(names))]
			met[name]++
			faults[name]()
			time.Sleep(time.Duration(c.rng.IntN(3000)) * time.Millisecond)
		}
		c.ahead.Store(0)
		c.until("it accepts in the end", func() bool { return c.ready() == nil })
		stop()
		load.Wait()
		// No clock that was set makes anything wait for longer than its schedule says.
		time.Sleep(90 * time.Minute)
		for _, a := range c.acked {
			_, infos, err := c.life.Signal(a.ID)
			if err != nil || len(infos) != len(a.Deliveries) {
				t.Errorf("%s was acknowledged, and has %d deliveries of %d: %v", a.ID, len(infos), len(a.Deliveries), err)
			}
			for _, i := range infos {
				if want := c.sent[i.ID]; want == Retry || i.State != map[Verdict]State{Delivered: StateDelivered, Dead: StateDead}[want] {
					t.Errorf("%s is %s %s after %d attempts, next at %v; the receiver's last answer is %q", i.ID, i.State, i.Reason, i.Attempts, i.NextAttempt, want)
				}
			}
			if t.Failed() {
				break
			}
		}
		if n := c.life.Status().Unaccounted; n != 0 {
			t.Errorf("%d are unaccounted for", n)
		}
		c.end(false)
		if err := check(storePath, c.mem); err != nil {
			t.Error(err)
		}
		t.Logf("%d signals acknowledged, %d deliveries arrived again; met: %v", len(c.acked), c.twice, met)
		if len(met) != len(names) && !raceEnabled || len(c.acked) < many(240) {
			t.Error("it has met too little")
		}
	})
}
