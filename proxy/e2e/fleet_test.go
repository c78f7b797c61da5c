//go:build !race

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/loader"
	compose "github.com/compose-spec/compose-go/v2/types"
	apps "k8s.io/api/apps/v1"
	"sigs.k8s.io/yaml"

	"signalpost/proxy/api"
	"signalpost/proxy/config"
	"signalpost/proxy/fleet"
	"signalpost/proxy/fleet/natstest"
	"signalpost/queue"
)

// A fleetRig is three sidecars, as processes, on a cluster of NATS, and a receiver.
type fleetRig struct {
	t        *testing.T
	nats     *natstest.Cluster
	receiver *httptest.Server
	sidecars []*sidecar

	mu       sync.Mutex
	accepted map[string]int          // the numbers of signals answered 202, by their delivery
	offered  int                     // signals
	got      map[string]map[int]bool // the numbers that came under a webhook-id
	fails    bool                    // the receiver answers 503
	ids      map[int]map[string]bool // the webhook-ids that a number came under
}

func newFleet(t *testing.T, sidecars int) *fleetRig {
	f := &fleetRig{t: t, nats: natstest.Start(t, 3), accepted: map[string]int{}, got: map[string]map[int]bool{}, ids: map[int]map[string]bool{}}
	f.receiver = httptest.NewServer(http.HandlerFunc(f.receive))
	t.Cleanup(f.receiver.Close)
	for range sidecars {
		s := newSidecar(t, t.TempDir())
		f.sidecars = append(f.sidecars, s)
		f.begin(s)
	}
	for _, s := range f.sidecars {
		s.ready()
	}
	return f
}

func (f *fleetRig) begin(s *sidecar) {
	f.t.Helper()
	servers, _ := json.Marshal(f.nats.URLs())
	s.begin(fmt.Sprintf("[server]\nlisten = %q\n[fleet]\nservers = %s\n[[route]]\nname = \"crm\"\nsignal_types = [\"lead\"]\nurl = %q\nconcurrency = 32\nretry = { attempts = 100, first = \"200ms\", window = \"1m\" }\n"+
		"[[route]]\nname = \"later\"\nurl = %[3]q\npaused = true\nsignal_types = [\"later\"]\n",
		s.address, servers, f.receiver.URL))
}

func (f *fleetRig) receive(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var signal struct{ Number int }
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := json.Unmarshal(body, &signal); err != nil || f.fails {
		w.WriteHeader(http.StatusNotFound) // which opens no breaker
		return
	}
	id := r.Header.Get("webhook-id")
	if f.got[id] == nil {
		f.got[id] = map[int]bool{}
	}
	if f.ids[signal.Number] == nil {
		f.ids[signal.Number] = map[string]bool{}
	}
	f.got[id][signal.Number], f.ids[signal.Number][id] = true, true
}

var accepted = regexp.MustCompile(`"id":"(dlv_[0-9A-Z]+)"`)

// post offers one signal to a sidecar, and notes a 202.
func (f *fleetRig) post(s *sidecar) bool {
	f.mu.Lock()
	n := f.offered
	f.offered++
	f.mu.Unlock()
	ctx, cancel := context.WithTimeout(f.t.Context(), 15*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "POST", "http://"+s.address+"/signals", strings.NewReader(fmt.Sprintf(`{"signal_type":"lead","number":%d,"pad":%q}`, n, strings.Repeat("x", rand.IntN(2000)))))
	if err != nil {
		f.t.Error(err)
		return false
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := s.client.Do(r)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusAccepted {
		return false
	}
	if m := accepted.FindSubmatch(body); m != nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.accepted[string(m[1])] = n
	} else {
		f.t.Errorf("answered %s", body)
	}
	return true
}

// fill has a sidecar accept so many signals more, whose deliveries wait.
func (f *fleetRig) fill(s *sidecar, n int) {
	f.t.Helper()
	for ; n > 0; n -= 5000 {
		r, err := http.NewRequestWithContext(f.t.Context(), "POST", "http://"+s.address+"/signals", strings.NewReader(strings.Repeat(`{"signal_type":"later"}`+"\n", min(n, 5000))))
		if err != nil {
			f.t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-ndjson")
		resp, err := s.client.Do(r)
		if err != nil || resp.StatusCode != http.StatusAccepted {
			f.t.Fatal(resp, err)
		}
		resp.Body.Close()
	}
}

// missing is how many that were accepted have not come.
func (f *fleetRig) missing() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, number := range f.accepted {
		if !f.got[id][number] {
			n++
		}
	}
	return n
}

// come waits until all that was accepted has come.
func (f *fleetRig) come(within time.Duration) time.Duration {
	f.t.Helper()
	began := time.Now()
	for time.Since(began) < within {
		if f.missing() == 0 {
			return time.Since(began)
		}
		time.Sleep(20 * time.Millisecond)
	}
	f.t.Errorf("after %v %d of %d that were accepted have not come", within, f.missing(), len(f.accepted))
	return within
}

// TestFleetTakesOver: what a sidecar that is gone had accepted is sent by another
// when its key has run out if it was killed, with its disk, and long before if it was stopped;
// also when FLEET_WAITING more wait.
func TestFleetTakesOver(t *testing.T) {
	t.Parallel() // as all that wait for most of their time
	took := [2]time.Duration{}
	f := newFleet(t, 2)
	for i, end := range []func(*sidecar){(*sidecar).kill, (*sidecar).stop} {
		s := f.sidecars[0]
		f.set(true)
		for range 50 {
			if !f.post(s) {
				s.fatal("a signal is not accepted")
			}
		}
		f.fill(s, int(number(t, "FLEET_WAITING", 100)))
		end(s)
		f.set(false)
		took[i] = f.come(time.Minute)
		if err := os.RemoveAll(filepath.Join(s.dir, "data")); err != nil {
			t.Error(err)
		}
		f.begin(s)
		s.ready()
	}
	if t.Log(took); took[1] > took[0]-5*time.Second { // on a calm machine 10.5 s and 0.3 s
		t.Errorf("after a stop another sends it in %v, after a kill in %v", took[1], took[0])
	}
	f.judge()
}

func (f *fleetRig) metrics(s *sidecar) []byte {
	f.t.Helper()
	resp, err := s.client.Get("http://" + s.address + "/metrics")
	if err != nil {
		f.t.Error(err)
		return nil
	}
	defer resp.Body.Close()
	page, _ := io.ReadAll(resp.Body)
	return page
}

// ask has a sidecar answer with JSON.
func (f *fleetRig) ask(s *sidecar, method, path, body string, into any) int {
	f.t.Helper()
	r, err := http.NewRequestWithContext(f.t.Context(), method, "http://"+s.address+path, strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := s.client.Do(r)
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	if err := json.Unmarshal(text, into); err != nil {
		f.t.Fatalf("%s %s: %d %s", method, path, resp.StatusCode, text)
	}
	return resp.StatusCode
}

// TestFleetLook: whichever sidecar is asked, the answer is the fleet's; who does not
// answer is named.
func TestFleetLook(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	f.set(true)
	for range 30 {
		if !f.post(f.sidecars[0]) || !f.post(f.sidecars[1]) {
			t.Fatal("a signal is not accepted")
		}
	}
	a, b := f.sidecars[0], f.sidecars[1]
	all := func(s *sidecar, here string) (ids map[string]bool, missing []string) {
		ids = map[string]bool{}
		for after, last := "", "~"; ; {
			var page api.DeliveryPage
			if status := f.ask(s, "GET", "/deliveries?limit=7"+here+after, "", &page); status != 200 || len(page.Deliveries) > 7 {
				t.Fatalf("%d, %d deliveries", status, len(page.Deliveries))
			}
			for _, d := range page.Deliveries {
				if id := d.ID.String(); ids[id] || id >= last {
					t.Errorf("%s comes after %s, or again", id, last)
				} else {
					ids[id], last = true, id
				}
			}
			missing = page.Missing
			if after = "&after=" + page.Next; page.Next == "" {
				return ids, missing
			}
		}
	}
	look := func(s *sidecar) {
		t.Helper()
		if ids, missing := all(s, ""); len(ids) != 60 || len(missing) > 0 {
			t.Errorf("%d of 60 deliveries are shown, missing %q", len(ids), missing)
		}
		for id := range f.snapshot() {
			var d api.Delivery
			if status := f.ask(s, "GET", "/deliveries/"+id, "", &d); status != 200 || d.ID.String() != id {
				t.Errorf("%s: %d", id, status)
			}
		}
		r, _ := http.NewRequest("GET", "http://"+s.address+"/signals", nil)
		r.Header.Set("Accept", "application/x-ndjson")
		resp, err := s.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		lines, last := 0, ""
		for d := json.NewDecoder(resp.Body); ; lines++ {
			var signal api.StoredSignal
			if err := d.Decode(&signal); err == io.EOF {
				break
			} else if err != nil || signal.ID.String() <= last {
				t.Fatalf("signals as lines: %v, %s after %s", err, signal.ID, last)
			}
			last = signal.ID.String()
		}
		if lines != 60 {
			t.Errorf("%d of 60 signals are lines", lines)
		}
		var m api.Matched
		if f.ask(s, "POST", "/retry", `{"state":"pending","dry_run":true}`, &m); m.Matched != 60 {
			t.Errorf("%d of 60 match", m.Matched)
		}
		var status api.Status
		if f.ask(s, "GET", "/status", "", &status); status.Routes[0].Pending != 60 {
			t.Errorf("%d of 60 are pending", status.Routes[0].Pending)
		}
		if status.Fleet == nil || len(status.Fleet.Nodes) < 1 || status.Fleet.Nodes[status.Fleet.Node] == "" || status.Fleet.Ledgers < 1 {
			t.Errorf("in its fleet it is %+v", status.Fleet)
		} else if len(status.Fleet.Owners)+len(status.Fleet.Ownerless) < 2 {
			t.Errorf("its fleet has the ledgers %+v", status.Fleet)
		}
		var log api.LogPage
		if f.ask(s, "GET", "/log?limit=1000", "", &log); len(log.Entries) < 60 {
			t.Errorf("the log has %d entries of 60 attempts, at least", len(log.Entries))
		}
		var stats api.Stats
		var accepted int64
		f.ask(s, "GET", "/stats?since=1h", "", &stats)
		for _, p := range stats.Series[0].Points {
			accepted += p.Accepted
		}
		if accepted != 60 {
			t.Errorf("the statistics have %d of 60 accepted", accepted)
		}
		var problems api.Problems
		if f.ask(s, "GET", "/problems", "", &problems); len(problems.Problems) != 1 || problems.Problems[0].Pending != 60 {
			t.Errorf("the problems are %+v", problems)
		}
	}
	look(a)
	look(b)
	if ids, _ := all(b, "&here=true"); len(ids) != 30 {
		t.Errorf("here, there are %d of 30", len(ids))
	}
	var no struct{ Status int }
	if f.ask(b, "GET", "/deliveries/dlv_01ARZ3NDEKTSV4RRFFQ69G5FAV", "", &no); no.Status != 404 {
		t.Errorf("what nobody has: %d", no.Status)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute) // a guard: what does not come would be waited for without end
	defer cancel()
	request, _ := http.NewRequestWithContext(ctx, "GET", "http://"+b.address+"/log?follow=true&limit=0&verdict=delivered", nil)
	follower, err := b.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer follower.Body.Close()
	a.kill()
	if ids, missing := all(b, ""); len(missing) != 1 || len(ids) != 30 {
		t.Errorf("with one gone %d are shown, and missing is %q", len(ids), missing)
	}
	if f.ask(b, "GET", "/deliveries/dlv_01ARZ3NDEKTSV4RRFFQ69G5FAV", "", &no); no.Status != 503 {
		t.Errorf("what nobody has that answers: %d", no.Status)
	}
	if !wait(func() bool { ids, missing := all(b, ""); return len(ids) == 60 && len(missing) == 0 }) {
		t.Error("it does not come to be shown")
	}
	look(b)
	if page := f.metrics(b); !bytes.Contains(page, []byte("\nsignalpost_pending{route=\"crm\"} 60\n")) {
		t.Errorf("with what it has adopted, its metrics are %s", page)
	}
	var route api.RouteStatus
	if f.ask(b, "POST", "/routes/crm/pause", "", &route); route.Pending != 60 || len(route.PausedBy) != 1 {
		t.Errorf("paused, it is %+v", route)
	}
	f.set(false)
	f.begin(a)
	a.ready()
	if !wait(func() bool { // b may be slow to answer
		route = api.RouteStatus{}
		return f.ask(a, "POST", "/routes/crm/resume", "", &route) == 200 && len(route.Missing) == 0
	}) {
		t.Fatalf("resumed, it is %+v", route)
	}
	var m api.Matched
	f.ask(a, "POST", "/retry", `{"state":"pending"}`, &m)
	f.come(30 * time.Second)
	followed := map[string]bool{}
	for lines := bufio.NewScanner(follower.Body); len(followed) < 60 && lines.Scan(); {
		var e queue.Entry
		if len(lines.Bytes()) == 0 {
			continue
		} else if err := json.Unmarshal(lines.Bytes(), &e); err != nil || e.Verdict != queue.Delivered || followed[e.Delivery.String()] {
			t.Errorf("followed %s, %v", lines.Bytes(), err)
		}
		followed[e.Delivery.String()] = true
	}
	f.judge()
}

func (f *fleetRig) set(fails bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fails = fails
}

// TestFleetFaults is a history of faults under load. FLEET_FAULTS is how many.
func TestFleetFaults(t *testing.T) {
	t.Parallel()
	faults := 5
	if n, err := strconv.Atoi(os.Getenv("FLEET_FAULTS")); err == nil {
		faults = n
	} else if testing.Short() {
		t.Skip()
	}
	f := newFleet(t, 3)
	stop := make(chan struct{})
	var posting sync.WaitGroup
	for range 6 {
		posting.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if !f.post(f.sidecars[rand.IntN(len(f.sidecars))]) {
					time.Sleep(20 * time.Millisecond)
				}
			}
		})
	}
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for i := range faults {
		time.Sleep(time.Duration(rng.IntN(1500)) * time.Millisecond)
		what := f.fault(rng)
		t.Logf("fault %d: %s; %d accepted", i, what, len(f.snapshot()))
	}
	close(stop)
	posting.Wait()
	f.come(2 * time.Minute)
	f.judge()
}

func (f *fleetRig) snapshot() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := map[string]int{}
	for k, v := range f.accepted {
		all[k] = v
	}
	return all
}

// fault has one thing befall the fleet, and be over.
func (f *fleetRig) fault(rng *rand.Rand) string {
	i, lasts := rng.IntN(3), time.Duration(rng.IntN(3000))*time.Millisecond
	s, n := f.sidecars[i], f.nats.Nodes[i]
	again := func() { f.begin(s) }
	switch rng.IntN(10) {
	case 0:
		s.kill()
		time.Sleep(lasts)
		again()
		return fmt.Sprintf("sidecar %d killed for %v", i, lasts)
	case 1:
		s.kill()
		if err := os.RemoveAll(filepath.Join(s.dir, "data")); err != nil {
			f.t.Error(err)
		}
		again()
		return fmt.Sprintf("sidecar %d killed, its disk wiped", i)
	case 2:
		s.stop()
		again()
		return fmt.Sprintf("sidecar %d stopped", i)
	case 3, 4:
		lasts *= 5 // up to beyond the time that a key lives
		_ = s.process.Process.Signal(syscall.SIGSTOP)
		time.Sleep(lasts)
		_ = s.process.Process.Signal(syscall.SIGCONT)
		return fmt.Sprintf("sidecar %d frozen for %v", i, lasts)
	case 5:
		f.nats.Ready() // the others have it all
		n.Kill()
		wiped := rng.IntN(2) == 0
		if wiped {
			n.Wipe()
		}
		time.Sleep(lasts)
		n.Start()
		f.nats.Ready()
		return fmt.Sprintf("node %d of NATS killed for %v, wiped: %v", i, lasts, wiped)
	case 6:
		n.Freeze()
		time.Sleep(lasts)
		n.Thaw()
		return fmt.Sprintf("node %d of NATS frozen for %v", i, lasts)
	case 7:
		n.Stop()
		n.Start()
		f.nats.Ready()
		return fmt.Sprintf("node %d of NATS stopped", i)
	case 8:
		for _, n := range f.nats.Nodes {
			n.Kill()
		}
		time.Sleep(lasts)
		for _, n := range f.nats.Nodes {
			n.Start()
		}
		f.nats.Ready()
		return fmt.Sprintf("all nodes of NATS killed for %v", lasts)
	}
	for _, n := range f.nats.Nodes {
		n.Cut()
	}
	time.Sleep(lasts)
	for _, n := range f.nats.Nodes {
		n.Mend()
	}
	return fmt.Sprintf("all cut off from NATS for %v", lasts)
}

// judge stops all, and holds what came against what was accepted, and each ledger against itself.
func (f *fleetRig) judge() {
	f.t.Helper()
	f.nats.Ready()
	for _, s := range f.sidecars {
		s.ready()
		if page := f.metrics(s); !bytes.Contains(page, []byte("\nsignalpost_unaccounted 0\n")) {
			f.t.Error("deliveries are unaccounted for")
		}
	}
	for _, s := range f.sidecars {
		s.stop()
		for line := range strings.Lines(s.output.String()) {
			if strings.Contains(line, `"ERROR"`) && strings.Contains(line, "cannot be adopted") { // else NATS did not answer just then
				f.t.Error(line)
			}
		}
	}
	for id, numbers := range f.got {
		if len(numbers) != 1 {
			f.t.Errorf("%s came with %d signals", id, len(numbers))
		}
	}
	for number, ids := range f.ids {
		if len(ids) != 1 {
			f.t.Errorf("signal %d came under %d ids", number, len(ids))
		}
	}
	all, err := fleet.Look(f.t.Context(), fleet.Options{Servers: f.nats.URLs(), Name: "signalpost", Log: slog.New(slog.DiscardHandler)}, true)
	if err != nil {
		f.t.Error(err)
	}
	for _, l := range all {
		if l.Fault != nil {
			f.t.Error(l.Fault)
		}
	}
	f.t.Logf("%d accepted of %d offered, in %d ledgers", len(f.accepted), f.offered, len(all))
}

// TestFleetPage: what the page of fleets shows is read by those that will.
func TestFleetPage(t *testing.T) {
	cfg, err := config.Load(t.Context(), outside(t, only(t, "fleet ## Config", "toml")))
	if err != nil || cfg.Fleet == nil || len(cfg.Warnings) > 0 {
		t.Fatalf("%+v, %v", cfg, err)
	}
	project, err := loader.LoadWithContext(t.Context(), compose.ConfigDetails{
		WorkingDir: t.TempDir(), ConfigFiles: []compose.ConfigFile{{Filename: "compose.yaml", Content: []byte(only(t, "fleet ## Compose", "yaml"))}},
	}, func(o *loader.Options) { o.SetProjectName("fleet", true) })
	if err != nil {
		t.Fatal(err)
	}
	if s := project.Services["signalpost"]; len(project.Services) != 4 || s.Deploy == nil || *s.Deploy.Replicas != 3 {
		t.Errorf("%d services, the sidecar's deployment is %+v", len(project.Services), s.Deploy)
	}
	var app apps.Deployment
	if err := yaml.UnmarshalStrict([]byte(only(t, "fleet ## Kubernetes", "yaml")), &app); err != nil {
		t.Fatal(err)
	}
	if !matches(app.Spec.Selector.MatchLabels, app.Spec.Template.Labels) || *app.Spec.Replicas != 3 || app.Spec.Template.Spec.Volumes[2].EmptyDir == nil {
		t.Errorf("the deployment is %+v", app.Spec)
	}
}
