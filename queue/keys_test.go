package queue

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
		{dueKey(nil, 1, 5, DeliveryID(hi)), dueKey(nil, 1, 6, DeliveryID(lo)), dueKey(nil, 1, 256, DeliveryID(lo)), dueKey(nil, 2, 0, DeliveryID{}), dueKey(nil, 256, 0, DeliveryID{})},
		{logKey(nil, 0), logKey(nil, 1), logKey(nil, 255), logKey(nil, 256), logKey(nil, math.MaxInt64)},
		{deliveryKey(nil, DeliveryID(lo)), deliveryKey(nil, DeliveryID(hi))},
		{extraKey(nil, SignalID(lo), DeliveryID(hi)), extraKey(nil, SignalID(hi), DeliveryID(lo))},
		{idemTimeKey(nil, 1, idemHash(hi)), idemTimeKey(nil, 2, idemHash(lo))},
		{routeKey(nil, 1), routeKey(nil, 256)},
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
	if n, due, got, err := parseDueKey(dueKey(nil, 7, 1<<40, id)); n != 7 || due != 1<<40 || got != id || err != nil {
		t.Error(n, due, got, err)
	}
	if at, err := parseLogKey(logKey(nil, math.MaxInt64)); at != math.MaxInt64 || err != nil {
		t.Error(at, err)
	}
	if at, h, err := parseIdemTimeKey(idemTimeKey(nil, 9, idemHash(id))); at != 9 || h != idemHash(id) || err != nil {
		t.Error(at, h, err)
	}
}

func TestRecordsComeBack(t *testing.T) {
	own, far := DeliveryID(id16(0xa5)), SignalID(id16(0xb0))
	near := own.signal()
	for _, want := range []signalRecord{
		{body: []byte{}},
		{kind: "lead", traceparent: "tp", body: []byte("{\x00\xff}")},
	} {
		if got, err := parseSignal(want.append(nil)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v came back as %+v, %v", want, got, err)
		}
	}
	for _, want := range []deliveryRecord{
		{signal: near},
		{state: dead, flags: ownBody | ownSignal, route: math.MaxUint32, signal: far, attempts: 12, base: 10, reason: reasonByte(Discarded), last: math.MaxInt64},
		{state: pending, flags: noBody, route: 1, signal: near, due: math.MaxInt64},
	} {
		if got, err := parseDelivery(own, want.append(nil)); err != nil || got != want {
			t.Errorf("%+v came back as %+v, %v", want, got, err)
		}
	}
	for _, want := range []logRecord{
		{delivery: own, signal: near},
		{delivery: own, signal: far, route: 3, kind: "lead", attempt: 10, verdict: verdictByte(Dead), reason: reasonByte(Exhausted), status: 503, took: 1234 * time.Microsecond, err: "no", response: "no\x00", next: 5, prev: 6},
	} {
		if got, err := parseLog(want.append(nil)); err != nil || got != want {
			t.Errorf("%+v came back as %+v, %v", want, got, err)
		}
	}
	for _, want := range []counts{
		{},
		{made: 10, in: [storedStates]int64{1, 2, 3}, expired: 4, paused: true, low: 99},
		{made: -1, in: [storedStates]int64{math.MinInt64, math.MaxInt64, 0}},
	} {
		if got, err := parseCounts(want.append(nil)); err != nil || got != want {
			t.Errorf("%+v came back as %+v, %v", want, got, err)
		}
	}
	want := idemRecord{at: 5, digest: [32]byte{1, 31: 2}, answer: []byte("{}")}
	if got, err := parseIdem(want.append(nil)); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v came back as %+v, %v", want, got, err)
	}
}

func TestTimesOutOfRange(t *testing.T) {
	for _, at := range []time.Time{{}, time.Unix(-1, 0), time.Date(1500, 1, 1, 0, 0, 0, 0, time.UTC)} {
		if toStamp(at) != 0 || toMillis(at) != 0 {
			t.Errorf("%v is %d, %d; want 0", at, toStamp(at), toMillis(at))
		}
	}
	if at := time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC); toStamp(at) != math.MaxInt64 {
		t.Errorf("%v is %d", at, toStamp(at))
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
	r := signalRecord{kind: "lead", traceparent: "tp", body: []byte("{}")}
	fuzzRecord(f, r.append(nil), parseSignal, func(r signalRecord) []byte { return r.append(nil) })
}

func FuzzParseDelivery(f *testing.F) {
	id := DeliveryID(id16(0xa5))
	r := deliveryRecord{state: dead, flags: ownSignal, route: 300, signal: SignalID(id16(0xb0)), attempts: 300, base: 2, due: 1 << 40, reason: 3, last: 1 << 60}
	fuzzRecord(f, r.append(nil), func(b []byte) (deliveryRecord, error) { return parseDelivery(id, b) },
		func(r deliveryRecord) []byte { return r.append(nil) })
}

func FuzzParseLog(f *testing.F) {
	r := logRecord{delivery: DeliveryID(id16(0xa5)), signal: SignalID(id16(0xb0)), route: 300, kind: "lead", attempt: 300, verdict: 1, reason: 2, status: 503, took: time.Second, err: "no", response: "no", next: 1 << 40, prev: 1 << 60}
	fuzzRecord(f, r.append(nil), parseLog, func(r logRecord) []byte { return r.append(nil) })
}

func FuzzParseCounts(f *testing.F) {
	r := counts{made: 1000, in: [storedStates]int64{1, 2, 3}, expired: 994, paused: true, low: 1 << 40}
	fuzzRecord(f, r.append(nil), parseCounts, func(r counts) []byte { return r.append(nil) })
}

func FuzzParseIdem(f *testing.F) {
	r := idemRecord{at: 1 << 40, digest: [32]byte{1}, answer: []byte("{}")}
	fuzzRecord(f, r.append(nil), parseIdem, func(r idemRecord) []byte { return r.append(nil) })
}

func FuzzParseKey(f *testing.F) {
	f.Add(dueKey(nil, 1, 2, DeliveryID(id16(3))))
	f.Add(logKey(nil, 1))
	f.Add(idemTimeKey(nil, 1, idemHash(id16(3))))
	f.Fuzz(func(t *testing.T, k []byte) {
		if n, due, id, err := parseDueKey(k); err == nil && !bytes.Equal(dueKey(nil, n, due, id), k) {
			t.Errorf("due key % x comes back as % x", k, dueKey(nil, n, due, id))
		}
		if at, err := parseLogKey(k); err == nil && !bytes.Equal(logKey(nil, at), k) {
			t.Errorf("log key % x comes back as % x", k, logKey(nil, at))
		}
		if at, h, err := parseIdemTimeKey(k); err == nil && !bytes.Equal(idemTimeKey(nil, at, h), k) {
			t.Errorf("key % x comes back as % x", k, idemTimeKey(nil, at, h))
		}
	})
}
