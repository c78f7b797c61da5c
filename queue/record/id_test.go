package record

import (
	"bytes"
	"encoding/json"
	"sync"
	"testing"
	"time"
)

func TestIDsGrow(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_123)
	clocks := []struct {
		name string
		now  func(i int) time.Time
	}{
		{"while the clock goes on", func(i int) time.Time { return at.Add(time.Duration(i) * time.Millisecond) }},
		{"within a millisecond", func(int) time.Time { return at }},
		{"while the clock goes back", func(i int) time.Time { return at.Add(-time.Duration(i) * time.Hour) }},
		{"before 1970", func(int) time.Time { return time.Unix(-1, 0) }},
		{"when no ULID can say the time", func(int) time.Time { return time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC) }},
	}
	for _, c := range clocks {
		t.Run(c.name, func(t *testing.T) {
			var g IDs
			var last SignalID
			for i := range 10_000 {
				id := g.Next(c.now(i))
				if bytes.Compare(id[:], last[:]) <= 0 {
					t.Fatalf("%s comes after %s", id, last)
				}
				if DeliveryID(id).Signal() != id {
					t.Fatalf("%s leaves no room for deliveries", id)
				}
				last = id
			}
		})
	}
	t.Run("from many at once", func(t *testing.T) {
		var g IDs
		var mu sync.Mutex
		seen := map[SignalID]bool{}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 1000 {
					id := g.Next(at)
					mu.Lock()
					if seen[id] {
						t.Errorf("%s came twice", id)
					}
					seen[id] = true
					mu.Unlock()
				}
			})
		}
		wg.Wait()
	})
	t.Run("carrying over", func(t *testing.T) {
		g := IDs{last: SignalID{0, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xf0}}
		if id, want := g.Next(time.Unix(0, 0)), (SignalID{0, 0, 0, 0, 0, 2}); id != want {
			t.Errorf("%x, want %x", id, want)
		}
	})
}

func TestDeliveryIDs(t *testing.T) {
	var g IDs
	s := g.Next(time.UnixMilli(1_700_000_000_123))
	after := g.Next(time.UnixMilli(1_700_000_000_123))
	last := DeliveryID(s)
	for _, n := range []int{1, 2, 255, 256, 65535, 65536, MaxDeliveries} {
		d := s.Delivery(n)
		if bytes.Compare(d[:], last[:]) <= 0 || bytes.Compare(d[:], after[:]) >= 0 {
			t.Errorf("delivery %d, %x, is not between %x and %x", n, d, last, after)
		}
		if d.Signal() != s {
			t.Errorf("delivery %d leads to %s, want %s", n, d.Signal(), s)
		}
		if d.Time() != s.Time() {
			t.Errorf("delivery %d is of %v, want %v", n, d.Time(), s.Time())
		}
		last = d
	}
	if end := s.After(); end != after.Delivery(0) {
		t.Errorf("after all deliveries of %s comes %x, want %x", s, end, after)
	}
}

func TestIDText(t *testing.T) {
	var g IDs
	s := g.Next(time.UnixMilli(1_700_000_000_123))
	d := s.Delivery(7)
	if got, err := ParseSignalID(s.String()); got != s || err != nil {
		t.Errorf("%s parses as %s, %v", s, got, err)
	}
	if got, err := ParseDeliveryID(d.String()); got != d || err != nil {
		t.Errorf("%s parses as %s, %v", d, got, err)
	}
	type both struct {
		S SignalID
		D DeliveryID
	}
	b, err := json.Marshal(both{s, d})
	if want := `{"S":"` + s.String() + `","D":"` + d.String() + `"}`; string(b) != want || err != nil {
		t.Errorf("in JSON %s, %v; want %s", b, err, want)
	}
	var back both
	if err := json.Unmarshal(b, &back); err != nil || back != (both{s, d}) {
		t.Errorf("from JSON %+v, %v", back, err)
	}
	for _, bad := range []string{
		"", "sig_", d.String(), s.String()[4:], s.String() + "0", s.String()[:20],
		"sig_8ZZZZZZZZZZZZZZZZZZZZZZZZZ", "sig_0000000000000000000000000U", "SIG_" + s.String()[4:],
	} {
		if id, err := ParseSignalID(bad); err == nil {
			t.Errorf("%q parses as %s", bad, id)
		}
		if err := json.Unmarshal([]byte(`{"S":"`+bad+`"}`), &back); err == nil {
			t.Errorf("%q is read from JSON", bad)
		}
	}
}

func FuzzParseID(f *testing.F) {
	f.Add("sig_01HF7YAT6BAAAAAAAAAAAAAAAA")
	f.Add("dlv_01HF7YAT6BAAAAAAAAAAAAAAAA")
	f.Fuzz(func(t *testing.T, text string) {
		if id, err := ParseDeliveryID(text); err == nil {
			if again, err := ParseDeliveryID(id.String()); err != nil || again != id {
				t.Errorf("%q: %s parses as %s, %v", text, id, again, err)
			}
		}
		ParseSignalID(text)
	})
}
