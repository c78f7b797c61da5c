package lane

import "time"

// A Block is what keeps a lane from beginning more attempts.
type Block string

// The blocks; None: nothing does.
const (
	None        Block = ""
	Stopping    Block = "stopping"
	Gone        Block = "held"
	Pausing     Block = "paused"
	Holding     Block = "hold"        // an answer asked for it, or something of our own was lacking
	Opened      Block = "failing"     // until the next probe
	Probing     Block = "probing"     // until the probe that is under way has ended
	Recovering  Block = "recovering"  // step by step, as attempts succeed
	Concurrency Block = "concurrency" // as many are under way as may be
	Recording   Block = "disk"        // outcomes wait to be on disk
	Rate        Block = "rate"
)

// Why is what keeps the lane from beginning an attempt now, until when, zero if that
// is not a matter of time, and how many are under way.
func (l *Lane) Why(now time.Time) (b Block, until time.Time, active int) {
	b, until = l.block(now)
	if b == None && l.limiter != nil {
		if lacks := 1 - l.limiter.TokensAt(now); lacks > 0 {
			b, until = Rate, now.Add(time.Duration(lacks/float64(l.limiter.Limit())*float64(time.Second)))
		}
	}
	return b, until, l.active
}

// block is Why without the rate.
func (l *Lane) block(now time.Time) (b Block, until time.Time) {
	switch {
	case l.ended:
		return Stopping, until
	case !l.known:
		return Gone, until
	case l.Paused():
		return Pausing, until
	case l.breaker.isOpen() && l.breaker.probing:
		return Probing, until
	case l.breaker.isOpen() && l.NextProbe().After(now):
		return Opened, l.NextProbe()
	case now.Before(l.hold):
		return Holding, l.hold
	case l.breaker.ramp > 0 && l.active >= l.breaker.ramp:
		return Recovering, until
	case l.active >= l.route.Concurrency:
		return Concurrency, until
	case l.recorded < len(l.outcomes) && now.Sub(l.outcomes[l.recorded]) > maxUnrecorded:
		return Recording, until
	}
	return None, until
}

// Is says of a delivery of the lane whether an attempt is under way, and whether it
// is aside since it could not be read.
func (l *Lane) Is(p Place) (attempted, unreadable bool) {
	h, ok := l.leases[p.ID]
	return ok && h.due == p.Due && (h.stage == underWay || h.stage == settling || h.outcome), ok && h.stage == aside
}
