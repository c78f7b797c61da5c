package budget

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// A session waits for so long without getting anything, and for not much longer
// in all: its answer has a deadline.
func TestWait(t *testing.T) {
	for name, test := range map[string]struct {
		turns time.Duration // between two grants to another run of the session; 0: none
		want  time.Duration
	}{"nothing": {0, MaxWait}, "turns": {MaxWait / 2, maxWaitInAll}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPool(1, maxRun, 0)
				s := &Session{ctx: context.Background(), pool: p}
				began := time.Now()
				ended := make(chan struct{})
				go func() {
					for test.turns > 0 {
						select {
						case <-ended:
							return
						case <-time.After(test.turns):
							p.change(func() { s.granted = time.Now() })
						}
					}
				}()
				err := s.wait(func() bool { return false })
				close(ended)
				if took := time.Since(began); err != ErrBusy || took != test.want {
					t.Errorf("%v after %s, want it after %s", err, took, test.want)
				}
			})
		})
	}
}
