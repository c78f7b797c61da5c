package record

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
)

// Flags of a delivery.
const (
	OwnBody    = 1 << iota // the body has a key of its own; else it is the signal's
	NoBody                 // there is none: the expression failed
	OwnSignal              // the signal's id cannot be derived from the delivery's
	Revived                // it was sent again on request: its age counts from then
	GivenUp                // it was discarded while an attempt was under way, which is the last
	Tallied                // it is in Counts.Discarded; an older version did not count those
	caused                 // stored only: it has a cause
	further                // stored only: the flags below are in a byte of their own
	Shaped                 // more of the request than its body was made when the signal came: it begins the body's value
	ordered                // stored only: it has an order
	Behind                 // it waits behind another of its order
	OutOfOrder             // it has an order, and was sent again when it was finished: it waits for none, and none for it
)

// A Delivery is the value of a delivery's key: all about it that changes.
type Delivery struct {
	State    State
	Flags    uint16
	Route    RouteNum
	Signal   SignalID // stored only with OwnSignal
	Attempts int      // charged since the delivery was made
	Base     int      // of them before the schedule last started anew
	Due      Millis   // pending only; 0 while it is Behind
	Reason   Reason   // dead only
	Last     Stamp    // its newest log entry, 0 if there is none
	Since    Millis   // when it was last sent again; stored only with Revived
	Cause    CauseID  // pending or dead only: what its newest attempt failed of; 0 as well for what a format before 4 wrote
	Order    OrderID
}

// Append appends the value to b.
func (r *Delivery) Append(b []byte) []byte {
	flags := r.Flags &^ (caused | further | ordered)
	if r.Cause != 0 {
		flags |= caused
	}
	if r.Order != (OrderID{}) {
		flags |= ordered
	}
	if flags>>8 != 0 {
		flags |= further
	}
	b = append(b, byte(r.State), byte(flags), index(reasons, r.Reason))
	if flags&further != 0 {
		b = append(b, byte(flags>>8))
	}
	b = binary.AppendUvarint(b, uint64(r.Route))
	if r.Flags&OwnSignal != 0 {
		b = append(b, r.Signal[:]...)
	}
	b = appendUvarints(b, uint64(r.Attempts), uint64(r.Base), uint64(r.Due), uint64(r.Last))
	if r.Flags&Revived != 0 {
		b = binary.AppendUvarint(b, uint64(r.Since))
	}
	if r.Cause != 0 {
		b = binary.BigEndian.AppendUint64(b, uint64(r.Cause))
	}
	if flags&ordered != 0 {
		b = append(b, r.Order[:]...)
	}
	return b
}

// ParseDelivery parses the value of the delivery with the id.
func ParseDelivery(id DeliveryID, v []byte) (r Delivery, err error) {
	p := parser{b: v}
	r.State, r.Flags, r.Reason = State(p.byte()), uint16(p.byte()), pick(&p, reasons)
	if r.Flags&further != 0 {
		high := p.byte()
		r.Flags = r.Flags&^further | uint16(high)<<8
		p.bad = p.bad || high == 0
	}
	r.Route = RouteNum(p.uvarint(math.MaxUint32))
	r.Signal = id.Signal()
	if r.Flags&OwnSignal != 0 {
		copy(r.Signal[:], p.bytes(16))
	}
	r.Attempts = int(p.uvarint(math.MaxInt32))
	r.Base = int(p.uvarint(math.MaxInt32))
	r.Due = Millis(p.uvarint(math.MaxInt64))
	r.Last = Stamp(p.uvarint(math.MaxInt64))
	if r.Flags&Revived != 0 {
		r.Since = Millis(p.uvarint(math.MaxInt64))
	}
	if r.Flags&caused != 0 {
		r.Flags &^= caused
		if v := p.bytes(8); v != nil {
			r.Cause = CauseID(binary.BigEndian.Uint64(v))
		}
	}
	if r.Flags&ordered != 0 {
		r.Flags &^= ordered
		copy(r.Order[:], p.bytes(16))
	}
	if r.State >= States || r.Base > r.Attempts || len(p.b) > 0 || r.Waits() && !r.InChain() {
		p.bad = true
	}
	return r, p.err("delivery")
}

// HasBody is whether the delivery has a body's key.
func (r *Delivery) HasBody() bool { return r.Flags&(OwnBody|Shaped) != 0 }

// A Body is the value of a body's key.
type Body struct {
	Shape string // stored only with Shaped
	Body  []byte // empty without OwnBody: it is the signal's
}

// Append appends the value, of a delivery with the flags, to b.
func (r Body) Append(b []byte, flags uint16) []byte {
	if flags&Shaped != 0 {
		b = appendString(b, r.Shape)
	}
	return append(b, r.Body...)
}

// ParseBody keeps no reference to v.
func ParseBody(v []byte, flags uint16) (r Body, err error) {
	p := parser{b: v}
	if flags&Shaped != 0 {
		r.Shape = p.string()
	}
	r.Body = p.rest()
	if flags&OwnBody == 0 && len(r.Body) > 0 {
		p.bad = true
	}
	return r, p.err("body")
}

// An OrderID stands for an order key: the deliveries of a route that have the
// same go one at a time. It is the beginning of the key's SHA-256; zero is none.
type OrderID [16]byte

// OrderOf is the id of an order key, none of "".
func OrderOf(key string) (o OrderID) {
	if key != "" {
		sum := sha256.Sum256([]byte(key))
		copy(o[:], sum[:])
	}
	return o
}

// InChain is whether the delivery is in its order's chain: the first there, or
// behind it ([Delivery.Waits]).
func (r *Delivery) InChain() bool {
	return r.Order != OrderID{} && r.State == IsPending && r.Flags&OutOfOrder == 0
}

// Waits is whether it is behind another in its chain: it has no due key, and a place there.
func (r *Delivery) Waits() bool { return r.Flags&Behind != 0 }

// A Chain is the value of a chain's key: the deliveries of one route and order
// that are pending, but for those that are out of order. There is none when none is.
type Chain struct {
	Head    DeliveryID // the first: the only one that can be due, or under way
	From    DeliveryID // no other has a lower id; stored only if there are others
	Waiting uint64     // how many others
}

// Append appends the value to b.
func (r *Chain) Append(b []byte) []byte {
	b = append(b, r.Head[:]...)
	if r.Waiting > 0 {
		b = binary.AppendUvarint(append(b, r.From[:]...), r.Waiting)
	}
	return b
}

// ParseChain parses what Append wrote.
func ParseChain(v []byte) (r Chain, err error) {
	p := parser{b: v}
	copy(r.Head[:], p.bytes(16))
	if len(p.b) > 0 {
		copy(r.From[:], p.bytes(16))
		r.Waiting = p.uvarint(math.MaxInt64)
		p.bad = p.bad || r.Waiting == 0 || len(p.b) > 0
	}
	return r, p.err("chain")
}

// A ChainAt names a [Chain], or a delivery in it.
type ChainAt struct {
	Route RouteNum
	Order OrderID
	ID    DeliveryID // zero: the chain itself
}

// ChainKey leads to a [Chain].
func ChainKey(b []byte, n RouteNum, o OrderID) []byte {
	return append(numKey(b, ChainPrefix, n), o[:]...)
}

// BehindKey says that the delivery is behind the first of its chain.
func BehindKey(b []byte, n RouteNum, o OrderID, id DeliveryID) []byte {
	return append(append(numKey(b, BehindPrefix, n), o[:]...), id[:]...)
}

// ParseChainKey takes a key of ChainKey, or BehindKey, apart.
func ParseChainKey(k []byte) (at ChainAt, err error) {
	if len(k) != 1+4+16 && len(k) != 1+4+16+16 {
		return at, fmt.Errorf("chain key % x: %w", k, ErrDamaged)
	}
	at.Route = RouteNum(binary.BigEndian.Uint32(k[1:]))
	copy(at.Order[:], k[5:])
	copy(at.ID[:], k[21:])
	return at, nil
}
