package record

import (
	"bytes"
	"math"
	"reflect"
	"testing"
	"time"
)

func id16(b byte) (id [16]byte) {
	for i := range id {
		id[i] = b
	}
	return id
}

func TestKeysSort(t *testing.T) {
	lo, hi := id16(1), id16(0xfe)
	rows := [][][]byte{
		{DueKey(nil, 1, 5, DeliveryID(hi)), DueKey(nil, 1, 6, DeliveryID(lo)), DueKey(nil, 1, 256, DeliveryID(lo)), DueKey(nil, 2, 0, DeliveryID{}), DueKey(nil, 256, 0, DeliveryID{})},
		{LogKey(nil, 0), LogKey(nil, 1), LogKey(nil, 255), LogKey(nil, 256), LogKey(nil, math.MaxInt64)},
		{DeliveryKey(nil, DeliveryID(lo)), DeliveryKey(nil, DeliveryID(hi))},
		{ExtraKey(nil, SignalID(lo), DeliveryID(hi)), ExtraKey(nil, SignalID(hi), DeliveryID(lo))},
		{IdemTimeKey(nil, 1, IdemHash(hi)), IdemTimeKey(nil, 2, IdemHash(lo))},
		{RouteKey(nil, 1), RouteKey(nil, 256)},
	}
	for _, row := range rows {
		for i := range row[1:] {
			if bytes.Compare(row[i], row[i+1]) >= 0 {
				t.Errorf("% x is not before % x", row[i], row[i+1])
			}
		}
	}
}

func TestKeysComeBack(t *testing.T) {
	id := DeliveryID(id16(0xa5))
	if at, err := ParseDueKey(DueKey(nil, 7, 1<<40, id)); at != (DueAt{7, 1 << 40, id}) || err != nil {
		t.Error(at, err)
	}
	o := OrderOf("a")
	if at, err := ParseChainKey(BehindKey(nil, 7, o, id)); at != (ChainAt{7, o, id}) || err != nil {
		t.Error(at, err)
	}
	if at, err := ParseChainKey(ChainKey(nil, 7, o)); at != (ChainAt{Route: 7, Order: o}) || err != nil {
		t.Error(at, err)
	}
	if at, err := ParseLogKey(LogKey(nil, math.MaxInt64)); at != math.MaxInt64 || err != nil {
		t.Error(at, err)
	}
	if at, h, err := ParseIdemTimeKey(IdemTimeKey(nil, 9, IdemHash(id))); at != 9 || h != IdemHash(id) || err != nil {
		t.Error(at, h, err)
	}
}

func TestRecordsComeBack(t *testing.T) {
	own, far := DeliveryID(id16(0xa5)), SignalID(id16(0xb0))
	near := own.Signal()
	for _, want := range []Signal{
		{Body: []byte{}},
		{Config: 300, Type: "lead", Body: []byte("{}")},
		{Type: "lead", Traceparent: "tp", Body: []byte("{\x00\xff}")},
		{Type: "lead", Traceparent: "tp", Tracestate: "a=1,b=2", Body: []byte("{}")},
	} {
		if got, err := ParseSignal(want.Append(nil)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v came back as %+v, %v", want, got, err)
		}
	}
	for _, want := range []Delivery{
		{Signal: near},
		{State: IsDead, Flags: OwnBody | OwnSignal, Route: math.MaxUint32, Signal: far, Attempts: 12, Base: 10, Reason: Discarded, Last: math.MaxInt64},
		{State: IsPending, Flags: NoBody, Route: 1, Signal: near, Due: math.MaxInt64, Cause: math.MaxUint64},
		{Flags: OwnBody | Shaped, Signal: near},
		{Flags: Behind, Signal: near, Order: OrderOf("a"), Cause: 1},
		{State: IsDead, Flags: OutOfOrder | Revived, Signal: near, Order: OrderOf("a"), Since: 1},
	} {
		if got, err := ParseDelivery(own, want.Append(nil)); err != nil || got != want {
			t.Errorf("%+v came back as %+v, %v", want, got, err)
		}
	}
	for _, want := range []Chain{{Head: own}, {Head: own, From: DeliveryID(far), Waiting: 300}} {
		if got, err := ParseChain(want.Append(nil)); err != nil || got != want {
			t.Errorf("%+v came back as %+v, %v", want, got, err)
		}
	}
	for flags, want := range map[uint16]Body{
		OwnBody: {Body: []byte("{}")}, Shaped: {Shape: "shape", Body: []byte{}}, OwnBody | Shaped | Revived: {Shape: "s", Body: []byte("b")},
	} {
		if got, err := ParseBody(want.Append(nil, flags), flags); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v came back as %+v, %v", want, got, err)
		}
	}
	if _, err := ParseBody(Body{Shape: "s", Body: []byte("b")}.Append(nil, Shaped), Shaped); err == nil {
		t.Error("a body behind the shape of a delivery that has none is read")
	}
	for _, want := range []Entry{
		{Delivery: own, Signal: near, Verdict: Delivered},
		{Delivery: own, Signal: far, Route: 3, Type: "lead", Attempt: 10, Verdict: Dead, Reason: Exhausted, Status: 503, Duration: 1234 * time.Microsecond, Error: "no", Response: "no\x00", Next: 5, Prev: 6},
		{Delivery: own, Signal: far, Verdict: Retry, Response: "no", Sent: Sent{
			Trigger: Probe, Class: ClassLocal, Reused: true, Config: 1, Peer: 300, Request: math.MaxUint32, Started: 5,
			Timing: Timing{DNS: time.Microsecond, Connect: time.Second, TLS: 2 * time.Microsecond, FirstByte: time.Hour},
		}},
		{Delivery: own, Signal: near, Verdict: Delivered, Sent: Sent{Trigger: Scheduled, Class: Class2xx, Started: MillisOf(own.Time()) + 7, Timing: Timing{FirstByte: time.Millisecond}}},
	} {
		if got, err := ParseEntry(want.Append(nil)); err != nil || got != want {
			t.Errorf("%+v came back as %+v, %v", want, got, err)
		}
	}
	for _, want := range []Counts{
		{},
		{Made: 10, In: [States]int64{1, 2, 3}, Expired: 4, Paused: true, Low: 99, Tried: 5, Discarded: 2},
		{Made: -1, In: [States]int64{math.MinInt64, math.MaxInt64, 0}},
	} {
		if got, err := ParseCounts(want.Append(nil)); err != nil || got != want {
			t.Errorf("%+v came back as %+v, %v", want, got, err)
		}
	}
	want := Idem{At: 5, Digest: [32]byte{1, 31: 2}, Answer: []byte("{}")}
	if got, err := ParseIdem(want.Append(nil)); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v came back as %+v, %v", want, got, err)
	}
}

func TestTimesOutOfRange(t *testing.T) {
	for _, at := range []time.Time{{}, time.Unix(-1, 0), time.Date(1500, 1, 1, 0, 0, 0, 0, time.UTC)} {
		if StampOf(at) != 0 || MillisOf(at) != 0 {
			t.Errorf("%v is %d, %d; want 0", at, StampOf(at), MillisOf(at))
		}
	}
	if at := time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC); StampOf(at) != math.MaxInt64 {
		t.Errorf("%v is %d", at, StampOf(at))
	}
}

// fuzzRecord proves that parsing does not panic, and that what it makes of any
// bytes is written and read back as the same.
func fuzzRecord[R any](f *testing.F, seed []byte, parse func([]byte) (R, error), format func(R) []byte) {
	f.Add(seed)
	f.Add([]byte{})
	for i := range seed {
		f.Add(seed[:i])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parse(b)
		if err != nil {
			return
		}
		again, err := parse(format(r))
		if err != nil || !reflect.DeepEqual(again, r) {
			t.Errorf("% x is %+v, which came back as %+v, %v", b, r, again, err)
		}
	})
}

func FuzzParseSignal(f *testing.F) {
	r := Signal{Config: 300, Type: "lead", Traceparent: "tp", Body: []byte("{}")}
	fuzzRecord(f, r.Append(nil), ParseSignal, func(r Signal) []byte { return r.Append(nil) })
}

func FuzzParseDelivery(f *testing.F) {
	id := DeliveryID(id16(0xa5))
	r := Delivery{State: IsDead, Flags: OwnSignal, Route: 300, Signal: SignalID(id16(0xb0)), Attempts: 300, Base: 2, Due: 1 << 40, Reason: Transform, Last: 1 << 60, Cause: 1 << 63}
	fuzzRecord(f, r.Append(nil), func(b []byte) (Delivery, error) { return ParseDelivery(id, b) },
		func(r Delivery) []byte { return r.Append(nil) })
}

func FuzzParseLog(f *testing.F) {
	r := Entry{Delivery: DeliveryID(id16(0xa5)), Signal: SignalID(id16(0xb0)), Route: 300, Type: "lead", Attempt: 300, Verdict: Retry, Reason: Exhausted, Status: 503, Duration: time.Second, Error: "no", Response: "no", Next: 1 << 40, Prev: 1 << 60,
		Sent: Sent{Trigger: Manual, Class: ClassTLS, Config: 300, Peer: 2, Started: 1 << 40, Timing: Timing{TLS: time.Second}}}
	fuzzRecord(f, r.Append(nil), ParseEntry, func(r Entry) []byte { return r.Append(nil) })
}

func FuzzParseCounts(f *testing.F) {
	r := Counts{Made: 1000, In: [States]int64{1, 2, 3}, Expired: 994, Paused: true, Low: 1 << 40, Discarded: 3,
		Unkept: 7, LastSuccess: 1 << 60, LastErrorAt: 1 << 59, FaultSince: 5, Refusals: 300, RefusedSince: 6, PausedSince: 7, HeldSince: 8, LastError: "503"}
	fuzzRecord(f, r.Append(nil), ParseCounts, func(r Counts) []byte { return r.Append(nil) })
}

func FuzzParseRow(f *testing.F) {
	r := Row{Accepted: -1, Delivered: 300, Dead: 1, Filtered: 2, Discarded: 3, Retry: 4}
	r.Attempt(&Entry{Verdict: Retry, Sent: Sent{Class: ClassTLS}, Duration: time.Second})
	r.Attempt(&Entry{Verdict: Delivered, Duration: 24 * time.Hour})
	fuzzRecord(f, r.Append(nil), ParseRow, func(r Row) []byte { return r.Append(nil) })
}

func FuzzParseFailures(f *testing.F) {
	r := Failures{Cause: Cause{Class: Class4xx, Status: 410, Error: "410 Gone"}, Count: 300, First: 1 << 60, Last: 1 << 61, Sample: DeliveryID(id16(1))}
	fuzzRecord(f, r.Append(nil), ParseFailures, func(r Failures) []byte { return r.Append(nil) })
}

func FuzzParseAffected(f *testing.F) {
	r := Affected{Pending: 300, Dead: 1}
	fuzzRecord(f, r.Append(nil), ParseAffected, func(r Affected) []byte { return r.Append(nil) })
}

func FuzzParseText(f *testing.F) {
	r := Text{Day: 20000, Text: "939ab1"}
	fuzzRecord(f, r.Append(nil), ParseText, func(r Text) []byte { return r.Append(nil) })
}

func FuzzParseIdem(f *testing.F) {
	r := Idem{At: 1 << 40, Digest: [32]byte{1}, Answer: []byte("{}")}
	fuzzRecord(f, r.Append(nil), ParseIdem, func(r Idem) []byte { return r.Append(nil) })
}

func FuzzParseKey(f *testing.F) {
	f.Add(DueKey(nil, 1, 2, DeliveryID(id16(3))))
	f.Add(LogKey(nil, 1))
	f.Add(IdemTimeKey(nil, 1, IdemHash(id16(3))))
	f.Fuzz(func(t *testing.T, k []byte) {
		if at, err := ParseDueKey(k); err == nil && !bytes.Equal(DueKey(nil, at.Route, at.Due, at.ID), k) {
			t.Errorf("due key % x comes back as % x", k, DueKey(nil, at.Route, at.Due, at.ID))
		}
		if at, err := ParseLogKey(k); err == nil && !bytes.Equal(LogKey(nil, at), k) {
			t.Errorf("log key % x comes back as % x", k, LogKey(nil, at))
		}
		if at, h, err := ParseIdemTimeKey(k); err == nil && !bytes.Equal(IdemTimeKey(nil, at, h), k) {
			t.Errorf("key % x comes back as % x", k, IdemTimeKey(nil, at, h))
		}
	})
}

// BenchmarkRow is what statistics add where each delivery has a batch of its
// own: an attempt is counted, the minute's row and the counts are made bytes.
func BenchmarkRow(b *testing.B) {
	var r Row
	for i := range 100 {
		r.Latency.Add(time.Duration(i) * time.Millisecond)
	}
	e := Entry{Verdict: Delivered, Duration: 20 * time.Millisecond, Sent: Sent{Class: Class2xx}}
	c := Counts{LastError: "503 Service Unavailable", LastErrorAt: 1 << 60}
	var v []byte
	for b.Loop() {
		r.Attempt(&e)
		c.Attempt(1<<61, &e, false)
		v = c.Append(r.Append(v[:0]))
	}
	b.ReportMetric(float64(len(v)), "bytes")
}

// What is refused by the receiver, or its token endpoint, is counted in a row.
func TestRefusals(t *testing.T) {
	var c Counts
	for i, tc := range []struct {
		class  Class
		status int
		fault  bool
		want   int64
	}{
		{Class4xx, 404, false, 1}, {Class3xx, 301, false, 2}, {ClassAuth, 0, false, 3}, {Class4xx, 429, true, 0}, {ClassAuth, 0, false, 1},
		{ClassAuth, 0, true, 0}, {Class4xx, 401, false, 1}, {Class5xx, 500, true, 0},
	} {
		c.Attempt(StampOf(time.Unix(int64(i), 0)), &Entry{Verdict: Retry, Status: tc.status, Sent: Sent{Class: tc.class}}, tc.fault)
		if c.Refusals != tc.want {
			t.Errorf("%d: %d refusals after %+v", i, c.Refusals, tc)
		}
	}
}
