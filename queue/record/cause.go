package record

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
)

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
	for _, n := range [...]uint64{uint64(r.Status), uint64(r.Count), uint64(r.First), uint64(r.Last)} {
		b = binary.AppendUvarint(b, n)
	}
	return append(b, r.Error...)
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
	return binary.AppendVarint(binary.AppendVarint(b, r.Pending), r.Dead)
}

// ParseAffected parses what Append wrote.
func ParseAffected(v []byte) (r Affected, err error) {
	p := parser{b: v}
	r.Pending, r.Dead = p.varint(), p.varint()
	p.bad = p.bad || len(p.b) > 0
	return r, p.err("deliveries of a cause")
}
