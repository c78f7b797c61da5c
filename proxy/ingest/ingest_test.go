package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signalpost/proxy/api"
	"signalpost/proxy/config"
	"signalpost/proxy/memory"
	"signalpost/proxy/table"
	"signalpost/queue"
	"signalpost/transform"
)

// A counter is Metrics that count.
type counter struct{ accepted, deliveries, replayed int }

func (c *counter) Accepted(made []queue.Made, _ bool) {
	c.accepted++
	c.deliveries += len(made)
}
func (c *counter) Replayed(signals int) { c.replayed += signals }
func (c *counter) Took(time.Duration)   {}

// A still courier makes no attempts.
type still struct{}

func (still) Deliver(ctx context.Context, _ queue.Delivery, _ int) (queue.Outcome, error) {
	<-ctx.Done()
	return queue.Outcome{}, ctx.Err()
}

// taking returns an Ingest for routes, each a name and further lines, all of
// them paused, with a store of its own.
func taking(t testing.TB, m Metrics, routes ...string) *Ingest {
	t.Helper()
	dir := t.TempDir()
	var text strings.Builder
	for _, r := range routes {
		name, lines, _ := strings.Cut(r, "\n")
		text.WriteString("[[route]]\npaused = true\nurl = \"http://127.0.0.1:9/\"\nname = \"" + name + "\"\n" + lines + "\n")
	}
	path := filepath.Join(dir, "signalpost.toml")
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	routing, err := table.New(cfg, "signalpost/test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { routing.Close() })
	limits, lanes := routing.Queue()
	q, err := queue.Open(queue.Options{Path: filepath.Join(dir, "data"), Courier: still{}, Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close(context.Background()) })
	if err := q.Configure(limits, lanes); err != nil {
		t.Fatal(err)
	}
	return New(Options{Queue: q, Table: func() *table.Table { return routing }, Metrics: m, BodyWait: 20 * time.Millisecond})
}

// post posts a body, and returns the error that is answered, or the 202's body.
func post(t testing.TB, in *Ingest, body string, header ...string) (string, error) {
	t.Helper()
	r := httptest.NewRequest("POST", "/signals", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	if err := in.Post(w, r, Offer{}); err != nil {
		return "", err
	}
	if w.Code != http.StatusAccepted || w.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	return w.Body.String(), nil
}

const documented = `{
  "signal_type": "product_qualified_lead",
  "confidence": 0.92,
  "source": "posthog",
  "hypothesis_id": "hyp_8g2k",
  "account": { "name": "Acme Corp", "domain": "acme.com" },
  "events": ["visited_pricing_page", "invited_team_member", "api_key_created"],
  "enrichment": { "company_size": "50-200", "industry": "SaaS" },
  "detected_at": "2026-04-29T14:31:08Z"
}`

// discard is a ResponseWriter that keeps the last status.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }

// BenchmarkIngest is the whole way of POST /signals but HTTP, store and fsync
// among it, with one request at a time and with many.
func BenchmarkIngest(b *testing.B) {
	for _, bench := range []struct{ name, route string }{
		{"forwarded", "a"},
		{"shaped", "a\nwhere = '.confidence >= 0.8'\ntransform = '{ company: .account.name, domain: .account.domain, score: (.confidence * 100 | round), events: (.events | length), source, at: .detected_at }'"},
	} {
		in := taking(b, nothing{}, bench.route)
		poster := func(b *testing.B) func() {
			w := &discard{header: http.Header{}}
			body := strings.NewReader("")
			r, _ := http.NewRequest("POST", "http://localhost/signals", nil)
			r.Header.Set("Content-Type", "application/json")
			r.ContentLength = int64(len(documented))
			r.Body = io.NopCloser(body)
			return func() {
				body.Reset(documented)
				if err := in.Post(w, r, Offer{}); err != nil || w.status != http.StatusAccepted {
					b.Fatalf("%d %v", w.status, err)
				}
			}
		}
		b.Run(bench.name+"/one", func(b *testing.B) {
			post := poster(b)
			b.ReportAllocs()
			for b.Loop() {
				post()
			}
		})
		b.Run(bench.name+"/many", func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(64)
			b.RunParallel(func(pb *testing.PB) {
				for post := poster(b); pb.Next(); {
					post()
				}
			})
		})
	}
}

// nothing is Metrics that count nothing.
type nothing struct{}

func (nothing) Accepted([]queue.Made, bool) {}
func (nothing) Replayed(int)                {}
func (nothing) Took(time.Duration)          {}

// The answer is what encoding/json makes of its shape.
func TestAnswer(t *testing.T) {
	for n := range 3 {
		var accepted []queue.Accepted
		shape := api.AcceptedBatch{}
		for i := range max(n, 1) {
			id := queue.SignalID{0: byte(i), 7: 77}
			a := api.Accepted{ID: id.String(), Deliveries: []api.Made{}}
			made := make([]queue.Made, n)
			for j := range made {
				made[j].Route = fmt.Sprint("route-", j)
				a.Deliveries = append(a.Deliveries, api.Made{ID: id.Delivery(j + 1).String(), Route: made[j].Route})
			}
			accepted = append(accepted, queue.Accepted{Signal: queue.Signal{ID: id}, Deliveries: made})
			shape.Signals = append(shape.Signals, a)
		}
		if want, err := api.Marshal(shape); err != nil || !bytes.Equal(answerTo(accepted, true), want) {
			t.Errorf("%s, want %s, %v", answerTo(accepted, true), want, err)
		}
		if want, err := api.Marshal(shape.Signals[0]); err != nil || !bytes.Equal(answerTo(accepted[:1], false), want) {
			t.Errorf("%s, want %s, %v", answerTo(accepted[:1], false), want, err)
		}
	}
}

// What is refused for lack of memory leaves no trace in the store and binds no
// key, and what comes after it is accepted.
func TestBusy(t *testing.T) {
	large := `{"signal_type":"a","x":"` + strings.Repeat("x", 2*largeBody) + `"}`
	for name, test := range map[string]struct {
		fill func(*Ingest) (empty func()) // uses up the memory
		body string
	}{
		"to arrive": {func(in *Ingest) func() {
			n, err := in.arriving.Take(t.Context(), arrivingBytes)
			if err != nil {
				t.Fatal(err)
			}
			return func() { in.arriving.Give(n) }
		}, large},
		"for what is made": {func(in *Ingest) func() {
			n, err := in.made.Take(t.Context(), madeBytes-memory.Small)
			if err != nil {
				t.Fatal(err)
			}
			return func() { in.made.Give(n) }
		}, "[" + strings.Repeat(documented+",", memory.Small/itemBytes/3) + documented + "]"},
	} {
		t.Run(name, func(t *testing.T) {
			var m counter
			in := taking(t, &m, "a", "b")
			in.made = memory.New(madeBytes, 20*time.Millisecond)
			empty := test.fill(in)
			for _, header := range [][]string{nil, {"Idempotency-Key", "k"}} {
				_, err := post(t, in, test.body, header...)
				no, isProblem := errors.AsType[*api.Problem](err)
				if !errors.Is(err, queue.ErrUnavailable) && !(isProblem && no.Status == http.StatusServiceUnavailable) {
					t.Errorf("%v", err)
				}
			}
			if list, err := in.Queue.Deliveries(context.Background(), queue.Filter{Limit: 10}); len(list.Deliveries) != 0 || err != nil || m.accepted != 0 {
				t.Errorf("%d deliveries, %v, %d signals counted", len(list.Deliveries), err, m.accepted)
			}
			// A small signal waits for none of it.
			if _, err := post(t, in, `{"signal_type":"another body"}`, "Idempotency-Key", "k"); err != nil {
				t.Errorf("the key is not free: %v", err)
			}
			empty()
			if _, err := post(t, in, test.body); err != nil {
				t.Error(err)
			}
			// All has been given back.
			for _, b := range []*memory.Budget{in.arriving, in.made} {
				if n, err := b.Take(t.Context(), 1<<40); err != nil {
					t.Errorf("%d of a budget, %v", n, err)
				}
			}
		})
	}
}

// A batch cannot make more deliveries than fit into memory, however many routes there are.
func TestManyDeliveries(t *testing.T) {
	var routes []string
	for i := range 40 {
		routes = append(routes, fmt.Sprint("r", i))
	}
	var m counter
	in := taking(t, &m, routes...)
	const most = madeBytes / itemBytes / 41
	batch := func(n int) string { return strings.Repeat(`{"signal_type":"a"}`+"\n", n) }
	_, err := post(t, in, batch(most+1), "Content-Type", "application/x-ndjson")
	if no, ok := errors.AsType[*api.Problem](err); !ok || no.Status != http.StatusRequestEntityTooLarge {
		t.Errorf("%v", err)
	}
	if list, err := in.Queue.Deliveries(context.Background(), queue.Filter{Limit: 1}); len(list.Deliveries) != 0 || err != nil {
		t.Errorf("%d deliveries, %v", len(list.Deliveries), err)
	}
	if _, err := post(t, in, batch(most), "Content-Type", "application/x-ndjson"); err != nil || m.deliveries != most*40 {
		t.Errorf("%d deliveries, %v", m.deliveries, err)
	}
}

// So does what finds no room among expressions: it makes no dead delivery.
func TestBusyExpressions(t *testing.T) {
	hog, err := transform.Compile(`"x" * 1000000`)
	if err != nil {
		t.Fatal(err)
	}
	others := transform.NewSession(t.Context(), transform.ForSignals)
	for range 108 { // of the 104 MiB that results may take 1 MiB is left
		if _, err := hog.Shape(others, nil, transform.Vars{}); err != nil {
			t.Fatal(err)
		}
	}

	var m counter
	in := taking(t, &m, "plain", "heavy\ntransform = 'range(4) | \"x\" * 1000000'")
	if _, err := post(t, in, `{"signal_type":"a"}`, "Idempotency-Key", "k"); !errors.Is(err, queue.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	if list, err := in.Queue.Deliveries(context.Background(), queue.Filter{Limit: 10}); len(list.Deliveries) != 0 || err != nil || m.accepted != 0 {
		t.Errorf("%d deliveries, %v, %d signals counted", len(list.Deliveries), err, m.accepted)
	}
	others.Close()
	if _, err := post(t, in, `{"signal_type":"b"}`, "Idempotency-Key", "k"); err != nil || m.deliveries != 5 {
		t.Errorf("%d deliveries, %v", m.deliveries, err)
	}
}
