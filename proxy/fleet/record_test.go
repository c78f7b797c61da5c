package fleet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"signalpost/queue"
)

// TestRecord: a record is read as it was written, and no byte of it can change unnoticed.
func TestRecord(t *testing.T) {
	want := record{kind: kindBatch, ledger: ulid.Make(), epoch: 3, number: 9, before: 77, content: []byte("what changed")}
	data, crc := want.encode()
	got, sum, err := decode(data)
	if err != nil || sum != crc || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	for i := range data {
		broken := bytes.Clone(data)
		broken[i] ^= 4
		if _, _, err := decode(broken); !errors.Is(err, errRecord) {
			t.Errorf("byte %d changed: %v", i, err)
		}
	}
	unknown := record{kind: kindEnd + 1}
	data, _ = unknown.encode()
	if _, _, err := decode(data); !errors.Is(err, errRecord) {
		t.Errorf("an unknown kind: %v", err)
	}
	for i := range 2 {
		if _, _, err := decode(newer(&want, i)); !errors.Is(err, errNewer) {
			t.Errorf("byte %d says a newer version: %v", i, err)
		}
	}
}

// newer is the record as a newer version would write it: of itself (0), or of what it changes (1).
func newer(r *record, what int) []byte {
	data, _ := r.encode()
	data = data[:len(data)-4]
	data[what]++
	return binary.BigEndian.AppendUint32(data, crc32.Checksum(data, castagnoli))
}

// TestFollow: a record that is not what comes next is refused, and the error names it.
func TestFollow(t *testing.T) {
	l := &Ledger{ID: ulid.Make(), stream: "app_LOG_2"}
	first := record{kind: kindEpoch, ledger: l.ID, epoch: 1, number: 1, content: make([]byte, 16)}
	data, crc := first.encode()
	begin := func() *journal {
		j := &journal{l: l}
		if _, err := j.follow(&message{7, data}); err != nil {
			t.Fatal(err)
		}
		return j
	}
	next := func(change func(*record)) []byte {
		r := record{kind: kindBatch, ledger: l.ID, epoch: 1, number: 2, before: crc, content: []byte("x")}
		change(&r)
		b, _ := r.encode()
		return b
	}
	if _, err := begin().follow(&message{9, next(func(*record) {})}); err != nil {
		t.Error(err)
	}
	for what, change := range map[string]func(*record){
		"is of ledger":       func(r *record) { r.ledger = ulid.Make() },
		"number 3":           func(r *record) { r.number = 3 },
		"number 1":           func(r *record) { r.number = 1 },
		"does not follow":    func(r *record) { r.before++ },
		"is of epoch 2":      func(r *record) { r.epoch = 2 },
		"is of epoch 0":      func(r *record) { r.epoch = 0 },
		"is of epoch 0, aft": func(r *record) { r.epoch, r.kind = 0, kindEpoch },
	} {
		_, err := begin().follow(&message{9, next(change)})
		if err == nil || !strings.Contains(err.Error(), what) || !strings.Contains(err.Error(), l.ID.String()+": record at 9 of app_LOG_2") {
			t.Errorf("%s: %v", what, err)
		}
	}
	j := begin()
	if _, err := j.follow(&message{9, next(func(r *record) { r.kind = kindEnd })}); err != nil || !j.ended {
		t.Errorf("its end: %v, %v", err, j.ended)
	}
	if _, err := j.follow(&message{10, next(func(r *record) { r.number, r.before = 3, j.crc })}); err == nil || !strings.Contains(err.Error(), "behind the end") {
		t.Errorf("behind its end: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	r := record{kind: kindEpoch, ledger: ulid.Make(), content: []byte("x")}
	data, _ := r.encode()
	f.Add(data)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, crc, err := decode(b)
		if err != nil {
			return
		}
		again, sum := r.encode()
		if b[1] == again[1] && (sum != crc || !bytes.Equal(again, b)) {
			t.Errorf("% x became % x", b, again)
		}
	})
}

// TestGate: an owner that others may not know of any more, since it was frozen, sends nothing.
func TestGate(t *testing.T) {
	r := &recorder{got: map[queue.DeliveryID]int{}}
	l := &Ledger{node: &Node{o: Options{ttl: 10 * time.Second}}}
	for _, tc := range []struct {
		ago     time.Duration
		deposed bool
		sends   bool
	}{{0, false, true}, {9 * time.Second, false, false}, {0, true, false}} {
		l.renewed, l.deposed = time.Now().Add(-tc.ago), tc.deposed
		clear(r.got)
		_, err := l.courier(r).Deliver(t.Context(), queue.Delivery{}, 1)
		if sent := len(r.got) > 0; sent != tc.sends || errors.Is(err, queue.ErrDeposed) == tc.sends {
			t.Errorf("%+v: sent %v, %v", tc, sent, err)
		}
	}
}
