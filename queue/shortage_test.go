package queue

import (
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestShortageIsNotCharged: what the machine lacks is no fault of the endpoint.
// Deliveries are given back, the route rests, and one line says so.
func TestShortageIsNotCharged(t *testing.T) {
	bubble(t, "shortage", func(t *testing.T) {
		said := &lines{}
		r := &rig{t: t, fs: vfs.NewMem(), endpoint: &endpoint{}, routes: []Route{route("crm")}}
		r.options = Options{Path: storePath, Courier: r.endpoint, Log: slog.New(slog.NewTextHandler(said, nil))}
		r.open()
		t.Cleanup(r.close)
		short := func(shot) (Outcome, error) { return Outcome{}, fmt.Errorf("%w: too many open files", ErrShortage) }
		r.set(0, short)
		ids := r.putMany("crm", 100)
		time.Sleep(time.Minute)
		if n := len(r.taken()); n > 8*700 || n < 600 {
			t.Errorf("%d calls in a minute, want neither a stop nor a tight loop", n)
		}
		for _, id := range ids {
			if d := r.detail(id); d.Attempts != 0 || d.State != StatePending {
				t.Fatalf("it is %+v", d.Info)
			}
		}
		if s := r.status("crm"); s.State != RouteOK {
			t.Errorf("the route is %s", s.State)
		}
		synctest.Wait()
		r.taken()
		r.set(0, nil)
		time.Sleep(time.Second)
		once(t, r.taken(), ids)
		// Some attempts come about, and others do not: that is one shortage.
		for range 5 {
			r.put("crm")
			time.Sleep(2 * time.Second)
			r.set(0, short)
			r.put("crm")
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if n := strings.Count(strings.Join(said.text, ""), "too many open files"); n != 1 {
				t.Fatalf("it says %q: want one line", said.text)
			}
			r.set(0, nil)
		}
		time.Sleep(2 * time.Minute)
		r.set(0, short)
		r.put("crm")
		time.Sleep(time.Second)
		synctest.Wait()
		if n := strings.Count(strings.Join(said.text, ""), "too many open files"); n != 2 {
			t.Errorf("it says %q: want a line each time it begins", said.text)
		}
	})
}

// TestSlowDiskHoldsAttempts: while outcomes wait for the disk no further attempts
// are made, or a crash would repeat all of them.
func TestSlowDiskHoldsAttempts(t *testing.T) {
	bubble(t, "slow", func(t *testing.T) {
		var slow atomic.Bool
		mem := vfs.NewCrashableMem()
		sync := func() string {
			if slow.Load() {
				time.Sleep(3 * time.Second)
			}
			return ""
		}
		r := newRigOn(t, &hookFS{FS: mem, hook: func(o fsOp, after bool) error {
			if !after && o.kind == "sync" && strings.HasSuffix(o.name, ".log") {
				sync()
			}
			return nil
		}}, Limits{}, route("a"))
		if l, ok := logs.Load(r.fs); ok {
			l.(*memLog).fault = sync
		}
		r.SetPaused("a", true)
		ids := r.putMany("a", 5000)
		r.set(time.Millisecond, nil)
		r.SetPaused("a", false)
		slow.Store(true)
		time.Sleep(2 * time.Second)
		if n := len(r.taken()); n > 8*60+8 || n < 8 {
			t.Errorf("%d attempts of one millisecond, eight at once, beside a disk that does not answer", n)
		}
		slow.Store(false)
		time.Sleep(time.Minute)
		for _, id := range ids {
			r.wantState(id, StateDelivered, "")
		}
	})
}
