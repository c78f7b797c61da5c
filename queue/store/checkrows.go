package store

import (
	"fmt"
	"time"

	"signalpost/queue/record"
)

// tallied are the attempts of one route and hour, by verdict.
type tallied struct{ delivered, retry, dead int64 }

type routeHour struct {
	route record.RouteNum
	hour  time.Time
}

// logged counts an attempt of the log, if a version that keeps statistics made it.
func (c *checker) logged(e *Entry) {
	if e.Trigger == "" {
		return
	}
	at := routeHour{e.Route, e.At.Time().Truncate(time.Hour)}
	n := c.attempts[at]
	switch e.Verdict {
	case record.Delivered:
		n.delivered++
	case record.Retry:
		n.retry++
	case record.Dead:
		n.dead++
	}
	c.attempts[at] = n
}

// row: it is of a route, and with the others of its hour it counts the attempts
// that the log has, if it has all of that hour.
func (c *checker) row(k, v []byte) error {
	at, n, err := record.ParseRowKey(k)
	if err != nil {
		return err
	}
	r, err := record.ParseRow(v)
	if err != nil {
		return err
	}
	if c.routes[n] == nil {
		return fmt.Errorf("statistics of the unknown route %d", n)
	}
	c.routes[n].accepted += r.Accepted
	hour := routeHour{n, at.Truncate(time.Hour)}
	sum := c.counted[hour]
	sum.delivered += r.Delivered
	sum.retry += r.Retry
	sum.dead += r.Failures() - r.Retry
	c.counted[hour] = sum
	return nil
}

func (c *checker) checkRows() {
	for at, n := range c.attempts {
		sum := c.counted[at]
		whole := at.hour.After(c.oldest.Time()) // else some of its entries may be gone
		if whole && sum != n || sum.delivered < n.delivered || sum.retry < n.retry || sum.dead < n.dead {
			c.fault(fmt.Errorf("route %d: the hour of %v has %+v attempts in the log, its statistics say %+v", at.route, at.hour, n, sum))
		}
	}
}

// affected: it counts the deliveries that name the cause; all have been seen.
func (c *checker) affected(k, v []byte) error {
	n, cause, err := record.ParseCauseKey(k)
	if err != nil {
		return err
	}
	want, err := record.ParseAffected(v)
	if err != nil {
		return err
	}
	r := c.routes[n]
	if r == nil || r.affected[cause] != want {
		return fmt.Errorf("cause %x: says %+v, deliveries say otherwise", cause, want)
	}
	delete(r.affected, cause)
	return nil
}

func (c *checker) failures(k, v []byte) error {
	n, cause, err := record.ParseCauseKey(k)
	if err != nil {
		return err
	}
	f, err := record.ParseFailures(v)
	if err == nil && (f.ID() != cause || c.routes[n] == nil || f.Count < 1) {
		err = fmt.Errorf("failures %+v of another cause, or of no route", f)
	}
	return err
}
