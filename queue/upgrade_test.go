package queue

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"signalpost/queue/record"
)

var writeGolden = flag.Bool("golden", false, "write the newest of testdata/store-v* anew; only before its format is released")

// goldenDir is a store as a version that wrote the format left it.
func goldenDir(format int) string { return fmt.Sprintf("testdata/store-v%d", format) }

// What the golden store holds, as the API of the queue shows it.
type golden struct {
	Now        time.Time // when it was written
	Deliveries []goldenDelivery
	Log        []Entry
	Signals    map[string]string // body by id
	Paused     map[string]bool
	Answer     string           // of the idempotency key "golden"
	Problems   []Problem        `json:",omitempty"`
	Counted    map[string]int64 `json:",omitempty"` // by statistics
}

type goldenDelivery struct {
	Info
	Traceparent string
	Body        string
	Shape       string    `json:",omitempty"`
	Config      string    `json:",omitempty"` // of the signal
	Request     string    `json:",omitempty"`
	Sent        time.Time `json:",omitzero"`
}

// forEver lets nothing expire, however old the golden store gets.
var forEver = Limits{Retention: 200 * 365 * 24 * time.Hour, MaxAge: 200 * 365 * 24 * time.Hour, DedupWindow: 200 * 365 * 24 * time.Hour}

func (r *rig) golden(now time.Time) golden {
	r.t.Helper()
	problems, err := r.Problems(context.Background(), now.Add(-time.Hour))
	if err != nil {
		r.t.Fatal(err)
	}
	g := golden{Now: now, Problems: problems, Counted: map[string]int64{}, Signals: map[string]string{}, Paused: map[string]bool{}}
	for _, i := range r.all(Filter{Limit: 100}) {
		d := r.detail(i.ID)
		s, _, err := r.Signal(d.Signal)
		if err != nil {
			r.t.Fatal(err)
		}
		g.Deliveries = append(g.Deliveries, goldenDelivery{i, d.Traceparent, string(d.Body), d.Shape, s.Config, d.Request, d.Sent})
		g.Signals[d.Signal.String()] = string(d.SignalBody)
	}
	g.Log = r.entries(LogFilter{Limit: 100})
	for _, s := range r.Status().Routes {
		g.Paused[s.Name] = s.PausedByAPI
	}
	stats, err := r.Stats(context.Background(), StatsFilter{Since: now.Add(-time.Hour), Until: now.Add(time.Minute), Step: time.Minute})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, s := range stats {
		all := sum(s.Points)
		for what, n := range map[string]int64{"accepted": all.Accepted, "delivered": all.Delivered, "dead": all.Dead, "4xx": all.Failed[Class4xx]} {
			if n > 0 {
				g.Counted[s.Route+" "+what] = n
			}
		}
	}
	_, answer, err := r.Claim(context.Background(), "golden", sha256.Sum256([]byte("golden")))
	if err != nil {
		r.t.Fatal(err)
	}
	g.Answer = string(answer)
	return g
}

// makeGolden makes a store with something of everything.
func makeGolden(t *testing.T) {
	mem := vfs.NewMem()
	r := newRigOn(t, mem, forEver, route("works"), route("fails"), fast("gives-up"), route("gone"), route("paused"))
	r.schedule("gives-up", brief(2))
	r.set(0, func(s shot) (Outcome, error) {
		switch s.Route {
		case "works":
			return Outcome{Verdict: Delivered, Status: 200, Duration: 1500 * time.Microsecond, Response: "thanks",
				Class: Class2xx, Config: "939ab1", Peer: "127.0.0.1:443", Started: s.at, Request: `{"method":"POST"}`,
				Timing: Timing{DNS: time.Millisecond, Connect: 2 * time.Millisecond, TLS: 3 * time.Millisecond, FirstByte: 4 * time.Millisecond}}, nil
		case "gone":
			return no410, nil
		}
		return no404, nil
	})
	if err := r.SetPaused("paused", true); err != nil {
		t.Fatal(err)
	}
	claim, _, err := r.Claim(context.Background(), "golden", sha256.Sum256([]byte("golden")))
	if err != nil {
		t.Fatal(err)
	}
	first := Accepted{
		Signal: Signal{ID: r.NewSignalID(), Type: "lead", Config: "77aa", Traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", Body: []byte(`{"signal_type":"lead"}`)},
		Deliveries: []Made{
			{Route: "works"}, {Route: "fails", Body: []byte(`{"its":"own"}`)}, {Route: "gives-up"}, {Route: "gone"},
			{Route: "paused"}, {Route: "works", Error: "the expression failed"}, {Route: "works", Body: []byte("null")},
			{Route: "paused", Shape: "shaped"}, {Route: "works", Shape: "shaped", Body: []byte("1")},
			{Route: "works", Order: "a"}, {Route: "paused", Order: "a"}, {Route: "paused", Order: "a"},
		},
	}
	if err := r.Put([]Accepted{first}, claim, []byte("the answer")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	r.close()
	r.open() // so that there are tables as well as a log
	second := r.put("works", "fails", "paused", "held")
	r.put()
	time.Sleep(time.Second)
	if n, err := r.DiscardAll(t.Context(), Filter{Signal: second, Route: "paused"}, false); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	n, err := r.RetryAll(t.Context(), Filter{State: StateDead, Reason: Transform}, true, func(Signal, string) ([]Made, error) {
		return bodies(`"reshaped"`, `"one more"`), nil
	}, false)
	if n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if err := r.Retry(first.ID.Delivery(10), false, nil); err != nil { // out of order
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	r.configure() // no route: all that is pending is held
	g := r.golden(time.Now())
	r.close()
	dir := goldenDir(record.Format)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for n, b := range files(t, mem) {
		if n != "LOCK" {
			if err := os.WriteFile(filepath.Join(dir, n), b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	b, err := json.MarshalIndent(g, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+".json", append(b, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
	r.open() // for the rig to close
}

// TestEarlierFormats opens a store of each format as a version that wrote it
// left it, and finds what that one saw in it. The files under testdata stay as they
// are for ever: a store of a later format gets files of its own.
func TestEarlierFormats(t *testing.T) {
	if *writeGolden {
		makeGolden(t)
	}
	for format := 1; format <= record.Format; format++ {
		t.Run(fmt.Sprint(format), func(t *testing.T) { openGolden(t, goldenDir(format)) })
	}
}

func openGolden(t *testing.T, dir string) {
	want, err := os.ReadFile(dir + ".json")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if all[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	fs := storeOf(t, all)
	if err := check(storePath, fs); err != nil {
		t.Fatal("as it is:", err)
	}
	r := newRigOn(t, fs, forEver)
	if err := r.engine.Load().store.Read(func(db *pebble.DB) error {
		v, closer, err := db.Get([]byte{record.MetaPrefix})
		if err != nil {
			return err
		}
		defer closer.Close()
		if f, _ := binary.Uvarint(v); f != record.Format {
			t.Errorf("it is of format %d when it has been opened, want %d", f, record.Format)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	var was golden
	if err := json.Unmarshal(want, &was); err != nil {
		t.Fatal(err)
	}
	g := r.golden(was.Now)
	got, err := json.MarshalIndent(g, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(append(got, '\n'), want) {
		t.Errorf("the store holds\n%s\nwant\n%s", got, want)
	}
	// It goes on from there.
	r.configure(route("works"), route("fails"), route("gives-up"), route("gone"), route("paused"), route("held"))
	if err := r.SetPaused("paused", false); err != nil {
		t.Fatal(err)
	}
	if _, err := r.RetryAll(t.Context(), Filter{State: StateDead}, false, reshapeTest, false); err != nil {
		t.Fatal(err)
	}
	r.put("works", "held")
}
