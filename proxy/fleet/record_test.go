package fleet

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/oklog/ulid/v2"
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
	newer := record{kind: kindEnd + 1}
	data, _ = newer.encode()
	if _, _, err := decode(data); !errors.Is(err, errRecord) {
		t.Errorf("an unknown kind: %v", err)
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
