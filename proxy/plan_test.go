package proxy_test

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"signalpost/proxy/api"
	"signalpost/proxy/client"
)

// POST /plan tells what other expressions of a route would have made of the last
// signals, and stores and sends nothing.
func TestPlanOfARoute(t *testing.T) {
	s := start(t, `
[[route]]
name = "crm"
url = "%s"
paused = true
where = '.n > 1'
transform = '{ n }'
[[route]]
name = "other"
url = "%s"
transform = 'error'
[[route]]
name = "form"
url = "%s"
paused = true
format = "form"
transform = '{ n }'
`, nil)
	var lines strings.Builder
	for n := range 250 {
		fmt.Fprintf(&lines, "{\"signal_type\":\"x\",\"n\":%d}\n", n)
	}
	if a := s.do("POST", "/signals", lines.String(), "Content-Type", "application/x-ndjson"); a.status != 202 {
		t.Fatal(a)
	}
	var before, after api.Status
	s.get("/status", &before)
	for _, c := range []struct{ body, want string }{
		{`{"route":"crm"}`, `{"signals":250,"routes":[{"route":"crm","before":248,"after":248,"more":0,"fewer":0,"changes":[],"errors":0,"first":[]}]}`},
		{`{"route":"crm","where":""}`, `{"signals":250,"routes":[{"route":"crm","before":248,"after":250,"more":2,"fewer":0,"changes":[],"errors":0,"first":["N1","N0"]}]}`},
		{`{"route":"crm","where":".n > 247","transform":"{ n: .m }"}`, `{"signals":250,"routes":[{"route":"crm","before":248,"after":2,"more":0,"fewer":246,` +
			`"changes":[{"path":".n","from":249,"to":null,"count":2}],"errors":0,"first":["N249","N248","N247","N246","N245"]}]}`},
		{`{"route":"crm","transform":"","limit":3}`, `{"signals":3,"routes":[{"route":"crm","before":3,"after":3,"more":0,"fewer":0,"changes":[{"path":".signal_type","to":"x","count":3}],"errors":0,"first":["N249","N248","N247"]}]}`},
		{`{"route":"crm","transform":"error(\"no\")","limit":1}`, `{"signals":1,"routes":[{"route":"crm","before":1,"after":1,"more":0,"fewer":0,"changes":[],"errors":1,"first":["N249"],"error":"the expression raised an error: no"}]}`},
		{`{"route":"crm","where":" ","limit":1}`, `{"signals":1,"routes":[{"route":"crm","before":1,"after":1,"more":0,"fewer":0,"changes":[],"errors":0,"first":[]}]}`},
		{`{"route":"form","transform":""}`, `422 an expression does not compile: transform: the route's format \"form\" needs one`},
		{`{"limit":3}`, `422 there is no \"route\" to plan for`},
		{`{"route":"crm","limit":"3"}`, `400 \"limit\" must be a whole number; found a string`},
		{`{"route":"nope"}`, `404 there is no route \"nope\"`},
		{`{"route":"crm","where":".n >"}`, `422 an expression does not compile: where: line 1`},
		{`{"route":"crm","transform":"$params.nope"}`, `422 an expression does not compile: transform: $params.nope is not set`},
		{`{"route":"crm","limit":1001}`, `400 \"limit\" must be a number from 1 to 1000`},
		{`{"route":"crm","format":"json"}`, `400 unknown member \"format\"`},
	} {
		a := s.post("/plan", c.body)
		var p api.Plan
		if a.status == 200 {
			if err := json.Unmarshal([]byte(a.body), &p); err != nil {
				t.Fatal(err)
			}
			for _, id := range p.Routes[0].First {
				var signal api.Signal
				s.get("/signals/"+id, &signal)
				var body struct{ N int }
				if err := json.Unmarshal(signal.Signal, &body); err != nil {
					t.Fatal(err)
				}
				a.body = strings.Replace(a.body, id, fmt.Sprintf("N%d", body.N), 1)
			}
			if strings.TrimSpace(a.body) != c.want {
				t.Errorf("%s is\n%swant\n%s", c.body, a.body, c.want)
			}
		} else if status, detail, _ := strings.Cut(c.want, " "); fmt.Sprint(a.status) != status || !strings.Contains(a.body, detail) {
			t.Errorf("%s: %s, want %s", c.body, a, c.want)
		}
	}
	s.get("/status", &after)
	if b, a := fmt.Sprint(before.Routes[0].Pending, before.Routes[1].Dead), fmt.Sprint(after.Routes[0].Pending, after.Routes[1].Dead); a != b || a != "248 250" {
		t.Errorf("pending and dead were %s, are %s", b, a)
	}
}

// Who reads all signals is not told that these were all when the sidecar stops.
func TestAllSignalsOrAnError(t *testing.T) {
	s := start(t, "[[route]]\nname = \"crm\"\nurl = \"%s\"\nsignal_types = [\"none\"]", nil)
	line := fmt.Sprintf("{\"signal_type\":\"x\",\"pad\":%q}\n", strings.Repeat("x", 64<<10))
	for range 40 {
		if a := s.do("POST", "/signals", strings.Repeat(line, 10), "Content-Type", "application/x-ndjson"); a.status != 202 {
			t.Fatal(a)
		}
	}
	c, err := client.New(s.base, "")
	if err != nil {
		t.Fatal(err)
	}
	all, err := c.Signals(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer all.Close()
	if _, err := io.ReadFull(all, make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		s.stop()
	}()
	for c.Get(t.Context(), "/healthz", nil) == nil {
		time.Sleep(time.Millisecond)
	}
	if n, err := io.Copy(io.Discard, all); err == nil {
		t.Errorf("%d bytes, and no error", n)
	}
	<-stopped
}
