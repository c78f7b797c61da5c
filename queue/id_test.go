package queue

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"
)

// A store knows its newest id, so that ids go on where the clock went back
// while the program was not running.
func TestIDsGrowOverARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, route("crm"))
		r.SetPaused("crm", true)
		ahead := r.Queue.ids.Next(time.Now().Add(time.Hour)) // as if the clock had gone back since
		a := Accepted{Signal: Signal{ID: ahead, Type: "lead", Body: []byte("{}")}, Deliveries: []Made{{Route: "crm"}}}
		r.putAll(a)
		// A delivery that a retry adds takes an id of the same kind.
		two := func(Signal, string) ([]Made, error) { return bodies("1", "2"), nil }
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
