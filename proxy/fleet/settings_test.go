package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"signalpost/proxy/fleet/natstest"
	"signalpost/queue"
)

// TestSettings: a stream or bucket that is not as the fleet's promises need it is
// refused, and named; how long keys are kept grows with what sidecars ask for.
func TestSettings(t *testing.T) {
	c := natstest.Start(t, 1)
	nc, err := nats.Connect(c.URLs()[0])
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, _ := jetstream.New(nc)
	options := func(name string, remember time.Duration) Options {
		return Options{Servers: c.URLs(), Name: name, Replicas: 1, Folder: t.TempDir(), Remember: remember, Log: slog.New(slog.DiscardHandler)}
	}
	n, err := Join(options("app", time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	n.Leave()
	n, err = Join(options("app", time.Minute)) // others remember them for longer
	if err != nil {
		t.Fatal(err)
	}
	n.Leave()
	age := func() time.Duration {
		s, err := js.Stream(t.Context(), "KV_app_KEYS")
		if err != nil {
			t.Fatal(err)
		}
		return s.CachedInfo().Config.MaxAge
	}
	if age() != time.Hour {
		t.Errorf("keys are kept for %v", age())
	}
	a := joinWith(t, options("app", time.Minute), &recorder{got: map[queue.DeliveryID]int{}}, func(n *Node) { n.tidyEvery = 20 * time.Millisecond })
	if err := a.Configure(queue.Limits{DedupWindow: 2 * time.Hour}, routes); err != nil {
		t.Error(err)
	}
	eventually(t, 30*time.Second, func() error {
		if age() != 2*time.Hour {
			return fmt.Errorf("after a reload keys are kept for %v", age())
		}
		return nil
	})
	a.stop()

	for i, tc := range []struct {
		stream string
		change func(*jetstream.StreamConfig)
		says   string
	}{
		{"%s_LOG_2", func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }, "its max_age is 1h0m0s, and has to be 0s"},
		{"%s_LOG_0", func(c *jetstream.StreamConfig) { c.AllowDirect = true }, "its allow_direct is true, and has to be false"},
		{"KV_%s_OWNERS", func(c *jetstream.StreamConfig) { c.MaxAge, c.SubjectDeleteMarkerTTL = 0, 0 }, "its max_age is 0s, and has to be 10s"},
		{"KV_%s_OWNERS", func(c *jetstream.StreamConfig) { c.SubjectDeleteMarkerTTL = 0 }, "its subject_delete_marker_ttl is 0s"},
		{"KV_%s_KEYS", func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage }, "its storage is Memory"},
		{"OBJ_%s_VIEWS", func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }, "its max_age is 1h0m0s"},
		{"OBJ_%s_VIEWS", func(c *jetstream.StreamConfig) { c.MaxBytes = 1 << 20 }, "its max_bytes is 1048576"},
		{"other", func(c *jetstream.StreamConfig) { c.Subjects = []string{"app8.>"} }, "another stream of NATS takes app8.log.0.*: name another fleet"},
	} {
		o := options(fmt.Sprintf("app%d", i+1), time.Hour)
		o.ttl = ownerTTL
		stream := strings.Replace(tc.stream, "%s", o.Name, 1)
		config := jetstream.StreamConfig{Name: stream}
		for _, want := range o.wanted() {
			if want.Name == stream {
				config = want
			}
		}
		tc.change(&config)
		if _, err := js.CreateStream(t.Context(), config); err != nil {
			t.Fatal(stream, err)
		}
		n, err := Join(o)
		if err == nil {
			n.Leave()
		}
		if err == nil || !strings.Contains(err.Error(), tc.says) || tc.stream != "other" && !strings.Contains(err.Error(), stream) {
			t.Errorf("%s: %v", stream, err)
		}
	}
	o := options("three", time.Hour)
	o.Replicas = 3
	if _, err := Join(o); err == nil || !strings.Contains(err.Error(), "replicas") {
		t.Errorf("three replicas on one server: %v", err)
	}
}

// TestPauses: a route that is paused stays so in the ledger of a sidecar that comes
// later, until it is resumed; then none pauses it again.
func TestPauses(t *testing.T) {
	c := natstest.Start(t, 1)
	r := &recorder{got: map[queue.DeliveryID]int{}}
	a := join(t, c, "app", t.TempDir(), r)
	ids := a.puts(1)
	eventually(t, 30*time.Second, func() error { return r.missing(ids) })
	paused := func(s *sidecar) bool { return s.queue.Status().Routes[0].PausedByAPI }
	if err := a.queue.SetPaused("crm", true); err != nil {
		t.Fatal(err)
	}
	b := join(t, c, "app", t.TempDir(), r) // when others may not even know it yet
	eventually(t, 30*time.Second, func() error {
		b.configuring.Lock()
		defer b.configuring.Unlock()
		if !paused(b) || !b.own.heard[a.ownID()].last {
			return errors.New("a sidecar that comes later sends what is paused")
		}
		return nil
	})
	for _, s := range []*sidecar{a, b} {
		if err := s.queue.SetPaused("crm", false); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.share(); err != nil || paused(b) {
		t.Errorf("it is paused again: %v", err)
	}

	// Also if all are replaced at once: the ledgers that are adopted tell.
	if err := errors.Join(a.queue.SetPaused("crm", true), b.queue.SetPaused("crm", true)); err != nil {
		t.Fatal(err)
	}
	a.stop()
	b.stop()
	a = join(t, c, "app", t.TempDir(), r)
	if n := len(a.Ownerless()) + len(a.ledgers()); n < 3 {
		t.Errorf("of two ledgers and its own it knows %d at once", n)
	}
	eventually(t, 30*time.Second, func() error {
		if err := a.share(); err != nil || !paused(a) {
			return fmt.Errorf("it is not paused; %v", err)
		}
		return nil
	})
	a.stop()
}

// TestAsk: who works on an order is waited for, who says nothing is not.
func TestAsk(t *testing.T) {
	defer func(s, b time.Duration) { silentFor, beatEvery = s, b }(silentFor, beatEvery)
	silentFor, beatEvery = time.Second, 50*time.Millisecond
	c := natstest.Start(t, 1)
	r := &recorder{got: map[queue.DeliveryID]int{}}
	body := noise(3 * pieceBytes)
	options := func(answer func(context.Context, *Call) *Answer) Options {
		return Options{Servers: c.URLs(), Name: "app", Replicas: 1, Folder: t.TempDir(), ttl: 5 * time.Second, Remember: time.Minute, Log: slog.New(slog.DiscardHandler), Answer: answer}
	}
	a := joinWith(t, options(nil), r)
	b := joinWith(t, options(func(_ context.Context, c *Call) *Answer {
		time.Sleep(1500 * time.Millisecond)
		return &Answer{Status: http.StatusTeapot, Header: http.Header{"X": {c.URL}}, Body: body}
	}), r)
	answer, err := a.Ask(t.Context(), b.ID, &Call{Method: "POST", URL: "/retry"})
	if err != nil || answer.Status != http.StatusTeapot || answer.Header.Get("X") != "/retry" || !json.Valid(answer.Body) || len(answer.Body) != len(body) {
		t.Errorf("an order: %v", err)
	}
	if _, err := a.Ask(t.Context(), b.ID, &Call{Method: "GET", URL: "/log"}); err == nil || !strings.Contains(err.Error(), "no answer within") {
		t.Errorf("a question: %v", err)
	}
	a.stop()
	b.stop()
}

// TestCheckCompares: a view that is not what its log says is a fault.
func TestCheckCompares(t *testing.T) {
	c := natstest.Start(t, 1)
	o := Options{Servers: c.URLs(), Name: "app", Replicas: 1, Folder: t.TempDir(), ttl: time.Minute, Remember: time.Minute, Log: slog.New(slog.DiscardHandler)}
	a := joinWith(t, o, &recorder{got: map[queue.DeliveryID]int{}, down: true})
	a.puts(10)
	prove(t, c, "app") // while it runs
	position, _, err := a.queue.Digest()
	if err != nil || position == 0 {
		t.Fatal(position, err)
	}
	a.crash() // its key stays
	nc, err := nats.Connect(c.URLs()[0])
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_, err = nc.Subscribe(a.askSubject(a.ID), func(m *nats.Msg) {
		b, _ := json.Marshal(reply{Position: position, Sum: []byte("another")})
		_ = m.Respond(b)
	})
	if err != nil {
		t.Fatal(err)
	}
	all, err := Look(t.Context(), o, true)
	if err != nil || len(all) != 1 || all[0].Fault == nil || !strings.Contains(all[0].Fault.Error(), "is not what the log says up to record") {
		t.Errorf("%+v, %v", all, err)
	}
}

// TestNewerLedger: a ledger that a newer version wrote is left to that, and said.
func TestNewerLedger(t *testing.T) {
	c := natstest.Start(t, 1)
	said := &strings.Builder{}
	o := Options{Servers: c.URLs(), Name: "app", Replicas: 1, Folder: t.TempDir(), ttl: 2 * time.Second, Remember: time.Minute, Log: slog.New(slog.NewTextHandler(said, nil))}
	a := joinWith(t, o, &recorder{got: map[queue.DeliveryID]int{}})
	l := a.newLedger(a.ID)
	r := record{kind: kindEpoch, ledger: l.ID, epoch: 1, number: 1, content: make([]byte, 16)}
	if _, err := a.js.Publish(t.Context(), l.subject, newer(&r, 0)); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, func() error {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.refused[l.ID].IsZero() || a.held[l.ID] != nil {
			return errors.New("it is not refused")
		}
		return nil
	})
	if !slices.Contains(a.Ownerless(), l.ID) {
		t.Error("it is not named as missing")
	}
	all, err := Look(t.Context(), o, true)
	if err != nil || len(all) != 2 {
		t.Fatal(all, err)
	}
	for _, s := range all {
		if (s.ID == l.ID) != (s.Fault != nil) || s.Fault != nil && !errors.Is(s.Fault, errNewer) {
			t.Errorf("%s: %v", s.ID, s.Fault)
		}
	}
	a.stop()
	if !strings.Contains(said.String(), "a newer version of signalpost wrote it") {
		t.Errorf("it said %s", said)
	}
}
