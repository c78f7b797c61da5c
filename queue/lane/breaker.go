package lane

import "time"

// When an endpoint counts as failing, and how often it is probed then.
const (
	failingAfter  = 5           // failures in a row
	firstProbeGap = time.Second // then doubled
	lastProbeGap  = time.Minute
)

// A breaker counts the failures of an endpoint. Open, it lets one probe go
// at a time, more seldom after each that fails; after the first success it lets
// one attempt more go at once with each that follows. Its zero value is closed.
type breaker struct {
	failures int
	opened   time.Time // zero: it is closed
	probing  bool
	gap      time.Duration // to the next probe
	probeAt  time.Time
	ramp     int       // attempts at once while the endpoint recovers, 0: any number; 0 while it is open
	cleared  time.Time // what began before says nothing of the endpoint any more
}

func (b *breaker) isOpen() bool { return !b.opened.IsZero() }

// open lets only probes go from now on.
func (b *breaker) open(now time.Time) {
	b.opened, b.ramp = now, 0
	b.gap = firstProbeGap
	b.probeAt = now.Add(b.gap)
}

// clear closes the breaker and forgets all failures, as for another endpoint.
func (b *breaker) clear(now time.Time) { *b = breaker{cleared: now} }

// begin notes that an attempt begins, and returns whether it is a probe.
func (b *breaker) begin() (probe bool) {
	b.probing = b.isOpen()
	return b.probing
}

// isProbe is whether the item is the probe of this opening, not of an earlier one.
func (b *breaker) isProbe(it *Item) bool {
	return it.probe && b.isOpen() && !it.began.Before(b.opened)
}

// unjudged ends an attempt that says nothing of the endpoint.
func (b *breaker) unjudged(it *Item) {
	if b.isProbe(it) {
		b.probing = false
	}
}

// judge counts the end of an attempt.
func (b *breaker) judge(it *Item, fault bool, concurrency int, now time.Time) Change {
	switch {
	case fault:
		b.failures++
		switch {
		case b.isProbe(it):
			b.probing = false
			b.gap = min(2*b.gap, lastProbeGap)
			b.probeAt = now.Add(b.gap)
		case !b.isOpen() && b.failures >= failingAfter:
			b.open(now)
			return Failing
		}
	case b.isOpen():
		*b = breaker{cleared: b.cleared, ramp: 1}
		return Recovered
	default:
		b.failures = 0
		if b.ramp > 0 {
			if b.ramp++; b.ramp >= concurrency {
				b.ramp = 0
			}
		}
	}
	return Unchanged
}
