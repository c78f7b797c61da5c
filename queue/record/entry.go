package record

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"time"
)

// A Trigger is why an attempt was made when it was.
type Trigger string

// The triggers.
const (
	Scheduled Trigger = "schedule"
	Manual    Trigger = "manual" // someone sent the delivery again
	Probe     Trigger = "probe"  // of a failing route
)

// A Class says how an attempt ended.
type Class string

// The classes. An attempt that delivered is of Class2xx.
const (
	Class2xx       Class = "2xx"
	Class3xx       Class = "3xx"
	Class4xx       Class = "4xx"
	Class5xx       Class = "5xx"
	ClassTimeout   Class = "timeout"
	ClassConnect   Class = "connect"
	ClassDNS       Class = "dns"
	ClassTLS       Class = "tls"
	ClassMalformed Class = "malformed" // the answer is no HTTP
	ClassAuth      Class = "auth"      // no token for the request was to be had
	ClassSuccess   Class = "success"   // a 2xx that the route's success refused
	ClassLocal     Class = "local"     // the request could not be made
)

// Triggers and classes are stored as indices of these. They only grow.
var (
	triggers = []Trigger{"", Scheduled, Manual, Probe}
	classes  = []Class{"", Class2xx, Class3xx, Class4xx, Class5xx, ClassTimeout, ClassConnect, ClassDNS, ClassTLS, ClassMalformed, ClassAuth, ClassSuccess, ClassLocal}
)

// A Timing is how long the parts of an attempt took; 0: it did not happen.
type Timing struct {
	DNS, Connect, TLS time.Duration
	FirstByte         time.Duration // from the request having been written to the first byte of the answer
}

// timingJSON is a Timing in milliseconds, without what did not happen.
type timingJSON struct {
	DNS       float64 `json:"dns_ms,omitempty"`
	Connect   float64 `json:"connect_ms,omitempty"`
	TLS       float64 `json:"tls_ms,omitempty"`
	FirstByte float64 `json:"first_byte_ms,omitempty"`
}

// MarshalJSON writes milliseconds: {"dns_ms":0.2,"connect_ms":1.4}.
func (t Timing) MarshalJSON() ([]byte, error) {
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	return json.Marshal(timingJSON{ms(t.DNS), ms(t.Connect), ms(t.TLS), ms(t.FirstByte)})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (t *Timing) UnmarshalJSON(b []byte) error {
	var v timingJSON
	err := json.Unmarshal(b, &v)
	of := func(ms float64) time.Duration { return time.Duration(math.Round(ms*1000)) * time.Microsecond }
	*t = Timing{of(v.DNS), of(v.Connect), of(v.TLS), of(v.FirstByte)}
	return err
}

func (t *Timing) parts() [4]*time.Duration {
	return [...]*time.Duration{&t.DNS, &t.Connect, &t.TLS, &t.FirstByte}
}

// An Entry is the value of a log entry's key: an attempt, or the end of a delivery without one.
type Entry struct {
	Delivery DeliveryID
	Signal   SignalID
	Route    RouteNum
	Type     string
	Attempt  int
	Verdict  Verdict
	Reason   Reason
	Status   int
	Duration time.Duration // stored in whole microseconds
	Error    string
	Response string
	Next     Millis // 0: none
	Prev     Stamp  // the delivery's log entry before this one, 0 if there is none

	Sent // zero: no attempt, or one that a format before 4 wrote
}

// Sent is what an entry has of the request that was sent.
type Sent struct {
	Trigger Trigger
	Class   Class
	Reused  bool    // the connection had been used before
	Config  TextNum // under which the attempt was made
	Peer    TextNum // address and port
	Request TextNum // the request's template
	Started Millis  // when the request was made, the time that was signed; 0: none was
	Timing  Timing  // stored in whole microseconds
}

// hasSent is the flag of an entry, beside OwnSignal, that has a Sent.
const hasSent = 1 << 0

// Append appends the value to b.
func (r *Entry) Append(b []byte) []byte {
	var flags byte
	if r.Delivery.Signal() != r.Signal {
		flags = OwnSignal
	}
	if r.Sent != (Sent{}) {
		flags |= hasSent
	}
	b = append(b, flags, index(verdicts, r.Verdict), index(reasons, r.Reason))
	b = append(b, r.Delivery[:]...)
	if flags&OwnSignal != 0 {
		b = append(b, r.Signal[:]...)
	}
	us := max(r.Duration.Microseconds(), 0)
	b = appendUvarints(b, uint64(r.Route), uint64(r.Attempt), uint64(r.Status), uint64(us), uint64(r.Next), uint64(r.Prev))
	if flags&hasSent != 0 {
		b = r.Sent.append(b, MillisOf(r.Delivery.Time()))
	}
	b = appendString(b, r.Type)
	b = appendString(b, r.Error)
	return append(b, r.Response...)
}

// ParseEntry parses what Append, of this format or an earlier one, wrote.
func ParseEntry(v []byte) (r Entry, err error) {
	p := parser{b: v}
	flags := p.byte()
	r.Verdict, r.Reason = pick(&p, verdicts), pick(&p, reasons)
	copy(r.Delivery[:], p.bytes(16))
	r.Signal = r.Delivery.Signal()
	if flags&OwnSignal != 0 {
		copy(r.Signal[:], p.bytes(16))
	}
	r.Route = RouteNum(p.uvarint(math.MaxUint32))
	r.Attempt = int(p.uvarint(math.MaxInt32))
	r.Status = int(p.uvarint(math.MaxInt32))
	r.Duration = p.micros()
	r.Next = Millis(p.uvarint(math.MaxInt64))
	r.Prev = Stamp(p.uvarint(math.MaxInt64))
	if flags&hasSent != 0 {
		r.Sent.parse(&p, MillisOf(r.Delivery.Time()))
	}
	r.Type = p.string()
	r.Error = p.string()
	r.Response = string(p.rest())
	return r, p.err("log entry")
}

// append begins with a byte for class and trigger, and one that says what else
// is there: a bit for each part of the timing, then those below. Started is
// told from made, when the delivery was, so that it is short.
func (r *Sent) append(b []byte, made Millis) []byte {
	at := len(b) + 1
	b = append(b, index(classes, r.Class)<<2|index(triggers, r.Trigger), 0)
	for i, t := range r.Timing.parts() {
		if us := t.Microseconds(); us > 0 {
			b[at] |= 1 << i
			b = binary.AppendUvarint(b, uint64(us))
		}
	}
	if r.Reused {
		b[at] |= isReused
	}
	if r.Started != 0 {
		b[at] |= isStarted
		b = binary.AppendVarint(b, int64(r.Started-made))
	}
	return appendUvarints(b, uint64(r.Config), uint64(r.Peer), uint64(r.Request))
}

const (
	isReused  = 1 << 4
	isStarted = 1 << 5
)

func (r *Sent) parse(p *parser, made Millis) {
	kind, has := p.byte(), p.byte()
	r.Class, r.Trigger = at(p, classes, kind>>2), at(p, triggers, kind&3)
	for i, t := range r.Timing.parts() {
		if has&(1<<i) != 0 {
			*t = p.micros()
		}
	}
	r.Reused = has&isReused != 0
	if has&isStarted != 0 {
		r.Started = made + Millis(p.varint())
	}
	for _, n := range [...]*TextNum{&r.Config, &r.Peer, &r.Request} {
		*n = TextNum(p.uvarint(math.MaxUint32))
	}
}

// A Text is the value of a text's key: what many records have in common, and
// name by its number.
type Text struct {
	Day  uint32 // since 1970, when it was last used
	Text string
}

// Append appends the value to b.
func (r Text) Append(b []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(r.Day)), r.Text...)
}

// ParseText parses what Append wrote.
func ParseText(v []byte) (r Text, err error) {
	p := parser{b: v}
	r.Day = uint32(p.uvarint(math.MaxUint32))
	r.Text = string(p.rest())
	return r, p.err("text")
}
