package proxy

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"signalpost/proxy/config"
	"signalpost/proxy/fleet"
	"signalpost/proxy/front"
	"signalpost/proxy/ingest"
	"signalpost/proxy/union"
	"signalpost/queue"
)

// openFor is how long a start waits for NATS to find a leader.
const openFor = 15 * time.Second

// open opens the queue: of one machine, or of its own ledger in a fleet, of whose other ledgers it opens more.
func (p *Proxy) open(cfg *config.Config, limits queue.Limits) (*queue.Queue, error) {
	o := queue.Options{Path: p.store, Courier: p, Log: p.log, Observe: p.observe, Limits: limits}
	f := cfg.Fleet
	if f == nil && fleet.Used(p.store) {
		return nil, fmt.Errorf("store %s: it was used in a fleet, whose NATS has what is in it: put [fleet] back into the config, or name another folder in queue.path", p.store)
	}
	if f == nil {
		return queue.Open(o)
	}
	joining := fleet.Of(cfg)
	joining.Log, joining.Appended, joining.Answer = p.log, p.metrics.appended(), p.answer
	node, err := fleet.Join(joining)
	if err != nil {
		return nil, err
	}
	o.Failing = node.Failing
	own := o
	own.Courier, own.Journal, own.Reach = node.Courier(p), node.Journal, node.Reach
	q, err := queue.Open(own)
	for end := time.Now().Add(openFor); err != nil && fleet.Passing(err) && time.Now().Before(end); q, err = queue.Open(own) {
		time.Sleep(200 * time.Millisecond)
	}
	if err != nil {
		node.Leave()
		return nil, err
	}
	node.Start(q, func(gate func(queue.Courier) queue.Courier, journal func() (string, queue.Log, error)) (*queue.Queue, error) {
		adopted := o
		adopted.Courier, adopted.Journal, adopted.Limits = gate(p), journal, p.table.Load().Config.Queue.Limits
		return queue.Open(adopted)
	})
	p.fleet, p.joined = node, f
	return q, nil
}

// configure has all queues follow the config.
func (p *Proxy) configure(limits queue.Limits, routes []queue.Route) error {
	if p.fleet != nil {
		return p.fleet.Configure(limits, routes)
	}
	return p.queue.Configure(limits, routes)
}

// handler returns what answers requests: front alone, or in a fleet front with all other
// ledgers. stop ends the requests that would not end by themselves.
func (p *Proxy) handler(in *ingest.Ingest, own *front.Front) (h http.Handler, stop func()) {
	if p.fleet == nil {
		return own, own.Stop
	}
	stopping := make(chan struct{})
	var mu sync.Mutex
	fronts := map[*queue.Queue]*front.Front{}
	u := &union.Union{Options: union.Options{Own: own, Node: p.fleet, Stopping: stopping, Local: func() (all []http.Handler) {
		mu.Lock()
		defer mu.Unlock()
		had := fronts
		fronts = map[*queue.Queue]*front.Front{}
		for _, q := range p.fleet.Adopted() {
			if fronts[q] = had[q]; fronts[q] == nil {
				fronts[q] = p.front(in, q)
			}
			all = append(all, fronts[q])
		}
		return all
	}}}
	p.union.Store(u)
	return u, func() { close(stopping); own.Stop() }
}

// answer answers what other sidecars of the fleet ask.
func (p *Proxy) answer(ctx context.Context, c *fleet.Call) *fleet.Answer {
	if u := p.union.Load(); u != nil {
		return u.Answer(ctx, c)
	}
	return &fleet.Answer{Status: http.StatusServiceUnavailable}
}
