package fleet

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"signalpost/proxy/fleet/natstest"
	"signalpost/queue"
)

// use sends a request with a key to the sidecar, as ingest does.
func (s *sidecar) use(key, body string) (answer string, replayed bool, err error) {
	c, was, err := s.Claim(context.Background(), key, sha256.Sum256([]byte(body)))
	if err != nil || c == nil {
		return string(was), true, err
	}
	defer c.Release()
	if body == "refused" {
		return "", false, nil
	}
	a := queue.Accepted{Signal: queue.Signal{ID: s.queue.NewSignalID(), Type: "lead", Body: []byte(`{}`)}, Deliveries: []queue.Made{{Route: "crm"}}}
	answer = a.ID.String()
	return answer, false, s.queue.Put([]queue.Accepted{a}, c, []byte(answer))
}

// TestKeys: an Idempotency-Key has one answer, whichever sidecar is asked, also
// when the one that gave it is gone.
func TestKeys(t *testing.T) {
	c := natstest.Start(t, 1)
	r := &recorder{got: map[queue.DeliveryID]int{}}
	a, b := join(t, c, "app", t.TempDir(), r), join(t, c, "app", t.TempDir(), r)
	defer func() { b.stop() }()
	first, replayed, err := a.use("k", "body")
	if err != nil || replayed {
		t.Fatal(replayed, err)
	}
	same := func(s *sidecar) {
		t.Helper()
		eventually(t, 30*time.Second, func() error {
			got, replayed, err := s.use("k", "body")
			if err != nil && !errors.Is(err, queue.ErrUnavailable) || err == nil && (got != first || !replayed) {
				t.Fatalf("answered %s, again %v, %v", got, replayed, err)
			}
			return err
		})
		if _, _, err := s.use("k", "another body"); !errors.Is(err, queue.ErrKeyReused) {
			t.Errorf("with another body: %v", err)
		}
	}
	same(a)
	same(b)
	if _, _, err := a.use("free", "refused"); err != nil {
		t.Error(err)
	}
	if _, replayed, err := b.use("free", "body"); err != nil || replayed {
		t.Errorf("a key of what was refused: %v, %v", replayed, err)
	}

	// Many at once, on both.
	for i := range 20 {
		var stored atomic.Int64
		var all sync.Map
		var using sync.WaitGroup
		for j := range 8 {
			using.Go(func() {
				got, replayed, err := []*sidecar{a, b}[j%2].use(fmt.Sprint("at once", i), "body")
				if err != nil {
					t.Error(err)
				} else if all.Store(got, true); !replayed {
					stored.Add(1)
				}
			})
		}
		using.Wait()
		n := 0
		all.Range(func(any, any) bool { n++; return true })
		if stored.Load() != 1 || n != 1 {
			t.Errorf("%d were stored, with %d answers", stored.Load(), n)
		}
	}

	a.crash()
	if _, _, err := b.use("k", "body"); !errors.Is(err, queue.ErrUnavailable) {
		t.Errorf("while nobody has the ledger: %v", err)
	}
	same(b)
	a = join(t, c, "app", t.TempDir(), r)
	same(a)
	a.stop()
}
