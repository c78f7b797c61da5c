package store

import (
	"bytes"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"signalpost/queue/record"
)

// A Batch is what operations write to. It belongs to the committer.
type Batch struct {
	s       *Store
	parts   [1 << 8]*pebble.Batch // by the first byte of the keys, nil until there is one
	size    int                   // bytes in parts
	touched []*Route
	group   *group   // that this batch is for
	number  uint64   // of this batch, from 1
	chains  []*chain // that it changes
	tail    Tail
	highest record.Stamp             // of all entries of the log
	minute  time.Time                // that statistics go to: that of the newest entry, or of the batch
	k, v    []byte                   // scratch for a key and a value: empty, k with room for any that has no text
	lowPut  record.SignalID          // lowest id put since the sweeper set it to the highest
	bound   map[record.IdemHash]bool // the keys bound since the sweeper made it; nil while it does not look
}

// A batch in memory refuses nothing that it is given here, so its errors are
// faults of this program.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// Set, Delete and DeleteRange change keys, which they do not keep.
func (b *Batch) Set(k, v []byte)             { must(b.part(k, len(v)).Set(k, v, nil)) }
func (b *Batch) Delete(k []byte)             { must(b.part(k, 0).Delete(k, nil)) }
func (b *Batch) DeleteRange(from, to []byte) { must(b.part(from, len(to)).DeleteRange(from, to, nil)) }

// put is Set where v was appended to b.v.
func (b *Batch) put(k, v []byte) {
	b.Set(k, v)
	b.v = v[:0]
}

// part is where a change of the key goes. Keys of a kind are kept together,
// in the order they came: that is nearly the order they are stored in, and
// Pebble inserts neighbours one after the other at a fraction of the cost.
func (b *Batch) part(k []byte, more int) *pebble.Batch {
	b.size += len(k) + more
	p := b.parts[k[0]]
	if p == nil {
		p = b.s.db.NewBatch()
		b.parts[k[0]] = p
	}
	return p
}

// gather moves everything to the batch.
func (b *Batch) gather(to *pebble.Batch) {
	for _, p := range b.parts {
		if p != nil && !p.Empty() {
			must(to.Apply(p, nil))
			p.Reset()
		}
	}
	b.size = 0
}

func (b *Batch) close() {
	for _, p := range b.parts {
		if p != nil {
			_ = p.Close()
		}
	}
}

// PutSignal writes a new signal.
func (b *Batch) PutSignal(id record.SignalID, r record.Signal) {
	if bytes.Compare(id[:], b.lowPut[:]) < 0 {
		b.lowPut = id
	}
	b.put(record.SignalKey(b.k, id), r.Append(b.v))
}

// PutDelivery writes a delivery, new or changed. Its due key is another matter.
func (b *Batch) PutDelivery(id record.DeliveryID, r *record.Delivery) {
	b.put(record.DeliveryKey(b.k, id), r.Append(b.v))
}

// PutBody writes what a delivery with the flags has of its own.
func (b *Batch) PutBody(id record.DeliveryID, flags uint16, body record.Body) {
	b.put(record.BodyKey(b.k, id), body.Append(b.v, flags))
}

// PutExtra says that a retry added the delivery to the signal.
func (b *Batch) PutExtra(s record.SignalID, id record.DeliveryID) {
	b.Set(record.ExtraKey(b.k, s, id), nil)
}

// AddDue writes a delivery's due key. The caller has the counts written in the same
// batch.
func (b *Batch) AddDue(r *Route, due record.Millis, id record.DeliveryID) {
	b.Set(record.DueKey(b.k, r.Num, due, id), nil)
	r.counts.Low = min(r.counts.Low, due)
}

// RemoveDue removes what AddDue added. A single delete would do, and vanish sooner,
// but Pebble's compactions panic, and end the process, where they cannot read
// on from one (v2.1.7, internal/compact, skipDueToSingleDeleteElision).
func (b *Batch) RemoveDue(r *Route, due record.Millis, id record.DeliveryID) {
	b.Delete(record.DueKey(b.k, r.Num, due, id))
}

// Bind binds an idempotency key to an answer.
func (b *Batch) Bind(h record.IdemHash, r record.Idem) {
	b.put(record.IdemKey(b.k, h), r.Append(b.v))
	b.Set(record.IdemTimeKey(b.k, r.At, h), nil)
	if b.bound != nil {
		b.bound[h] = true
	}
}

// Log writes an entry of the route's log, and sets its stamp and its numbers.
func (b *Batch) Log(r *Route, e *Entry) {
	e.Route, e.RouteName = r.Num, r.Name
	e.Config, e.Peer, e.Request = b.Text(e.ConfigHash), b.Text(e.PeerAddress), b.Text(e.RequestText)
	e.At = b.stamp()
	b.put(record.LogKey(b.k, e.At), e.Append(b.v))
	b.group.entries = append(b.group.entries, *e)
}

// A Tail is how far the log goes. Stamps grow until the clock is set back.
type Tail struct {
	Newest record.Stamp // of the newest entry
	Steps  int          // how often the clock was set back since the store was opened
	From   record.Stamp // nothing was logged below since it was last set back
}

// Tail is the end of the log as it can be read.
func (s *Store) Tail() Tail {
	s.tailMu.Lock()
	defer s.tailMu.Unlock()
	return s.tail
}

// clockSlack is how far the log may be ahead of the clock, so that stamps grow
// also where entries come faster than it ticks, or it is being adjusted.
const clockSlack = time.Second

// stamp is the time of a new log entry: later than that of the one before,
// unless the clock was set back. A batch follows that only from its beginning on:
// its entries and its statistics are of the same minutes.
func (b *Batch) stamp() record.Stamp {
	now := b.s.o.Now()
	at := max(b.tail.Newest+1, record.StampOf(now))
	if b.tail.Newest > record.StampOf(now.Add(clockSlack)) && !now.Before(b.minute) {
		at = record.StampOf(now)
		b.tail.Steps++
		b.tail.From = at
	}
	for at <= b.highest && b.taken(at) {
		at++
	}
	b.tail.Newest, b.highest = at, max(b.highest, at)
	if m := at.Time().Truncate(time.Minute); m.After(b.minute) { // what a batch has left cannot be read before it ends
		b.minute = m
	}
	return at
}

// taken tells whether there is an entry of that stamp. Only where the clock was
// set back does the committer have to read to know. What cannot be read is free:
// else there would be no end of looking in a store that has failed.
func (b *Batch) taken(at record.Stamp) bool {
	v, err := b.s.Get(record.LogKey(nil, at))
	return err == nil && v != nil
}

// Newest is the stamp of the newest entry of the log.
func (b *Batch) Newest() record.Stamp { return b.tail.Newest }

// Count returns the totals of the route, to be changed; they go into this batch.
func (b *Batch) Count(r *Route) *record.Counts {
	if !r.touched {
		r.touched = true
		b.touched = append(b.touched, r)
	}
	return &r.counts
}

// Route finds the route of a name. One that the store does not know gets a number in this batch.
func (b *Batch) Route(name string) *Route {
	if r := b.s.Route(name); r != nil {
		return r
	}
	b.s.lastNum++
	r := b.s.addRoute(name, b.s.lastNum)
	b.Set(record.RouteKey(b.k, r.Num), []byte(name))
	b.Count(r)
	return r
}

// writeCounts writes the counts that have changed, and appends them to counts.
// The low-water marks move up now and then: to know them costs a walk over all leases.
func (b *Batch) writeCounts(counts []routeCounts) []routeCounts {
	for i, r := range b.touched {
		if r.sinceLow++; r.sinceLow >= b.s.o.LowEvery {
			r.sinceLow = 0
			r.counts.Low = b.s.o.Low(r)
		}
		r.counts.Settle()
		b.putRow(r)
		b.putCauses(r)
		b.put(record.CountsKey(b.k, r.Num), r.counts.Append(b.v))
		counts = append(counts, routeCounts{r, r.counts})
		r.touched = false
		b.touched[i] = nil
	}
	b.touched = b.touched[:0]
	return counts
}
