package proxy

import (
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"signalpost/queue"
)

// metrics is everything /metrics shows. No label holds a URL or anything of a
// signal: the only open set of labels is the names of routes, and a route that
// is neither in the config nor has anything left drops out of all of them.
type metrics struct {
	registry *prometheus.Registry

	// One for each signal; each signal is exactly one of the four. A refused
	// batch counts once: nobody knows how many it would have been.
	accepted, unmatched, replayed, refused prometheus.Counter
	accept                                 prometheus.Histogram // seconds from the request's first byte of body to its 202

	deliveries, attempts *prometheus.CounterVec
	duration             *prometheus.HistogramVec
	routes               sync.Map // name → *routeMetrics

	status func() queue.Status
	reload func() (ok bool, at time.Time)
}

// routeMetrics are the counters of one route, resolved once.
type routeMetrics struct {
	made, delivered, dead     prometheus.Counter
	triedOK, triedAgain, gone prometheus.Counter
	duration                  prometheus.Observer
}

var (
	descPending     = routeDesc("pending", "Deliveries that wait to be sent.")
	descHeld        = routeDesc("held", "Deliveries that wait for their route to come back into the config.")
	descDead        = routeDesc("dead", "Deliveries given up and still kept.")
	descOldestDue   = routeDesc("oldest_due_seconds", "How long the oldest due delivery has been due; 0 when none is.")
	descFailing     = routeDesc("route_failing", "1 while the route sends only probes because its endpoint fails.")
	descBytes       = desc("store_bytes", "Size of the store on disk.")
	descFree        = desc("store_free_bytes", "Free bytes of the store's file system.")
	descEvicted     = desc("history_evicted_total", "Finished deliveries dropped before their retention was over, to stay under queue.max_size or because the disk is short.")
	descUnaccounted = desc("unaccounted", "Deliveries made minus those pending, held, delivered, dead and expired: always 0.")
	descReloadOK    = desc("config_last_reload_successful", "1 if the config file's last reading was applied.")
	descReloadAt    = desc("config_last_reload_success_timestamp_seconds", "When the running config was applied, in Unix seconds.")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("signalpost_"+name, help, labels, nil)
}

func routeDesc(name, help string) *prometheus.Desc { return desc(name, help, "route") }

// newMetrics makes the metrics. status and reload are asked at every scrape:
// for the state of the queue, and for whether the last reading of the config
// was applied and when the running one was.
func newMetrics(status func() queue.Status, reload func() (ok bool, at time.Time)) *metrics {
	signals := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "signalpost_signals_total",
		Help: "Signals offered, by what became of them: accepted with a delivery at least, accepted but passing no route (unmatched), answered again for their Idempotency-Key (replayed), refused (a batch counts once).",
	}, []string{"result"})
	m := &metrics{
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
		deliveries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "signalpost_deliveries_total",
			Help: "Deliveries by the state they came to: pending when they were made, delivered, dead. One that is sent again by hand can come to the latter two more than once.",
		}, []string{"route", "state"}),
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "signalpost_attempts_total",
			Help: "Attempts by verdict: delivered, retry, dead.",
		}, []string{"route", "verdict"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "signalpost_attempt_duration_seconds",
			Help:    "Time of one attempt, from dialling to the endpoint's answer.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 15, 30, 60},
		}, []string{"route"}),
		status: status,
		reload: reload,
	}
	m.registry.MustRegister(signals, m.accept, (*queueCollector)(m),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// route returns the counters of a route. They are not to be kept: a route that
// has dropped out gets new ones.
func (m *metrics) route(name string) *routeMetrics {
	if v, ok := m.routes.Load(name); ok {
		return v.(*routeMetrics)
	}
	v, _ := m.routes.LoadOrStore(name, &routeMetrics{
		made:       m.deliveries.WithLabelValues(name, string(queue.StatePending)),
		delivered:  m.deliveries.WithLabelValues(name, string(queue.StateDelivered)),
		dead:       m.deliveries.WithLabelValues(name, string(queue.StateDead)),
		triedOK:    m.attempts.WithLabelValues(name, string(queue.Delivered)),
		triedAgain: m.attempts.WithLabelValues(name, string(queue.Retry)),
		gone:       m.attempts.WithLabelValues(name, string(queue.Dead)),
		duration:   m.duration.WithLabelValues(name),
	})
	return v.(*routeMetrics)
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
			m.route(made[i].Route).made.Inc()
		}
	}
}

// Replayed counts signals that were answered again.
func (m *metrics) Replayed(signals int) { m.replayed.Add(float64(signals)) }

// Took notes how long it took to accept a request of POST /signals.
func (m *metrics) Took(d time.Duration) { m.accept.Observe(d.Seconds()) }

// observe counts one entry of the delivery log.
func (m *metrics) observe(e *queue.Entry) {
	r := m.route(e.Route)
	tried := e.Attempt > 0
	if tried {
		r.duration.Observe(e.DurationMS / 1000)
	}
	switch e.Verdict {
	case queue.Delivered:
		r.delivered.Inc()
		if tried {
			r.triedOK.Inc()
		}
	case queue.Retry:
		if tried {
			r.triedAgain.Inc()
		}
	case queue.Dead:
		r.dead.Inc()
		if tried {
			r.gone.Inc()
		}
	}
}

// handler answers GET /metrics.
func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}

// queueCollector is the side of metrics that asks the queue at every scrape,
// and forgets the routes it does not know any more.
type queueCollector metrics

// Describe names all it collects.
func (c *queueCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descPending, descHeld, descDead, descOldestDue, descFailing,
		descBytes, descFree, descEvicted, descUnaccounted, descReloadOK, descReloadAt,
	} {
		ch <- d
	}
	c.deliveries.Describe(ch)
	c.attempts.Describe(ch)
	c.duration.Describe(ch)
}

// Collect asks the queue once and sends everything there is a route for.
func (c *queueCollector) Collect(ch chan<- prometheus.Metric) {
	status := c.status()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	known := make(map[string]bool, len(status.Routes))
	for _, r := range status.Routes {
		known[r.Name] = true
		(*metrics)(c).route(r.Name) // so that a new route's counters begin at 0
		due := 0.0
		if !r.OldestDue.IsZero() {
			due = max(0, time.Since(r.OldestDue).Seconds())
		}
		gauge(descPending, float64(r.Pending), r.Name)
		gauge(descHeld, float64(r.Held), r.Name)
		gauge(descDead, float64(r.Dead), r.Name)
		gauge(descOldestDue, due, r.Name)
		gauge(descFailing, number(r.State == queue.RouteFailing || !r.FailingSince.IsZero()), r.Name)
	}
	c.routes.Range(func(name, _ any) bool {
		if !known[name.(string)] {
			labels := prometheus.Labels{"route": name.(string)}
			c.deliveries.DeletePartialMatch(labels)
			c.attempts.DeletePartialMatch(labels)
			c.duration.DeletePartialMatch(labels)
			c.routes.Delete(name) // last, or a route just back would count where nobody looks
		}
		return true
	})
	gauge(descBytes, float64(status.Bytes))
	gauge(descFree, float64(status.Free))
	gauge(descUnaccounted, float64(status.Unaccounted))
	ch <- prometheus.MustNewConstMetric(descEvicted, prometheus.CounterValue, float64(status.Evicted))
	ok, at := c.reload()
	gauge(descReloadOK, number(ok))
	if !at.IsZero() {
		gauge(descReloadAt, float64(at.UnixMilli())/1000)
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
