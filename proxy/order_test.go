package proxy_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"signalpost/proxy/api"
	"signalpost/queue"
)

// Deliveries of one order wait for each other, and say so; what is sent again is out of order, and says so.
func TestOrderOfDeliveries(t *testing.T) {
	var mu sync.Mutex
	var came []string
	status := 503
	box := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		came = append(came, r.Header.Get("webhook-id"))
		w.WriteHeader(status)
	})
	answer := func(s int) { mu.Lock(); defer mu.Unlock(); status = s }
	s := start(t, "[[route]]\nname = \"crm\"\nurl = \"%s\"\norder_by = '.n'\nretry = { attempts = 3, first = \"1h\" }\n", box)
	answer(404)
	a := s.post("/signals", `[{"signal_type":"a","n":1},{"signal_type":"a","n":1.0},{"signal_type":"a","n":"1"},{"signal_type":"a"}]`)
	var made api.AcceptedBatch
	if err := json.Unmarshal([]byte(a.body), &made); err != nil || a.status != 202 {
		t.Fatal(a, err)
	}
	var ids []string
	for _, m := range made.Signals {
		ids = append(ids, m.Deliveries[0].ID)
	}
	info := func(id string) (i queue.Info) { s.get("/deliveries/"+id, &i); return i }
	s.until("three have been attempted", func() bool { return info(ids[0]).Attempts+info(ids[2]).Attempts+info(ids[3]).Attempts == 3 })
	if a := s.post("/deliveries/"+ids[1]+"/retry", ""); a.status != 202 || !strings.Contains(a.body, `"waits_for":"`+ids[0]+`"`) || strings.Contains(a.body, "next_attempt") {
		t.Errorf("one behind, sent again: %s", a)
	}
	if a := s.post("/deliveries/"+ids[0]+"/discard", ""); a.status != 202 {
		t.Error(a)
	}
	s.until("the next has its turn", func() bool { return info(ids[1]).Attempts == 1 })
	if i := info(ids[1]); i.WaitsFor != nil || i.OutOfOrder {
		t.Errorf("%+v", i)
	}
	answer(200)
	if a := s.post("/deliveries/"+ids[0]+"/retry", ""); a.status != 202 || !strings.Contains(a.body, `"out_of_order":true`) {
		t.Errorf("one that was discarded, sent again: %s", a)
	}
	s.until("it arrives before the one that waits", func() bool { return info(ids[0]).State == queue.StateDelivered })
	if i := info(ids[1]); i.State != queue.StatePending {
		t.Errorf("%+v", i)
	}
	// A reload that has another order reaches what is made anew alone.
	s.reload(func(text string) string { return strings.Replace(text, "'.n'", "'.signal_type'", 1) })
	answer(404)
	if a := s.post("/signals", `{"signal_type":"a","n":1}`); a.status != 202 {
		t.Fatal(a)
	}
	if a := s.post("/deliveries/"+ids[1]+"/retry", `{"reshape":true}`); a.status != 202 || !strings.Contains(a.body, "waits_for") {
		t.Errorf("made anew, it waits for none: %s", a)
	}
	answer(200)
	if a := s.post("/retry", `{"state":"pending"}`); a.status != 202 {
		t.Error(a)
	}
	s.until("all arrive", func() bool {
		var page api.DeliveryPage
		s.get("/deliveries?state=pending", &page)
		return len(page.Deliveries) == 0
	})
	if m := s.metric(`signalpost_unaccounted`); m != "0" {
		t.Error(m)
	}
}

// ?type is the type of what has none; the bytes are those that came.
func TestTypeOfWebhooks(t *testing.T) {
	box := &inbox{}
	s := start(t, "[[route]]\nname = \"all\"\nurl = \"%s\"\nsignal_types = [\"alertmanager\"]\nwhere = '$signal_type == \"alertmanager\"'\n", box)
	const webhook = ` {"status": "firing", "alerts": []}` + "\n"
	for path, test := range map[string]struct {
		body string
		want int
	}{
		"/signals?type=alertmanager&n=":             {webhook, 400},
		"/signals?type=alertmanager":                {webhook, 202},
		"/signals?route=all&type=other":             {`{"signal_type":"alertmanager","its":"own"}`, 202},
		"/signals?type=":                            {webhook, 400},
		"/signals?type=%20a":                        {webhook, 400},
		"/signals?type=a%0a":                        {webhook, 400},
		"/signals?type=" + fmt.Sprintf("%0257d", 1): {webhook, 400},
		"/signals":                         {webhook, 422},
		"/signals?type=a":                  {`{"signal_type":null}`, 422},
		"/signals?type=b":                  {`[1]`, 422},
		"/signals?type=%74wice&type=twice": {webhook, 400},
	} {
		if a := s.post(path, test.body); a.status != test.want {
			t.Errorf("%s: %s, want %d", path, a, test.want)
		}
	}
	if a := s.post("/signals?type=alertmanager", "["+strings.TrimSpace(webhook)+`,{"signal_type":"other"}]`); a.status != 202 || strings.Count(a.body, "dlv_") != 1 {
		t.Errorf("a batch: %s", a)
	}
	s.until("three arrived", func() bool { return len(box.got()) == 3 })
	if got := strings.Join(box.got(), "|"); !strings.Contains(got, webhook) || !strings.Contains(got, `{"signal_type":"alertmanager","its":"own"}`) {
		t.Errorf("arrived are %s", got)
	}
	key := []string{"Idempotency-Key", "k"}
	if a := s.post("/signals?type=alertmanager", webhook, key...); a.status != 202 {
		t.Error(a)
	}
	if a := s.post("/signals?type=alertmanager", webhook, key...); a.status != 202 || a.header.Get("Idempotent-Replayed") != "true" {
		t.Error(a)
	}
	for _, path := range []string{"/signals?type=other", "/signals?route=all&type=alertmanager"} {
		if a := s.post(path, webhook, key...); a.status != 422 || !strings.Contains(a.body, "?type") {
			t.Errorf("%s under the same key: %s", path, a)
		}
	}
}
