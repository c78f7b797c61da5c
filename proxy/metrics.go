package proxy

import (
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"signalpost/proxy/api"
	"signalpost/proxy/health"
	"signalpost/queue"
)

// metrics is everything /metrics shows. No label holds a URL or anything of a
// signal: the only open set of labels is the names of routes, and a route that
// is neither in the config nor has anything left drops out of all of them.
type metrics struct {
	proxy    *Proxy // read at every scrape for gauges
	registry *prometheus.Registry

	// One for each signal; each signal is exactly one of the four. A refused
	// batch counts once: nobody knows how many it would have been.
	accepted, unmatched, replayed, refused prometheus.Counter
	accept                                 prometheus.Histogram // seconds

	deliveries, attempts *prometheus.CounterVec
	duration             *prometheus.HistogramVec
	routes               sync.Map // the names that they have counted for
}

func newMetrics(p *Proxy) *metrics {
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "signalpost_" + name, Help: help}, labels)
	}
	signals := counters("signals_total", "Signals offered, by what became of them: accepted with a delivery at least, accepted but passing no route (unmatched), answered again for their Idempotency-Key (replayed), refused (a batch counts once).", "result")
	m := &metrics{
		proxy:     p,
		registry:  prometheus.NewRegistry(),
		accepted:  signals.WithLabelValues("accepted"),
		unmatched: signals.WithLabelValues("unmatched"),
		replayed:  signals.WithLabelValues("replayed"),
		refused:   signals.WithLabelValues("refused"),
		accept: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "signalpost_accept_duration_seconds",
			Help:    "Time to accept a request of POST /signals, from its headers to the 202.",
			Buckets: []float64{.00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5},
		}),
		deliveries: counters("deliveries_total", "Deliveries by the state they came to: pending when they were made, delivered, dead. One that is sent again by hand can come to the latter two more than once.", "route", "state"),
		attempts:   counters("attempts_total", "Attempts by verdict: delivered, retry, dead.", "route", "verdict"),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "signalpost_attempt_duration_seconds",
			Help:    "Time of one attempt, from dialling to the endpoint's answer.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 15, 30, 60},
		}, []string{"route"}),
	}
	m.registry.MustRegister(signals, m.accept, (*routeCollector)(m),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Accepted counts a signal that was accepted, and the deliveries made of it.
func (m *metrics) Accepted(made []queue.Made, matched bool) {
	if matched {
		m.accepted.Inc()
	} else {
		m.unmatched.Inc()
	}
	for i := range made {
		if made[i].Error == "" { // else it is dead from the start, which observe counts
			m.beginRoute(made[i].Route)
			m.deliveries.WithLabelValues(made[i].Route, string(queue.StatePending)).Inc()
		}
	}
}

// Replayed counts signals that were answered again.
func (m *metrics) Replayed(signals int) { m.replayed.Add(float64(signals)) }

// Took notes how long it took to accept a request of POST /signals.
func (m *metrics) Took(d time.Duration) { m.accept.Observe(d.Seconds()) }

// observe counts one entry of the delivery log.
func (m *metrics) observe(e *queue.Entry) {
	m.beginRoute(e.Route)
	if e.Attempt > 0 {
		m.duration.WithLabelValues(e.Route).Observe(e.DurationMS / 1000)
		m.attempts.WithLabelValues(e.Route, string(e.Verdict)).Inc()
	}
	if e.Verdict != queue.Retry { // else the verdict is the state that it came to
		m.deliveries.WithLabelValues(e.Route, string(e.Verdict)).Inc()
	}
}

// beginRoute begins the counts of a route at 0, unless they have begun.
func (m *metrics) beginRoute(route string) {
	if _, known := m.routes.LoadOrStore(route, true); known {
		return
	}
	m.duration.WithLabelValues(route)
	m.deliveries.WithLabelValues(route, string(queue.StatePending))
	for _, verdict := range []queue.Verdict{queue.Delivered, queue.Retry, queue.Dead} {
		m.attempts.WithLabelValues(route, string(verdict))
		if verdict != queue.Retry {
			m.deliveries.WithLabelValues(route, string(verdict))
		}
	}
}

// appended begins the metric of a fleet's appends, and returns what notes one.
func (m *metrics) appended() func(time.Duration) {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "signalpost_fleet_append_seconds",
		Help:    "Time until NATS has acknowledged a batch of records. Only in a fleet, as all signalpost_fleet_ metrics.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	})
	m.registry.MustRegister(h)
	return func(d time.Duration) { h.Observe(d.Seconds()) }
}

// handler answers GET /metrics.
func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 8})
}

// routeCollector is the part of metrics that is read at every scrape. It forgets the
// routes that the queue does not know any more.
type routeCollector metrics

// Describe names nothing in advance.
func (c *routeCollector) Describe(chan<- *prometheus.Desc) {}

// Collect asks the queue once and sends everything there is a route for.
func (c *routeCollector) Collect(ch chan<- prometheus.Metric) {
	send := func(kind prometheus.ValueType, name, help string, v float64, route ...string) {
		labels := []string{"route"}[:len(route)]
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc("signalpost_"+name, help, labels, nil), kind, v, route...)
	}
	const gauge, counter = prometheus.GaugeValue, prometheus.CounterValue
	facts, whole := c.proxy.look()
	status := &facts.Queue
	levels := map[api.Level]float64{api.OK: 0, api.Warn: 1, api.Bad: 2}
	ofHealth := func(route string) {
		send(gauge, "health", "How the route fares, as GET /status says: 0 ok, 1 warn, 2 bad; route \"\" is the sidecar's own.", levels[health.Of(whole, route).Level], route)
	}
	ofHealth("")
	known := make(map[string]bool, len(status.Routes))
	for _, r := range status.Routes {
		known[r.Name] = true
		(*metrics)(c).beginRoute(r.Name)
		ofHealth(r.Name)
		due := 0.0
		if !r.OldestDue.IsZero() {
			due = max(0, time.Since(r.OldestDue).Seconds())
		}
		send(gauge, "pending", "Deliveries that wait to be sent.", float64(r.Pending), r.Name)
		send(gauge, "held", "Deliveries that wait for their route to come back into the config.", float64(r.Held), r.Name)
		send(gauge, "dead", "Deliveries given up and still kept.", float64(r.Dead+r.Discarded), r.Name)
		send(gauge, "oldest_due_seconds", "How long the oldest due delivery has been due; 0 when none is.", due, r.Name)
		send(gauge, "route_failing", "1 while the route sends only probes because its endpoint fails.",
			number(r.State == queue.RouteFailing || !r.FailingSince.IsZero()), r.Name)
	}
	c.routes.Range(func(name, _ any) bool {
		if !known[name.(string)] {
			labels := prometheus.Labels{"route": name.(string)}
			c.deliveries.DeletePartialMatch(labels)
			c.attempts.DeletePartialMatch(labels)
			c.duration.DeletePartialMatch(labels)
			c.routes.Delete(name)
		}
		return true
	})
	send(gauge, "store_bytes", "Size of the store on disk.", float64(status.Bytes))
	send(gauge, "store_free_bytes", "Free bytes of the store's file system.", float64(status.Free))
	send(gauge, "unaccounted", "Deliveries made minus those pending, held, delivered, dead and expired: always 0.", float64(status.Unaccounted))
	send(counter, "history_evicted_total", "Finished deliveries dropped before their retention was over, to stay under queue.max_size or because the disk is short.", float64(status.Evicted))
	send(counter, "log_lines_dropped_total", "Log lines that nobody took in time.", float64(facts.Dropped))
	send(gauge, "config_last_reload_successful", "1 if the config file's last reading was applied.", number(facts.ConfigError == nil))
	send(gauge, "config_last_reload_success_timestamp_seconds", "When the running config was applied, in Unix seconds.", float64(c.proxy.table.Load().Loaded.UnixMilli())/1000)
	if node := c.proxy.fleet; node != nil {
		n := node.Counters()
		send(gauge, "fleet_ledgers", "Ledgers that this sidecar owns: its own, and those it has adopted.", float64(n.Ledgers))
		send(counter, "fleet_adoptions_total", "Ledgers adopted since the start.", float64(n.Adoptions))
		send(counter, "fleet_deposed_total", "Ledgers that another sidecar took over, since this one was not heard of.", float64(n.Deposed))
	}
	c.deliveries.Collect(ch)
	c.attempts.Collect(ch)
	c.duration.Collect(ch)
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
