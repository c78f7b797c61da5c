package fleet

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/oklog/ulid/v2"

	"signalpost/queue"
)

// Failing tells the other nodes of a route that has begun to fail. It is a queue's Options.Failing.
func (n *Node) Failing(route string) {
	select {
	case n.failing <- route:
	default: // they will find out
	}
}

// shareFailures tells and hears of routes that have begun to fail.
func (n *Node) shareFailures(ctx context.Context) {
	subject := n.o.Name + ".failing"
	told := make(chan *nats.Msg, 64)
	s, err := n.nc.ChanSubscribe(subject, told)
	if err != nil {
		n.log.Warn("fleet: it is not heard what routes fail for others", slog.Any("err", err))
		return
	}
	defer s.Unsubscribe()
	for {
		select {
		case <-ctx.Done():
			return
		case route := <-n.failing:
			_ = n.nc.Publish(subject, []byte(route))
		case m := <-told:
			for _, l := range n.ledgers() {
				if q := n.queueOf(l); q != nil {
					q.Fail(string(m.Data))
				}
			}
		}
	}
}

// Configure sets the limits and routes of all queues. What a route may do in a
// second is shared by all nodes, and by the queues of this one that have something to send; what it may do at
// once, by these alone. The error is that of the node's own queue.
func (n *Node) Configure(limits queue.Limits, routes []queue.Route) error {
	n.configuring.Lock()
	n.limits, n.routes = limits, routes
	n.configuring.Unlock()
	return n.share()
}

// share configures the queues whose share has changed.
func (n *Node) share() (err error) {
	n.configuring.Lock()
	defer n.configuring.Unlock()
	if n.routes == nil {
		return nil
	}
	nodes := map[ulid.ULID]bool{n.ID: true}
	n.mu.Lock()
	for _, o := range n.seen {
		nodes[o.Node] = true
	}
	n.mu.Unlock()
	queues := map[*Ledger]*queue.Queue{}
	busy := map[string]int{} // queues of this node, by route
	for _, l := range n.ledgers() {
		q := n.queueOf(l)
		if q == nil || l.lost() {
			continue
		}
		queues[l] = q
		for _, r := range q.Status().Routes {
			if l.own || r.Pending > 0 {
				busy[r.Name]++
			}
		}
	}
	for l, q := range queues {
		shared := slices.Clone(n.routes)
		for i := range shared {
			r := &shared[i]
			among := max(busy[r.Name], 1)
			r.Rate /= float64(len(nodes) * among)
			r.Concurrency = max(r.Concurrency/among, 1)
		}
		if l.configured != nil && slices.Equal(l.configured, shared) && l.limits == n.limits {
			continue
		}
		failed := q.Configure(n.limits, shared)
		if l.own {
			err = failed
		}
		l.configured, l.limits = shared, n.limits // a failed store has it when it is open again
	}
	n.keepPaused()
	return err
}

// A heard is which routes another ledger had paused, as a new ledger has heard. It is the
// last one heeded if it was said after the new ledger was there.
type heard struct {
	paused []string
	last   bool
}

// keepPaused has a new ledger begin with the routes paused that are in the others.
// What is paused or resumed later is told to all.
func (n *Node) keepPaused() {
	n.mu.Lock()
	own, seen := n.own, maps.Clone(n.seen)
	n.mu.Unlock()
	if own == nil || own.heard == nil {
		return
	}
	own.mu.Lock()
	first := own.first
	own.mu.Unlock()
	for id, o := range seen {
		h := own.heard[id]
		if id == own.ID || o.Paused == nil || h.last {
			continue
		}
		for _, route := range slices.Concat(h.paused, o.Paused) {
			is := slices.Contains(o.Paused, route)
			if is == slices.Contains(h.paused, route) {
				continue
			}
			if errors.Is(n.ownQueue.SetPaused(route, is), queue.ErrUnavailable) {
				return // it is tried again
			}
		}
		own.heard[id] = heard{o.Paused, o.revision > first}
	}
}

// young is whether the node's own ledger may yet have to hear of others' pauses.
func (n *Node) young() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.own != nil && n.own.heard != nil && time.Since(n.own.began) < n.o.ttl
}

// dedupWindow is how long idempotency keys are to be remembered.
func (n *Node) dedupWindow() time.Duration {
	n.configuring.Lock()
	defer n.configuring.Unlock()
	return n.limits.DedupWindow
}
