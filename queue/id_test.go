package queue

import (
	"bytes"
	"encoding/json"
	"sync"
	"testing"
	"testing/synctest"
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
			var g ids
			var last SignalID
			for i := range 10_000 {
				id := g.next(c.now(i))
				if bytes.Compare(id[:], last[:]) <= 0 {
					t.Fatalf("%s comes after %s", id, last)
				}
				if DeliveryID(id).signal() != id {
					t.Fatalf("%s leaves no room for deliveries", id)
				}
				last = id
			}
		})
	}
	t.Run("from many at once", func(t *testing.T) {
		var g ids
		var mu sync.Mutex
		seen := map[SignalID]bool{}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 1000 {
					id := g.next(at)
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
		g := ids{last: SignalID{0, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xf0}}
		if id, want := g.next(time.Unix(0, 0)), (SignalID{0, 0, 0, 0, 0, 2}); id != want {
			t.Errorf("%x, want %x", id, want)
		}
	})
}

// A store knows its newest id, so that ids go on where the clock went back
// while the program was not running.
func TestIDsGrowOverARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, route("crm"))
		r.SetPaused("crm", true)
		ahead := r.Queue.ids.next(time.Now().Add(time.Hour)) // as if the clock had gone back since
		a := Accepted{Signal: Signal{ID: ahead, Type: "lead", Body: []byte("{}")}, Deliveries: []Made{{Route: "crm"}}}
		r.putAll(a)
		// A delivery that a retry adds takes an id of the same kind.
		two := func(Signal, string) ([][]byte, error) { return [][]byte{[]byte("1"), []byte("2")}, nil }
		if err := r.Retry(ahead.Delivery(1), true, two); err != nil {
			t.Fatal(err)
		}
		newest := r.all(Filter{})[0].ID
		r.restart()
		if id := r.NewSignalID(); bytes.Compare(id[:], newest[:]) <= 0 {
			t.Errorf("%s comes after %s", id, newest)
		}
		// What is ahead of the clock is due all the same.
		r.SetPaused("crm", false)
		synctest.Wait()
		if n := len(r.taken()); n != 2 {
			t.Errorf("%d attempts, want 2", n)
		}
	})
}

func TestDeliveryIDs(t *testing.T) {
	var g ids
	s := g.next(time.UnixMilli(1_700_000_000_123))
	after := g.next(time.UnixMilli(1_700_000_000_123))
	last := DeliveryID(s)
	for _, n := range []int{1, 2, 255, 256, 65535, 65536, MaxDeliveries} {
		d := s.Delivery(n)
		if bytes.Compare(d[:], last[:]) <= 0 || bytes.Compare(d[:], after[:]) >= 0 {
			t.Errorf("delivery %d, %x, is not between %x and %x", n, d, last, after)
		}
		if d.signal() != s {
			t.Errorf("delivery %d leads to %s, want %s", n, d.signal(), s)
		}
		if d.Time() != s.Time() {
			t.Errorf("delivery %d is of %v, want %v", n, d.Time(), s.Time())
		}
		last = d
	}
	if end := s.after(); end != after.Delivery(0) {
		t.Errorf("after all deliveries of %s comes %x, want %x", s, end, after)
	}
}

func TestIDText(t *testing.T) {
	var g ids
	s := g.next(time.UnixMilli(1_700_000_000_123))
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
