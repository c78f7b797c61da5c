package store

import (
	"cmp"
	"time"

	"signalpost/queue/record"
)

const (
	causesHour = 32  // causes of a route that an hour tells apart
	causesNow  = 256 // and that what is pending or dead does
	causesKept = 30 * day
)

// causes are what the committer knows of why a route fails. It is bounded: what
// goes beyond is gathered by its class.
type causes struct {
	hour     time.Time // whose failures these are
	failures map[record.CauseID]*record.Failures
	affected map[record.CauseID]*record.Affected // all that the store has
	touched  map[record.CauseID]bool             // those of both that go into the batch
}

// Fail counts that a delivery failed of the cause, at the newest time of the log,
// and returns by which id the delivery is to name it.
func (b *Batch) Fail(r *Route, id record.DeliveryID, c record.Cause) record.CauseID {
	b.Count(r)
	of := b.causes(r)
	cause := c.ID()
	if of.failures[cause] == nil && len(of.failures) >= causesHour || of.affected[cause] == nil && len(of.affected) >= causesNow {
		c = c.Other()
		cause = c.ID()
	}
	f := of.failures[cause]
	if f == nil {
		f = &record.Failures{Cause: c, First: b.Newest()}
		of.failures[cause] = f
	}
	f.Count++
	f.Last, f.Sample = b.Newest(), id
	of.touched[cause] = true
	return cause
}

// causes are those of the hour.
func (b *Batch) causes(r *Route) *causes {
	of := &r.causes
	hour := b.minute.Truncate(time.Hour)
	if of.hour.Equal(hour) {
		return of
	}
	b.putCauses(r)
	of.hour, of.failures = hour, map[record.CauseID]*record.Failures{}
	if b.s.minuteBack {
		if err := b.s.loadFailures(hour, r); err != nil {
			b.s.ReportOnce("failures cannot be read; those of an hour that the clock came back to begin anew", err)
		}
	}
	return of
}

func (b *Batch) putCauses(r *Route) {
	of := &r.causes
	for cause := range of.touched {
		if f := of.failures[cause]; f != nil {
			b.put(record.FailuresKey(b.k, of.hour, r.Num, cause), f.Append(b.v))
		}
		k := record.AffectedKey(b.k, r.Num, cause)
		switch n := of.affected[cause]; {
		case n == nil:
		case *n == record.Affected{}:
			delete(of.affected, cause)
			b.Delete(k)
		default:
			b.put(k, n.Append(b.v))
		}
	}
	clear(of.touched)
}

// count adds n deliveries that are as d is to the route's totals.
func (b *Batch) count(r *Route, d *record.Delivery, n int64) {
	b.Count(r).Add(d, n)
	if d.Cause == 0 {
		return
	}
	of := &r.causes
	if of.affected[d.Cause] == nil {
		of.affected[d.Cause] = new(record.Affected)
	}
	of.affected[d.Cause].Add(d.State, n)
	of.touched[d.Cause] = true
}

// Move counts that a delivery goes from one state to another.
func (b *Batch) Move(r *Route, was, now *record.Delivery) {
	b.count(r, now, 1)
	b.count(r, was, -1)
	b.Row(r).Move(was, now)
}

// loadCauses reads what the causes of all routes affect, and the failures of the newest hour.
func (s *Store) loadCauses() error {
	err := s.each(record.AffectedPrefix, pairs(record.ParseCauseKey, record.ParseAffected, func(at record.CauseOf, n record.Affected) error {
		if r := s.RouteOf(at.Route); r != nil {
			r.causes.affected[at.Cause] = &n
		}
		return nil
	}))
	hour := s.minute.Truncate(time.Hour)
	for _, r := range s.Routes() {
		r.causes.hour = hour
	}
	return cmp.Or(err, s.loadFailures(hour, nil))
}

// loadFailures reads those of the hour, of one route unless that is nil.
func (s *Store) loadFailures(hour time.Time, only *Route) error {
	return s.Failures(hour, hour.Add(time.Hour), func(at record.CauseOf, f record.Failures) error {
		if r := s.RouteOf(at.Route); r != nil && (only == nil || r == only) {
			r.causes.failures[at.Cause] = &f
		}
		return nil
	})
}

// Failures calls f with those of the hours from a time to before another, in order.
func (s *Store) Failures(from, to time.Time, f func(record.CauseOf, record.Failures) error) error {
	return s.eachOf(record.FailuresKey(nil, from, 0, 0), record.FailuresKey(nil, to, 0, 0), pairs(record.ParseCauseKey, record.ParseFailures, f))
}

// Affected is how many deliveries of the route are pending, or dead and not
// discarded, whose newest attempt failed of the cause.
func (s *Store) Affected(of record.CauseOf) (r record.Affected, err error) {
	v, err := s.Get(record.AffectedKey(nil, of.Route, of.Cause))
	if err != nil || v == nil {
		return r, err
	}
	return record.ParseAffected(v)
}
