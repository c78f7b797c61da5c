package lane

import (
	"slices"
	"testing"
	"time"

	"signalpost/queue/record"
)

// A clock is what the tests drive a lane with.
type clock struct {
	*Lane
	t   *testing.T
	now time.Time
}

func start(t *testing.T, r Route) *clock {
	c := &clock{Lane: New(&Memory{Most: 1 << 20}), t: t, now: time.UnixMilli(1_700_000_000_000)}
	c.Configure(&r, 100*time.Hour, c.now)
	return c
}

func (c *clock) wall() record.Millis { return record.MillisOf(c.now) }

func at(due record.Millis, n byte) Place { return Place{due, record.DeliveryID{15: n}} }

// offer hands over n deliveries that are due now.
func (c *clock) offer(n int) {
	for i := range n {
		p := at(c.wall(), byte(i+1))
		c.Writing(p)
		c.Offer(Item{Place: p, Load: "body", Size: 10})
	}
}

// begin begins all that may begin.
func (c *clock) begin() (items []Item, last Step) {
	for {
		last = c.Next(c.now, c.wall())
		if last.Begin {
			items = append(items, last.Item)
		} else if !last.Read {
			return items, last
		}
	}
}

// end ends an attempt whose outcome is on disk at once.
func (c *clock) end(it Item, fault bool, next record.Millis) Change {
	change := c.Judge(it, fault, 0, c.now)
	c.Record(it.ID)
	c.Settled(it.ID, it.Due, next)
	c.Ended()
	return change
}

func TestConcurrency(t *testing.T) {
	c := start(t, Route{Concurrency: 3})
	c.offer(10)
	items, last := c.begin()
	if len(items) != 3 || last.Wait != 0 {
		t.Fatalf("%d began, then %+v", len(items), last)
	}
	c.end(items[0], false, 0)
	if items, _ := c.begin(); len(items) != 1 {
		t.Errorf("%d began when one had ended", len(items))
	}
	if n := c.memory.Used(); n != 60 {
		t.Errorf("%d bytes wait, want those of 6", n)
	}
}

func TestRateHoldsOverAnIdleTimeThatIsShort(t *testing.T) {
	for idle, want := range map[time.Duration]int{0: 0, 100 * time.Hour: 1, -time.Hour: 0} { // -: the clock was set back since
		c := start(t, Route{Concurrency: 100})
		c.Configure(&Route{Concurrency: 100, Rate: 10}, idle, c.now)
		c.offer(50)
		items, last := c.begin()
		if len(items) != want || last.Wait <= 0 || last.Wait > 110*time.Millisecond {
			t.Errorf("idle for %v: %d began, then %v", idle, len(items), last.Wait)
		}
		n := len(items)
		for range 20 {
			c.now = c.now.Add(last.Wait)
			items, last = c.begin()
			n += len(items)
		}
		if n < 20 || n > 22 {
			t.Errorf("idle for %v: %d began in two seconds", idle, n)
		}
	}
}

func TestBreaker(t *testing.T) {
	c := start(t, Route{Concurrency: 8})
	c.offer(40)
	var changes []Change
	for len(changes) < failingAfter {
		items, _ := c.begin()
		for _, it := range items {
			changes = append(changes, c.end(it, true, c.wall()+3_600_000))
		}
	}
	if i := slices.Index(changes, Failing); i != failingAfter-1 || c.FailingSince() != c.now {
		t.Fatalf("it fails after %v, since %v", changes, c.FailingSince())
	}
	if c.memory.Used() != 0 {
		t.Error("bodies of what is not sent wait in memory")
	}
	for i, gap := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
		items, last := c.begin()
		if gap *= time.Second; len(items) != 0 || last.Wait != gap {
			t.Fatalf("after probe %d: %d began, the next in %v, want %v", i, len(items), last.Wait, gap)
		}
		c.now = c.now.Add(gap)
		if items, last = c.begin(); len(items) != 1 || last.Wait != 0 {
			t.Fatalf("probe %d: %d began, then %+v", i, len(items), last)
		}
		if i < 7 {
			c.end(items[0], true, c.wall()+3_600_000)
			continue
		}
		if c.end(items[0], false, 0) != Recovered {
			t.Error("a success does not close it")
		}
	}
	if items, _ := c.begin(); len(items) != 1 {
		t.Errorf("%d began after the first success", len(items))
	} else {
		c.end(items[0], false, 0)
	}
	if items, _ := c.begin(); len(items) != 2 {
		t.Errorf("%d began after the second success", len(items))
	}
	c.Clear(c.now)
	if items, _ := c.begin(); len(items) != 6 {
		t.Errorf("%d more began when it was cleared", len(items))
	}
}

// Attempts that began before the breaker was cleared say nothing.
func TestBreakerForgetsTheOldTarget(t *testing.T) {
	c := start(t, Route{Concurrency: 8, Target: "a"})
	c.offer(8)
	items, _ := c.begin()
	c.now = c.now.Add(time.Second)
	c.Configure(&Route{Concurrency: 8, Target: "b"}, 0, c.now)
	for _, it := range items {
		if c.Judge(it, true, time.Hour, c.now) != Unchanged || !c.hold.IsZero() {
			t.Fatal("failures of the old target count against the new")
		}
	}
}

// No attempt begins while an outcome has waited for the disk for long.
func TestUnrecordedOutcomesHoldTheLane(t *testing.T) {
	c := start(t, Route{Concurrency: 2})
	c.offer(6)
	items, _ := c.begin()
	c.Judge(items[0], false, 0, c.now)
	c.Ended()
	c.now = c.now.Add(maxUnrecorded)
	more, _ := c.begin()
	if len(more) != 1 {
		t.Fatalf("%d began beside an outcome that has waited for %v", len(more), maxUnrecorded)
	}
	c.now = c.now.Add(time.Millisecond)
	c.Judge(items[1], false, 0, c.now)
	c.Ended()
	if more, last := c.begin(); len(more) != 0 || last.Wait != 0 {
		t.Fatalf("%d began, then %+v", len(more), last)
	}
	c.Settled(items[0].ID, items[0].Due, 0)
	if more, _ = c.begin(); len(more) != 1 {
		t.Errorf("%d began when the oldest was recorded", len(more))
	}
	// One that is to be tried again is written with its new due time first.
	c.Record(items[1].ID)
	c.Writing(Place{c.wall() + 1000, items[1].ID})
	c.Settled(items[1].ID, items[1].Due, c.wall()+1000)
	c.now = c.now.Add(maxUnrecorded)
	c.Ended()
	if more, _ = c.begin(); len(more) != 1 || len(c.outcomes) != c.recorded {
		t.Errorf("%d began when all were recorded", len(more))
	}
}

// Nothing pending is due before the mark, wherever the lane stands: a restart
// does not look for it there.
func TestLowWaterMark(t *testing.T) {
	tests := []struct {
		name string
		lane func(l *Lane)
		want record.Millis
	}{
		{"what is read is behind the cursor", func(l *Lane) {}, 100},
		{"the next is known", func(l *Lane) { l.next = 500 }, 500},
		{"the next is known, and something came before it", func(l *Lane) { l.next = 500; l.Leave(at(50, 1)) }, 50},
		{"the next is known, and something came in between", func(l *Lane) { l.next = 500; l.Leave(at(300, 1)) }, 300},
		{"the next is known, and may be due", func(l *Lane) { l.next, l.more = 500, true }, 100},
		{"the next is known, and the disk is read", func(l *Lane) { l.next, l.reading = 500, true }, 100},
		{"something is written", func(l *Lane) { l.next = 500; l.Writing(at(70, 1)) }, 70},
		{"something was let go while the disk is read", func(l *Lane) {
			l.reading = true
			l.Writing(at(50, 1))
			l.Leave(at(50, 1))
		}, 50},
	}
	for _, test := range tests {
		l := New(&Memory{})
		l.cursor, l.missed = Place{Due: 100}, lastPlace
		test.lane(l)
		if low := l.Low(); low != test.want {
			t.Errorf("%s: the mark is %d, want %d", test.name, low, test.want)
		}
	}
}

// What is let go while the disk is read is found when it is due.
func TestReadingRemembersWhatItMissed(t *testing.T) {
	for _, test := range []struct{ next, missed, want record.Millis }{{0, 500, 500}, {300, 500, 300}, {300, 200, 200}} {
		l := New(&Memory{})
		l.reading, l.missed = true, lastPlace
		l.Leave(at(test.missed, 1))
		l.Found(nil, at(100, 2), false, test.next)
		if l.more || l.next != test.want {
			t.Errorf("on disk %d, let go meanwhile %d: the next is %d, want %d", test.next, test.missed, l.next, test.want)
		}
	}
	l := New(&Memory{})
	l.reading, l.missed = true, lastPlace
	l.Leave(at(50, 1))
	l.Found(nil, at(100, 2), false, 0)
	if !l.more || l.cursor != at(50, 1) {
		t.Errorf("let go behind the cursor: it reads on at %v, %v", l.cursor, l.more)
	}
}

// What was settled or leased while the disk is read is not attempted again.
func TestReadingSkipsWhatWasSettled(t *testing.T) {
	c := start(t, Route{Concurrency: 9})
	c.Resume(0, true, false)
	if step := c.Next(c.now, c.wall()); !step.Read {
		t.Fatalf("it does not read: %+v", step)
	}
	c.Settled(at(1, 1).ID, 1, 0)
	c.Writing(at(2, 2))
	c.Found([]Place{at(1, 1), at(2, 2), at(3, 3)}, at(3, 3), false, 0)
	items, _ := c.begin()
	if len(items) != 1 || items[0].Place != at(3, 3) {
		t.Errorf("begun are %+v", items)
	}
}

func TestLeases(t *testing.T) {
	c := start(t, Route{Concurrency: 1})
	c.offer(3)
	items, _ := c.begin()
	one, two := items[0].Place, at(c.wall(), 2)
	if got := c.Lease(one, false); got != LeaseUnderWay || c.GivenUp(one) {
		t.Errorf("one under way: %v", got)
	}
	if got := c.Lease(two, true); got != LeaseTaken || c.memory.Used() != 10 {
		t.Errorf("a ready one: %v, %d bytes wait", got, c.memory.Used())
	}
	if got := c.Lease(two, true); got != LeaseBusy {
		t.Errorf("one leased before: %v", got)
	}
	if got := c.Lease(at(1, 1), true); got != LeaseBusy || c.GivenUp(one) {
		t.Errorf("one under way that was due before: %v", got)
	}
	if got := c.Lease(one, true); got != LeaseUnderWay || c.GivenUp(at(1, 1)) || !c.GivenUp(one) {
		t.Errorf("one under way, given up: %v", got)
	}
	c.Judge(items[0], false, 0, c.now)
	if got := c.Lease(one, false); got != LeaseBusy || !c.GivenUp(one) {
		t.Errorf("one that has ended: %v", got)
	}
	if !c.Record(one.ID) || c.GivenUp(one) {
		t.Error("the wish is forgotten, or comes too late and counts")
	}
	c.Settled(one.ID, one.Due, 0)
	if n, _ := c.Sizes(); n != 2 {
		t.Errorf("%d leases are left", n)
	}
}

// What cannot be read is tried again after a pause, each time, and holds nobody up.
func TestUnreadable(t *testing.T) {
	c := start(t, Route{Concurrency: 1})
	c.offer(2)
	items, _ := c.begin()
	bad := items[0]
	for i := range 5 {
		c.Unreadable(bad, c.now)
		c.Ended()
		items, last := c.begin()
		if i == 0 {
			if len(items) != 1 {
				t.Fatalf("%d began beside it", len(items))
			}
			c.end(items[0], false, 0)
			_, last = c.begin()
		}
		if last.Wait != min(asideFor, longestSleep) {
			t.Fatalf("time %d: it is tried again after %v, want %v", i, last.Wait, asideFor)
		}
		c.now = c.now.Add(asideFor - 1)
		if step := c.Next(c.now, c.wall()); step.Read || step.Begin {
			t.Fatalf("time %d: it is tried too soon", i)
		}
		c.now = c.now.Add(1)
		if step := c.Next(c.now, c.wall()); !step.Read {
			t.Fatalf("time %d: it is not tried again: %+v", i, step)
		}
		c.Found([]Place{bad.Place}, bad.Place, false, 0)
		if items, _ = c.begin(); len(items) != 1 || items[0].ID != bad.ID {
			t.Fatalf("time %d: begun are %+v", i, items)
		}
		bad = items[0]
	}
	// One that is leased for a change meanwhile is left to it.
	c.Unreadable(bad, c.now)
	c.Ended()
	if got := c.Lease(bad.Place, false); got != LeaseTaken {
		t.Errorf("one that is aside: %v", got)
	}
	c.now = c.now.Add(asideFor)
	if step := c.Next(c.now, c.wall()); step.Read || step.Wait != 0 {
		t.Errorf("then there is %+v", step)
	}
	c.Settled(bad.ID, bad.Due, 0)
	if n, _ := c.Sizes(); n != 0 || len(c.aside) != 0 {
		t.Errorf("%d leases, %d unreadable are left", n, len(c.aside))
	}
}

// However many cannot be read, what is in memory of them is bounded.
func TestManyUnreadable(t *testing.T) {
	c := start(t, Route{Concurrency: 2 * MaxReady})
	c.aside = make([]Place, MaxReady)
	c.offer(1)
	items, _ := c.begin()
	c.Unreadable(items[0], c.now)
	c.Ended()
	if n, _ := c.Sizes(); n != 0 || len(c.aside) != MaxReady {
		t.Errorf("%d leases, %d aside", n, len(c.aside))
	}
	if items, last := c.begin(); len(items) != 0 || last.Wait != min(asideFor, longestSleep) {
		t.Errorf("%d begin, then %+v", len(items), last)
	}
}

func TestPausesAndHolds(t *testing.T) {
	c := start(t, Route{Concurrency: 1})
	c.offer(9)
	items, _ := c.begin()
	c.GiveBack(items[0], time.Second, c.now)
	c.Ended()
	if items, last := c.begin(); len(items) != 0 || last.Wait != time.Second {
		t.Errorf("%d began, then %+v", len(items), last)
	}
	c.Pause(true, c.now)
	c.now = c.now.Add(time.Hour)
	if items, last := c.begin(); len(items) != 0 || last.Wait != 0 || c.memory.Used() != 0 {
		t.Errorf("while it is paused %d began, then %+v, %d bytes wait", len(items), last, c.memory.Used())
	}
	c.Pause(false, c.now)
	items, _ = c.begin()
	if len(items) != 1 {
		t.Fatal("it does not go on")
	}
	c.Judge(items[0], true, 10*time.Second, c.now)
	c.Settled(items[0].ID, items[0].Due, 0)
	c.Ended()
	if items, last := c.begin(); len(items) != 0 || last.Wait != 10*time.Second {
		t.Errorf("%d began, then %+v", len(items), last)
	}
	c.Configure(nil, 0, c.now)
	if leases, ready := c.Sizes(); leases+ready != 0 {
		t.Errorf("%d leases, %d ready of a route that is gone", leases, ready)
	}
	c.Configure(&Route{Concurrency: 1}, 0, c.now)
	c.now = c.now.Add(time.Minute)
	if step := c.Next(c.now, c.wall()); !step.Read {
		t.Errorf("back again it does not look for what is due: %+v", step)
	}
}

func TestBodiesAreBounded(t *testing.T) {
	c := start(t, Route{Concurrency: 1})
	c.memory.Most = 25
	c.offer(5)
	loaded := 0
	for _, it := range c.ready {
		if it.Load != nil {
			loaded++
		}
	}
	if loaded != 2 || c.memory.Used() != 20 || len(c.ready) != 5 {
		t.Errorf("%d of %d have their bodies, %d bytes", loaded, len(c.ready), c.memory.Used())
	}
}

// What was behind another begins once its promotion is on disk, whatever
// change of it was asked for just then, and no sooner.
func TestPromotion(t *testing.T) {
	take := func(c *clock, p Place) {
		if got := c.Lease(Place{Never, p.ID}, true); got != LeaseTaken {
			c.t.Errorf("its lease is %v", got)
		}
	}
	for name, steps := range map[string][]func(c *clock, p Place){
		"undisturbed": {(*clock).promoting, (*clock).promoted},
		"a change was written before, in the same batch":         {take, (*clock).promoting, (*clock).changed, (*clock).promoted},
		"a change was written in a batch before":                 {take, (*clock).changed, (*clock).promoting, (*clock).promoted},
		"a change came too late, in the same batch":              {take, (*clock).promoting, (*clock).overtaken, (*clock).promoted},
		"a change came too late":                                 {take, (*clock).promoting, (*clock).promoted, (*clock).overtaken},
		"a change was found to be out of date before the turn":   {take, (*clock).overtaken, (*clock).promoting, (*clock).promoted},
		"a reading found it":                                     {(*clock).promoting, (*clock).found, (*clock).promoted},
		"a change was written before, and a reading found it":    {take, (*clock).promoting, (*clock).changed, (*clock).found, (*clock).promoted},
		"a change came too late, and a reading found it":         {take, (*clock).promoting, (*clock).found, (*clock).overtaken, (*clock).promoted},
		"a change came too late, and a reading finds it at last": {take, (*clock).promoting, (*clock).promoted, (*clock).found, (*clock).overtaken, (*clock).found},
	} {
		c := start(t, Route{Concurrency: 8})
		p := at(c.wall(), 1)
		for i, step := range steps {
			if items, _ := c.begin(); len(items) > 0 {
				t.Errorf("%s: it begins before step %d", name, i)
			}
			step(c, p)
		}
		items, _ := c.begin()
		if len(items) == 0 && c.reading { // it waits on disk
			c.found(p)
			items, _ = c.begin()
		}
		if len(items) != 1 || items[0].Place != p {
			t.Errorf("%s: it does not begin, but %v", name, items)
		}
	}
	c := start(t, Route{Concurrency: 8})
	p := at(c.wall(), 1)
	c.promoting(p)
	if low := c.Low(); low > p.Due {
		t.Errorf("the low mark is %d, above %d", low, p.Due)
	}
	c.Promoted(p, true)
	if items, _ := c.begin(); len(items) > 0 {
		t.Error("what never came to disk begins")
	}
}

func (c *clock) promoting(p Place) { c.Promoting(p) }
func (c *clock) promoted(p Place)  { c.Promoted(p, false) }
func (c *clock) changed(p Place)   { c.Settled(p.ID, 0, 0) }
func (c *clock) overtaken(p Place) { c.Overtaken(p.ID, 0) }

func (c *clock) found(p Place) { c.Found([]Place{p}, p, false, 0) }
