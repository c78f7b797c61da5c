package store

import (
	"sync"
	"time"

	"signalpost/queue/record"
)

// A Route is a name that deliveries belong to, with its running totals.
type Route struct {
	Num  record.RouteNum
	Name string

	counts     record.Counts // the committer's
	touched    bool          // the committer's: counts go into its batch
	minute     time.Time     // the committer's: whose row is row
	row        record.Row    // the committer's
	rowTouched bool          // the committer's: row goes into its batch
	causes     causes        // the committer's
	sinceLow   int           // the committer's: batches since counts.Low was moved up

	mu    sync.Mutex
	shown record.Counts // as of the last batch that can be read; guarded by mu
}

// Counts are the totals as of the last batch that can be read.
func (r *Route) Counts() record.Counts {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.shown
}

// Route is the route of the name, nil if nothing is known of it.
func (s *Store) Route(name string) *Route {
	s.routesMu.RLock()
	defer s.routesMu.RUnlock()
	return s.byName[name]
}

// RouteOf is the route of the number, nil if there is none.
func (s *Store) RouteOf(n record.RouteNum) *Route {
	s.routesMu.RLock()
	defer s.routesMu.RUnlock()
	return s.byNum[n]
}

// Routes are all that are known.
func (s *Store) Routes() []*Route {
	s.routesMu.RLock()
	defer s.routesMu.RUnlock()
	all := make([]*Route, 0, len(s.byName))
	for _, r := range s.byName {
		all = append(all, r)
	}
	return all
}

func (s *Store) addRoute(name string, n record.RouteNum) *Route {
	r := &Route{Num: n, Name: name, causes: causes{
		failures: map[record.CauseID]*record.Failures{}, affected: map[record.CauseID]*record.Affected{}, touched: map[record.CauseID]bool{},
	}}
	s.routesMu.Lock()
	defer s.routesMu.Unlock()
	s.byName[name], s.byNum[n] = r, r
	return r
}
