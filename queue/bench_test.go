package queue

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"signalpost/queue/lane"
)

// benchBody is a signal of the usual size.
var benchBody = []byte(`{"signal_type":"product_qualified_lead","confidence":0.92,"source":"posthog","hypothesis_id":"hyp_8g2k","account":{"name":"Acme Corp","domain":"acme.com"},"events":["visited_pricing_page","invited_team_member","api_key_created"],"enrichment":{"company_size":"50-200","industry":"SaaS"},"detected_at":"2026-04-29T14:31:08Z"}`)

// benchRequest is a template of the usual size.
var benchRequest = `{"method":"POST","target":"https://crm.example.com","headers":{` + strings.Repeat(`"X-Header":"value",`, 20) + `}}`

// noop delivers at once and counts.
type noop struct{ n atomic.Int64 }

func (c *noop) Deliver(context.Context, Delivery, int) (Outcome, error) {
	c.n.Add(1)
	o := ok200
	o.Duration, o.Started, o.Reused = 20*time.Millisecond, time.Now(), true
	o.Config, o.Peer, o.Request, o.Timing = "939ab1f04c77", "10.1.2.3:443", benchRequest, Timing{FirstByte: 19 * time.Millisecond}
	return o, nil
}

// openBench opens a queue on the disk with one route.
func openBench(b *testing.B, c Courier, paused bool) *Queue {
	b.Helper()
	q, err := Open(Options{Path: b.TempDir(), Courier: c})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := q.Close(context.Background()); err != nil {
			b.Error(err)
		}
	})
	crm := route("crm")
	crm.Paused, crm.Concurrency = paused, 64
	if err := q.Configure(Limits{}, []Route{crm}); err != nil {
		b.Fatal(err)
	}
	return q
}

func benchSignal(q *Queue) Accepted {
	return Accepted{
		Signal:     Signal{ID: q.NewSignalID(), Type: "product_qualified_lead", Body: benchBody},
		Deliveries: []Made{{Route: "crm"}},
	}
}

// fill puts n signals with one delivery each.
func fill(b *testing.B, q *Queue, n int) {
	b.Helper()
	for n > 0 {
		batch := make([]Accepted, min(n, 1000))
		for i := range batch {
			batch[i] = benchSignal(q)
		}
		if err := q.Put(batch, nil, nil); err != nil {
			b.Fatal(err)
		}
		n -= len(batch)
	}
}

// wait returns when the courier has been called n times and all is settled.
func (c *noop) wait(b *testing.B, q *Queue, n int64) {
	for {
		if c.n.Load() >= n {
			if s := q.Status(); s.Routes[0].Delivered >= n {
				return
			}
		}
		time.Sleep(100 * time.Microsecond)
	}
}

// BenchmarkPut is what stands between a request and its 202: one signal with
// one delivery a call, durable when it returns. Its route is paused.
func BenchmarkPut(b *testing.B) {
	for _, committers := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("committers=%d", committers), func(b *testing.B) {
			q := openBench(b, &noop{}, true)
			b.ReportAllocs()
			var wg sync.WaitGroup
			work := make(chan struct{})
			for range committers {
				wg.Go(func() {
					for range work {
						if err := q.Put([]Accepted{benchSignal(q)}, nil, nil); err != nil {
							b.Error(err)
						}
					}
				})
			}
			for b.Loop() {
				work <- struct{}{}
			}
			close(work)
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "signals/s")
		})
	}
}

// BenchmarkSettle is the whole way of a delivery whose endpoint takes no time,
// from a batch put to the last outcome recorded: 1000 a round.
func BenchmarkSettle(b *testing.B) {
	const round = 1000
	c := &noop{}
	q := openBench(b, c, false)
	b.ReportAllocs()
	n := int64(0)
	for b.Loop() {
		fill(b, q, round)
		n += round
		c.wait(b, q, n)
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "deliveries/s")
}

// BenchmarkBacklog drains 20000 deliveries that wait on disk: each is found,
// read, delivered and recorded. Opening the store is in it, filling it is not.
func BenchmarkBacklog(b *testing.B) {
	const backlog = 20_000
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		b.StopTimer()
		c := &noop{}
		dir := b.TempDir()
		q, err := Open(Options{Path: dir, Courier: c})
		if err != nil {
			b.Fatal(err)
		}
		fill(b, q, backlog)
		if err := q.Close(context.Background()); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if q, err = Open(Options{Path: dir, Courier: c}); err != nil {
			b.Fatal(err)
		}
		crm := route("crm")
		crm.Concurrency = 64
		if err := q.Configure(Limits{}, []Route{crm}); err != nil {
			b.Fatal(err)
		}
		c.wait(b, q, backlog)
		n += backlog
		b.StopTimer()
		if err := q.Close(context.Background()); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "deliveries/s")
}

// BenchmarkRead reads the next deliveries that are due from a backlog.
func BenchmarkRead(b *testing.B) {
	q := openBench(b, &noop{}, true)
	fill(b, q, lane.MaxReady+10*readItems)
	e := q.engine.Load()
	s := e.sender(e.store.Route("crm"))
	b.ReportAllocs()
	for b.Loop() {
		s.mu.Lock()
		s.lane = lane.New(&e.memory)
		s.mu.Unlock()
		s.read()
	}
	b.ReportMetric(float64(b.N)*readItems/b.Elapsed().Seconds(), "deliveries/s")
}
