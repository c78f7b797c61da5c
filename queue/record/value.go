package record

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// A Verdict is what became of an attempt.
type Verdict string

// The verdicts.
const (
	Delivered Verdict = "delivered"
	Retry     Verdict = "retry"
	Dead      Verdict = "dead"
)

// A Reason says why a delivery is dead.
type Reason string

// The reasons.
const (
	Gone      Reason = "gone"      // a status in give_up_on
	Exhausted Reason = "exhausted" // the last attempt failed
	Transform Reason = "transform" // the route's expression failed
	Filtered  Reason = "filtered"  // reshaped, and nothing came of it
	TooOld    Reason = "too_old"   // max_age passed while it waited
	Discarded Reason = "discarded" // someone gave it up
)

// Verdicts and reasons are stored as indices of these. They only grow.
var (
	verdicts = []Verdict{Delivered, Retry, Dead}
	reasons  = []Reason{"", Gone, Exhausted, Transform, Filtered, TooOld, Discarded}
)

// A State is what is stored of where a delivery is.
type State byte

// The states.
const (
	IsPending State = iota
	IsDelivered
	IsDead
	States // how many there are
)

// A Signal is the value of a signal's key. It is written once.
type Signal struct {
	Config      TextNum // of the config that the signal met; 0: a format before 4 wrote it, or there was no room
	Type        string
	Traceparent string
	Tracestate  string // none without a traceparent
	Body        []byte
}

// Append appends the value to b. It begins with a byte 0 and the config; earlier
// formats began with the type, which is never empty.
func (r Signal) Append(b []byte) []byte {
	b = binary.AppendUvarint(append(b, 0), uint64(r.Config))
	b = appendString(b, r.Type)
	trace := r.Traceparent
	if r.Tracestate != "" {
		trace += "\n" + r.Tracestate
	}
	b = appendString(b, trace)
	return append(b, r.Body...)
}

// ParseSignal keeps no reference to v.
func ParseSignal(v []byte) (r Signal, err error) {
	p := parser{b: v}
	if len(v) > 0 && v[0] == 0 {
		p.byte()
		r.Config = TextNum(p.uvarint(math.MaxUint32))
	}
	r.Type = p.string()
	r.Traceparent, r.Tracestate, _ = strings.Cut(p.string(), "\n")
	r.Body = p.rest()
	return r, p.err("signal")
}

// Counts are a route's running totals. They are written in the batch of every change.
type Counts struct {
	Made    int64 // deliveries ever made
	In      [States]int64
	Expired int64
	Paused  bool   // by SetPaused
	Low     Millis // no delivery of the route is due before this
	Tried   Millis // when the newest attempt ended; 0: none has, or an older version wrote it

	Discarded int64 // of In[IsDead]: those that are Tallied

	// Of a store of a format before 4, all below is zero, but Unkept.
	Unkept       int64  // of Made: those that no row of statistics counts, or not any more
	LastSuccess  Stamp  // the attempt that delivered last
	LastErrorAt  Stamp  // the attempt that failed last
	FaultSince   Millis // the first attempt that the endpoint was to blame for, since one that it was not
	Refusals     int64  // attempts in a row that were refused
	RefusedSince Millis // the first of them
	PausedSince  Millis // whether by SetPaused or by the config
	HeldSince    Millis // since when the config lacks the route
	LastError    string // what the attempt that failed last failed of
}

// Attempt counts what an attempt that ended then says of the endpoint, which is
// to blame if fault.
func (c *Counts) Attempt(at Stamp, e *Entry, fault bool) {
	ended := MillisOf(at.Time())
	c.Tried = ended
	if e.Verdict == Delivered {
		c.LastSuccess, c.FaultSince = at, 0
		c.clearRefusals()
		return
	}
	c.LastErrorAt, c.LastError = at, Cut(e.Error)
	switch {
	case !fault:
		c.FaultSince = 0
	case c.FaultSince == 0:
		c.FaultSince = ended
	}
	if !e.refused(fault) {
		c.clearRefusals()
	} else if c.Refusals++; c.Refusals == 1 {
		c.RefusedSince = ended
	}
}

// refused reports whether an attempt that failed would fail again and again: by its
// answer, or that of the token endpoint.
func (e *Entry) refused(fault bool) bool {
	switch e.Class {
	case Class3xx, Class4xx:
		return e.Status != 408 && e.Status != 425 && e.Status != 429
	case ClassAuth:
		return !fault
	}
	return false
}

// Settle ends what is over when nothing of the route is pending or dead.
func (c *Counts) Settle() {
	if c.In[IsPending]+c.In[IsDead] == c.Discarded {
		c.clearRefusals()
	}
}

func (c *Counts) clearRefusals() { c.Refusals, c.RefusedSince = 0, 0 }

// errorMost bounds an error's text where many are kept, in bytes.
const errorMost = 512

// Cut shortens an error's text to what is kept of it beside the log.
func Cut(text string) string {
	if len(text) > errorMost {
		text = strings.ToValidUTF8(text[:errorMost-3], "") + "..."
	}
	return text
}

// Add adds n deliveries that are as r is.
func (c *Counts) Add(r *Delivery, n int64) {
	c.In[r.State] += n
	if r.Flags&Tallied != 0 {
		c.Discarded += n
	}
}

// Unaccounted is how many deliveries are in no state: 0.
func (c *Counts) Unaccounted() int64 {
	return c.Made - c.In[IsPending] - c.In[IsDelivered] - c.In[IsDead] - c.Expired
}

// Append appends the value to b.
func (c *Counts) Append(b []byte) []byte {
	b = appendVarints(b, c.Made, c.In[IsPending], c.In[IsDelivered], c.In[IsDead], c.Expired)
	paused := byte(0)
	if c.Paused {
		paused = 1
	}
	b = appendUvarints(append(b, paused), uint64(c.Low), uint64(c.Tried))
	b = appendVarints(b, c.Discarded, c.Unkept, c.Refusals)
	b = appendUvarints(b, uint64(c.LastSuccess), uint64(c.LastErrorAt), uint64(c.FaultSince), uint64(c.RefusedSince), uint64(c.PausedSince), uint64(c.HeldSince))
	return append(b, c.LastError...)
}

// ParseCounts parses what Append, of this format or an earlier one, wrote.
func ParseCounts(v []byte) (c Counts, err error) {
	p := parser{b: v}
	for _, n := range [...]*int64{&c.Made, &c.In[IsPending], &c.In[IsDelivered], &c.In[IsDead], &c.Expired} {
		*n = p.varint()
	}
	c.Paused = p.byte() == 1
	c.Low = Millis(p.uvarint(math.MaxInt64))
	if len(p.b) > 0 {
		c.Tried = Millis(p.uvarint(math.MaxInt64))
	}
	if len(p.b) > 0 {
		c.Discarded = p.varint()
	}
	if c.Unkept = c.Made; len(p.b) > 0 {
		c.Unkept, c.Refusals = p.varint(), p.varint()
		c.LastSuccess, c.LastErrorAt = Stamp(p.uvarint(math.MaxInt64)), Stamp(p.uvarint(math.MaxInt64))
		for _, t := range [...]*Millis{&c.FaultSince, &c.RefusedSince, &c.PausedSince, &c.HeldSince} {
			*t = Millis(p.uvarint(math.MaxInt64))
		}
		c.LastError = string(p.rest())
	}
	return c, p.err("counts")
}

// An Idem binds an idempotency key to the first answer.
type Idem struct {
	At     Millis
	Digest [32]byte
	Answer []byte
}

// Append appends the value to b.
func (r *Idem) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(r.At))
	return append(append(b, r.Digest[:]...), r.Answer...)
}

// ParseIdem keeps no reference to v.
func ParseIdem(v []byte) (r Idem, err error) {
	p := parser{b: v}
	if at := p.bytes(8); len(at) == 8 {
		r.At = Millis(binary.BigEndian.Uint64(at))
	}
	copy(r.Digest[:], p.bytes(32))
	r.Answer = p.rest()
	return r, p.err("idempotency key")
}

func appendUvarints(b []byte, all ...uint64) []byte {
	for _, n := range all {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

func appendVarints(b []byte, all ...int64) []byte {
	for _, n := range all {
		b = binary.AppendVarint(b, n)
	}
	return b
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// index panics where x is not of the list: what a caller hands in is checked before.
func index[T comparable](list []T, x T) byte {
	i := slices.Index(list, x)
	if i < 0 {
		panic(fmt.Sprintf("record: %v is none of %v", x, list))
	}
	return byte(i)
}

// A parser takes a value apart. After the first thing that does not fit it
// yields zeros, and err says so.
type parser struct {
	b   []byte
	bad bool
}

func (p *parser) err(what string) error {
	if p.bad {
		return fmt.Errorf("%s: %w", what, ErrDamaged)
	}
	return nil
}

func (p *parser) bytes(n int) []byte {
	if n > len(p.b) || p.bad {
		p.bad = true
		return nil
	}
	v := p.b[:n]
	p.b = p.b[n:]
	return v
}

func (p *parser) byte() byte {
	if v := p.bytes(1); v != nil {
		return v[0]
	}
	return 0
}

// pick is the element of the list that the next byte is the index of.
func pick[T any](p *parser, list []T) T { return at(p, list, p.byte()) }

// at is the i-th element of the list.
func at[T any](p *parser, list []T, i byte) T {
	if int(i) >= len(list) {
		p.bad, i = true, 0
	}
	return list[i]
}

// micros is a duration in whole microseconds.
func (p *parser) micros() time.Duration {
	return time.Duration(p.uvarint(math.MaxInt64/1000)) * time.Microsecond
}

func (p *parser) uvarint(most uint64) uint64 {
	v, n := binary.Uvarint(p.b)
	if n <= 0 || v > most || p.bad {
		p.bad = true
		return 0
	}
	p.b = p.b[n:]
	return v
}

func (p *parser) varint() int64 {
	v, n := binary.Varint(p.b)
	if n <= 0 || p.bad {
		p.bad = true
		return 0
	}
	p.b = p.b[n:]
	return v
}

func (p *parser) string() string {
	n := p.uvarint(math.MaxInt32)
	return string(p.bytes(int(n)))
}

func (p *parser) rest() []byte {
	if p.bad {
		return nil
	}
	v := append([]byte{}, p.b...)
	p.b = nil
	return v
}
