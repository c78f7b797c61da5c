package store

import (
	"time"

	"signalpost/queue/record"
)

const (
	minutesKept = 48 * time.Hour // then a minute goes into its hour
	hoursKept   = 90 * day
)

// Row is the route's statistics of this minute, to be changed; they go into this batch.
// The committer holds the newest row of each route. It reads only when the clock
// has been set back, whether a minute has a row that was left.
func (b *Batch) Row(r *Route) *record.Row {
	b.Count(r)
	if s := b.s; !r.minute.Equal(b.minute) {
		b.putRow(r)
		r.minute, r.row = b.minute, record.Row{}
		if s.minuteBack = s.minuteBack || b.minute.Before(s.minute); s.minuteBack {
			v, err := s.Get(record.RowKey(b.k, record.MinutePrefix, b.minute, r.Num))
			if err == nil && v != nil {
				r.row, err = record.ParseRow(v)
			}
			if err != nil {
				s.ReportOnce("statistics cannot be read; those of a minute that the clock came back to begin anew", err)
			}
		}
		if b.minute.After(s.minute) {
			s.minute = b.minute
		}
	}
	r.rowTouched = true
	return &r.row
}

// loadRows reads the rows that may go on: those of the newest minute there is.
func (s *Store) loadRows() error {
	newest, err := firstKey(s.ScanBack, record.MinutePrefix, record.ParseRowKey)
	if err != nil {
		return err
	}
	s.minute = newest.At
	return s.Rows(record.MinutePrefix, s.minute, s.minute.Add(time.Minute), func(at record.RowAt, row record.Row) error {
		if r := s.RouteOf(at.Route); r != nil {
			r.minute, r.row = at.At, row
		}
		return nil
	})
}

// Made counts a new delivery.
func (b *Batch) Made(r *Route, d *record.Delivery) {
	c, row := b.Count(r), b.Row(r)
	c.Made++
	b.count(r, d, 1)
	row.Accepted++
	row.Move(&record.Delivery{}, d)
}

// Unmade takes back what Made did: the delivery never came to be.
func (b *Batch) Unmade(r *Route, d *record.Delivery) {
	c, row := b.Count(r), b.Row(r)
	c.Made--
	b.count(r, d, -1)
	row.Accepted--
	if d.State == record.IsDead {
		row.Dead--
	}
}

func (b *Batch) putRow(r *Route) {
	if r.rowTouched {
		r.rowTouched = false
		b.put(record.RowKey(b.k, record.MinutePrefix, r.minute, r.Num), r.row.Append(b.v))
	}
}

// Rows calls f with the statistics from a time to before another, of minutes
// or of hours as prefix says, in order of time.
func (s *Store) Rows(prefix byte, from, to time.Time, f func(record.RowAt, record.Row) error) error {
	return s.eachOf(record.RowKey(nil, prefix, from, 0), record.RowKey(nil, prefix, to, 0), pairs(record.ParseRowKey, record.ParseRow, f))
}

// FirstRow is the first time that there are statistics of, as Rows has it; zero if there are none.
func (s *Store) FirstRow(prefix byte) (time.Time, error) {
	first, err := firstKey(s.Scan, prefix, record.ParseRowKey)
	return first.At, err
}

// expireRows moves minutes into their hour, and deletes hours, when their time has come.
func (s *Store) expireRows(now time.Time) error {
	before := now.Add(-minutesKept).Truncate(time.Hour)
	for {
		hour, err := s.FirstRow(record.MinutePrefix)
		if err != nil {
			return err
		}
		if hour = hour.Truncate(time.Hour); hour.IsZero() || !hour.Before(before) {
			break
		}
		if err := s.rollUp(hour); err != nil {
			return err
		}
	}
	if err := s.trim(record.FailuresPrefix, record.FailuresKey(nil, now.Add(-causesKept), 0, 0)); err != nil {
		return err
	}
	before = now.Add(-hoursKept).Truncate(time.Hour)
	gone := map[record.RouteNum]int64{}
	err := s.Rows(record.HourPrefix, time.Time{}, before, func(at record.RowAt, r record.Row) error {
		gone[at.Route] += r.Accepted
		return nil
	})
	if err != nil || len(gone) == 0 {
		return err
	}
	return s.Do(func(b *Batch) {
		b.DeleteRange([]byte{record.HourPrefix}, record.RowKey(nil, record.HourPrefix, before, 0))
		for n, accepted := range gone {
			b.Count(s.RouteOf(n)).Unkept += accepted
		}
	})
}

// rollUp moves the minutes of an hour into it. No minute of it is counted any
// more, unless the clock was set back by days.
func (s *Store) rollUp(hour time.Time) error {
	rows := map[record.RouteNum]*record.Row{}
	add := func(at record.RowAt, r record.Row) error {
		if rows[at.Route] == nil {
			rows[at.Route] = new(record.Row)
		}
		rows[at.Route].Add(&r)
		return nil
	}
	for _, prefix := range []byte{record.MinutePrefix, record.HourPrefix} {
		if err := s.Rows(prefix, hour, hour.Add(time.Hour), add); err != nil {
			return err
		}
	}
	return s.Do(func(b *Batch) {
		for n, r := range rows {
			b.Set(record.RowKey(nil, record.HourPrefix, hour, n), r.Append(nil))
		}
		b.DeleteRange(record.RowKey(nil, record.MinutePrefix, hour, 0), record.RowKey(nil, record.MinutePrefix, hour.Add(time.Hour), 0))
	})
}
