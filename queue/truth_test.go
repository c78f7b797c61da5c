package queue

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"signalpost/queue/record"
)

// TestAttemptsAsTheyWere: what a courier says of its attempts is there again
// after a restart, and what they have in common is stored once.
func TestAttemptsAsTheyWere(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		r := newRig(t, route("crm"))
		later := r.setClock()
		template := `{"method":"POST","target":"https://crm"}` + strings.Repeat(" ", 2000)
		r.set(0, func(s shot) (Outcome, error) {
			o := ok200
			if s.attempt < 7 {
				o = no503
			}
			o.Config, o.Peer, o.Request, o.Started = "939ab1", "127.0.0.1:443", template, s.at
			o.Reused = s.attempt > 1
			o.Timing = Timing{FirstByte: 3500 * time.Microsecond}
			return o, nil
		})
		a := Accepted{Signal: Signal{ID: r.NewSignalID(), Type: "lead", Config: "77aa", Body: []byte(`{}`)}, Deliveries: []Made{{Route: "crm"}}}
		r.putAll(a)
		time.Sleep(time.Second)
		id := a.ID.Delivery(1)
		if err := r.Retry(id, false, nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		r.restart()
		d := r.detail(id)
		if s, _, err := r.Signal(a.ID); err != nil || s.Config != "77aa" {
			t.Errorf("the signal met config %q, %v", s.Config, err)
		}
		if len(d.Log) != 7 || d.Request != template || d.Sent.Before(d.Log[6].Time.Add(-time.Second)) {
			t.Fatalf("%d attempts, %d bytes of request, sent %v", len(d.Log), len(d.Request), d.Sent)
		}
		for i, e := range d.Log {
			trigger, class := Scheduled, Class5xx
			switch i {
			case 1:
				trigger = Manual
			case 5, 6:
				trigger = Probe
			}
			if i == 6 {
				class = Class2xx
			}
			if e.Trigger != trigger || e.Class != class || e.Config != "939ab1" || e.Peer != "127.0.0.1:443" || e.Reused == nil || *e.Reused != (i > 0) || e.Timing.FirstByte != 3500*time.Microsecond {
				t.Errorf("attempt %d: %+v", i+1, e)
			}
		}
		b, err := json.Marshal(d.Log[0])
		var back Entry
		if err != nil || !strings.Contains(string(b), `"trigger":"schedule","class":"5xx","config":"939ab1","peer":"127.0.0.1:443","reused":false,"timing":{"first_byte_ms":3.5}`) ||
			json.Unmarshal(b, &back) != nil || *back.Timing != *d.Log[0].Timing {
			t.Errorf("as JSON %s, %v; back as %+v", b, err, back)
		}
		if n := r.count(record.TextPrefix); n != 4 {
			t.Errorf("%d texts are stored, want 4", n)
		}
		if size := len(r.values(record.LogPrefix)); size > 7*150 {
			t.Errorf("7 entries take %d bytes", size)
		}
		// A text goes when nothing can name it, and one in use stays.
		later.Store(int64(20 * 24 * time.Hour))
		r.put("crm")
		time.Sleep(2 * time.Minute)
		if n := r.count(record.TextPrefix); n != 3 {
			t.Errorf("%d texts are stored later on, want 3: without the config of the signal", n)
		}
	})
}

// TestTextsAreBounded: where there is no room for one more text, the rest is stored without.
func TestTextsAreBounded(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		r := newRig(t, route("crm"))
		n := 0
		r.set(0, func(s shot) (Outcome, error) {
			n++
			o := ok200
			o.Started = s.at
			o.Request = fmt.Sprint(n) + strings.Repeat("x", 1<<20)
			return o, nil
		})
		for range 10 {
			r.put("crm")
			time.Sleep(time.Second)
		}
		r.restart()
		kept := 0
		for _, i := range r.all(Filter{Limit: 100}) {
			if r.detail(i.ID).Request != "" {
				kept++
			}
		}
		if kept != 7 {
			t.Errorf("%d requests of a MiB are kept, want 7", kept)
		}
	})
}

// setClock opens the queue with a clock that is as far ahead as what is returned says.
func (r *rig) setClock() *atomic.Int64 {
	ahead := new(atomic.Int64)
	r.options.clock = func(t time.Time) time.Time { return t.Add(time.Duration(ahead.Load())) }
	r.restart()
	return ahead
}

// values are those of all keys with the prefix, one after the other.
func (r *rig) values(prefix byte) (all []byte) {
	r.scan(prefix, func(v []byte) { all = append(all, v...) })
	return all
}

// count is how many keys have the prefix.
func (r *rig) count(prefix byte) (n int) {
	r.scan(prefix, func([]byte) { n++ })
	return n
}

func (r *rig) scan(prefix byte, f func(v []byte)) {
	r.t.Helper()
	err := r.engine.Load().store.Scan([]byte{prefix}, []byte{prefix + 1}, func(_, v []byte) (bool, error) { f(v); return true, nil })
	if err != nil {
		r.t.Fatal(err)
	}
}
