package queue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
)

// The first byte of each key. doc.go draws the rest.
const (
	keyMeta     = 'm'
	keyRoute    = 'r'
	keyCounts   = 'c'
	keySignal   = 's'
	keyDelivery = 'd'
	keyBody     = 'b'
	keyExtra    = 'x'
	keyDue      = 'q'
	keyLog      = 'l'
	keyIdem     = 'k'
	keyIdemTime = 'i'
)

// A routeNum stands for a route's name in keys. It is never given to another name.
type routeNum uint32

// A millis is a time in whole milliseconds since 1970, as ULIDs have it.
type millis uint64

func toMillis(t time.Time) millis { return millis(max(t.UnixMilli(), 0)) }

func (m millis) time() time.Time { return time.UnixMilli(int64(m)).UTC() }

func routeKey(b []byte, n routeNum) []byte {
	return binary.BigEndian.AppendUint32(append(b, keyRoute), uint32(n))
}

func countsKey(b []byte, n routeNum) []byte {
	return binary.BigEndian.AppendUint32(append(b, keyCounts), uint32(n))
}

func signalKey(b []byte, id SignalID) []byte { return append(append(b, keySignal), id[:]...) }

func deliveryKey(b []byte, id DeliveryID) []byte { return append(append(b, keyDelivery), id[:]...) }

func bodyKey(b []byte, id DeliveryID) []byte { return append(append(b, keyBody), id[:]...) }

func extraKey(b []byte, s SignalID, id DeliveryID) []byte {
	return append(append(append(b, keyExtra), s[:]...), id[:]...)
}

// dueKey sorts the deliveries of a route by when they are due.
func dueKey(b []byte, n routeNum, due millis, id DeliveryID) []byte {
	b = binary.BigEndian.AppendUint32(append(b, keyDue), uint32(n))
	return append(binary.BigEndian.AppendUint64(b, uint64(due)), id[:]...)
}

const dueKeyLen = 1 + 4 + 8 + 16

func parseDueKey(k []byte) (n routeNum, due millis, id DeliveryID, err error) {
	if len(k) != dueKeyLen || k[0] != keyDue {
		return 0, 0, id, fmt.Errorf("due key % x: %w", k, errRecord)
	}
	copy(id[:], k[13:])
	return routeNum(binary.BigEndian.Uint32(k[1:])), millis(binary.BigEndian.Uint64(k[5:])), id, nil
}

// A stamp is the time of a log entry, in nanoseconds since 1970. No two
// entries share one, and they grow: it is the entry's key and its name.
type stamp uint64

func (s stamp) time() time.Time { return time.Unix(0, int64(s)).UTC() }

func toStamp(t time.Time) stamp {
	switch { // what nanoseconds cannot count is before or after all entries
	case t.Unix() < 0:
		return 0
	case t.Unix() >= math.MaxInt64/int64(time.Second):
		return math.MaxInt64
	}
	return stamp(t.UnixNano())
}

func logKey(b []byte, s stamp) []byte {
	return binary.BigEndian.AppendUint64(append(b, keyLog), uint64(s))
}

func parseLogKey(k []byte) (stamp, error) {
	if len(k) != 9 || k[0] != keyLog {
		return 0, fmt.Errorf("log key % x: %w", k, errRecord)
	}
	return stamp(binary.BigEndian.Uint64(k[1:])), nil
}

// idemHash is the beginning of the SHA-256 of an idempotency key.
type idemHash [16]byte

func idemKey(b []byte, h idemHash) []byte { return append(append(b, keyIdem), h[:]...) }

func idemTimeKey(b []byte, at millis, h idemHash) []byte {
	b = binary.BigEndian.AppendUint64(append(b, keyIdemTime), uint64(at))
	return append(b, h[:]...)
}

func parseIdemTimeKey(k []byte) (at millis, h idemHash, err error) {
	if len(k) != 25 || k[0] != keyIdemTime {
		return 0, h, fmt.Errorf("idempotency key % x: %w", k, errRecord)
	}
	copy(h[:], k[9:])
	return millis(binary.BigEndian.Uint64(k[1:])), h, nil
}

// errRecord is behind the error of every key and value that does not parse.
var errRecord = errors.New("damaged record")

// A signalRecord is the value of a signal's key. It is written once.
type signalRecord struct {
	kind        string
	traceparent string
	body        []byte
}

func (r signalRecord) append(b []byte) []byte {
	b = appendString(b, r.kind)
	b = appendString(b, r.traceparent)
	return append(b, r.body...)
}

// parseSignal keeps no reference to v.
func parseSignal(v []byte) (r signalRecord, err error) {
	p := parser{b: v}
	r.kind = p.string()
	r.traceparent = p.string()
	r.body = p.rest()
	return r, p.err("signal")
}

// Flags of a delivery record.
const (
	ownBody   = 1 << iota // the body has a key of its own; else it is the signal's
	noBody                // there is none: the expression failed
	ownSignal             // the signal's id cannot be derived from the delivery's
	revived               // it was sent again on request: its age counts from then
	givenUp               // it was discarded while an attempt was under way, which is the last
)

// Stored states. Held is derived: pending on a route the config lacks.
type storedState byte

const (
	pending storedState = iota
	delivered
	dead
	storedStates
)

// A deliveryRecord is the value of a delivery's key: all about it that changes.
type deliveryRecord struct {
	state    storedState
	flags    byte
	route    routeNum
	signal   SignalID // stored only with ownSignal
	attempts int      // charged since the delivery was made
	base     int      // of them before the schedule last started anew
	due      millis   // pending only
	reason   byte     // dead only, an index of reasons
	last     stamp    // its newest log entry, 0 if there is none
	since    millis   // when it was last sent again; stored only with revived
}

var reasons = [...]Reason{"", Gone, Exhausted, Transform, Filtered, TooOld, Discarded}

func reasonByte(r Reason) byte {
	for i, x := range reasons {
		if x == r {
			return byte(i)
		}
	}
	return 0
}

func (r *deliveryRecord) append(b []byte) []byte {
	b = append(b, byte(r.state), r.flags, r.reason)
	b = binary.AppendUvarint(b, uint64(r.route))
	if r.flags&ownSignal != 0 {
		b = append(b, r.signal[:]...)
	}
	b = binary.AppendUvarint(b, uint64(r.attempts))
	b = binary.AppendUvarint(b, uint64(r.base))
	b = binary.AppendUvarint(b, uint64(r.due))
	b = binary.AppendUvarint(b, uint64(r.last))
	if r.flags&revived != 0 {
		b = binary.AppendUvarint(b, uint64(r.since))
	}
	return b
}

func parseDelivery(id DeliveryID, v []byte) (r deliveryRecord, err error) {
	p := parser{b: v}
	r.state, r.flags, r.reason = storedState(p.byte()), p.byte(), p.byte()
	r.route = routeNum(p.uvarint(math.MaxUint32))
	r.signal = id.signal()
	if r.flags&ownSignal != 0 {
		copy(r.signal[:], p.bytes(16))
	}
	r.attempts = int(p.uvarint(math.MaxInt32))
	r.base = int(p.uvarint(math.MaxInt32))
	r.due = millis(p.uvarint(math.MaxInt64))
	r.last = stamp(p.uvarint(math.MaxInt64))
	if r.flags&revived != 0 {
		r.since = millis(p.uvarint(math.MaxInt64))
	}
	if r.state >= storedStates || int(r.reason) >= len(reasons) || r.base > r.attempts || len(p.b) > 0 {
		p.bad = true
	}
	return r, p.err("delivery")
}

// A logRecord is the value of a log entry's key.
type logRecord struct {
	delivery DeliveryID
	signal   SignalID
	route    routeNum
	kind     string
	attempt  int
	verdict  byte // an index of verdicts
	reason   byte // an index of reasons
	status   int
	took     time.Duration
	err      string
	response string
	next     millis // 0: none
	prev     stamp  // the delivery's log entry before this one, 0 if there is none
}

var verdicts = [...]Verdict{Delivered, Retry, Dead}

func verdictByte(v Verdict) byte {
	for i, x := range verdicts {
		if x == v {
			return byte(i)
		}
	}
	panic("queue: no such verdict: " + v)
}

func (r *logRecord) append(b []byte) []byte {
	var flags byte
	if r.delivery.signal() != r.signal {
		flags = ownSignal
	}
	b = append(b, flags, r.verdict, r.reason)
	b = append(b, r.delivery[:]...)
	if flags&ownSignal != 0 {
		b = append(b, r.signal[:]...)
	}
	b = binary.AppendUvarint(b, uint64(r.route))
	b = binary.AppendUvarint(b, uint64(r.attempt))
	b = binary.AppendUvarint(b, uint64(r.status))
	b = binary.AppendUvarint(b, uint64(max(r.took.Microseconds(), 0)))
	b = binary.AppendUvarint(b, uint64(r.next))
	b = binary.AppendUvarint(b, uint64(r.prev))
	b = appendString(b, r.kind)
	b = appendString(b, r.err)
	return append(b, r.response...)
}

func parseLog(v []byte) (r logRecord, err error) {
	p := parser{b: v}
	flags := p.byte()
	r.verdict, r.reason = p.byte(), p.byte()
	copy(r.delivery[:], p.bytes(16))
	r.signal = r.delivery.signal()
	if flags&ownSignal != 0 {
		copy(r.signal[:], p.bytes(16))
	}
	r.route = routeNum(p.uvarint(math.MaxUint32))
	r.attempt = int(p.uvarint(math.MaxInt32))
	r.status = int(p.uvarint(math.MaxInt32))
	r.took = time.Duration(p.uvarint(math.MaxInt64/1000)) * time.Microsecond
	r.next = millis(p.uvarint(math.MaxInt64))
	r.prev = stamp(p.uvarint(math.MaxInt64))
	r.kind = p.string()
	r.err = p.string()
	r.response = string(p.rest())
	if int(r.verdict) >= len(verdicts) || int(r.reason) >= len(reasons) {
		p.bad = true
	}
	return r, p.err("log entry")
}

// counts are a route's running totals. They are written in the batch of every change.
type counts struct {
	made    int64 // deliveries ever made
	in      [storedStates]int64
	expired int64
	paused  bool   // by SetPaused
	low     millis // no delivery of the route is due before this
	tried   millis // when the newest attempt ended; 0: none has, or an older version wrote it
}

func (c *counts) unaccounted() int64 {
	return c.made - c.in[pending] - c.in[delivered] - c.in[dead] - c.expired
}

func (c *counts) append(b []byte) []byte {
	for _, n := range [...]int64{c.made, c.in[pending], c.in[delivered], c.in[dead], c.expired} {
		b = binary.AppendVarint(b, n)
	}
	paused := byte(0)
	if c.paused {
		paused = 1
	}
	b = append(b, paused)
	b = binary.AppendUvarint(b, uint64(c.low))
	return binary.AppendUvarint(b, uint64(c.tried))
}

func parseCounts(v []byte) (c counts, err error) {
	p := parser{b: v}
	for _, n := range [...]*int64{&c.made, &c.in[pending], &c.in[delivered], &c.in[dead], &c.expired} {
		*n = p.varint()
	}
	c.paused = p.byte() == 1
	c.low = millis(p.uvarint(math.MaxInt64))
	if len(p.b) > 0 {
		c.tried = millis(p.uvarint(math.MaxInt64))
	}
	if len(p.b) > 0 {
		p.bad = true
	}
	return c, p.err("counts")
}

// An idemRecord binds an idempotency key to the first answer.
type idemRecord struct {
	at     millis
	digest [32]byte
	answer []byte
}

func (r *idemRecord) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(r.at))
	return append(append(b, r.digest[:]...), r.answer...)
}

func parseIdem(v []byte) (r idemRecord, err error) {
	p := parser{b: v}
	if at := p.bytes(8); len(at) == 8 {
		r.at = millis(binary.BigEndian.Uint64(at))
	}
	copy(r.digest[:], p.bytes(32))
	r.answer = p.rest()
	return r, p.err("idempotency key")
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// A parser takes a value apart. After the first thing that does not fit it
// yields zeros, and err says so.
type parser struct {
	b   []byte
	bad bool
}

func (p *parser) err(what string) error {
	if p.bad {
		return fmt.Errorf("%s: %w", what, errRecord)
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
