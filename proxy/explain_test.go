package proxy_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signalpost/proxy/api"
)

// explained asks for the life of what has the id.
func (s *sidecar) explained(id string) (e api.Explanation) {
	s.t.Helper()
	s.get("/explain/"+id, &e)
	return e
}

// steps are those of a delivery, each its kind or the reason of a wait, with … while it goes on.
func steps(d api.ExplainedDelivery) string {
	var all []string
	for _, step := range d.Steps {
		text := step.Kind
		if step.Code == "unknown" && step.To != nil && step.To.Sub(step.From) < 5*time.Second {
			continue // this machine is busy
		}
		if step.Kind == "wait" {
			text = "(" + step.Code + ")"
		} else if step.Code != "" {
			text = step.Code
		}
		if step.To == nil {
			text += "…"
		}
		all = append(all, text)
	}
	return strings.Join(all, " ")
}

// A scene is a receiver that answers by what it is asked for, and waits where it is told.
type scene struct {
	*sidecar
	t    *testing.T
	free chan struct{} // closed: nothing hangs
}

func (c *scene) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	status := 200
	fmt.Sscanf(r.URL.Path, "/%d", &status)
	if r.URL.Query().Has("after") {
		w.Header().Set("Retry-After", r.URL.Query().Get("after"))
	}
	if r.URL.Query().Has("hang") {
		select {
		case <-c.free:
		case <-r.Context().Done():
		}
	}
	w.WriteHeader(status)
}

// text is that of the config.
func (c *scene) text() string {
	c.t.Helper()
	b, err := os.ReadFile(c.config)
	if err != nil {
		c.t.Fatal(err)
	}
	return string(b)
}

// one makes a signal of one delivery, and returns its id and that of the delivery.
func (c *scene) one(body string) (signal, delivery string) {
	c.t.Helper()
	var made api.Accepted
	if a := c.post("/signals", body); a.status != http.StatusAccepted || json.Unmarshal([]byte(a.body), &made) != nil {
		c.t.Fatal(a)
	}
	if len(made.Deliveries) > 0 {
		delivery = made.Deliveries[0].ID
	}
	return made.ID, delivery
}

// tells waits until the steps of a delivery are these, and checks what comes next.
func (c *scene) tells(id, want, next string, says ...string) api.ExplainedDelivery {
	c.t.Helper()
	var d api.ExplainedDelivery
	got := ""
	defer func() {
		if c.t.Failed() {
			c.t.Logf("of %+v\nthe steps are %q, want %q", d, got, want)
		}
	}()
	c.until("its steps are "+want, func() bool {
		e := c.explained(id)
		d = e.Deliveries[0]
		got = steps(d)
		return got == want
	})
	if !strings.Contains(d.Next, next) {
		c.t.Errorf("next: %s, want %s", d.Next, next)
	}
	var text strings.Builder
	for i, s := range d.Steps {
		text.WriteString(s.Text + "\n")
		if i > 0 && s.From.Before(d.Steps[i-1].From) {
			c.t.Errorf("step %d begins before the one before: %+v", i, d.Steps)
		}
	}
	for _, want := range says {
		if !strings.Contains(text.String(), want) {
			c.t.Errorf("%s\nlacks: %s", text.String(), want)
		}
	}
	return d
}

// unreadable damages the file that holds a delivery's text, and sees what is told of it then.
func (c *scene) unreadable(shown func(text string) string) {
	signal := func(text string) string { return `{"signal_type":"a","n":"` + text + `"}` }
	random := func() (text string) { // so that it is not compressed
		for range 300 {
			text += rand.Text()
		}
		return text
	}
	text := random()
	c.one(signal(random()))
	_, id := c.one(signal(text))
	c.one(signal(random()))
	for range 2 { // what is in the store's log comes into its tables
		c.stop()
		c.run()
	}
	tables, _ := filepath.Glob(filepath.Join(filepath.Dir(c.config), "data", "*.sst"))
	damaged := 0
	for _, table := range tables {
		b, err := os.ReadFile(table)
		if err != nil {
			c.t.Fatal(err)
		}
		if at := bytes.Index(b, []byte(shown(text)[100:200])); at >= 0 {
			b[at] ^= 1
			damaged++
			f, err := os.OpenFile(table, os.O_WRONLY, 0)
			if err != nil {
				c.t.Fatal(err)
			}
			if _, err := f.WriteAt(b[at:at+1], int64(at)); err != nil {
				c.t.Fatal(err)
			}
			f.Close()
		}
	}
	if damaged != 1 {
		c.t.Fatalf("%d of %d tables hold it", damaged, len(tables))
	}
	c.reload(func(text string) string { return strings.Replace(text, "paused = true\n", "", 1) })
	var d api.ExplainedDelivery
	c.until("it waits since it cannot be read", func() bool { // behind more or less of a pause
		d = c.explained(id).Deliveries[0]
		return strings.HasSuffix(steps(d), " (disk)…")
	})
	if text := d.Steps[len(d.Steps)-1].Text; !strings.Contains(text, "It cannot be read from disk.") || !strings.Contains(d.Next, "Attempt 1 of 10, as soon as it may") {
		c.t.Errorf("%+v", d)
	}
	if a := c.do("GET", "/deliveries/"+id, ""); a.status != http.StatusInternalServerError || !strings.Contains(a.body, "a file of the store is damaged, and holds this: restore") {
		c.t.Error(a)
	}
	if n := c.count(); n != 3 {
		c.t.Errorf("%d deliveries are listed", n)
	}
	if a := c.do("POST", "/deliveries/"+id+"/discard", ""); a.status != http.StatusAccepted || !strings.Contains(a.body, `"discarded"`) {
		c.t.Error(a)
	}
	if d = c.explained(id).Deliveries[0]; !strings.HasSuffix(steps(d), " discarded") || !strings.Contains(d.Next, "signalpost retry "+id) {
		c.t.Errorf("%+v", d)
	}
}

const slow = "retry = { attempts = 3, first = \"1h\", window = \"4h\", jitter = 0 }\n"

// Every way in which a delivery can wait, and end.
func TestExplainDeliveries(t *testing.T) {
	const a = `{"signal_type":"a","n":1}`
	tests := []struct {
		name, route string // [[route]] without name and url; its first line is what comes after the receiver's address
		play        func(c *scene)
	}{
		{"delivered", "/200\n", func(c *scene) {
			_, id := c.one(a)
			d := c.tells(id, "made delivered", "Nothing. It is kept for about 3d", "Attempt 1: delivered, answered 200")
			if r := d.Steps[1].Attempt; r.Request == nil || len(r.Signed) != 2 || r.Peer == "" || r.Timing == nil || !strings.HasPrefix(r.Signed[0].Over, id+".") || !strings.HasSuffix(r.Signed[0].Over, ".{body}") {
				c.t.Errorf("%+v", r)
			}
		}},
		{"waits by the schedule", "/500\n" + slow, func(c *scene) {
			_, id := c.one(a)
			d := c.tells(id, "made retry (schedule)…", "Attempt 2 of 3, at ", "answered 500", "the gap before attempt 2 of 3")
			if d.NextAt == nil || time.Until(*d.NextAt) < 50*time.Minute || !strings.Contains(d.Next, "If it fails, the next comes 3h later") {
				c.t.Errorf("next at %v: %s", d.NextAt, d.Next)
			}
		}},
		{"waits for what the answer asked", "/500?after=7200\n" + slow, func(c *scene) {
			_, id := c.one(a)
			c.tells(id, "made retry (retry_after)…", "Attempt 2 of 3", "the schedule alone has 1h")
		}},
		{"waits for what another's answer asked", "/429?after=7200\n" + slow, func(c *scene) {
			_, first := c.one(a)
			c.tells(first, "made retry (retry_after)…", "")
			_, id := c.one(a)
			c.tells(id, "made (retry_after)…", "Attempt 1 of 3, as soon as it may", "(Retry-After)", "until 20")
		}},
		{"waits for the rate", "/200\nrate = \"1/h\"\n", func(c *scene) {
			_, first := c.one(a)
			c.tells(first, "made delivered", "")
			_, id := c.one(a)
			c.tells(id, "made (rate)…", "Attempt 1 of 10", "The route's rate: the next may begin at 20")
			_, third := c.one(a)
			c.tells(third, "made (rate)…", "", "One other is due before it.")
		}},
		{"waits for the concurrency, then no longer", "/200?hang\nconcurrency = 1\n", func(c *scene) {
			_, first := c.one(a)
			c.tells(first, "made under_way…", "The outcome of attempt 1 of 10")
			_, id := c.one(a)
			c.tells(id, "made (concurrency)…", "", "1 attempt of the route under way")
			time.Sleep(100 * time.Millisecond) // a wait of note
			close(c.free)
			c.settled()
			c.tells(id, "made (concurrency) delivered", "", "Other attempts of the route were under way, 1 at once")
		}},
		{"waits for an older one of its order, then no longer", "/200?hang\norder_by = '.n'\n", func(c *scene) {
			_, first := c.one(a)
			c.tells(first, "made under_way…", "")
			_, id := c.one(a)
			c.tells(id, "made (order)…", "Its first attempt, once "+first, "goes first: "+first)
			time.Sleep(100 * time.Millisecond) // a wait of note
			close(c.free)
			c.settled()
			c.tells(id, "made (order) delivered", "", "went first: "+first)
			c.do("POST", "/deliveries/"+id+"/retry", "")
			c.settled()
			c.tells(id, "made (order) delivered (finished) made delivered", "", "It goes out of order")
		}},
		{"waits for an older one, then for its route", "/200?hang\norder_by = '.n'\n", func(c *scene) {
			_, first := c.one(a)
			c.tells(first, "made under_way…", "")
			_, id := c.one(a)
			text := c.text()
			time.Sleep(100 * time.Millisecond) // a wait of note
			c.reload(func(text string) string { return strings.Replace(text, `name = "all"`, `name = "new"`, 1) })
			c.tells(id, "made (order) (held)…", "until the config has a route all again", "goes first: "+first)
			time.Sleep(100 * time.Millisecond)
			c.reload(func(string) string { return text })
			c.tells(id, "made (order) (held) (order)…", "once "+first, "The route was not in the config.")
			close(c.free)
			c.settled()
			c.reload(func(text string) string { return strings.Replace(text, `name = "all"`, `name = "new"`, 1) })
			d := c.explained(id).Deliveries[0]
			if got := strings.Replace(steps(d), "(held) (order)", "(held)", 1); got != "made (order) (held) delivered" || !strings.Contains(d.Steps[1].Text, "went first: "+first) {
				c.t.Errorf("steps %s: %+v", got, d.Steps)
			}
		}},
		{"waits while it is paused, then for the concurrency", "/200?hang\nconcurrency = 1\n", func(c *scene) {
			c.do("POST", "/routes/all/pause", "")
			c.one(a)
			_, id := c.one(a)
			time.Sleep(100 * time.Millisecond) // a wait of note
			c.do("POST", "/routes/all/resume", "")
			c.tells(id, "made (paused) (concurrency)…", "", "The route was paused by the API.", "1 attempt of the route under way")
		}},
		{"waits since its body cannot be read", "/200\ntransform = '.n | ascii_downcase'\npaused = true\n", func(c *scene) { c.unreadable(strings.ToLower) }},
		{"waits since its signal cannot be read", "/200\npaused = true\n", func(c *scene) { c.unreadable(strings.Clone) }},
		{"waits while the route fails", "/500\n" + "retry = { attempts = 10, first = \"1ms\", window = \"20ms\", jitter = 0 }\n", func(c *scene) {
			c.one(a)
			c.healthy("bad all:failing")
			_, id := c.one(a)
			d := c.tells(id, "made (failing)…", "Attempt 1 of 10", "The route is failing since 20", "only probes are sent")
			time.Sleep(100 * time.Millisecond) // a wait of note
			c.reload(func(text string) string { return strings.Replace(text, "/500", "/200", 1) })
			c.settled()
			c.until("it was delivered", func() bool { d = c.explained(id).Deliveries[0]; return d.State == "delivered" })
			if got := steps(d); got != "made (failing) delivered" {
				c.t.Errorf("steps %s", got)
			}
		}},
		{"waits while it is paused by the API, then no longer", "/200\n", func(c *scene) {
			c.do("POST", "/routes/all/pause", "")
			_, id := c.one(a)
			c.tells(id, "made (paused)…", "until the route is resumed: signalpost resume all. It is given up (too_old) if it waits for longer than 7d", "by the API.")
			time.Sleep(100 * time.Millisecond)
			c.do("POST", "/routes/all/resume", "")
			c.settled()
			c.tells(id, "made (paused) delivered", "", "The route was paused by the API.")
		}},
		{"waits while it is paused by both", "/200\npaused = true\n", func(c *scene) {
			c.do("POST", "/routes/all/pause", "")
			_, id := c.one(a)
			c.tells(id, "made (paused)…", "paused = false in the config and signalpost resume all", "by the config and the API.")
			if r := c.explained(id).Routes[0]; !r.Taken || strings.Join(r.PausedBy, " ") != "config api" {
				c.t.Errorf("%+v", r)
			}
		}},
		{"waits for its route, then no longer", "/200\npaused = true\n", func(c *scene) {
			_, id := c.one(a)
			text := c.text()
			time.Sleep(100 * time.Millisecond) // a wait of note
			c.reload(func(text string) string { return strings.Replace(text, `name = "all"`, `name = "new"`, 1) })
			d := c.tells(id, "made (paused) (held)…", "until the config has a route all again", "The route is not in the config since 20")
			if e := c.explained(id); e.Routes[0].Why != "It took the signal, and has gone from the config since." || len(d.Today) != 1 || d.State != "held" {
				c.t.Errorf("%+v, %+v", e.Routes, d.Today)
			}
			c.reload(func(string) string { return strings.Replace(text, "paused = true\n", "", 1) })
			c.settled()
			c.tells(id, "made (paused) (held) delivered", "", "The route was not in the config.")
		}},
		{"waits over a restart", "/200\npaused = true\n", func(c *scene) {
			_, id := c.one(a)
			c.tells(id, "made (paused)…", "")
			time.Sleep(100 * time.Millisecond)
			c.stop()
			if err := os.WriteFile(c.config, []byte(strings.Replace(c.text(), "paused = true\n", "", 1)), 0o600); err != nil {
				c.t.Fatal(err)
			}
			c.run()
			c.settled()
			c.tells(id, "made (stopped) delivered", "", "The sidecar was started at 20", "which is not known")
		}},
		{"is sent again", "/500\n" + slow, func(c *scene) {
			_, id := c.one(a)
			c.tells(id, "made retry (schedule)…", "")
			c.do("POST", "/deliveries/"+id+"/retry", "")
			c.tells(id, "made retry (schedule) made retry (schedule)…", "Attempt 3, at ", "Somebody sent it again", "the gap before attempt 2 of 3")
			c.do("POST", "/routes/all/pause", "")
			c.do("POST", "/deliveries/"+id+"/retry", "")
			c.tells(id, "made retry (schedule) made retry (schedule) made (paused)…", "")
		}},
		{"dies, exhausted, and is sent again", "/404\nretry = { attempts = 1 }\n", func(c *scene) {
			_, id := c.one(a)
			c.tells(id, "made dead", "unless somebody sends it again: signalpost retry "+id, "reason exhausted")
			c.do("POST", "/deliveries/"+id+"/retry", "")
			c.tells(id, "made dead (finished) made dead", "", "It was dead, until somebody sent it again")
		}},
		{"dies, gone", "/410\n", func(c *scene) {
			_, id := c.one(a)
			c.tells(id, "made dead", "signalpost retry", "which is in give_up_on. Dead, reason gone")
		}},
		{"dies of its transform", "/200\ntransform = '.n | error'\n", func(c *scene) {
			_, id := c.one(a)
			d := c.tells(id, "made transform", "made again: signalpost retry "+id+" --reshape", "Dead, reason transform: ")
			if r := c.explained(id).Routes[0]; !r.Taken || !r.Known || r.Error == nil || !strings.HasPrefix(r.Why, "It passes, but transform failed: the expression raised an error: ") || len(d.Today) != 0 {
				c.t.Errorf("%+v", r)
			}
		}},
		{"dies of its where", "/200\nwhere = '.n + \"x\"'\n", func(c *scene) {
			_, id := c.one(a)
			c.tells(id, "made transform", "", "Dead, reason transform: where: ")
			if r := c.explained(id).Routes[0]; !strings.HasPrefix(r.Why, "Its where failed, which makes a dead delivery: ") || r.Error == nil || fmt.Sprint(r.Reads[0].Path, string(r.Reads[0].Value)) != ".n1" {
				c.t.Errorf("%+v", r)
			}
		}},
		{"dies, filtered", "/404\nretry = { attempts = 1 }\n", func(c *scene) {
			_, id := c.one(a)
			c.tells(id, "made dead", "")
			c.reload(func(text string) string { return text + "where = '.n > 1'\n" })
			if d := c.tells(id, "made dead", ""); len(d.Today) != 1 || !strings.HasPrefix(d.Today[0], "It would not be made. It does not pass") {
				c.t.Errorf("today %q", d.Today)
			}
			c.post("/deliveries/"+id+"/retry", `{"reshape":true}`)
			c.tells(id, "made dead (finished) filtered", "--reshape", "the signal did not pass any more")
		}},
		{"waits for too long", "/200\npaused = true\n[queue]\nmax_age = \"200ms\"\n", func(c *scene) {
			_, id := c.one(a)
			c.tells(id, "made (paused) too_old", "signalpost retry "+id, "it waited longer than queue.max_age")
		}},
		{"is given up", "/200\npaused = true\n", func(c *scene) {
			_, id := c.one(a)
			c.do("POST", "/deliveries/"+id+"/discard", "")
			c.tells(id, "made discarded", "signalpost retry "+id, "somebody gave it up")
		}},
		{"goes elsewhere today", "/200\n", func(c *scene) {
			_, id := c.one(a)
			c.tells(id, "made delivered", "")
			c.reload(func(text string) string {
				return strings.Replace(text, "secret = ", "transform = '{m: .n}'\nheaders = { X-Team = \"a\" }\nbearer_token = \"t0ken\"\nsignatures = [\"beton\"]\nallow_http = true\nsecret = ", 1)
			})
			d := c.tells(id, "made delivered", "")
			if strings.Join(d.Today, " ") != "It would have another body. It would also have Authorization, X-Team. It would lack Webhook-Signature." || string(d.TodayBody) != `{"m":1}` {
				c.t.Errorf("today %q, %s", d.Today, d.TodayBody)
			}
		}},
		{"goes in another form today", "/200\n", func(c *scene) {
			_, id := c.one(a)
			c.tells(id, "made delivered", "")
			c.reload(func(text string) string {
				return text + "transform = '{m: .n}, {m: 2}'\nformat = \"form\"\npath = '\"/x\"'\norder_by = '.n'\n"
			})
			d := c.tells(id, "made delivered", "")
			if strings.Join(d.Today, " ") != "It would have another body. It would have another path or query: /[secret]/x. It would have the Content-Type application/x-www-form-urlencoded, not application/json. It would be in another order (order_by): 1." || string(d.TodayBody) != `"m=1"` || d.TodayFormat != "form" {
				c.t.Errorf("today %q, %s as %s", d.Today, d.TodayBody, d.TodayFormat)
			}
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := &scene{t: t, free: make(chan struct{})}
			path, keys, _ := strings.Cut(test.route, "\n")
			c.sidecar = start(t, "[[route]]\nname = \"all\"\nurl = \"%s"+path+"\"\nsecret = \"s3cret-of-this\"\n"+keys, c)
			defer func() {
				select {
				case <-c.free:
				default:
					close(c.free)
				}
			}()
			test.play(c)
		})
	}
}

// Every way in which a route can take a signal, or not.
func TestExplainRoutes(t *testing.T) {
	c := &scene{t: t, free: make(chan struct{})}
	routes := ""
	for _, r := range []string{
		"all", "types\nsignal_types = [\"b\", \"c_*\"]", "where\nwhere = '.account.score >= 5 and has(\"x\")'", "null\nwhere = '.nothing'", "nothing\ntransform = 'empty'",
		"several\ntransform = '.n, .n'", "large\nwhere = '.long | length > 5'", "fails\nwhere = '.n | error'",
	} {
		name, keys, _ := strings.Cut(r, "\n")
		routes += fmt.Sprintf("[[route]]\nname = %q\nurl = \"%%s/200\"\npaused = true\n%s\n", name, keys)
	}
	c.sidecar = start(t, routes, c)
	signal, first := c.one(`{"signal_type":"a","n":1,"account":{"score":4},"long":"` + strings.Repeat("x", 300) + `"}`)
	check := func(e api.Explanation, want map[string]string) {
		t.Helper()
		if len(e.Routes) != len(want) {
			t.Errorf("%d routes, want %d", len(e.Routes), len(want))
		}
		for _, r := range e.Routes {
			got := fmt.Sprintf("%t %t %d %s", r.Taken, r.Known, len(r.Deliveries), r.Why)
			if r.Today != "" {
				got += " Today: " + r.Today
			}
			for _, read := range r.Reads {
				got += fmt.Sprintf(" %s=%s,%t,%t", read.Path, read.Value, read.Found, read.Large)
			}
			if !strings.HasPrefix(got, want[r.Route]) || want[r.Route] == "" {
				t.Errorf("route %s: %s\nwant %s", r.Route, got, want[r.Route])
			}
		}
	}
	e := c.explained(signal)
	check(e, map[string]string{
		"all":     "true true 1 It passes.",
		"types":   `false true 0 It does not pass: signal_type "a" is none of signal_types: b, c_*.`,
		"where":   "false true 0 It does not pass: where is false or null, or yields nothing. .account.score=4,true,false .x=null,false,false",
		"null":    "false true 0 It does not pass: where is false or null, or yields nothing. .nothing=null,false,false",
		"nothing": "false true 0 It passes, but transform yields nothing.",
		"several": "true true 2 It passes, and transform yields 2 results.",
		"large":   "true true 1 It passes. .long=null,true,true",
		"fails":   "true true 1 Its where failed, which makes a dead delivery: the expression raised an error: 1 .n=1,true,false",
	})
	if s := e.Signal; s.Key != "no" || s.Config == "" || s.Config != s.Running || !strings.Contains(s.Text, "without an Idempotency-Key. It met the config "+s.Config+", which runs now.") {
		t.Errorf("%+v", s)
	}
	for id, want := range map[string]string{"x": "begins with neither sig_ nor dlv_", "sig_1": "behind sig_ stand 26", "dlv_1": "behind dlv_ stand 26"} {
		if a := c.do("GET", "/explain/"+id, ""); a.status != http.StatusNotFound || !strings.Contains(a.body, want) {
			t.Error(a)
		}
	}
	if e := c.explained(first); len(e.Routes) != 1 || len(e.Deliveries) != 1 || e.Routes[0].Route != "all" || e.ID != first {
		t.Errorf("of one delivery: %+v", e)
	}

	var made struct{ Signals []api.Accepted }
	if a := c.post("/signals?route=all", `[{"signal_type":"a","n":6},{"signal_type":"none"}]`, "Idempotency-Key", "k", "traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"); json.Unmarshal([]byte(a.body), &made) != nil {
		t.Fatal(a)
	}
	e = c.explained(made.Signals[1].ID)
	if s := e.Signal; s.Key != "yes" || s.Together != 2 || s.Traceparent == "" || !strings.Contains(s.Text, "with an Idempotency-Key, in a batch of 2, with a traceparent.") {
		t.Errorf("%+v", s)
	}
	for _, r := range e.Routes {
		if want := "It made no delivery, though it would: the signal was offered to another route alone (?route=NAME)."; r.Route == "several" && (r.Taken || r.Known || r.Why != want) {
			t.Errorf("%+v", r)
		}
	}

	c.reload(func(text string) string {
		return strings.NewReplacer("name = \"large\"", "name = \"other\"", "'empty'", "'.n'", ".n, .n", ".n").Replace(text)
	})
	e = c.explained(signal)
	check(e, map[string]string{
		"all":     "true true 1 It took the signal. Today: It passes.",
		"types":   "false false 0 It made no delivery. Why is not known: the config " + e.Signal.Config + " is gone, or had no such route. Today: It does not pass: signal_type",
		"where":   "false false 0 It made no delivery. Why is not known",
		"null":    "false false 0 It made no delivery. Why is not known",
		"nothing": "false false 0 It made no delivery. Why is not known: the config " + e.Signal.Config + " is gone, or had no such route. Today: It passes.",
		"several": "true true 2 It took the signal. Today: It passes.",
		"large":   "true true 1 It took the signal, and has gone from the config since.",
		"other":   "false false 0 It made no delivery. Why is not known",
		"fails":   "true true 1 It took the signal, and an expression failed: see the delivery. Today: Its where failed, which makes a dead delivery: the expression",
	})
	if !strings.Contains(e.Signal.Text, "; now runs "+e.Signal.Running+", and of the other only the hash is kept.") || e.Signal.Running == e.Signal.Config {
		t.Errorf("%+v", e.Signal)
	}
	var today []string
	for _, d := range e.Deliveries {
		if d.Route == "several" {
			today = append(today, strings.Join(d.Today, " "))
		}
	}
	if strings.Join(today, "|") != "|It would not be made. It passes." {
		t.Errorf("today %q", today)
	}

	for path, want := range map[string]int{"/explain/nothing": 404, "/explain/sig_x": 404, "/explain/sig_01M8FZ4GYV89EW6Y0AN1H80000": 404, "/explain/dlv_01M8FZ4GYV89EW6Y0AN1H80001": 404, "/explain/" + signal + "?x=1": 400} {
		if a := c.do("GET", path, ""); a.status != want || !strings.Contains(a.body, "detail") {
			t.Errorf("%s: %s", path, a)
		}
	}
}
