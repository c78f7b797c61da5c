package memory

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"signalpost/queue"
)

func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(100, time.Second)
		take := func(ctx context.Context, n, want int64) {
			t.Helper()
			if got, err := b.Take(ctx, n); got != want || err != nil {
				t.Errorf("took %d of %d, %v; want %d", got, n, err, want)
			}
		}
		take(t.Context(), 1000, 100) // more than there is: all of it
		began := time.Now()
		if _, err := b.Take(t.Context(), 1); !errors.Is(err, queue.ErrUnavailable) || time.Since(began) != time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		gone, leave := context.WithCancel(t.Context())
		go func() {
			time.Sleep(time.Second / 2)
			leave()
		}()
		if _, err := b.Take(gone, 1); err != context.Canceled {
			t.Errorf("who has left: %v", err)
		}
		// Who waits is served as soon as there is room, the first first.
		order := make(chan int64, 2)
		for _, n := range []int64{80, 10} {
			go func() {
				take(t.Context(), n, n)
				order <- n
			}()
			synctest.Wait()
		}
		b.Give(50)
		synctest.Wait()
		if len(order) != 0 {
			t.Error("one that is small overtook a large one")
		}
		b.Give(50)
		synctest.Wait()
		if first, second := <-order, <-order; first+second != 90 {
			t.Errorf("%d, %d", first, second)
		}
	})
}
