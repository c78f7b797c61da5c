package proxy_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"signalpost/proxy/api"
)

// Who follows the log is told every few seconds that the sidecar lives.
func TestFollowBeats(t *testing.T) {
	s := start(t, held, nil)
	resp, err := http.Get(s.base + "/log?follow=true")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got := resp.Header.Get("X-Accel-Buffering"); got != "no" {
		t.Errorf("X-Accel-Buffering is %q", got)
	}
	began := time.Now()
	line, err := bufio.NewReader(resp.Body).ReadString('\n')
	if took := time.Since(began); err != nil || strings.TrimSpace(line) != "" || took < 3*time.Second || took > 20*time.Second {
		t.Errorf("read %q, %v, after %s", line, err, took)
	}
}

// status asks for it, and returns what its health says: the level, then a line a reason.
func (s *sidecar) status() (st api.Status, health string) {
	s.t.Helper()
	s.get("/status", &st)
	return st, says(st.Health)
}

func says(h api.Health) string {
	text := string(h.Level)
	for _, r := range h.Reasons {
		text += fmt.Sprintf(" %s:%s", r.Route, r.Code)
	}
	return text
}

// healthy waits until the health is so.
func (s *sidecar) healthy(want string) api.Status {
	s.t.Helper()
	var st api.Status
	got := ""
	defer func() {
		if s.t.Failed() {
			s.t.Logf("health is %q, want %q", got, want)
		}
	}()
	s.until("health is "+want, func() bool {
		st, got = s.status()
		return got == want
	})
	return st
}

// answering is a receiver with one answer to all.
type answering struct{ status atomic.Int32 }

func (a *answering) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(int(a.status.Load()))
}

func (a *answering) now(status int) *answering {
	a.status.Store(int32(status))
	return a
}

const quick = "retry = { attempts = 10, first = \"1ms\", window = \"20ms\", jitter = 0 }\n"

// What is refused each time is bad, though the endpoint answers, and after a restart still.
func TestHealthRefused(t *testing.T) {
	box := (&answering{}).now(401)
	s := start(t, "[[route]]\nname = \"crm\"\nurl = \"%s\"\n"+quick, box)
	s.healthy("ok")
	s.post("/signals", `{"signal_type":"a"}`)
	s.settled()
	want := "bad crm:refused crm:dying"
	st := s.healthy(want)
	r := st.Routes[0]
	if says(r.Health) != want || r.Dead != 1 || r.LastError == nil || r.LastErrorAt == nil || r.LastSuccess != nil || r.Recent.Retry != 9 || r.Recent.Dead != 1 {
		t.Errorf("%+v", r)
	}
	for _, reason := range st.Health.Reasons {
		if !strings.Contains(reason.Text, "401") || !strings.Contains(reason.Text, "signalpost retry --route crm --state dead") || time.Since(reason.Since) > time.Hour {
			t.Errorf("%+v", reason)
		}
	}
	if a := s.do("GET", "/metrics", ""); !strings.Contains(a.body, "signalpost_health{route=\"crm\"} 2\n") || !strings.Contains(a.body, "signalpost_health{route=\"\"} 0\n") {
		t.Errorf("%s", a.body)
	}
	s.stop()
	s.run()
	again := s.healthy(want)
	if now := again.Routes[0]; now.LastError == nil || *now.LastError != *r.LastError || !now.LastErrorAt.Equal(*r.LastErrorAt) || !again.Health.Reasons[0].Since.Equal(st.Health.Reasons[0].Since) || now.Recent != r.Recent {
		t.Errorf("after a restart %+v", now)
	}
	box.now(200)
	s.post("/retry", `{"route":"crm"}`)
	s.settled()
	if st := s.healthy("warn crm:dying"); st.Routes[0].LastSuccess == nil {
		t.Errorf("%+v", st.Routes[0])
	}
}

// Deliveries that die are told of, whatever their endpoint answers; what nobody wants is not.
func TestHealthDying(t *testing.T) {
	s := start(t, "[[route]]\nname = \"erp\"\nurl = \"%s\"\n", (&answering{}).now(410))
	s.post("/signals", `[{"signal_type":"a"},{"signal_type":"a"}]`)
	s.settled()
	if st := s.healthy("warn erp:dying"); !strings.Contains(st.Health.Reasons[0].Text, "2 deliveries died") {
		t.Errorf("%+v", st.Health)
	}
	s.post("/signals", `[{"signal_type":"a"},{"signal_type":"a"},{"signal_type":"a"}]`)
	s.settled()
	s.healthy("bad erp:refused erp:dying")
	s.post("/discard", `{"state":"dead"}`) // which nobody needs to look at any more
	s.healthy("warn erp:dying")
}

// Green means that nothing needs anyone.
func TestHealthIsGreen(t *testing.T) {
	box := (&answering{}).now(200)
	s := start(t, `[[route]]
name = "works"
url = "%s"
signal_types = ["a"]
[[route]]
name = "paused"
url = "%s"
signal_types = ["b"]
paused = true
[[route]]
name = "picky"
url = "%s"
signal_types = ["c"]
transform = "if .n then .n else error end"
`, box)
	s.post("/signals", `{"signal_type":"a"}`)
	s.post("/signals", `{"signal_type":"b"}`)
	s.until("a is delivered", func() bool {
		st, _ := s.status()
		return st.Routes[0].Recent.Delivered == 1
	})
	st := s.healthy("ok")
	if st.Routes[1].State != "paused" || len(st.Routes[1].PausedBy) != 1 || st.Routes[1].PausedBy[0] != "config" || st.Routes[1].Pending != 1 {
		t.Errorf("%+v", st.Routes[1])
	}
	s.post("/routes/paused/pause", "")
	s.get("/status", &st)
	if by := st.Routes[1].PausedBy; len(by) != 2 || by[1] != "api" {
		t.Errorf("paused by %q", by)
	}
	if a := s.post("/discard", `{"route":"paused"}`); a.status != 202 {
		t.Errorf("%s", a)
	}
	s.healthy("ok")
	s.post("/signals", `{"signal_type":"c"}`)
	s.healthy("warn picky:dying")
}

func TestHealthFailing(t *testing.T) {
	box := (&answering{}).now(503)
	s := start(t, "[[route]]\nname = \"crm\"\nurl = \"%s\"\nretry = { attempts = 10, first = \"1ms\", window = \"2s\" }\n", box)
	s.post("/signals", "["+strings.Repeat(`{"signal_type":"a"},`, 20)+`{"signal_type":"a"}]`)
	st := s.healthy("bad crm:failing")
	s.until("there is a next probe", func() bool {
		st, _ = s.status()
		return st.Routes[0].NextProbe != nil
	})
	r := st.Routes[0]
	if r.State != "failing" || r.Failing == nil || !r.Failing.Equal(st.Health.Reasons[0].Since) || r.NextProbe.Before(*r.Failing) {
		t.Errorf("%+v", r)
	}
	box.now(200)
	s.settled()
	s.healthy("ok")
}

// The config that runs is told of, and why the file is not it.
func TestStatusOfConfig(t *testing.T) {
	const route = "[[route]]\nname = \"crm\"\nurl = \"https://crm.example.com/x?key=secret\"\nsignal_types = [\"a*\"]\nwhere = \".n > 1\"\ntransform = \"{n}\"\n" +
		"retry = { attempts = 4, window = \"1d\" }\nrate = \"90/m\"\ngive_up_on = [404, 410]\npaused = true\n"
	s := start(t, "[queue]\nmax_size = \"1GiB\"\nmin_free = \"1MiB\"\n"+route, nil)
	st, _ := s.status()
	host, _ := os.Hostname()
	if st.Host != host || time.Since(st.Now).Abs() > time.Minute || st.Store.MaxSize != 1<<30 || st.Store.MinFree != 1<<20 || st.Config.Reloads == nil || len(st.Config.Reloads) != 0 {
		t.Errorf("%+v", st)
	}
	r := st.Routes[0]
	if got := strings.TrimSuffix(fmt.Sprintln(*r.Target, r.SignalTypes, *r.Where, *r.Transform, *r.Schedule, r.Limits.Timeout, r.Limits.Concurrency, *r.Limits.Rate, r.Limits.GiveUpOn), "\n"); got !=
		"https://crm.example.com [a*] .n > 1 {n} {4 5s 24h 0.1 [5s 10m55s 23h49m]} 15s 8 90/m [404 410]" {
		t.Errorf("%s", got)
	}
	s.post("/signals", `{"signal_type":"a","n":2}`)
	s.write("nothing = 1\n" + route)
	st = s.healthy("warn :config_rejected")
	if st.Config.Error == nil || !strings.Contains(st.Health.Reasons[0].Text, *st.Config.Error) || !strings.Contains(st.Health.Reasons[0].Text, "signalpost check") {
		t.Errorf("%+v %+v", st.Config, st.Health)
	}
	since := st.Health.Reasons[0].Since
	s.write("more = 1\n" + route)
	s.until("the error is another", func() bool { st, _ = s.status(); return strings.Contains(*st.Config.Error, "more") })
	if !st.Health.Reasons[0].Since.Equal(since) {
		t.Errorf("rejected since %s, and since %s", since, st.Health.Reasons[0].Since)
	}
	s.write("[[route]]\nname = \"other\"\nurl = \"https://x.example.com\"\n")
	st = s.healthy("warn crm:held")
	if len(st.Config.Reloads) != 1 || st.Config.Reloads[0].Hash != st.Config.Hash || !st.Config.Reloads[0].Time.Equal(st.Config.LoadedAt) || len(st.Routes) != 2 {
		t.Fatalf("%+v", st)
	}
	gone, other := st.Routes[1], st.Routes[0]
	if gone.State != "gone" || gone.Held != 1 || gone.Target != nil || gone.Where != nil || gone.Transform != nil || gone.Schedule != nil || gone.Limits != nil || gone.SignalTypes == nil || gone.PausedBy == nil {
		t.Errorf("%+v", gone)
	}
	if other.Where != nil || other.Transform != nil || len(other.SignalTypes) != 0 || other.SignalTypes == nil || other.Limits.Rate != nil || len(other.Schedule.Gaps) != 9 || other.Schedule.Gaps[1] != "16.2s" {
		t.Errorf("%+v %+v", other, other.Schedule)
	}
}

type stats struct {
	Step   string
	Series []struct {
		Route  string
		Points []struct {
			Time                      time.Time
			Accepted, Delivered, Dead int
			Failed                    map[string]int
			P50                       *float64 `json:"p50_ms"`
			P99                       *float64 `json:"p99_ms"`
		}
	}
}

func TestStats(t *testing.T) {
	box := (&answering{}).now(410)
	s := start(t, "[[route]]\nname = \"crm-eu\"\nurl = \"%s\"\nsignal_types = [\"a\"]\n[[route]]\nname = \"erp\"\nurl = \"%s\"\nsignal_types = [\"b\"]\n", box)
	s.post("/signals", `[{"signal_type":"a"},{"signal_type":"a"}]`)
	s.settled()
	box.now(200)
	s.post("/retry", `{"route":"crm-eu"}`)
	s.settled()
	var got stats
	s.get("/stats?route=crm-*&since=1h", &got)
	if got.Step != "1m" || len(got.Series) != 1 || got.Series[0].Route != "crm-eu" || len(got.Series[0].Points) == 0 || len(got.Series[0].Points) > 2 {
		t.Fatalf("%+v", got)
	}
	accepted, delivered, dead, failed := 0, 0, 0, 0
	for _, p := range got.Series[0].Points {
		accepted, delivered, dead, failed = accepted+p.Accepted, delivered+p.Delivered, dead+p.Dead, failed+p.Failed["4xx"]
		if n := p.Delivered + p.Failed["4xx"]; (n > 0) != (p.P50 != nil) || n > 0 && (*p.P50 <= 0 || *p.P99 < *p.P50) || p.Failed == nil || !p.Time.Equal(p.Time.Truncate(time.Minute)) {
			t.Errorf("%+v", p)
		}
	}
	if accepted != 2 || delivered != 2 || dead != 2 || failed != 2 {
		t.Errorf("%d accepted, %d delivered, %d dead, %d failed", accepted, delivered, dead, failed)
	}
	for query, step := range map[string]string{
		"": "1m", "?since=25h": "5m", "?since=47h": "5m", "?since=49h": "1h", "?since=60d": "1h", "?since=63d": "6h", "?since=2d&step=1m&until=25h": "1m",
		"?since=90d&step=1d": "1d", "?since=1h&step=90m": "400", "?since=1h&step=30s": "400", "?since=1h&step=1.5m": "400", "?since=1h&step=x": "400",
		"?since=49h&until=48h&step=1m": "400", "?since=49h&until=48h": "1h", "?since=26h&step=1m": "400", "?since=1h&until=2h": "400", "?since=2000d": "400", "?limit=1": "400",
	} {
		a := s.do("GET", "/stats"+query, "")
		if step == "400" {
			if p := a.problem(t); a.status != 400 || !strings.Contains(p.Detail, "parameter") {
				t.Errorf("%s: %s", query, a)
			}
			continue
		}
		s.get("/stats"+query, &got)
		if got.Step != step || len(got.Series) != 2 {
			t.Errorf("%s: step %s, want %s; %s", query, got.Step, step, a)
		}
	}
	if a := s.do("GET", "/stats?since=49h&until=48h&step=1m", ""); !strings.Contains(a.body, "48 hours") {
		t.Errorf("%s", a)
	}
}

func TestProblems(t *testing.T) {
	box := (&answering{}).now(410)
	s := start(t, "[[route]]\nname = \"crm\"\nurl = \"%s\"\nretry = { attempts = 2, first = \"1ms\" }\n", box)
	s.post("/signals", `[{"signal_type":"a"},{"signal_type":"a"},{"signal_type":"a"}]`)
	s.settled()
	box.now(503)
	s.post("/signals", `{"signal_type":"b"}`)
	s.settled()
	var got api.Problems
	s.get("/problems", &got)
	if len(got.Problems) != 2 {
		t.Fatalf("%+v", got)
	}
	gone, down := got.Problems[0], got.Problems[1]
	if gone.Route != "crm" || gone.Class != "4xx" || gone.Status != 410 || gone.Count != 3 || gone.Dead != 3 || gone.Pending != 0 || down.Count != 2 || down.Dead != 1 || down.Status != 503 || !strings.Contains(down.Error, "503") {
		t.Errorf("%+v", got)
	}
	var sample delivery
	if s.get("/deliveries/"+gone.Sample.String(), &sample); sample.Reason != "gone" {
		t.Errorf("%+v", sample)
	}
	for query, want := range map[string]int{"?since=720h": 200, "?since=tomorrow": 400, "?route=crm": 400} {
		if a := s.do("GET", "/problems"+query, ""); a.status != want {
			t.Errorf("%s: %s", query, a)
		}
	}
}

// Who has seen a delivery as it is is told so, and no more.
func TestDeliveryTag(t *testing.T) {
	box := (&answering{}).now(503)
	s := start(t, "[[route]]\nname = \"crm\"\nurl = \"%s\"\nretry = { attempts = 10, first = \"1ms\", window = \"1h\" }\n", box)
	s.post("/signals", "["+strings.Repeat(`{"signal_type":"a"},`, 99)+`{"signal_type":"a"}]`)
	s.healthy("bad crm:failing")
	var page deliveries
	s.until("some wait for a probe", func() bool {
		s.get("/deliveries?limit=1", &page)
		return page.Deliveries[0].Attempts == 0 && page.Deliveries[0].NextAttempt.After(time.Now())
	})
	path := "/deliveries/" + page.Deliveries[0].ID // the newest
	first := s.do("GET", path, "")
	tag := first.header.Get("ETag")
	for _, have := range []string{tag, `"other", ` + tag, "W/" + tag, "*"} {
		if a := s.do("GET", path, "", "If-None-Match", have); a.status != 304 || a.body != "" || a.header.Get("ETag") != tag {
			t.Errorf("%s: %s %v; first %s, now %s", have, a, a.header, first, s.do("GET", path, ""))
		}
	}
	if a := s.do("GET", path, "", "If-None-Match", `"other"`); a.status != 200 || a.body != first.body {
		t.Errorf("%s", a)
	}
	if strings.Contains(first.body, `"sent":true`) {
		t.Errorf("%s", first)
	}
	s.post(path+"/discard", "")
	if a := s.do("GET", path, "", "If-None-Match", tag); a.status != 200 || a.header.Get("ETag") == tag {
		t.Errorf("%s", a)
	}
}

// entries are what a query of the log finds, newest first, a word each.
func (s *sidecar) entries(query string) string {
	s.t.Helper()
	var page struct{ Entries []entry }
	s.get("/log?"+query, &page)
	var found []string
	for _, e := range page.Entries {
		found = append(found, fmt.Sprint(e.Route, ":", e.Status))
	}
	slices.Sort(found)
	return strings.Join(found, " ")
}

func TestFilters(t *testing.T) {
	s := start(t, `[[route]]
name = "crm-eu"
url = "%s/503"
signal_types = ["lead_eu"]
retry = { attempts = 2, first = "1h" }
[[route]]
name = "crm-us"
url = "%s/200"
signal_types = ["lead_us"]
transform = "{shaped: .n}"
[[route]]
name = "erp"
url = "%s/410"
signal_types = ["order"]
[[route]]
name = "down"
url = "http://127.0.0.1:1"
signal_types = ["down"]
retry = { attempts = 1 }
`, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, _ := strconv.Atoi(r.URL.Path[1:])
		w.WriteHeader(status)
		fmt.Fprintf(w, "No Such Hook %d", status)
	}))
	for _, kind := range []string{"lead_eu", "lead_us", "order", "down"} {
		s.post("/signals", `{"signal_type":"`+kind+`","n":"Acme Corp"}`)
	}
	s.until("all are tried", func() bool { return strings.Count(s.entries("verdict=failed,delivered"), ":") == 4 })
	for query, want := range map[string]string{
		"route=crm-*":                       "crm-eu:503 crm-us:200",
		"route=crm-?u":                      "crm-eu:503",
		"route=crm":                         "",
		"route=erp&status=4xx":              "erp:410",
		"signal_type=lead_*":                "crm-eu:503 crm-us:200",
		"status=5xx":                        "crm-eu:503",
		"status=503,410":                    "crm-eu:503 erp:410",
		"status=2xx,410":                    "crm-us:200 erp:410",
		"verdict=failed":                    "crm-eu:503 down:0 erp:410",
		"verdict=dead":                      "down:0 erp:410",
		"verdict=retry,delivered":           "crm-eu:503 crm-us:200",
		"verdict=failed&status=503&limit=1": "crm-eu:503",
		"text=no+such+HOOK":                 "crm-eu:503 crm-us:200 erp:410",
		"text=hook+410":                     "erp:410",
		"text=refused":                      "down:0",
		"text=nothing+of+it":                "",
	} {
		if got := s.entries(query); got != want {
			t.Errorf("%s: got %q, want %q", query, got, want)
		}
	}
	for query, want := range map[string]int{
		"body=Acme+Corp": 4, "body=acme": 0, `body={"shaped":`: 1, "body=Acme&route=crm-*": 2, "signal_type=lead_??": 2, "route=*r*&state=dead": 1,
	} {
		var page deliveries
		if s.get("/deliveries?"+query, &page); len(page.Deliveries) != want {
			t.Errorf("%s: got %d, want %d", query, len(page.Deliveries), want)
		}
	}
	resp, err := http.Get(s.base + "/log?follow=true&status=4xx,5xx&route=e*&text=hook")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var e entry
	if err := json.NewDecoder(resp.Body).Decode(&e); err != nil || e.Route != "erp" {
		t.Errorf("followed %+v, %v", e, err)
	}
	for _, query := range []string{
		"/log?status=xx", "/log?status=0xx", "/log?status=5xx,", "/log?status=500-599", "/log?status=5XX", "/log?status=1000", "/log?verdict=failed,ok", "/log?verdict=,", "/log?text=", "/log?body=x",
		"/deliveries?text=x", "/deliveries?verdict=dead", "/signals?route=a", "/signals?limit=0", "/signals?after=x", "/signals?since=x",
	} {
		if a := s.do("GET", query, ""); a.status != 400 || a.problem(t).Detail == "" {
			t.Errorf("%s: %s", query, a)
		}
	}
}

// A search that looks at much says how far it came, and goes on from there.
func TestSearchedTo(t *testing.T) {
	s := start(t, held, nil)
	for range 11 { // of which 10,000 bodies make a page
		if a := s.do("POST", "/signals", strings.Repeat(`{"signal_type":"a"}`+"\n", 1000), "Content-Type", isLines); a.status != 202 {
			t.Fatal(a)
		}
	}
	pages, after := 0, ""
	for {
		var page api.DeliveryPage
		s.get("/deliveries?body=nowhere"+after, &page)
		if pages++; len(page.Deliveries) != 0 || page.Deliveries == nil || (page.Next == "") != (page.SearchedTo == nil) {
			t.Fatalf("%+v", page)
		}
		if page.Next == "" {
			break
		}
		if since := time.Since(*page.SearchedTo); since < 0 || since > time.Hour {
			t.Errorf("searched to %s", page.SearchedTo)
		}
		after = "&after=" + page.Next
	}
	if pages < 2 {
		t.Errorf("%d pages", pages)
	}
}

func TestSignals(t *testing.T) {
	s := start(t, held, nil)
	var ids []string
	for n := range 5 {
		var sent struct{ ID string }
		a := s.post("/signals", fmt.Sprintf(`{"signal_type":"%s","n":%d.0}`, []string{"lead_a", "other"}[n%2], n))
		json.Unmarshal([]byte(a.body), &sent)
		ids = append(ids, sent.ID)
	}
	st, _ := s.status()
	type page struct {
		Signals []struct {
			ID, Config string
			Type       string    `json:"signal_type"`
			At         time.Time `json:"received_at"`
			Signal     json.RawMessage
			Deliveries json.RawMessage
		}
		Next string
	}
	var got page
	s.get("/signals?limit=2", &got)
	if len(got.Signals) != 2 || got.Signals[0].ID != ids[4] || got.Signals[1].ID != ids[3] || got.Next == "" {
		t.Fatalf("%+v", got)
	}
	if first := got.Signals[0]; first.Config != st.Config.Hash || first.Type != "lead_a" || string(first.Signal) != `{"signal_type":"lead_a","n":4.0}` || first.Deliveries != nil || time.Since(first.At) > time.Minute {
		t.Errorf("%+v", first)
	}
	var rest page
	s.get("/signals?limit=3&after="+got.Next, &rest)
	if len(rest.Signals) != 3 || rest.Signals[2].ID != ids[0] || rest.Next != "" {
		t.Errorf("%+v", rest)
	}
	for query, want := range map[string]int{"?signal_type=lead_*": 3, "?signal_type=nope": 0, "?since=1h": 5, "?until=1h": 0} {
		var got page
		if s.get("/signals"+query, &got); len(got.Signals) != want || got.Signals == nil {
			t.Errorf("%s: %d, want %d", query, len(got.Signals), want)
		}
	}
	a := s.do("GET", "/signals?signal_type=lead_*", "", "Accept", isLines)
	var lines []string
	for d := json.NewDecoder(strings.NewReader(a.body)); d.More(); {
		var line struct{ ID, Config string }
		if err := d.Decode(&line); err != nil || line.Config != st.Config.Hash {
			t.Fatalf("%+v, %v", line, err)
		}
		lines = append(lines, line.ID)
	}
	if a.header.Get("Content-Type") != isLines || !slices.Equal(lines, []string{ids[0], ids[2], ids[4]}) || strings.Count(a.body, "\n") != 3 {
		t.Errorf("%s %v", a, a.header)
	}
	if a := s.do("GET", "/signals?signal_type=nope", "", "Accept", isLines); a.status != 200 || a.body != "" || a.header.Get("Content-Type") != isLines {
		t.Errorf("%s", a)
	}
	for _, query := range []string{"?limit=2", "?after=" + got.Next} {
		if a := s.do("GET", "/signals"+query, "", "Accept", isLines); a.status != 400 {
			t.Errorf("%s as lines: %s", query, a)
		}
	}
}

// All signals are streamed, and who leaves ends that.
func TestSignalsStream(t *testing.T) {
	s := start(t, "[server]\nmax_body = \"2MiB\"\n"+held, nil)
	body := `{"signal_type":"a","x":"` + strings.Repeat("x", 1<<20) + `"}`
	const n = 24
	for range n {
		s.post("/signals", body)
	}
	ask := func(ctx context.Context) *bufio.Reader {
		r, _ := http.NewRequestWithContext(ctx, "GET", s.base+"/signals", nil)
		r.Header.Set("Accept", isLines)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		return bufio.NewReader(resp.Body)
	}
	heap := func() int {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc >> 20)
	}
	before, most, lines := heap(), 0, 0
	for all := ask(t.Context()); ; lines++ {
		if _, err := all.ReadSlice('}'); err != nil && err != bufio.ErrBufferFull {
			break
		}
		for { // the rest of the line
			if _, err := all.ReadSlice('\n'); err != bufio.ErrBufferFull {
				break
			}
		}
		if lines%10 == 0 {
			most = max(most, heap()-before)
		}
	}
	if lines != n || most > 12 {
		t.Errorf("%d lines, with %d MiB more", lines, most)
	}
	under := func() bool {
		stacks := make([]byte, 4<<20)
		return strings.Contains(string(stacks[:runtime.Stack(stacks, true)]), ".getSignals(")
	}
	ctx, leave := context.WithCancel(t.Context())
	ask(ctx).ReadByte()
	s.until("it is under way", under)
	leave()
	s.until("it ends", func() bool { return !under() })
}

// What failed in one way is sent again, or given up, without the rest.
func TestAmendByStatus(t *testing.T) {
	box := (&answering{}).now(410)
	s := start(t, "[[route]]\nname = \"crm\"\nurl = \"%s\"\nretry = { attempts = 1 }\n", box)
	s.post("/signals", `[{"signal_type":"a"},{"signal_type":"a"},{"signal_type":"a"}]`)
	s.settled()
	box.now(503)
	s.post("/signals", `{"signal_type":"b"}`)
	s.settled()
	for _, test := range []struct{ path, body, want string }{
		{"/retry", `{"status":410,"dry_run":true}`, `{"matched":3}`},
		{"/retry", `{"status":"5xx","dry_run":true}`, `{"matched":1}`},
		{"/retry", `{"status":"4xx,503","dry_run":true}`, `{"matched":4}`},
		{"/retry", `{"status":404,"dry_run":true}`, `{"matched":0}`},
		{"/discard", `{"status":503}`, `{"matched":1}`},
		{"/discard", `{"state":"dead","dry_run":true}`, `{"matched":3}`},
	} {
		if a := s.post(test.path, test.body); strings.TrimSpace(a.body) != test.want {
			t.Errorf("%s %s: %s", test.path, test.body, a)
		}
	}
}

// An attempt is told as it was, whatever the config says by now and after a restart.
func TestAttemptsAsTheyWere(t *testing.T) {
	box := (&answering{}).now(503)
	const route = "[[route]]\nname = \"crm\"\nurl = \"%s/hook?key=hidden\"\nsecret = \"signingsecret\"\nheaders = { X-Key = \"topsecret\", X-Team = \"growth\" }\nretry = { attempts = 2, first = \"1h\" }\n"
	s := start(t, route, box)
	st, _ := s.status()
	var sent struct{ Deliveries []struct{ ID string } }
	json.Unmarshal([]byte(s.post("/signals", `{"signal_type":"a"}`).body), &sent)
	path := "/deliveries/" + sent.Deliveries[0].ID
	type seen struct {
		Request struct {
			Target  string
			Sent    bool
			Time    *time.Time
			Headers map[string]string
		}
		Log []struct {
			Trigger, Class, Config, Peer string
			Reused                       *bool
			Attempt                      int
			Time                         time.Time
			Timing                       map[string]float64
		}
	}
	var got seen
	s.until("it is tried", func() bool { got = seen{}; s.get(path, &got); return len(got.Log) == 1 })
	first, request := got.Log[0], got.Request
	if first.Trigger != "schedule" || first.Class != "5xx" || first.Config != st.Config.Hash || first.Peer == "" || !strings.HasSuffix(request.Target, first.Peer) || first.Reused == nil || *first.Reused ||
		first.Timing["connect_ms"] <= 0 || first.Timing["first_byte_ms"] <= 0 || len(first.Timing) != 2 {
		t.Errorf("%+v", first)
	}
	if !request.Sent || request.Time == nil || request.Time.After(first.Time) || request.Headers["Webhook-Timestamp"] != fmt.Sprint(request.Time.Unix()) || request.Headers["X-Beton-Attempt"] != "1" ||
		request.Headers["X-Beton-Signature"] != "[signature]" || request.Headers["X-Key"] != "[secret]" {
		t.Errorf("%+v", request)
	}
	s.write(strings.ReplaceAll(strings.ReplaceAll(route, "%s", "https://elsewhere.example.com"), "X-Key", "X-Other"))
	if err := s.proxy.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	check := func(when string) {
		t.Helper()
		var now seen
		if s.get(path, &now); fmt.Sprint(now.Request.Headers, now.Request.Target, now.Request.Time.Equal(*request.Time)) != fmt.Sprint(request.Headers, request.Target, true) || now.Log[0].Config != first.Config {
			t.Errorf("%s: %+v, was %+v", when, now, request)
		}
		if a := s.do("GET", path, ""); strings.Contains(a.body, "hidden") || strings.Contains(a.body, "topsecret") {
			t.Errorf("%s: %s", when, a)
		}
	}
	check("after a reload")
	s.stop()
	s.run()
	check("after a restart")
	s.write(strings.ReplaceAll(route, "%s", "http://"+first.Peer) + "# edited\n")
	if err := s.proxy.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.post(path+"/retry", "")
	s.until("it is tried again", func() bool { got = seen{}; s.get(path, &got); return len(got.Log) == 2 })
	if second := got.Log[1]; second.Trigger != "manual" || second.Config == first.Config || got.Request.Headers["X-Beton-Attempt"] != "2" || got.Request.Time.Before(first.Time) {
		t.Errorf("%+v, %+v", second, got.Request)
	}
}

// Before the first attempt the request is shown as it would be, unsigned.
func TestRequestBeforeItIsSent(t *testing.T) {
	s := start(t, "[[route]]\nname = \"crm\"\nurl = \"%s\"\nsecret = \"s\"\nsignatures = [\"beton\", \"standard\", \"stripe\", \"slack\"]\npaused = true\n", nil)
	var sent struct{ Deliveries []struct{ ID string } }
	json.Unmarshal([]byte(s.post("/signals", `{"signal_type":"a"}`).body), &sent)
	var got struct {
		Request struct {
			Sent    *bool
			Time    *time.Time
			Headers map[string]string
		}
	}
	s.get("/deliveries/"+sent.Deliveries[0].ID, &got)
	if got.Request.Sent == nil || *got.Request.Sent || got.Request.Time != nil || got.Request.Headers["Webhook-Id"] != sent.Deliveries[0].ID {
		t.Errorf("%+v", got)
	}
	for name := range got.Request.Headers {
		if strings.Contains(name, "Signature") || strings.Contains(name, "Timestamp") {
			t.Errorf("it has %s: %q", name, got.Request.Headers[name])
		}
	}
}
