package union

import (
	"cmp"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"signalpost/proxy/api"
	"signalpost/proxy/fleet"
	"signalpost/proxy/front"
	"signalpost/queue"
)

func answer(t *testing.T, v any) *fleet.Answer {
	t.Helper()
	b, err := api.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return &fleet.Answer{Status: 200, Header: http.Header{}, Body: b}
}

func read[T any](t *testing.T, a *fleet.Answer) (v T) {
	t.Helper()
	if err := json.Unmarshal(a.Body, &v); err != nil || a.Status >= 300 {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	return v
}

// TestPages: a page of a ledger that has more ends what can be shown, and the
// cursor leads on from what was.
func TestPages(t *testing.T) {
	for _, c := range []struct {
		lists       []string
		nexts       []string
		limit, want string
		next        string
	}{
		{[]string{"9 7 5", "8 6 4"}, []string{"", ""}, "10", "9 8 7 6 5 4", ""},
		{[]string{"9 7 5", "8 6 4"}, []string{"", ""}, "4", "9 8 7 6", "6"},
		{[]string{"9 8 7", "3 2 1"}, []string{"7", "1"}, "3", "9 8 7", "7"},
		{[]string{"9 8", "7 1"}, []string{"8", ""}, "9", "9 8", "8"}, // 7 may not be the next
		{[]string{"", ""}, []string{"5", ""}, "9", "", "5"},          // a search that ended for having looked at much
	} {
		var lists [][]string
		for _, l := range c.lists {
			lists = append(lists, strings.Fields(l))
		}
		got, next := page(&merging{call: &fleet.Call{URL: "/log?limit=" + c.limit}}, lists, c.nexts, func(s string) string { return s })
		if strings.Join(got, " ") != c.want || next != c.next {
			t.Errorf("%v, at most %s: got %q and %q, want %q and %q", c.lists, c.limit, got, next, c.want, c.next)
		}
	}
}

// TestMerges: what is counted is added up, and who did not answer is told.
func TestMerges(t *testing.T) {
	ms := func(f float64) *float64 { return &f }
	now := time.Now().UTC().Truncate(time.Minute)
	point := func(n int64, p99 float64) api.Stats {
		return api.Stats{Step: "1m", Series: []api.Series{{Route: "a", Points: []api.Point{{Time: now, Accepted: n, Failed: map[queue.Class]int64{"5xx": n}, P99: ms(p99)}}}}}
	}
	m := &merging{answers: []*fleet.Answer{answer(t, point(1, 5)), answer(t, point(2, 9))}, missing: []string{"x"}, call: &fleet.Call{URL: "/stats"}}
	s := read[api.Stats](t, mergeStats(m))
	if p := s.Series[0].Points[0]; len(s.Series) != 1 || p.Accepted != 3 || p.Failed["5xx"] != 3 || *p.P99 != 9 || !slices.Equal(s.Missing, []string{"x"}) {
		t.Errorf("statistics %+v", s)
	}
	problem := func(n int64, last time.Time, text string) api.Problems {
		return api.Problems{Problems: []queue.Problem{{Route: "a", Error: text, Count: n, Pending: n, First: now, Last: last}}}
	}
	m.answers = []*fleet.Answer{answer(t, problem(1, now, "no")), answer(t, problem(2, now.Add(time.Second), "no")), answer(t, problem(9, now, "other"))}
	p := read[api.Problems](t, mergeProblems(m)).Problems
	if len(p) != 2 || p[0].Count != 9 || p[1].Count != 3 || p[1].Pending != 3 || !p[1].Last.After(now) {
		t.Errorf("problems %+v", p)
	}
	m.answers = []*fleet.Answer{answer(t, api.Matched{Matched: 2}), answer(t, api.Matched{Matched: 3, Partial: api.Partial{Missing: []string{"y"}}})}
	if r := read[api.Matched](t, mergeMatched(m)); r.Matched != 5 || len(r.Missing) != 2 {
		t.Errorf("matched %+v", r)
	}
	route := func(state queue.RouteState, by string, reasons ...api.Reason) *fleet.Answer {
		h := api.Health{Level: "ok", Reasons: reasons}
		return answer(t, api.Status{Host: "n", Health: h, Routes: []api.RouteStatus{{Name: "a", State: state, PausedBy: strings.Fields(by), Pending: 1, Health: h}}})
	}
	m.answers = []*fleet.Answer{route("gone", ""), route("ok", ""), route("paused", "api"), route("failing", "config", api.Reason{Route: "a", Code: "failing"})}
	if r := read[api.Status](t, mergeStatus(m)); r.Health.Level != "bad" || r.Routes[0].Health.Level != "bad" || r.Routes[0].State != "failing" || strings.Join(r.Routes[0].PausedBy, " ") != "api config" || r.Routes[0].Pending != 4 {
		t.Errorf("status %+v", r)
	}
	m.answers = m.answers[:2]
	if r := read[api.Status](t, mergeStatus(m)); r.Routes[0].State != "gone" {
		t.Errorf("a route that has gone here is %s", r.Routes[0].State)
	}
	no := &fleet.Answer{Status: 404, Header: http.Header{}, Body: []byte("{}")}
	m.answers = []*fleet.Answer{no, {Status: 409, Header: http.Header{}}}
	if a := fromOwner(m); a.Status != 409 {
		t.Errorf("one has it: %d", a.Status)
	}
	m.answers = []*fleet.Answer{no}
	if a := fromOwner(m); a.Status != 503 || a.Header.Get("Retry-After") == "" || !strings.Contains(string(a.Body), "x") {
		t.Errorf("one is missing: %d %s", a.Status, a.Body)
	}
	m.missing = nil
	if a := fromOwner(m); a.Status != 404 {
		t.Errorf("nobody has it: %d", a.Status)
	}
}

// TestHere: what is answered for the whole fleet has the parameter here in
// /openapi.json, and nothing else has.
func TestHere(t *testing.T) {
	b, err := front.Document("test")
	var document struct {
		Paths map[string]map[string]struct{ Parameters []struct{ Name string } }
	}
	if err := cmp.Or(err, json.Unmarshal(b, &document)); err != nil {
		t.Fatal(err)
	}
	merged := 0
	for path, methods := range document.Paths {
		for method, of := range methods {
			merges := mergerOf(httptest.NewRequest(strings.ToUpper(method), strings.NewReplacer("{", "", "}", "").Replace(path), nil)) != nil
			if here := slices.ContainsFunc(of.Parameters, func(p struct{ Name string }) bool { return p.Name == "here" }); here != merges {
				t.Errorf("%s %s: described %v, merged %v", method, path, here, merges)
			} else if merges {
				merged++
			}
		}
	}
	if merged < len(mergers)+len(mergersByPrefix) {
		t.Errorf("%d endpoints are merged", merged)
	}
}

// TestRefused: who may not ask the own ledger is answered by that alone.
func TestRefused(t *testing.T) {
	u := &Union{Options: Options{
		Own: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			w.WriteHeader(http.StatusUnauthorized)
		}),
		Local: func() []http.Handler { t.Error("another ledger is asked"); return nil },
	}}
	for _, path := range []string{"/log", "/deliveries/x", "/log?follow=true", "/status?here=true"} {
		w := httptest.NewRecorder()
		u.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code != http.StatusUnauthorized || w.Header().Get("WWW-Authenticate") == "" {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}
