package record

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"time"
)

// A Row is the value of a statistics key: what happened on one route in one
// minute, or in one hour.
type Row struct {
	Accepted  int64 // deliveries made; below 0 where some were taken back that another minute counts
	Delivered int64 // deliveries, and so attempts
	Dead      int64 // deliveries, without the two that follow
	Filtered  int64
	Discarded int64
	Retry     int64 // attempts with that verdict
	Failed    [maxClasses]int64
	Latency   Histogram // of all attempts
}

const maxClasses = 16 // more than there are

func (r *Row) totals() [6]*int64 {
	return [...]*int64{&r.Accepted, &r.Delivered, &r.Dead, &r.Filtered, &r.Discarded, &r.Retry}
}

// Attempt counts an attempt.
func (r *Row) Attempt(e *Entry) {
	r.Latency.Add(e.Duration)
	if e.Verdict == Delivered {
		return
	}
	r.Failed[index(classes, e.Class)]++
	if e.Verdict == Retry {
		r.Retry++
	}
}

// Move counts that a delivery goes from one state to another.
func (r *Row) Move(was, now *Delivery) {
	switch {
	case now.State == IsDelivered:
		r.Delivered++
	case now.State != IsDead || was.State == IsDead:
	case now.Reason == Filtered:
		r.Filtered++
	case now.Reason == Discarded:
		r.Discarded++
	default:
		r.Dead++
	}
}

// Failures is how many attempts failed; Attempts how many there were.
func (r *Row) Failures() (n int64) {
	for _, f := range r.Failed {
		n += f
	}
	return n
}

// Attempts is how many attempts there were.
func (r *Row) Attempts() int64 { return r.Delivered + r.Failures() }

// ByClass are the failed attempts, nil if there was none.
func (r *Row) ByClass() (m map[Class]int64) {
	for i, n := range r.Failed {
		if n == 0 {
			continue
		}
		if m == nil {
			m = map[Class]int64{}
		}
		m[classes[i]] = n
	}
	return m
}

// Add adds what another row has.
func (r *Row) Add(o *Row) {
	for i, n := range o.totals() {
		*r.totals()[i] += *n
	}
	for i, n := range o.Failed {
		r.Failed[i] += n
	}
	for i, n := range o.Latency {
		r.Latency[i] += n
	}
}

// Append appends the value to b: the totals, then a class and its number, as
// many as there are, then of the histogram what is not 0.
func (r *Row) Append(b []byte) []byte {
	for _, n := range r.totals() {
		b = binary.AppendVarint(b, *n)
	}
	at := len(b)
	b = append(b, 0)
	for i, n := range r.Failed {
		if n != 0 {
			b[at]++
			b = binary.AppendVarint(append(b, byte(i)), n)
		}
	}
	last := 0
	for i, n := range r.Latency {
		if n != 0 {
			b = appendUvarints(b, uint64(i-last), uint64(n))
			last = i
		}
	}
	return b
}

// ParseRow parses what Append wrote.
func ParseRow(v []byte) (r Row, err error) {
	p := parser{b: v}
	for _, n := range r.totals() {
		*n = p.varint()
	}
	for range p.byte() {
		class := p.byte()
		if int(class) >= len(classes) {
			p.bad = true
			break
		}
		r.Failed[class] = p.varint()
	}
	for i := uint64(0); len(p.b) > 0 && !p.bad; {
		if i += p.uvarint(buckets); i >= buckets {
			p.bad = true
			break
		}
		r.Latency[i] = uint32(p.uvarint(math.MaxUint32))
	}
	return r, p.err("statistics")
}

// A Histogram counts durations by their logarithm. The first bucket is for
// what is below a microsecond; each that follows ends a tenth further up, so that
// the middle of one is within 5 % of all that is in it. The last begins at nine hours.
type Histogram [buckets]uint32

const buckets = 256

var growth = math.Log(1.1)

// Add counts a duration.
func (h *Histogram) Add(d time.Duration) {
	i := 0
	if us := d.Microseconds(); us > 0 {
		i = 1 + int(math.Log(float64(us))/growth)
	}
	h[min(i, buckets-1)]++
}

// Quantile is the duration that a share of all is not above, within 5 %; 0 if there is none.
func (h *Histogram) Quantile(share float64) time.Duration {
	all := uint64(0)
	for _, n := range h {
		all += uint64(n)
	}
	rank := uint64(math.Ceil(share * float64(all)))
	for i, n := range h {
		if uint64(n) >= rank && n > 0 {
			return time.Duration(math.Exp((float64(i)-0.5)*growth) * float64(time.Microsecond))
		}
		rank -= min(rank, uint64(n))
	}
	return 0
}

// A Cause is what an attempt failed of, or the expression of a delivery that
// died without one.
type Cause struct {
	Class  Class
	Status int // 0: there was no answer
	Error  string
}

// A CauseID stands for a cause of one route; 0 for none.
type CauseID uint64

// ID is the cause's, the same at all times.
func (c Cause) ID() CauseID {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %s", c.Class, c.Status, c.Error))
	return cmp.Or(CauseID(binary.BigEndian.Uint64(sum[:])), 1)
}

// Other is the cause that stands for those of its class that are too many to be told apart.
func (c Cause) Other() Cause {
	return Cause{Class: c.Class, Error: "other errors, too many to be told apart"}
}

// Failures are the value of a cause's key: how often a route failed of it in an hour.
type Failures struct {
	Cause
	Count       int64
	First, Last Stamp
	Sample      DeliveryID // which failed so last
}

// Append appends the value to b.
func (r *Failures) Append(b []byte) []byte {
	b = append(append(b, index(classes, r.Class)), r.Sample[:]...)
	return append(appendUvarints(b, uint64(r.Status), uint64(r.Count), uint64(r.First), uint64(r.Last)), r.Error...)
}

// ParseFailures parses what Append wrote.
func ParseFailures(v []byte) (r Failures, err error) {
	p := parser{b: v}
	r.Class = pick(&p, classes)
	copy(r.Sample[:], p.bytes(16))
	r.Status = int(p.uvarint(math.MaxInt32))
	r.Count = int64(p.uvarint(math.MaxInt64))
	r.First, r.Last = Stamp(p.uvarint(math.MaxInt64)), Stamp(p.uvarint(math.MaxInt64))
	r.Error = string(p.rest())
	return r, p.err("failures")
}

// Affected is the value of a cause's second key: how many deliveries of the
// route are pending, or dead and not discarded, whose newest attempt failed of it.
type Affected struct{ Pending, Dead int64 }

// Add adds n deliveries in the state.
func (r *Affected) Add(s State, n int64) {
	switch s {
	case IsPending:
		r.Pending += n
	case IsDead:
		r.Dead += n
	}
}

// Append appends the value to b.
func (r *Affected) Append(b []byte) []byte {
	return appendVarints(b, r.Pending, r.Dead)
}

// ParseAffected parses what Append wrote.
func ParseAffected(v []byte) (r Affected, err error) {
	p := parser{b: v}
	r.Pending, r.Dead = p.varint(), p.varint()
	p.bad = p.bad || len(p.b) > 0
	return r, p.err("deliveries of a cause")
}
