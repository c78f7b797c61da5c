package proxy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"signalpost/proxy/client"
	"signalpost/proxy/dashboard"
	"signalpost/queue"
)

// A handler answers one method of one path. A problem it returns is the
// answer; any other error becomes one by problemOf.
type handler func(w http.ResponseWriter, r *http.Request) error

// routes is everything Signalpost answers under HTTP, behind the guard.
func (p *Proxy) routes() http.Handler {
	mux := http.NewServeMux()
	handle := func(path string, methods map[string]handler) {
		mux.Handle(path, p.answer(methods))
	}
	handle("/signals", map[string]handler{"POST": p.ingest})
	handle("/signals/{id}", map[string]handler{"GET": p.getSignal})
	handle("/log", map[string]handler{"GET": p.getLog})
	handle("/deliveries", map[string]handler{"GET": p.getDeliveries})
	handle("/deliveries/{id}", map[string]handler{"GET": p.getDelivery})
	handle("/deliveries/{id}/retry", map[string]handler{"POST": p.postRetryOne})
	handle("/retry", map[string]handler{"POST": p.postRetry})
	handle("/discard", map[string]handler{"POST": p.postDiscard})
	handle("/try", map[string]handler{"POST": p.postTry})
	handle("/status", map[string]handler{"GET": p.getStatus})
	handle("/routes/{name}/pause", map[string]handler{"POST": p.postPause})
	handle("/routes/{name}/resume", map[string]handler{"POST": p.postResume})
	handle("/metrics", map[string]handler{"GET": plain(p.metrics.handler())})
	page := map[string]handler{"": plain(dashboard.Handler())}
	handle("/{$}", page)
	handle("/assets/", page)
	handle("/", map[string]handler{"": notFound})

	health := p.answer(map[string]handler{"GET": p.getHealth})
	ready := p.answer(map[string]handler{"GET": p.getReady})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/healthz":
			health.ServeHTTP(w, r)
			return
		case "/readyz":
			ready.ServeHTTP(w, r)
			return
		}
		if no := guard(r, &p.table.Load().cfg.Server); no != nil {
			if r.Method == http.MethodPost && r.URL.Path == "/signals" {
				p.metrics.refused.Inc()
			}
			no.write(w)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// answer is a path's methods as one handler. HEAD is GET, whose body net/http
// does not send; the method "" answers all.
func (p *Proxy) answer(methods map[string]handler) http.Handler {
	var allowed []string
	for method := range methods {
		allowed = append(allowed, method)
		if method == http.MethodGet {
			allowed = append(allowed, http.MethodHead)
		}
	}
	slices.Sort(allowed)
	allow := strings.Join(allowed, ", ")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		h := methods[method]
		if h == nil {
			h = methods[""]
		}
		if h == nil {
			refuse(http.StatusMethodNotAllowed, "%s does not take %s; it takes %s", clip(r.URL.Path), clip(r.Method), allow).
				with("Allow", allow).write(w)
			return
		}
		err := h(w, r)
		if err == nil {
			return
		}
		no := problemOf(err)
		if no.status == http.StatusInternalServerError {
			p.log.Error(r.Method+" "+clip(r.URL.Path)+" failed", "err", err)
		}
		no.write(w)
	})
}

func plain(h http.Handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		h.ServeHTTP(w, r)
		return nil
	}
}

func notFound(_ http.ResponseWriter, r *http.Request) error {
	return refuse(http.StatusNotFound, "there is nothing at %s; signals go to POST /signals", clip(r.URL.Path))
}

// Reading.

// maxPage bounds a page of a list, and defaultPage is its usual size.
const (
	maxPage     = 1000
	defaultPage = 100
)

func (p *Proxy) getLog(w http.ResponseWriter, r *http.Request) error {
	q, err := readQuery(r.URL.RawQuery, "route", "signal_type", "signal", "delivery", "verdict", "status", "since", "until", "limit", "after", "follow")
	if err != nil {
		return err
	}
	follow, err := q.boolean("follow")
	if err != nil {
		return err
	}
	f := queue.LogFilter{Route: q["route"], Type: q["signal_type"], After: q["after"]}
	verdict, err1 := q.oneOf("verdict", string(queue.Delivered), string(queue.Retry), string(queue.Dead))
	f.Verdict = queue.Verdict(verdict)
	status, err2 := q.number("status", 0, 100, 999)
	f.Status = status
	least := 1
	if follow {
		least = 0
	}
	limit, err3 := q.number("limit", defaultPage, least, maxPage)
	f.Limit = limit
	since, err4 := q.instant("since")
	until, err5 := q.instant("until")
	f.Since, f.Until = since, until
	if err := errors.Join(err1, err2, err3, err4, err5, q.id("signal", &f.Signal), q.id("delivery", &f.Delivery)); err != nil {
		return err
	}
	if follow {
		for _, name := range []string{"after", "until"} {
			if _, given := q[name]; given {
				return refuse(http.StatusBadRequest, "parameter %s has no meaning together with follow; leave one of them out", name)
			}
		}
		return p.follow(w, r, f)
	}
	entries, next, err := p.queue.Log(f)
	if err != nil {
		return q.cursor(err)
	}
	if entries == nil {
		entries = []queue.Entry{}
	}
	return writeJSON(w, http.StatusOK, struct {
		Entries []queue.Entry `json:"entries"`
		Next    string        `json:"next,omitempty"`
	}{entries, next})
}

// follow sends each entry as it is written, until the caller goes away or the
// sidecar stops.
func (p *Proxy) follow(w http.ResponseWriter, r *http.Request, f queue.LogFilter) error {
	h := w.Header()
	h.Set("Content-Type", "application/x-ndjson")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return nil
	}
	flush := http.NewResponseController(w).Flush
	if err := flush(); err != nil { // so that the caller knows at once that it listens
		return nil
	}
	// Whatever ends it, the 200 has gone out: an end of the stream is all the caller can be told.
	_ = p.queue.Follow(r.Context(), f, func(e queue.Entry) error {
		b, err := marshal(e)
		if err != nil {
			return err
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
		return flush()
	})
	return nil
}

func (p *Proxy) getDeliveries(w http.ResponseWriter, r *http.Request) error {
	q, err := readQuery(r.URL.RawQuery, "state", "route", "signal_type", "signal", "reason", "since", "until", "limit", "after")
	if err != nil {
		return err
	}
	f := queue.Filter{Route: q["route"], Type: q["signal_type"], After: q["after"]}
	state, err1 := q.oneOf("state", string(queue.StatePending), string(queue.StateDelivered), string(queue.StateDead), string(queue.StateHeld))
	reason, err2 := q.oneOf("reason", reasons...)
	f.State, f.Reason = queue.State(state), queue.Reason(reason)
	limit, err3 := q.number("limit", defaultPage, 1, maxPage)
	since, err4 := q.instant("since")
	until, err5 := q.instant("until")
	f.Limit, f.Since, f.Until = limit, since, until
	if err := errors.Join(err1, err2, err3, err4, err5, q.id("signal", &f.Signal)); err != nil {
		return err
	}
	list, next, err := p.queue.Deliveries(f)
	if err != nil {
		return q.cursor(err)
	}
	if list == nil {
		list = []queue.Info{}
	}
	return writeJSON(w, http.StatusOK, struct {
		Deliveries []queue.Info `json:"deliveries"`
		Next       string       `json:"next,omitempty"`
	}{list, next})
}

var reasons = []string{string(queue.Gone), string(queue.Exhausted), string(queue.Transform), string(queue.Filtered), string(queue.TooOld), string(queue.Discarded)}

// A Request is what a delivery's route sends, as people may see it: no path or
// query of the URL, and secret headers redacted.
type Request struct {
	Method  string            `json:"method"`
	Target  string            `json:"target"` // scheme://host
	Headers map[string]string `json:"headers"`
}

// request is the request an attempt of the delivery makes under this table;
// nil if its route has gone.
func (t *table) request(d *queue.Delivery, attempt int) *Request {
	r := t.route(d.Route)
	if r == nil {
		return nil
	}
	method, target, header := r.endpoint.describe(*d, attempt)
	headers := make(map[string]string, len(header))
	for name, values := range header {
		headers[name] = strings.Join(values, ", ")
	}
	return &Request{method, target, headers}
}

func (p *Proxy) getDelivery(w http.ResponseWriter, r *http.Request) error {
	id, err := queue.ParseDeliveryID(r.PathValue("id"))
	if err != nil {
		return refuse(http.StatusNotFound, "there is no such delivery: %s", clip(err.Error()))
	}
	if _, err := readQuery(r.URL.RawQuery); err != nil {
		return err
	}
	d, err := p.queue.Delivery(id)
	if err != nil {
		return err
	}
	var request *Request
	if d.Body != nil {
		attempt := max(d.Attempts, 1)
		if d.State == queue.StatePending && d.Attempts > 0 {
			attempt++ // the next one
		}
		request = p.table.Load().request(&queue.Delivery{
			ID: d.ID, Signal: d.Signal, Route: d.Route, Type: d.Type, Traceparent: d.Traceparent, Body: d.Body,
		}, attempt)
	}
	if d.Log == nil {
		d.Log = []queue.Entry{}
	}
	return writeJSON(w, http.StatusOK, struct {
		queue.Info
		Request    *Request        `json:"request"` // null if its route has gone or there is no body
		Body       json.RawMessage `json:"body"`    // null if the expression failed
		SignalBody json.RawMessage `json:"signal_body"`
		Log        []queue.Entry   `json:"log"`
	}{d.Info, request, d.Body, d.SignalBody, d.Log})
}

func (p *Proxy) getSignal(w http.ResponseWriter, r *http.Request) error {
	id, err := queue.ParseSignalID(r.PathValue("id"))
	if err != nil {
		return refuse(http.StatusNotFound, "there is no such signal: %s", clip(err.Error()))
	}
	if _, err := readQuery(r.URL.RawQuery); err != nil {
		return err
	}
	s, deliveries, err := p.queue.Signal(id)
	if err != nil {
		return err
	}
	if deliveries == nil {
		deliveries = []queue.Info{}
	}
	return writeJSON(w, http.StatusOK, struct {
		ID         queue.SignalID  `json:"id"`
		Type       string          `json:"signal_type"`
		ReceivedAt time.Time       `json:"received_at"`
		Signal     json.RawMessage `json:"signal"`
		Deliveries []queue.Info    `json:"deliveries"`
	}{s.ID, s.Type, s.ID.Time(), s.Body, deliveries})
}

func (p *Proxy) getStatus(w http.ResponseWriter, r *http.Request) error {
	if _, err := readQuery(r.URL.RawQuery); err != nil {
		return err
	}
	t, fault := p.reloadState()
	q := p.queue.Status()
	s := client.Status{
		Version: p.version,
		Uptime:  time.Since(p.started).Truncate(time.Second).String(),
		Config:  client.ConfigStatus{Path: t.cfg.Path, Hash: t.cfg.Hash, LoadedAt: t.loaded.UTC()},
		Store:   client.StoreStatus{Bytes: q.Bytes, Free: q.Free, Accepting: q.Accepting, Reason: text(q.Reason)},
		Routes:  make([]client.RouteStatus, 0, len(q.Routes)),
	}
	if fault != nil {
		s.Config.Error = text(fault.Error())
	}
	if err := p.ready(); err != nil && s.Store.Accepting {
		s.Store.Accepting, s.Store.Reason = false, text(err.Error())
	}
	for _, rs := range q.Routes {
		s.Routes = append(s.Routes, t.routeStatus(&rs))
	}
	place := make(map[string]int, len(t.routes))
	for i, r := range t.routes {
		place[r.Name] = i + 1
	}
	slices.SortStableFunc(s.Routes, func(a, b client.RouteStatus) int {
		i, j := place[a.Name], place[b.Name]
		if i == 0 && j == 0 {
			return strings.Compare(a.Name, b.Name)
		}
		if i == 0 || j == 0 {
			return j - i // what has a place comes first
		}
		return i - j
	})
	return writeJSON(w, http.StatusOK, s)
}

// routeStatus is the queue's view of a route with what the table knows of it.
func (t *table) routeStatus(q *queue.RouteStatus) client.RouteStatus {
	s := client.RouteStatus{
		Name: q.Name, State: q.State, Pending: q.Pending, Held: q.Held, Dead: q.Dead,
		OldestDue: instant(q.OldestDue), LastSuccess: instant(q.LastSuccess), LastError: text(q.LastError),
	}
	if r := t.route(q.Name); r != nil {
		s.Target = text(r.Target)
	}
	return s
}

// text is nil for "".
func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// instant is nil for the zero time.
func instant(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func (p *Proxy) getHealth(w http.ResponseWriter, r *http.Request) error {
	return writeText(w, "ok\n")
}

func (p *Proxy) getReady(w http.ResponseWriter, r *http.Request) error {
	if err := p.ready(); err != nil {
		return err
	}
	return writeText(w, "ready\n")
}

// Sending again, giving up, holding.

// A wish is the body of POST /retry and, but for reshape, POST /discard.
type wish struct {
	Route   *string `json:"route"`
	State   *string `json:"state"`
	Reason  *string `json:"reason"`
	Type    *string `json:"signal_type"`
	Since   *string `json:"since"`
	Until   *string `json:"until"`
	Reshape *bool   `json:"reshape"`
	DryRun  bool    `json:"dry_run"`
}

// filter is what the wish is about; its state must be one of those given.
func (v *wish) filter(states ...string) (queue.Filter, error) {
	q := query{}
	for name, value := range map[string]*string{
		"route": v.Route, "state": v.State, "reason": v.Reason, "signal_type": v.Type, "since": v.Since, "until": v.Until,
	} {
		switch {
		case value == nil:
		case *value == "": // a script's variable that is not set must not mean all
			return queue.Filter{}, refuse(http.StatusBadRequest, "%q is empty; leave it out or give it a value", name)
		default:
			q[name] = *value
		}
	}
	state, err1 := q.oneOf("state", states...)
	reason, err2 := q.oneOf("reason", reasons...)
	since, err3 := q.instant("since")
	until, err4 := q.instant("until")
	return queue.Filter{
		State: queue.State(state), Route: q["route"], Type: q["signal_type"], Reason: queue.Reason(reason), Since: since, Until: until,
	}, errors.Join(err1, err2, err3, err4)
}

func (p *Proxy) postRetryOne(w http.ResponseWriter, r *http.Request) error {
	id, err := queue.ParseDeliveryID(r.PathValue("id"))
	if err != nil {
		return refuse(http.StatusNotFound, "there is no such delivery: %s", clip(err.Error()))
	}
	var body struct {
		Reshape bool `json:"reshape"`
	}
	if err := readJSON(r, maxWish, &body, "reshape"); err != nil {
		return err
	}
	if err := p.queue.Retry(id, body.Reshape, p.table.Load().reshape); err != nil {
		return err
	}
	d, err := p.queue.Delivery(id)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusAccepted, d.Info)
}

func (p *Proxy) postRetry(w http.ResponseWriter, r *http.Request) error {
	var v wish
	if err := readJSON(r, maxWish, &v, "route", "state", "reason", "signal_type", "since", "until", "reshape", "dry_run"); err != nil {
		return err
	}
	f, err := v.filter(string(queue.StateDead), string(queue.StateDelivered))
	if err != nil {
		return err
	}
	if f.State == "" {
		f.State = queue.StateDead
	}
	n, err := p.queue.RetryAll(r.Context(), f, v.Reshape != nil && *v.Reshape, p.table.Load().reshape, v.DryRun)
	if err != nil {
		return err
	}
	return writeMatched(w, n, v.DryRun)
}

func (p *Proxy) postDiscard(w http.ResponseWriter, r *http.Request) error {
	var v wish
	known := []string{"route", "state", "reason", "signal_type", "since", "until", "dry_run"}
	if err := readJSON(r, maxWish, &v, known...); err != nil {
		return err
	}
	if v.Reshape != nil {
		return unknownMember("reshape", known)
	}
	f, err := v.filter(string(queue.StatePending), string(queue.StateHeld), string(queue.StateDead))
	if err != nil {
		return err
	}
	if f == (queue.Filter{}) {
		return refuse(http.StatusBadRequest, "say what to discard: at least one of route, state, reason, signal_type, since, until")
	}
	n, err := p.queue.DiscardAll(r.Context(), f, v.DryRun)
	if err != nil {
		return err
	}
	return writeMatched(w, n, v.DryRun)
}

func writeMatched(w http.ResponseWriter, n int, dry bool) error {
	status := http.StatusAccepted
	if dry {
		status = http.StatusOK
	}
	return writeJSON(w, status, struct {
		Matched int `json:"matched"`
	}{n})
}

func (p *Proxy) postPause(w http.ResponseWriter, r *http.Request) error {
	return p.setPaused(w, r, true)
}

func (p *Proxy) postResume(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	if route := p.table.Load().route(name); route != nil && route.Paused {
		return refuse(http.StatusConflict, "route %q is paused by the config: set paused = false there", name)
	}
	return p.setPaused(w, r, false)
}

// setPaused answers with the route as it is then.
func (p *Proxy) setPaused(w http.ResponseWriter, r *http.Request, paused bool) error {
	if _, err := readQuery(r.URL.RawQuery); err != nil {
		return err
	}
	name := r.PathValue("name")
	t := p.table.Load()
	err := p.queue.SetPaused(name, paused)
	if errors.Is(err, queue.ErrNotFound) {
		return t.noRoute(name)
	}
	if err != nil {
		return err
	}
	for _, rs := range p.queue.Status().Routes {
		if rs.Name == name {
			return writeJSON(w, http.StatusOK, t.routeStatus(&rs))
		}
	}
	return t.noRoute(name)
}

// noRoute refuses a name that no route of the config has.
func (t *table) noRoute(name string) error {
	const most = 20
	var names []string
	for _, r := range t.routes[:min(most, len(t.routes))] {
		names = append(names, r.Name)
	}
	list := strings.Join(names, ", ")
	if more := len(t.routes) - most; more > 0 {
		list += fmt.Sprintf(" and %d more", more)
	}
	return refuse(http.StatusNotFound, "there is no route %q; the config has %s", clip(name), list)
}

// What callers send.

// A query is a request's parameters: each known, given once and not empty.
type query map[string]string

// readQuery reads parameters, and refuses all that is not exactly as it should be.
func readQuery(raw string, known ...string) (query, error) {
	q := query{}
	if raw == "" {
		return q, nil
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "the query of the URL is malformed: %s", clip(err.Error()))
	}
	for name, v := range values {
		switch {
		case !slices.Contains(known, name) && len(known) == 0:
			return nil, refuse(http.StatusBadRequest, "unknown parameter %q; there are none here", clip(name))
		case !slices.Contains(known, name):
			return nil, refuse(http.StatusBadRequest, "unknown parameter %q; known are %s", clip(name), strings.Join(known, ", "))
		case len(v) > 1:
			return nil, refuse(http.StatusBadRequest, "parameter %s came %d times; give it once", name, len(v))
		case v[0] == "":
			return nil, refuse(http.StatusBadRequest, "parameter %s is empty; leave it out or give it a value", name)
		}
		q[name] = v[0]
	}
	return q, nil
}

func (q query) malformed(name, expected string) error {
	return refuse(http.StatusBadRequest, "parameter %s is malformed: expected %s, found %q", name, expected, clip(q[name]))
}

// cursor tells an error about the parameter after from others.
func (q query) cursor(err error) error {
	if errors.Is(err, queue.ErrCursor) {
		return q.malformed("after", "the next of the page before")
	}
	return err
}

// oneOf reads a parameter that has few values; "" if it is not given.
func (q query) oneOf(name string, values ...string) (string, error) {
	v, ok := q[name]
	if ok && !slices.Contains(values, v) {
		return "", q.malformed(name, "one of "+strings.Join(values, ", "))
	}
	return v, nil
}

func (q query) boolean(name string) (bool, error) {
	v, err := q.oneOf(name, "true", "false")
	return v == "true", err
}

// number reads a whole number between two bounds; otherwise if it is not given.
func (q query) number(name string, otherwise, least, most int) (int, error) {
	v, ok := q[name]
	if !ok {
		return otherwise, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < least || n > most {
		return 0, q.malformed(name, fmt.Sprintf("a number from %d to %d", least, most))
	}
	return n, nil
}

// instant reads a time: RFC 3339, or a duration back from now. It is zero if
// it is not given.
func (q query) instant(name string) (time.Time, error) {
	v, ok := q[name]
	if !ok {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339Nano, v); err == nil {
		return t, nil
	}
	if back, ok := duration(v); ok && back >= 0 {
		return time.Now().Add(-back), nil
	}
	return time.Time{}, q.malformed(name, `a time such as 2026-04-29T14:31:08Z, or a duration back such as 15m, 24h or 7d`)
}

// duration reads a duration as Go writes it, which may begin with whole days: 7d, 1d12h.
func duration(s string) (time.Duration, bool) {
	const day = 24 * time.Hour
	days, rest, found := strings.Cut(s, "d")
	if !found {
		d, err := time.ParseDuration(s)
		return d, err == nil
	}
	n, err := strconv.ParseUint(days, 10, 16)
	if err != nil {
		return 0, false
	}
	whole := time.Duration(n) * day
	if rest == "" {
		return whole, true
	}
	d, err := time.ParseDuration(rest)
	return whole + d, err == nil && d >= 0
}

// id reads an id of a signal or delivery into dst, if it is given.
func (q query) id(name string, dst interface{ UnmarshalText([]byte) error }) error {
	v, ok := q[name]
	if !ok {
		return nil
	}
	if err := dst.UnmarshalText([]byte(v)); err != nil {
		return q.malformed(name, "an id of a "+name)
	}
	return nil
}

// maxWish bounds the body of a request that asks for something, but POST /try.
const maxWish = 64 << 10

// readJSON reads a JSON object with no member but the known ones. No body
// leaves dst as it is.
func readJSON(r *http.Request, most int64, dst any, known ...string) error {
	if _, err := readQuery(r.URL.RawQuery); err != nil {
		return err
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, most))
	if err != nil {
		return readProblem(err, func() error {
			return refuse(http.StatusRequestEntityTooLarge, "the body is larger than %d bytes", most).with("Connection", "close")
		})
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	media, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if charset, given := params["charset"]; err != nil || media != "application/json" || given && !strings.EqualFold(charset, "utf-8") {
		return refuse(http.StatusUnsupportedMediaType, "Content-Type must be application/json; found %q", clip(r.Header.Get("Content-Type"))).
			with("Accept", "application/json")
	}
	s := scanner{b: body}
	s.space()
	v, bad := s.value(0)
	if bad == nil {
		bad = s.end()
	}
	if bad != nil {
		return refuse(http.StatusBadRequest, "the body is %s", bad)
	}
	if v.kind != '{' {
		return refuse(http.StatusBadRequest, "the body must be a JSON object; found %s", kindOf(v.kind))
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	err = d.Decode(dst)
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrong):
		return refuse(http.StatusBadRequest, "%q must be a %s; found a %s", wrong.Field, wrong.Type, wrong.Value)
	case err != nil:
		if _, name, ok := strings.Cut(err.Error(), "unknown field "); ok {
			return unknownMember(strings.Trim(name, `"`), known)
		}
		return refuse(http.StatusBadRequest, "the body cannot be understood: %s", clip(err.Error()))
	}
	return nil
}

func unknownMember(name string, known []string) error {
	return refuse(http.StatusBadRequest, "unknown member %q; known are %s", clip(name), strings.Join(known, ", "))
}

// What they are answered.

// marshal is JSON and a line end, with < > & as they are.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return b.Bytes(), err
}

// appendJSON appends a string as JSON.
func appendJSON(b []byte, s string) []byte {
	out, _ := marshal(s) // a string always can
	return append(b, bytes.TrimSuffix(out, []byte("\n"))...)
}

// writeJSON answers with a value. Nothing of it may be kept by a cache.
func writeJSON(w http.ResponseWriter, status int, v any) error {
	b, err := marshal(v)
	if err != nil {
		return err
	}
	h := w.Header()
	h["Content-Type"] = jsonType
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status)
	w.Write(b)
	return nil
}

func writeText(w http.ResponseWriter, s string) error {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(s)))
	io.WriteString(w, s)
	return nil
}
