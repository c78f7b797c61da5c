package dashboard_test

// A sidecar that is none: what only days bring about can be looked at with it. It answers
// as the contract has it; all else is tested with a real one.

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"signalpost/proxy/dashboard"
)

type object = map[string]any

// A scene is what the mock says.
type scene struct {
	routes     []object
	problems   []object
	own        []object // reasons of the sidecar itself
	entries    []object // of the log, newest first
	deliveries []object // newest first, as of GET /deliveries/{id}
	config     object
	fleet      atomic.Pointer[object]
	known      time.Duration // how far back there are statistics
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000000Z") }

func back(d time.Duration) string { return stamp(time.Now().Add(-d)) }

// newScene is one in which all is well, with these routes.
func newScene(names ...string) *scene {
	s := &scene{known: 20 * 24 * time.Hour, config: object{"path": "/etc/signalpost/signalpost.toml", "hash": "939a77c1d20b6a44", "loaded_at": back(35 * time.Minute), "error": nil,
		"reloads": []object{{"time": back(35 * time.Minute), "hash": "939a77c1d20b6a44"}}}}
	for i, name := range names {
		s.routes = append(s.routes, object{"name": name, "state": "ok", "health": object{"level": "ok", "reasons": []object{}}, "pending": 0, "held": 0, "dead": 0, "discarded": 0,
			"oldest_due": nil, "last_success": back(time.Duration(2+i) * time.Second), "last_error": nil, "last_error_at": nil, "target": "https://" + name + ".example.com", "paused_by": []string{},
			"failing_since": nil, "next_probe": nil, "signal_types": []string{"product_qualified_lead", "expansion_*"}, "where": ".confidence >= 0.8",
			"transform": "{\n  company: .account.name,\n  score: (.confidence * 100 | round)\n}",
			"schedule":  object{"attempts": 10, "first": "5s", "window": "24h0m0s", "jitter": 0.1, "gaps": []string{"5s", "16.2s", "52.3s", "2m49s", "9m6s", "29m26s", "1h35m9s", "5h7m37s", "16h34m30s"}},
			"limits":    object{"timeout": "15s", "concurrency": 8, "rate": nil, "give_up_on": []int{410}}, "recent": object{"delivered": 900, "retry": 4, "dead": 0}})
	}
	return s
}

// rate is a point of a route's statistics.
func (s *scene) rate(route string, t time.Time) object {
	n := 60 + 30*math.Sin(float64(t.Unix())/700+float64(len(route))) + 12*math.Sin(float64(t.Unix())/97)
	return object{"accepted": int(n), "delivered": int(n) - 1, "failed": object{"5xx": int(n) / 40}, "dead": 0, "p50_ms": 40 + n/3, "p95_ms": 90 + n, "p99_ms": 130 + 2*n}
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
	level, reasons := "ok", append([]object{}, s.own...)
	if len(s.own) > 0 {
		level = "bad"
	}
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
	s.entries = append([]object{e}, s.entries...)
	state := object{"delivered": "delivered", "retry": "pending", "dead": "dead"}[e["verdict"].(string)]
	signal := fmt.Sprintf(`{"signal_type":%q,"confidence":0.92,"source":"posthog","hypothesis_id":"hyp_8g2k","account":{"name":"Acme Corp","domain":"acme.com"},"events":["visited_pricing_page","invited_team_member"],"digits":12345678901234567890.10}`, kind)
	s.deliveries = append([]object{{"id": e["delivery"], "signal": e["signal"], "route": route, "signal_type": kind, "state": state, "reason": e["reason"], "created": back(ago + time.Second), "attempts": e["attempt"], "next_attempt": e["next_attempt"], "last": e,
		"request": object{"method": "POST", "target": "https://" + route + ".example.com", "sent": true, "time": e["time"], "headers": object{"Content-Type": "application/json", "User-Agent": "signalpost/0.1.0", "webhook-id": e["delivery"],
			"webhook-timestamp": "1777473068", "X-Beton-Attempt": "1", "X-Beton-Signature": "[signature]", "X-Api-Key": "[secret]"}},
		"body": json.RawMessage(`{"company":"Acme Corp","score":92,"source":"posthog","confidence":0.95}`), "signal_body": json.RawMessage(signal), "log": []object{e}}}, s.deliveries...)
	return e
}

func (s *scene) status() object {
	status := object{"version": "0.1.0", "uptime": "3h12m5s", "host": "app-7", "now": stamp(time.Now()), "config": s.config, "log_lines_dropped": 0, "health": s.health(), "routes": s.routes,
		"store": object{"bytes": 214_000_000, "free": 75_000_000_000, "accepting": true, "reason": nil, "max_size": 10 << 30, "min_free": 256 << 20}}
	if f := s.fleet.Load(); f != nil {
		status["fleet"], status["missing"] = *f, (*f)["missing"]
	}
	return status
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
	answer := func(v any) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(v)
	}
	path := r.URL.Path
	switch {
	case path == "/status":
		answer(s.status())
	case path == "/stats":
		answer(s.stats(r))
	case path == "/problems":
		answer(object{"problems": append([]object{}, s.problems...)})
	case path == "/log" && r.URL.Query().Get("follow") == "true":
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	case path == "/log":
		answer(object{"entries": pick(s.entries, r, "route", "signal_type", "verdict", "status", "delivery", "signal")})
	case path == "/deliveries":
		answer(object{"deliveries": pick(s.deliveries, r, "route", "signal_type", "state", "reason", "signal")})
	default:
		dashboard.Handler().ServeHTTP(w, r)
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
