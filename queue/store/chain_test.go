package store

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"signalpost/queue/record"
)

// TestChains: whatever comes and goes, in batches that cannot be read yet when the
// next is made, each chain has the lowest of those left at its turn, and in the end nobody is left behind.
func TestChains(t *testing.T) {
	for name, slow := range map[string]time.Duration{"as it is": 0, "a log": 0, "a slow log": 500 * time.Microsecond} {
		t.Run(name, func(t *testing.T) {
			var log Log
			if name != "as it is" {
				log = &slowLog{fakeLog{}, slow}
			}
			chains(t, log)
		})
	}
}

type slowLog struct {
	fakeLog
	takes time.Duration
}

func (l *slowLog) Append(r []byte) (uint64, error) {
	time.Sleep(l.takes)
	return l.fakeLog.Append(r)
}

func chains(t *testing.T, log Log) {
	mem := vfs.NewMem()
	s, err := tryOpen(mem, log)
	if err != nil {
		t.Fatal(err)
	}
	s.o.Prompt = true // many small batches
	rng := rand.New(rand.NewPCG(1, 2))
	// The model is the committer's: of each order who is there, and who is first.
	there := map[record.OrderID][]record.DeliveryID{}
	first := map[record.OrderID]record.DeliveryID{}
	stored := map[record.DeliveryID]record.Delivery{}
	s.o.Promoting = func(_ *Route, due record.Millis, id record.DeliveryID) {
		o := stored[id].Order
		if lowest := slices.MinFunc(there[o], func(a, b record.DeliveryID) int { return bytes.Compare(a[:], b[:]) }); id != lowest {
			t.Errorf("it is the turn of %s, though %s waits", id, lowest)
		}
		d := stored[id]
		d.Flags, d.Due = d.Flags&^record.Behind, due
		stored[id], first[o] = d, id
	}
	s.o.Promoted = func(*Route, record.Millis, record.DeliveryID, error) {}
	s.Start(Limits{}.WithDefaults())
	var ids record.IDs
	var ends []*doOp
	do := func(write func(*Batch)) {
		op := &doOp{write: write, end: make(chan error, 1)}
		ends = append(ends, op)
		s.Submit(op)
	}
	leave := func(b *Batch, id record.DeliveryID, now record.Delivery) {
		r, was := b.Route("a"), stored[id]
		there[was.Order] = slices.DeleteFunc(there[was.Order], func(other record.DeliveryID) bool { return other == id })
		if now.State != record.IsPending {
			e := Entry{Entry: record.Entry{Delivery: id, Signal: id.Signal(), Verdict: record.Dead, Reason: record.Gone}}
			b.Log(r, &e)
			now.Last = e.At
		}
		if !was.Waits() {
			b.RemoveDue(r, was.Due, id)
		}
		if !b.Order(r, id, &was, &now) {
			t.Errorf("%s has been overtaken", id)
		}
		if now.State == record.IsPending && !now.Waits() {
			first[now.Order] = id
			b.AddDue(r, now.Due, id)
		}
		b.PutDelivery(id, &now)
		b.Move(r, &was, &now)
		stored[id] = now
		if now.InChain() {
			there[now.Order] = append(there[now.Order], id)
		}
	}
	pick := func() (id record.DeliveryID, ok bool) {
		all := there[record.OrderOf(fmt.Sprint(rng.IntN(3)))]
		if len(all) == 0 {
			return id, false
		}
		return all[rng.IntN(len(all))], true
	}
	for range 2000 {
		do(func(b *Batch) {
			switch roll := rng.IntN(10); {
			case roll < 5: // another comes, of a recent id
				at := ids.Next(time.Now())
				r := b.Route("a")
				b.PutSignal(at, record.Signal{Type: "lead"})
				d := record.Delivery{Route: r.Num, Signal: at, Due: record.MillisOf(time.Now()), Order: record.OrderOf(fmt.Sprint(rng.IntN(3)))}
				id := at.Delivery(1)
				if b.Order(r, id, &record.Delivery{}, &d); !d.Waits() {
					b.AddDue(r, d.Due, id)
					first[d.Order] = id
				}
				b.PutDelivery(id, &d)
				b.Made(r, &d)
				stored[id] = d
				there[d.Order] = append(there[d.Order], id)
			case roll < 8: // the first, or any, ends
				id, ok := pick()
				if ok && roll < 7 {
					id = first[stored[id].Order]
				}
				if ok {
					now := stored[id]
					now.State, now.Reason, now.Due = record.IsDead, record.Gone, 0
					leave(b, id, now)
				}
			case roll < 9: // one goes to another order, or none
				if id, ok := pick(); ok {
					now := stored[id]
					now.Order, now.Due = record.OrderOf([]string{"", "0", "1"}[rng.IntN(3)]), record.MillisOf(time.Now())
					if now.Order != stored[id].Order {
						leave(b, id, now)
					}
				}
			default: // one behind changes
				id, ok := pick()
				if was, now := stored[id], stored[id]; ok && was.Waits() {
					now.Flags |= record.Revived
					b.Order(b.Route("a"), id, &was, &now)
					b.PutDelivery(id, &now)
					stored[id] = now
				}
			}
		})
	}
	for _, op := range ends {
		if err := <-op.end; err != nil {
			t.Fatal(err)
		}
	}
	for id, want := range stored {
		if got, err := s.Delivery(id); err != nil || got != want {
			t.Errorf("%s is %+v, %v; want %+v", id, got, err, want)
		}
	}
	s.stop(t)
	if err := Check(path, mem); err != nil {
		t.Error(err)
	}
}

// TestDamagedChain: where a chain cannot be read its deliveries go out of order, and
// say so; where its next cannot, it goes on with the next that comes.
func TestDamagedChain(t *testing.T) {
	mem := vfs.NewMem()
	s, err := tryOpen(mem, nil)
	if err != nil {
		t.Fatal(err)
	}
	var turns []record.DeliveryID
	s.o.Promoting = func(_ *Route, _ record.Millis, id record.DeliveryID) { turns = append(turns, id) }
	s.o.Promoted = func(*Route, record.Millis, record.DeliveryID, error) {}
	s.Start(Limits{}.WithDefaults())
	defer s.stop(t)
	var ids record.IDs
	put := func(b *Batch, order string) (record.DeliveryID, record.Delivery) {
		at := ids.Next(time.Now())
		r := b.Route("a")
		b.PutSignal(at, record.Signal{Type: "lead"})
		d := record.Delivery{Route: r.Num, Signal: at, Due: 1, Order: record.OrderOf(order)}
		b.Order(r, at.Delivery(1), &record.Delivery{}, &d)
		b.PutDelivery(at.Delivery(1), &d)
		return at.Delivery(1), d
	}
	do := func(f func(b *Batch)) {
		t.Helper()
		if err := s.Do(f); err != nil {
			t.Fatal(err)
		}
	}
	do(func(b *Batch) { b.Set(record.ChainKey(nil, b.Route("a").Num, record.OrderOf("x")), []byte{1}) })
	do(func(b *Batch) {
		if _, d := put(b, "x"); d.InChain() || d.Flags&record.OutOfOrder == 0 || d.Due != 1 {
			t.Errorf("of a damaged chain it is %+v", d)
		}
	})

	var first, second, third record.DeliveryID
	var was, held record.Delivery
	do(func(b *Batch) { first, was = put(b, "y"); second, held = put(b, "y") })
	do(func(b *Batch) { b.Set(record.DeliveryKey(nil, second), []byte{1}) })
	do(func(b *Batch) {
		if was.Waits() || !held.Waits() {
			t.Fatalf("%+v %+v", was, held)
		}
		now := was
		now.State, now.Reason = record.IsDead, record.Gone
		b.Order(b.Route("a"), first, &was, &now)
		b.PutDelivery(first, &now)
	})
	if len(turns) > 0 {
		t.Errorf("it is the turn of what cannot be read: %v", turns)
	}
	do(func(b *Batch) { b.PutDelivery(second, &held) }) // from a backup
	do(func(b *Batch) {
		var d record.Delivery
		if third, d = put(b, "y"); !d.Waits() || len(turns) != 1 || turns[0] != second {
			t.Errorf("it is the turn of %v; %s is %+v", turns, third, d)
		}
	})
}
