package record

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
)

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
	return append(binary.BigEndian.AppendUint32(append(b, ChainPrefix), uint32(n)), o[:]...)
}

// BehindKey says that the delivery is behind the first of its chain.
func BehindKey(b []byte, n RouteNum, o OrderID, id DeliveryID) []byte {
	b = binary.BigEndian.AppendUint32(append(b, BehindPrefix), uint32(n))
	return append(append(b, o[:]...), id[:]...)
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
