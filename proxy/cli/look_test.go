package cli

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signalpost/proxy/api"
	"signalpost/proxy/term"
	"signalpost/queue"
)

var update = flag.Bool("update", false, "write testdata anew")

func init() { time.Local = time.UTC } // before anything reads it

// now is when what is looked at happens.
var now = time.Date(2026, 11, 27, 16, 38, 24, 0, time.UTC)

func back(d time.Duration) time.Time    { return now.Add(-d) }
func backTo(d time.Duration) *time.Time { t := back(d); return &t }

func id[T any, P interface {
	*T
	UnmarshalText([]byte) error
}](text string) (v T) {
	if err := P(&v).UnmarshalText([]byte(text)); err != nil {
		panic(err)
	}
	return v
}

var ids = []queue.DeliveryID{id[queue.DeliveryID]("dlv_01M86Y31S439RB04TTWYWF0001"), id[queue.DeliveryID]("dlv_01M86Y31S439RB04TTWYWF0002")}

var longNames = []string{strings.Repeat("partner-", 7) + "europe1", strings.Repeat("partner-", 7) + "europe2", strings.Repeat("partner-", 3) + "X" + strings.Repeat("partner-", 4)[1:] + "europe2"}

// calm is a sidecar that nothing ails, troubled one that needs somebody.
func calm() api.Status {
	ok, target := api.Health{Level: api.OK, Reasons: []api.Reason{}}, "https://crm.example.com"
	return api.Status{
		Version: "1.2.3", Uptime: "3h12m0s", Host: "app-7", Health: ok,
		Config: api.ConfigStatus{Path: "signalpost.toml", Hash: "413db1a53f23", LoadedAt: back(3 * time.Hour)},
		Store:  api.StoreStatus{Bytes: 4 << 10, Free: 76 << 30, Accepting: true},
		Routes: []api.RouteStatus{
			{Name: "slack", State: queue.RouteOK, Health: ok, LastSuccess: backTo(2 * time.Second), RouteConfig: api.RouteConfig{Target: &target}},
			{Name: "crm", State: queue.RouteOK, Health: ok, Pending: 3, OldestDue: backTo(3 * time.Second), LastSuccess: backTo(time.Minute), RouteConfig: api.RouteConfig{Target: &target}},
		},
	}
}

func troubled(names ...string) (api.Status, []queue.Problem) {
	s, refused, failed := calm(), "answered 401 Unauthorized", "connection refused\x1b[2J"
	reasons := []api.Reason{
		{Route: names[1], Code: "failing", Since: back(27 * time.Minute), Text: "Its endpoint does not work: connection refused. 40 deliveries wait, and only probes are sent: the next at 2026-11-27T16:38:59Z. It goes on by itself when the endpoint works; at once: signalpost resume " + names[1]},
		{Route: names[0], Code: "refused", Since: back(26 * time.Hour), Text: "The last 212 attempts were refused: answered 401 Unauthorized. Fix the route or its receiver, then: signalpost retry --route " + names[0] + " --state pending"},
		{Code: "log_dropped", Since: back(5 * time.Minute), Text: "Lines of the sidecar's own log are lost. See why nobody reads its output fast enough, or log less ([log] level)"},
	}
	s.Health = api.Health{Level: api.Bad, Reasons: reasons}
	s.Routes[0].Name, s.Routes[0].Health, s.Routes[0].LastError, s.Routes[0].LastErrorAt, s.Routes[0].Pending = names[0], api.Health{Level: api.Bad, Reasons: reasons[1:2]}, &refused, backTo(time.Second), 212
	s.Routes[1].Name, s.Routes[1].Health, s.Routes[1].LastError, s.Routes[1].LastErrorAt, s.Routes[1].State = names[1], api.Health{Level: api.Bad, Reasons: reasons[:1]}, &failed, backTo(time.Second), queue.RouteFailing
	s.Routes = append(s.Routes, api.RouteStatus{Name: names[2], State: queue.RouteGone, Health: api.Health{Level: api.OK}, Held: 0, Dead: 50000, LastSuccess: backTo(50 * time.Hour)})
	return s, []queue.Problem{
		{Route: names[2], Class: "4xx", Status: 410, Error: "answered 410 Gone, which is in give_up_on", Count: 50000, First: back(26 * time.Hour), Last: back(time.Hour), Dead: 50000, Sample: ids[1]},
		{Route: names[0], Class: "4xx", Status: 401, Error: "answered 401 Unauthorized", Count: 1, First: back(time.Hour), Last: back(time.Second), Pending: 212, Sample: ids[0]},
		{Route: names[0], Class: "timeout", Error: "over", Count: 3, First: back(time.Hour), Last: back(time.Hour), Sample: ids[0]},
	}
}

func entries(names ...string) api.LogPage {
	return api.LogPage{Next: "c_1", Entries: []queue.Entry{
		{Time: back(time.Second), Delivery: ids[0], Route: names[0], Type: "product_qualified_lead", Attempt: 10, Verdict: queue.Dead, Reason: "exhausted", Status: 401, DurationMS: 12.5,
			Error: "answered 401 Unauthorized", Response: "{\"error\":\n\t\"no such \x1b[31mkey\"}" + strings.Repeat(" and so on", 30)},
		{Time: back(2 * time.Second), Delivery: ids[1], Route: names[1], Type: "t", Attempt: 3, Verdict: queue.Retry, DurationMS: 15000, Error: "no answer within 15s", NextAttempt: backTo(-10 * time.Minute)},
		{Time: back(3 * time.Second), Delivery: ids[1], Route: names[2], Type: "expansion_ready", Verdict: queue.Dead, Reason: "transform", Error: "tonumber cannot be applied to: null"},
		{Time: back(26 * time.Hour), Delivery: ids[0], Route: names[2], Type: "expansion_ready", Attempt: 1, Verdict: queue.Delivered, Status: 200, DurationMS: 3},
	}}
}

func ms(f float64) *float64 { return &f }

func stats(names ...string) api.Stats {
	s := api.Stats{Step: "1m"}
	for r, name := range names {
		series := api.Series{Route: name, Points: []api.Point{}}
		for i := 200 * r; i < 1440; i++ {
			n := int64(i % 97 * (3 - r))
			p := api.Point{Time: back(24 * time.Hour).Truncate(time.Minute).Add(time.Duration(i) * time.Minute), Accepted: n, Delivered: n, P50: ms(12), P95: ms(float64(n) + 0.3), P99: ms(1100)}
			if r == 0 && i > 1200 {
				p.Delivered, p.Failed, p.Dead = 0, map[queue.Class]int64{"5xx": 7, "timeout": 2}, int64(i%2)
			}
			if r == 2 {
				p = api.Point{Time: p.Time}
			}
			series.Points = append(series.Points, p)
		}
		s.Series = append(s.Series, series)
	}
	return s
}

// TestLook compares what the commands print with the files of testdata: on
// terminals of 80 and 120 columns, in colour, and piped. Run it with -update to
// write them, and look at what changed.
func TestLook(t *testing.T) {
	short := []string{"crm", "partner-eu", "old"}
	for name, show := range map[string]func(term.Page){
		"status-calm": func(p term.Page) { printStatus(p, calm(), nil, now) },
		"status": func(p term.Page) {
			s, problems := troubled(short...)
			printStatus(p, s, problems, now)
		},
		"status-long": func(p term.Page) {
			s, problems := troubled(longNames...)
			printStatus(p, s, problems, now)
		},
		"log":      func(p term.Page) { printLog(p, entries(short...), now) },
		"log-long": func(p term.Page) { printLog(p, entries(longNames...), now) },
		"log-far": func(p term.Page) {
			printLog(p, api.LogPage{Next: "c_1", SearchedTo: backTo(50 * time.Hour)}, now)
		},
		"stats":      func(p term.Page) { printStats(p, stats(short...), now) },
		"stats-long": func(p term.Page) { printStats(p, stats(longNames...), now) },
	} {
		for look, page := range map[string]term.Page{"80": {Width: 80}, "120": {Width: 120}, "colour": {Width: 80, Shaded: true}, "pipe": {}} {
			var out bytes.Buffer
			page.Writer = &out
			show(page)
			file := filepath.Join("testdata", fmt.Sprintf("%s-%s.txt", name, look))
			if *update {
				if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(out.Bytes(), want) {
				t.Errorf("%s:\n got\n%s\nwant\n%s", file, out.Bytes(), want)
			}
			for line := range strings.Lines(out.String()) {
				if n := term.Width(strings.TrimSuffix(line, "\n")); page.Width > 0 && !page.Shaded && n > page.Width && !strings.Contains(line, "partner-partner-partner-partner-partner-partner-partner-europe") {
					t.Errorf("%s: %d columns: %s", file, n, line)
				}
			}
		}
	}
}

// What explain prints fits 80 columns, however long its words are.
func TestExplainFits(t *testing.T) {
	long := strings.Repeat("x", 200)
	attempt := &api.ExplainedAttempt{
		Entry:   queue.Entry{Attempt: 1, Response: long, Peer: "[2001:db8::1]:443", Config: "0123456789ab", Verdict: queue.Retry},
		Request: &api.Request{Method: "PATCH", Target: "https://" + long, Path: "/" + long, Headers: map[string]string{"Tracestate": long}},
		Signed:  []api.Signed{{Header: "X-" + long, Over: "{timestamp}." + long}},
	}
	e := api.Explanation{
		Now:    now,
		Signal: api.ExplainedSignal{Type: long, ReceivedAt: back(time.Hour), Text: long},
		Routes: []api.ExplainedRoute{{Route: long[:63], Taken: true, Why: long, Today: long, Where: "." + long, PausedBy: []string{"config", "api"}, Reads: []api.Read{{Path: "." + long, Value: []byte(`"` + long + `"`), Found: true}}}},
		Deliveries: []api.ExplainedDelivery{{
			Info: queue.Info{Route: long[:63], State: queue.StateDead, Reason: queue.Exhausted},
			Steps: []api.Step{
				{Kind: "attempt", From: back(time.Hour), To: backTo(time.Hour), Text: long, Attempt: attempt},
				{Kind: "wait", Code: "concurrency", From: back(47*time.Hour + 59*time.Minute), Text: strings.Repeat("word ", 20) + long},
			},
			Next: long, Today: []string{long}, TodayBody: []byte(`"line\n\n` + long + `"`), TodayFormat: "text",
		}},
	}
	var b strings.Builder
	printExplanation(term.Page{Writer: &b, Width: term.Columns}, e)
	for line := range strings.Lines(b.String()) {
		if n := term.Width(strings.TrimSuffix(line, "\n")); n > term.Columns {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	if !strings.Contains(b.String(), "paused by the config and the API") || !strings.Contains(b.String(), "\n    line\n    \n    xxx") {
		t.Error(b.String())
	}
	b.Reset() // and a pipe gets whole words
	printExplanation(term.Page{Writer: &b}, e)
	for _, whole := range []string{"PATCH\n      https://" + long + "/" + long + "\n", "Tracestate:\n        " + long + "\n", "\n    " + long + "\n"} {
		if !strings.Contains(b.String(), whole) {
			t.Errorf("a pipe does not get %.40q…:\n%s", whole, &b)
		}
	}
}

// Changes that plan prints fit 80 columns, and show as much as there is room for.
func TestPlanFits(t *testing.T) {
	long, short := json.RawMessage(`"`+strings.Repeat("x", 200)+`"`), json.RawMessage("1")
	var b strings.Builder
	printPlan(term.Page{Writer: &b}, api.Plan{Signals: 9, Routes: []api.RoutePlan{{
		Route: "crm", Before: 1234, After: 1234, Changes: []api.Change{
			{Path: ".a", To: long, Count: 1234}, {Path: ".b", From: long, To: long, Count: 5}, {Path: ".c", From: short, To: long, Count: 5}, {Path: ".d", From: long, Count: 7},
		}, Settings: []api.Change{{Path: "oauth2", To: long}},
	}}})
	shown := 0
	for line := range strings.Lines(b.String()) {
		n := term.Width(strings.TrimSuffix(line, "\n"))
		if n > term.Columns || strings.Contains(line, "→ \"") && n < term.Columns-1 {
			t.Errorf("%d columns: %s", n, line)
		}
		shown += strings.Count(line, "x…")
	}
	if shown != 6 {
		t.Errorf("%d values are cut:\n%s", shown, b.String())
	}
}
