package dashboard_test

// A sidecar that is none: it answers as INTERFACE has it, from a scene that a test
// makes, so that what takes a day or a hundred thousand deliveries can be looked at.

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"signalpost/proxy/dashboard"
)

type object = map[string]any

// A scene is what the mock says.
type scene struct {
	mu         sync.Mutex
	routes     []object
	problems   []object
	entries    []object // of the log, newest first
	deliveries []object // newest first, as of GET /deliveries/{id}
	rate       func(route string, t time.Time) object
	known      time.Duration // how far back there are statistics
	config     object
	asked      []string // method, path and body of what came
	frozen     chan struct{}
	skew       time.Duration
	followers  []chan object
	pages      int // of deliveries there seem to be
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000000Z") }

func back(d time.Duration) string { return stamp(time.Now().Add(-d)) }

// newScene is one in which all is well, with these routes.
func newScene(names ...string) *scene {
	s := &scene{known: 40 * 24 * time.Hour, config: object{"path": "/etc/signalpost/signalpost.toml", "hash": "939a77c1d20b6a44", "loaded_at": back(35 * time.Minute), "error": nil,
		"reloads": []object{{"time": back(35 * time.Minute), "hash": "939a77c1d20b6a44"}}}}
	for i, name := range names {
		s.routes = append(s.routes, object{"name": name, "state": "ok", "health": object{"level": "ok", "reasons": []object{}}, "pending": 0, "held": 0, "dead": 0, "discarded": 0,
			"oldest_due": nil, "last_success": back(time.Duration(2+i) * time.Second), "last_error": nil, "last_error_at": nil, "target": "https://" + name + ".example.com", "paused_by": []string{},
			"failing_since": nil, "next_probe": nil, "signal_types": []string{"product_qualified_lead", "expansion_*"}, "where": ".confidence >= 0.8",
			"transform": "{\n  company: .account.name,\n  score: (.confidence * 100 | round)\n}",
			"schedule":  object{"attempts": 10, "first": "5s", "window": "24h0m0s", "jitter": 0.1, "gaps": []string{"5s", "16.2s", "52.3s", "2m49s", "9m6s", "29m26s", "1h35m9s", "5h7m37s", "16h34m30s"}},
			"limits":    object{"timeout": "15s", "concurrency": 8, "rate": nil, "give_up_on": []int{410}}, "recent": object{"delivered": 900, "retry": 4, "dead": 0}})
	}
	s.rate = func(route string, t time.Time) object {
		n := 60 + 30*math.Sin(float64(t.Unix())/700+float64(len(route))) + 12*math.Sin(float64(t.Unix())/97)
		return object{"accepted": int(n), "delivered": int(n) - 1, "failed": object{"5xx": int(n) / 40}, "dead": 0, "p50_ms": 40 + n/3, "p95_ms": 90 + n, "p99_ms": 130 + 2*n}
	}
	return s
}

func (s *scene) route(name string) object {
	for _, r := range s.routes {
		if r["name"] == name {
			return r
		}
	}
	return nil
}

// ails gives a route a reason of health.
func (s *scene) ails(name, level, code, text string, since time.Duration) object {
	r := s.route(name)
	h := r["health"].(object)
	h["level"] = level
	h["reasons"] = append(h["reasons"].([]object), object{"route": name, "code": code, "text": text, "since": back(since)})
	return r
}

func (s *scene) health() object {
	level, reasons := "ok", []object{}
	for _, want := range []string{"bad", "warn"} {
		for _, r := range s.routes {
			h := r["health"].(object)
			if h["level"] == want {
				reasons = append(reasons, h["reasons"].([]object)...)
				if level == "ok" {
					level = want
				}
			}
		}
	}
	return object{"level": level, "reasons": reasons}
}

// attempt adds one to the log, of a delivery that is made if there is none of that id.
func (s *scene) attempt(id int, route, kind string, ago time.Duration, more object) object {
	e := object{"time": back(ago), "delivery": fmt.Sprintf("dlv_01K%023d", id), "signal": fmt.Sprintf("sig_01K%023d", id), "route": route, "signal_type": kind, "attempt": 1, "verdict": "delivered",
		"status": 200, "class": "2xx", "duration_ms": 43.2, "trigger": "schedule", "config": "939a77c1d20b6a44", "peer": "203.0.113.9:443", "reused": true, "timing": object{"first_byte_ms": 41.0}}
	for k, v := range more {
		e[k] = v
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entries = append([]object{e}, s.entries...)
	for _, f := range s.followers {
		f <- e
	}
	state := object{"delivered": "delivered", "retry": "pending", "dead": "dead"}[e["verdict"].(string)]
	for _, d := range s.deliveries {
		if d["id"] == e["delivery"] {
			d["log"] = append(d["log"].([]object), e)
			d["state"], d["attempts"], d["last"], d["next_attempt"], d["reason"] = state, e["attempt"], e, e["next_attempt"], e["reason"]
			return e
		}
	}
	signal := fmt.Sprintf(`{"signal_type":%q,"confidence":0.92,"source":"posthog","hypothesis_id":"hyp_8g2k","account":{"name":"Acme Corp","domain":"acme.com"},"events":["visited_pricing_page","invited_team_member"],"digits":12345678901234567890.10}`, kind)
	s.deliveries = append([]object{{"id": e["delivery"], "signal": e["signal"], "route": route, "signal_type": kind, "state": state, "reason": e["reason"], "created": back(ago + time.Second), "attempts": e["attempt"], "next_attempt": e["next_attempt"], "last": e,
		"request": object{"method": "POST", "target": "https://" + route + ".example.com", "sent": true, "time": e["time"], "headers": object{"Content-Type": "application/json", "User-Agent": "signalpost/0.1.0", "webhook-id": e["delivery"],
			"webhook-timestamp": "1777473068", "X-Beton-Attempt": "1", "X-Beton-Signature": "[signature]", "X-Api-Key": "[secret]"}},
		"body": json.RawMessage(`{"company":"Acme Corp","score":92,"source":"posthog","confidence":0.95}`), "signal_body": json.RawMessage(signal), "log": []object{e}}}, s.deliveries...)
	return e
}

func (s *scene) status() object {
	return object{"version": "0.1.0", "uptime": "3h12m5s", "host": "app-7", "now": stamp(time.Now().Add(s.skew)), "config": s.config, "log_lines_dropped": 0, "health": s.health(), "routes": s.routes,
		"store": object{"bytes": 214_000_000, "free": 75_000_000_000, "accepting": true, "reason": nil, "max_size": 10 << 30, "min_free": 256 << 20}}
}

func (s *scene) stats(r *http.Request) object {
	q := r.URL.Query()
	step := map[string]time.Duration{"1m": time.Minute, "5m": 5 * time.Minute, "15m": 15 * time.Minute, "1h": time.Hour, "6h": 6 * time.Hour, "1d": 24 * time.Hour}[q.Get("step")]
	since, _ := time.Parse(time.RFC3339Nano, q.Get("since"))
	until := time.Now()
	if u, err := time.Parse(time.RFC3339Nano, q.Get("until")); err == nil {
		until = u
	}
	var series []object
	for _, route := range s.routes {
		name := route["name"].(string)
		if q.Has("route") && q.Get("route") != name {
			continue
		}
		points := []object{}
		for t := since.Truncate(step); t.Before(until); t = t.Add(step) {
			if time.Since(t) > s.known {
				continue
			}
			p, minutes := s.rate(name, t), int(step/time.Minute)
			for _, n := range []string{"accepted", "delivered", "dead"} {
				p[n] = p[n].(int) * minutes
			}
			p["time"] = stamp(t)
			points = append(points, p)
		}
		series = append(series, object{"route": name, "points": points})
	}
	return object{"step": q.Get("step"), "series": series}
}

// pick is those of a list for which all the parameters that are members say so.
func pick(list []object, r *http.Request, members ...string) []object {
	out := []object{}
	for _, o := range list {
		fits := true
		for _, m := range members {
			v := r.URL.Query().Get(m)
			glob := strings.TrimSuffix(v, "*")
			fits = fits && (v == "" || fmt.Sprint(o[m]) == v || glob != v && strings.HasPrefix(fmt.Sprint(o[m]), glob) || v == "failed" && o[m] != "delivered")
		}
		if fits && len(out) < 100 {
			out = append(out, o)
		}
	}
	return out
}

func (s *scene) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	frozen := s.frozen
	s.mu.Unlock()
	if frozen != nil {
		select {
		case <-frozen:
		case <-r.Context().Done():
			return
		}
	}
	if r.URL.Path == "/log" && r.URL.Query().Get("follow") == "true" {
		s.follow(w, r)
		return
	}
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, fmt.Sprintf("%s %s %s", r.Method, r.URL, body))
	w.Header().Set("Date", time.Now().Add(s.skew).UTC().Format(http.TimeFormat))
	answer := func(v any) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(v)
	}
	find := func(list []object, id string) object {
		for _, o := range list {
			if o["id"] == id {
				return o
			}
		}
		return nil
	}
	path := r.URL.Path
	switch {
	case path == "/status":
		answer(s.status())
	case path == "/stats":
		answer(s.stats(r))
	case path == "/problems":
		answer(object{"problems": append([]object{}, s.problems...)})
	case path == "/log":
		answer(object{"entries": pick(s.entries, r, "route", "signal_type", "verdict", "status", "delivery", "signal")})
	case path == "/deliveries":
		page := object{"deliveries": pick(s.deliveries, r, "route", "signal_type", "state", "reason", "signal")}
		if s.pages--; s.pages > 0 {
			time.Sleep(20 * time.Millisecond)
			page = object{"deliveries": s.deliveries[:1], "next": "more"}
		}
		answer(page)
	case path == "/signals":
		list := []object{}
		for _, d := range s.deliveries {
			list = append(list, object{"id": d["signal"], "signal_type": d["signal_type"], "received_at": d["created"], "signal": d["signal_body"], "config": "939a77c1d20b6a44"})
		}
		answer(object{"signals": list[:min(50, len(list))]})
	case path == "/try":
		answer(object{"routes": []object{{"route": "crm", "matches": true, "why": "passes", "bodies": []object{{"company": "Acme Corp", "score": len(body) % 7}}, "request": nil, "error": nil}}})
	case strings.HasPrefix(path, "/deliveries/") && r.Method == http.MethodGet:
		d := find(s.deliveries, strings.TrimPrefix(path, "/deliveries/"))
		if d == nil {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		etag := fmt.Sprintf(`"%d"`, len(d["log"].([]object)))
		w.Header().Set("ETag", etag)
		if r.Header.Get("If-None-Match") == etag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		answer(d)
	case r.Method == http.MethodPost:
		matched := 1000
		if strings.Contains(string(body), "dry_run") {
			matched = 50_000
		}
		w.WriteHeader(http.StatusAccepted)
		answer(object{"matched": matched, "state": "dead"})
	default:
		dashboard.Handler().ServeHTTP(w, r)
	}
}

func (s *scene) follow(w http.ResponseWriter, r *http.Request) {
	entries := make(chan object, 1000)
	s.mu.Lock()
	s.followers = append(s.followers, entries)
	s.asked = append(s.asked, "GET "+r.URL.String())
	s.mu.Unlock()
	w.WriteHeader(http.StatusOK)
	w.(http.Flusher).Flush()
	beat := time.NewTicker(5 * time.Second)
	defer beat.Stop()
	for {
		select {
		case e := <-entries:
			json.NewEncoder(w).Encode(e)
		case <-beat.C:
			s.mu.Lock()
			frozen := s.frozen
			s.mu.Unlock()
			if frozen != nil {
				continue
			}
			fmt.Fprintln(w)
		case <-r.Context().Done():
			return
		}
		w.(http.Flusher).Flush()
	}
}

// start serves the scene.
func (s *scene) start(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server.URL
}

// had is the requests that came and begin so.
func (s *scene) had(prefix string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []string
	for _, a := range s.asked {
		if strings.HasPrefix(a, prefix) {
			list = append(list, a)
		}
	}
	return list
}

// hold changes the scene while it is served.
func (s *scene) hold(f func(*scene)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}
