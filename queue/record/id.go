package record

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
)

// A SignalID names one accepted signal: a ULID whose last 20 bits are zero.
// They are where its deliveries count, so a delivery's id leads to its signal
// without a look-up and both sort by the time of acceptance.
type SignalID ulid.ULID

// A DeliveryID names one delivery: the id of its signal plus 1, 2, 3, ….
// A delivery that a reshaped retry adds later has an id of its own.
type DeliveryID ulid.ULID

const (
	signalPrefix   = "sig_"
	deliveryPrefix = "dlv_"

	// MaxDeliveries bounds the deliveries of one signal: what 20 bits count.
	MaxDeliveries = 1<<20 - 1
)

// String returns the id as the API shows it: "sig_" and a ULID in Crockford's base 32.
func (id SignalID) String() string { return signalPrefix + ulid.ULID(id).String() }

// String returns the id as the API shows it: "dlv_" and a ULID in Crockford's base 32.
func (id DeliveryID) String() string { return deliveryPrefix + ulid.ULID(id).String() }

// Time is when the signal was accepted, in whole milliseconds.
func (id SignalID) Time() time.Time { return ulid.ULID(id).Timestamp().UTC() }

// Time is when the id was made, in whole milliseconds: for all deliveries but
// those a reshaped retry adds, when the signal was accepted.
func (id DeliveryID) Time() time.Time { return ulid.ULID(id).Timestamp().UTC() }

// Delivery is the id of the signal's n-th delivery, from 1 to MaxDeliveries.
func (id SignalID) Delivery(n int) DeliveryID {
	d := DeliveryID(id)
	d[13] |= byte(n >> 16)
	binary.BigEndian.PutUint16(d[14:], uint16(n))
	return d
}

// After is the first delivery id beyond all of the signal's.
func (id SignalID) After() DeliveryID {
	d := id.Delivery(MaxDeliveries)
	for i := 15; i >= 0; i-- {
		if d[i]++; d[i] != 0 {
			break
		}
	}
	return d
}

// Signal is the id of the signal that a delivery with a derived id belongs to.
func (id DeliveryID) Signal() SignalID {
	s := SignalID(id)
	s[13] &= 0xf0
	s[14], s[15] = 0, 0
	return s
}

// MaxID is above all ids that are made.
var MaxID = DeliveryID(bytes.Repeat([]byte{0xff}, 16))

// FirstID is below all ids made at t or later and above all made before, to the millisecond.
func FirstID(t time.Time) (id DeliveryID) {
	ms := MillisOf(t)
	if ms.Time().Before(t) {
		ms++
	}
	_ = (*ulid.ULID)(&id).SetTime(min(uint64(ms), ulid.MaxTime()))
	return id
}

// MarshalText makes ids strings in JSON.
func (id SignalID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// MarshalText makes ids strings in JSON.
func (id DeliveryID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (id *SignalID) UnmarshalText(b []byte) (err error) {
	*id, err = ParseSignalID(string(b))
	return err
}

// UnmarshalText reads what MarshalText wrote.
func (id *DeliveryID) UnmarshalText(b []byte) (err error) {
	*id, err = ParseDeliveryID(string(b))
	return err
}

// ParseSignalID reads an id as String writes it; the error says what is wrong with it.
func ParseSignalID(s string) (SignalID, error) {
	u, err := parseID(s, signalPrefix)
	return SignalID(u), err
}

// ParseDeliveryID reads an id as String writes it; the error says what is wrong with it.
func ParseDeliveryID(s string) (DeliveryID, error) {
	u, err := parseID(s, deliveryPrefix)
	return DeliveryID(u), err
}

func parseID(s, prefix string) (ulid.ULID, error) {
	rest, ok := strings.CutPrefix(s, prefix)
	if !ok {
		return ulid.ULID{}, fmt.Errorf("id %q: does not begin with %q", s, prefix)
	}
	u, err := ulid.ParseStrict(rest)
	if err != nil {
		return ulid.ULID{}, fmt.Errorf("id %q: behind %s stand %d digits and letters, as in %s01JT0000000000000000000001", s, prefix, ulid.EncodedSize, prefix)
	}
	return u, nil
}

// IDs makes signal ids that grow strictly, also when the clock goes back. It
// can be used by many goroutines at once.
type IDs struct {
	mu   sync.Mutex
	last SignalID // guarded by mu
}

// Above has all ids from now on be above id.
func (g *IDs) Above(id SignalID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last = id
}

// Newest is the id made last.
func (g *IDs) Newest() SignalID {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.last
}

// Next makes an id of the time now.
func (g *IDs) Next(now time.Time) SignalID {
	var fresh ulid.ULID
	// A time before 1970 or after 10889 cannot be put in a ULID; the counter goes on from the last one.
	_ = fresh.SetTime(uint64(max(now.UnixMilli(), 0)))
	g.mu.Lock()
	defer g.mu.Unlock()
	if string(fresh[:6]) > string(g.last[:6]) {
		binary.BigEndian.PutUint64(fresh[6:], rand.Uint64()) // ids are no secrets; this is ChaCha8, without a system call
		fresh[6] &= 0x7f                                     // room to count up within the millisecond
		g.last = DeliveryID(fresh).Signal()
		return g.last
	}
	for i := 13; ; i-- { // add 1 at bit 20
		step := byte(1)
		if i == 13 {
			step = 0x10
		}
		g.last[i] += step
		if g.last[i] >= step {
			return g.last
		}
	}
}
