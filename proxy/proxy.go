package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"

	"signalpost/proxy/alert"
	"signalpost/proxy/api"
	"signalpost/proxy/config"
	"signalpost/proxy/explain"
	"signalpost/proxy/fleet"
	"signalpost/proxy/health"
	"signalpost/proxy/ingest"
	"signalpost/proxy/table"
	"signalpost/proxy/union"
	"signalpost/queue"
	"signalpost/transform"
)

// A Proxy is the sidecar. Make it with New, run it with Serve.
type Proxy struct {
	log     *slog.Logger
	version string
	started time.Time
	path    string // of the config file
	listen  string // server.listen as it was at the start; a reload does not change it
	store   string // queue.path likewise

	timeouts timeouts    // set before Serve
	conns    int         // open at once, at most; likewise
	fleet    *fleet.Node // nil: one machine
	joined   *config.Fleet
	union    atomic.Pointer[union.Union] // nil: one machine, or not serving yet
	queue    *queue.Queue
	metrics  *metrics
	alerts   *alert.Alerter
	history  explain.History
	table    atomic.Pointer[table.Table] // never nil
	rejected atomic.Pointer[rejection]   // why the config was not reloaded the last time; nil if it was

	reloading sync.Mutex // one Reload at a time
	looking   sync.Mutex
	health    api.Health // at the last look; guarded by looking
}

// New opens the store and begins to send what is due. log gets a line for each
// event; one made by NewLogger follows [log] when the config is reloaded.
// version is what the User-Agent says. The caller must call Serve, once: it
// closes what New opened.
func New(cfg *config.Config, log *slog.Logger, version string) (*Proxy, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	p := &Proxy{
		log:      log,
		version:  version,
		started:  time.Now(),
		path:     cfg.Path,
		listen:   cfg.Server.Listen,
		store:    cfg.Queue.Path,
		timeouts: usualTimeouts,
		conns:    connsAllowed(),
	}
	t, err := table.New(cfg, userAgent(version))
	if err != nil {
		return nil, err
	}
	p.table.Store(t)
	p.metrics, p.alerts = newMetrics(p), alert.New(p.started)
	limits, routes := t.Queue()
	if p.queue, err = p.open(cfg, limits); err != nil {
		t.Close()
		return nil, err
	}
	notes, err := p.queue.Notes()
	if err != nil {
		log.Warn("what was told by [alerts] before cannot be read: it may be told again", "err", err)
	}
	p.alerts.Remember(notes)
	if err := p.configure(limits, routes); err != nil {
		t.Close()
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

func userAgent(version string) string { return "signalpost/" + version }

// look returns the state of the sidecar, and its health.
func (p *Proxy) look() (health.Facts, api.Health) {
	p.looking.Lock()
	defer p.looking.Unlock()
	t := p.table.Load()
	facts := health.Facts{
		Now: time.Now(), Queue: p.queue.Status(), Limits: t.Config.Queue.Limits,
		PausedByConfig: func(route string) bool { r := t.Route(route); return r != nil && r.Paused },
	}
	facts.Dropped, facts.DroppedSince, facts.DroppedLast = output(p.log).drops()
	if rejected := p.rejected.Load(); rejected != nil {
		facts.ConfigError, facts.ConfigSince = rejected.error, rejected.since
	}
	p.history.Look(facts.Now, facts.Queue.Routes, facts.PausedByConfig)
	if p.fleet != nil {
		for _, q := range p.fleet.Adopted() {
			facts.Queue.Add(q.Status())
		}
	}
	p.health = health.Decide(facts, p.health)
	return facts, p.health
}

// Deliver makes one attempt, by the table of this moment: it is the queue's
// Courier.
func (p *Proxy) Deliver(ctx context.Context, d queue.Delivery, attempt int) (queue.Outcome, error) {
	t := p.table.Load()
	if r := t.Route(d.Route); r != nil {
		o, err := r.Endpoint.Attempt(ctx, d, attempt)
		o.Config = t.Config.Hash
		if o.Hold > 0 {
			p.history.Hold(d.Route, time.Now(), o.Hold)
		}
		if errors.Is(err, queue.ErrShortage) {
			t.CloseIdle() // one route's kept connections are not to starve another
		}
		return o, err
	}
	// A reload took the route away just after the queue took the delivery up,
	// and is telling the queue, which holds it then.
	return queue.Outcome{}, fmt.Errorf("route %q has gone from the config", d.Route)
}

// observe takes the entries of the delivery log as they are written: for the
// metrics, the log and alerts.
func (p *Proxy) observe(batch []queue.Entry) {
	if p.table.Load().Config.Alerts != nil {
		p.alerts.Observe(batch)
	}
	for i := range batch {
		p.metrics.observe(&batch[i])
		logEntry(p.log, &batch[i])
	}
}

// missedDeaths has the alerts know of deaths that were not told before a restart, as far back
// as they can be gathered.
func (p *Proxy) missedDeaths(ctx context.Context) {
	c := p.table.Load().Config.Alerts
	if c == nil || !slices.Contains(c.On, "dead") {
		return
	}
	f := queue.LogFilter{Verdicts: []queue.Verdict{queue.Dead}, Since: p.started.Add(-max(c.Every, health.Recently)), Until: p.started, Limit: 1000}
	// Mostly there were none, as the statistics say without a look at each attempt.
	all, err := p.queue.Stats(ctx, queue.StatsFilter{Since: f.Since, Until: f.Until, Step: time.Hour})
	died := func(s queue.Series) bool {
		return slices.ContainsFunc(s.Points, func(at queue.Point) bool { return at.Dead > 0 })
	}
	if err != nil || !slices.ContainsFunc(all, died) {
		return
	}
	for range 100 { // of more the count is short
		page, err := p.queue.Log(ctx, f)
		p.alerts.Missed(page.Entries)
		if f.After = page.Next; err != nil || page.Next == "" {
			return
		}
	}
}

// sendAlerts puts what alerts are due at each tick into the queue, until ctx ends.
func (p *Proxy) sendAlerts(ctx context.Context, in *ingest.Ingest, tick <-chan time.Time) {
	p.missedDeaths(ctx)
	logged := "" // the last complaint
	complain := func(a alert.Due, why string) {
		if why != logged && ctx.Err() == nil {
			p.log.Warn("alert "+a.Type+" does not come about: "+why, "route", a.Route)
		}
		logged = why
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick:
		}
		c := p.table.Load().Config.Alerts
		if c == nil {
			p.alerts.Forget()
			continue
		}
		facts, whole := p.look()
		for _, a := range p.alerts.Due(c, facts, whole) {
			body, err := api.Marshal(a.Alert)
			made := 0
			if err == nil {
				made, err = in.PostOwn(bytes.TrimSpace(body), c.Route, a.Note)
			}
			if err != nil { // it is due at the next tick, too
				complain(a, err.Error())
				continue
			}
			p.alerts.Sent(a)
			if logged = ""; made == 0 {
				complain(a, fmt.Sprintf("route %q does not take it; see its signal_types and where", c.Route))
			}
		}
	}
}

// close closes the queue, giving attempts under way the grace.
func (p *Proxy) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	if p.fleet == nil {
		return p.queue.Close(ctx)
	}
	var adopted error
	var closing sync.WaitGroup
	closing.Go(func() { adopted = p.fleet.Stop(ctx) })
	err := p.queue.Close(ctx)
	closing.Wait()
	p.fleet.Leave()
	return errors.Join(err, adopted)
}

// Try returns what the routes of a config would do with the one signal in body, or the
// route that only names unless it is empty. Nothing is stored or sent.
// The error says why the body is no signal, or that there is no such route.
func Try(ctx context.Context, cfg *config.Config, version string, body []byte, only string) ([]api.Trial, error) {
	t, err := table.New(cfg, userAgent(version))
	if err != nil {
		return nil, err
	}
	defer t.Close()
	signalType, err := ingest.SignalType(body)
	if err != nil {
		return nil, err
	}
	s := &queue.Signal{ID: queue.SignalID(ulid.Make()), Type: signalType, Body: body}
	use := transform.NewSession(ctx, transform.ForTries)
	defer use.Close()
	return t.Try(ctx, use, s, only, nil, nil)
}
