package queue

import (
	"math"
	"time"
)

// A Schedule spreads the attempts of a delivery: the gaps between them grow
// by one constant factor, the first is First, and all together are Window.
type Schedule struct {
	Attempts int           // at least 1
	First    time.Duration // from the end of the first attempt to the second
	Window   time.Duration // from the end of the first attempt to the last
	Jitter   float64       // each gap is moved by up to this share of it, either way; 0 to below 1
}

// Factor is what each gap is multiplied with to get the next, so that all
// Attempts-1 gaps add up to Window. It is 1 with two attempts or fewer, where
// the only gap is First, and below 1 when Window is too short for that.
func (s Schedule) Factor() float64 {
	gaps := s.Attempts - 1
	if gaps < 2 || s.First <= 0 {
		return 1
	}
	want := float64(s.Window) / float64(s.First)
	sum := func(f float64) float64 {
		total, term := 0.0, 1.0
		for range gaps {
			total += term
			term *= f
		}
		return total
	}
	lo, hi := 0.0, 2.0
	for sum(hi) < want {
		hi *= 2
	}
	for range 100 {
		if mid := (lo + hi) / 2; sum(mid) < want {
			lo = mid
		} else {
			hi = mid
		}
	}
	return hi
}

// Gaps are the Attempts-1 gaps between the attempts, without jitter.
func (s Schedule) Gaps() []time.Duration {
	f := s.Factor()
	gaps := make([]time.Duration, max(s.Attempts-1, 0))
	for i := range gaps {
		gaps[i] = time.Duration(float64(s.First) * math.Pow(f, float64(i)))
	}
	return gaps
}

// Gap is the time from the end of the n-th attempt (from 1) to the next; n is
// below Attempts. roll is between 0 and 1 and decides the jitter; after is what
// the endpoint asked for, which can only lengthen the gap, and by no more than
// what is left of the window after the gaps so far.
func (s Schedule) Gap(n int, roll float64, after time.Duration) time.Duration {
	gaps, left := s.Gaps(), s.Window
	for _, g := range gaps[:n-1] {
		left -= g
	}
	g := gaps[n-1]
	g += time.Duration(float64(g) * s.Jitter * (2*roll - 1))
	return max(g, min(after, left))
}
