package lane

import (
	"testing"
	"time"
)

// Why names what Next obeys: where it says that something holds the lane, nothing begins,
// and where it says nothing, what is due does.
func TestWhy(t *testing.T) {
	fail := func(c *clock) {
		for range failingAfter {
			items, _ := c.begin()
			c.end(items[0], true, c.wall()+3_600_000)
		}
	}
	tests := []struct {
		name  string
		route Route
		play  func(c *clock)
		want  Block
		until time.Duration // from now; 0: not known
	}{
		{"nothing", Route{Concurrency: 1}, func(*clock) {}, None, 0},
		{"concurrency", Route{Concurrency: 1}, func(c *clock) { c.begin() }, Concurrency, 0},
		{"paused by the config", Route{Concurrency: 1, Paused: true}, func(*clock) {}, Pausing, 0},
		{"paused", Route{Concurrency: 1}, func(c *clock) { c.Pause(true, c.now) }, Pausing, 0},
		{"gone", Route{Concurrency: 1}, func(c *clock) { c.Configure(nil, 0, c.now) }, Gone, 0},
		{"stopping", Route{Concurrency: 1}, func(c *clock) { c.End() }, Stopping, 0},
		{"rate", Route{Concurrency: 9, Rate: 0.5}, func(c *clock) { c.begin() }, Rate, 2 * time.Second},
		{"hold", Route{Concurrency: 9}, func(c *clock) {
			items, _ := c.begin()
			c.Judge(items[0], false, time.Hour, c.now)
			c.Settled(items[0].ID, items[0].Due, 0)
		}, Holding, time.Hour},
		{"failing", Route{Concurrency: 1}, fail, Opened, firstProbeGap},
		{"probing", Route{Concurrency: 1}, func(c *clock) { fail(c); c.now = c.now.Add(firstProbeGap); c.begin() }, Probing, 0},
		{"recovering", Route{Concurrency: 9}, func(c *clock) {
			c.Configure(&Route{Concurrency: 1}, 0, c.now)
			fail(c)
			c.Configure(&Route{Concurrency: 9}, 0, c.now)
			c.now = c.now.Add(firstProbeGap)
			items, _ := c.begin()
			c.end(items[0], false, 0)
			c.begin()
		}, Recovering, 0},
		{"disk", Route{Concurrency: 9}, func(c *clock) {
			items, _ := c.begin()
			for _, it := range items[:1] {
				c.Judge(it, false, 0, c.now)
				c.Ended()
			}
			c.offer(20)
			c.now = c.now.Add(2 * maxUnrecorded)
		}, Recording, 0},
	}
	for _, test := range tests {
		c := start(t, test.route)
		c.offer(20)
		test.play(c)
		why, until, _ := c.Why(c.now)
		left := time.Duration(0)
		if !until.IsZero() {
			left = until.Sub(c.now).Round(time.Millisecond)
		}
		if why != test.want || left != test.until {
			t.Errorf("%s: %q for %v, want %q, %v", test.name, why, left, test.want, test.until)
		}
		if items, _ := c.begin(); (len(items) > 0) != (why == None) {
			t.Errorf("%s: %d began", test.name, len(items))
		}
	}
}
