package proxy_test

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"

	"signalpost/proxy/api"
	"signalpost/queue"
)

// alerting are a route that may fail, one that takes alerts, and [alerts].
const alerting = "[alerts]\nroute = \"ops\"\nevery = \"1ms\"\n" +
	"[[route]]\nname = \"crm\"\nurl = \"%s/crm\"\nsignal_types = [\"a\"]\nretry = { attempts = 10, first = \"1ms\", window = \"20ms\", jitter = 0 }\n" +
	"[[route]]\nname = \"ops\"\nurl = \"%s/ops\"\nsignal_types = [\"signalpost.*\"]\ntransform = '.text |= length'\n"

// told are the alerts that were delivered, each its type and route.
func (b *inbox) told(t *testing.T) (told []string, all []api.Alert) {
	for _, body := range b.got() {
		var a struct {
			api.Alert
			Text int `json:"text"`
		}
		if err := json.Unmarshal([]byte(body), &a); err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		if a.Text == 0 || a.DetectedAt.IsZero() || a.Since.IsZero() {
			t.Errorf("the alert %s", body)
		}
		told, all = append(told, strings.TrimPrefix(a.Type, "signalpost.")+" "+a.Route), append(all, a.Alert)
	}
	return told, all
}

// Deaths that are not told yet are not forgotten by a restart.
func TestAlertsOfDeathsBefore(t *testing.T) {
	t.Parallel()
	ops := &inbox{}
	mux := http.NewServeMux()
	mux.Handle("/crm", (&answering{}).now(410))
	mux.Handle("/ops", ops)
	s := start(t, alerting, mux)
	s.post("/signals", `[{"signal_type":"a"},{"signal_type":"a"}]`)
	s.settled()
	s.stop()
	s.run()
	s.until("it tells of both", func() bool {
		told, all := ops.told(t)
		return len(told) == 1 && told[0] == "deliveries_dead crm" && all[0].Count == 2
	})
}

// Alerts are signals like all others, to their route alone; and a recovery follows
// its alert over a restart.
func TestAlerts(t *testing.T) {
	crm, ops := (&answering{}).now(503), &inbox{}
	mux := http.NewServeMux()
	mux.Handle("/crm", crm)
	mux.Handle("/ops", ops)
	s := start(t, alerting, mux)
	s.post("/signals", `{"signal_type":"a"}`)
	tells := func(want string) (all []api.Alert) {
		t.Helper()
		var told []string
		s.until("it tells "+want, func() bool {
			told, all = ops.told(t)
			return strings.Join(told, ", ") == want
		})
		return all
	}
	a := tells("route_failing crm")[0]
	if a.Reason != "failing" || a.Pending != 1 {
		t.Errorf("%+v", a)
	}
	var page struct{ Deliveries []queue.Info }
	if s.get("/deliveries?route=ops", &page); len(page.Deliveries) != 1 || page.Deliveries[0].Type != "signalpost.route_failing" {
		t.Errorf("%+v", page)
	}

	s.stop()
	crm.now(200) // before it runs: the attempts that are left would be used up
	s.run()
	s.settled()
	after := tells("route_failing crm, route_recovered crm")
	if !after[1].Since.Equal(a.Since) || after[1].Reason != "failing" {
		t.Errorf("%+v", after)
	}

	s.reload(func(text string) string { return strings.Replace(text, "signalpost.*", "signalpost.c*", 1) })
	text, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	s.write("[no_such_table]\n" + string(text))
	if s.proxy.Reload(t.Context()) == nil {
		t.Fatal("the config has no fault")
	}
	tells("route_failing crm, route_recovered crm, config_rejected ")
}
