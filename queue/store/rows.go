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
			v, err := s.Get(record.RowKey(b.k[:0], record.MinutePrefix, b.minute, r.Num))
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
	err := s.ScanBack([]byte{record.MinutePrefix}, []byte{record.MinutePrefix + 1}, func(k, _ []byte) (_ bool, err error) {
		s.minute, _, err = record.ParseRowKey(k)
		return false, err
	})
	if err != nil {
		return err
	}
	return s.Rows(record.MinutePrefix, s.minute, s.minute.Add(time.Minute), func(at time.Time, n record.RouteNum, row *record.Row) error {
		if r := s.RouteOf(n); r != nil {
			r.minute, r.row = at, *row
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
		b.k, b.v = record.RowKey(b.k[:0], record.MinutePrefix, r.minute, r.Num), r.row.Append(b.v[:0])
		b.Set(b.k, b.v)
	}
}

// Rows calls f with the statistics from a time to before another, of minutes
// or of hours as prefix says, in order of time.
func (s *Store) Rows(prefix byte, from, to time.Time, f func(at time.Time, n record.RouteNum, r *record.Row) error) error {
	lo, hi := record.RowKey(nil, prefix, from, 0), record.RowKey(nil, prefix, to, 0)
	return s.Scan(lo, hi, func(k, v []byte) (bool, error) {
		at, n, err := record.ParseRowKey(k)
		if err != nil {
			return false, err
		}
		r, err := record.ParseRow(v)
		if err != nil {
			return false, err
		}
		return true, f(at, n, &r)
	})
}

// FirstRow is the first time that there are statistics of, as Rows has it; zero if there are none.
func (s *Store) FirstRow(prefix byte) (first time.Time, err error) {
	err = s.Scan([]byte{prefix}, []byte{prefix + 1}, func(k, _ []byte) (_ bool, err error) {
		first, _, err = record.ParseRowKey(k)
		return false, err
	})
	return first, err
}

// tendRows moves minutes into their hour, and deletes hours, when their time has come.
func (s *Store) tendRows(now time.Time) error {
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
	err := s.Rows(record.HourPrefix, time.Time{}, before, func(_ time.Time, n record.RouteNum, r *record.Row) error {
		gone[n] += r.Accepted
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
	add := func(_ time.Time, n record.RouteNum, r *record.Row) error {
		if rows[n] == nil {
			rows[n] = new(record.Row)
		}
		rows[n].Add(r)
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
