package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"signalpost/queue"
)

// TestKills kills the binary at random moments under load, many times over,
// on one store, and then when nothing is under way. It is driven by events
// alone; what is asserted does not depend on how fast anything is.
//
// A signal that was answered 202 arrives, whatever was killed. One whose POST
// had no answer may. Each has one webhook-id a route, also over lives.
//
// An attempt is settled when the delivery log has shown it before a POST began
// that was answered 202: the store's one log holds both, in this order. In the
// lives after, a settled attempt is in the delivery log and is not made again. So
// what is repeated was under way, or had just ended, when its sidecar died.
//
// SIGNALPOST_KILLS is how often it kills under load (20), SIGNALPOST_SEED
// repeats the random choices of a run.
func TestKills(t *testing.T) {
	t.Parallel()
	rounds := number(t, "SIGNALPOST_KILLS", 20)
	seed := number(t, "SIGNALPOST_SEED", rand.Uint64())
	t.Logf("repeat with SIGNALPOST_SEED=%d SIGNALPOST_KILLS=%d", seed, rounds)
	rng := rand.New(rand.NewPCG(seed, 0))
	k := newKills(t)

	for range rounds {
		k.round(rng)
	}
	// What had no answer is asked for again under its key, and is not accepted twice.
	k.start()
	k.ready()
	k.again()

	for range 4 {
		for range 1 + rng.IntN(30) {
			k.post(k.signals(rng))
		}
		k.rest()
		k.kill()
		k.start()
		k.ready()
	}
	k.post(k.signals(rng))
	k.rest()
	k.stop()
	k.judge()
}

func number(t testing.TB, name string, without uint64) uint64 {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return without
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// An attempt is what a sidecar makes once, unless it dies.
type attempt struct {
	id string // of the delivery, as its webhook-id says
	n  int    // as X-Beton-Attempt says
}

// An arrival is one request at the receiver.
type arrival struct {
	attempt
	life   int
	route  string
	serial int // of the signal
	signal string
	status int
}

// A request is one POST of one or more signals.
type request struct {
	serials []int
	key     string // Idempotency-Key, "" for none
	body    []byte
	life    int             // in which it was made last
	answer  bool            // a 202 came, if nothing more of it
	ids     map[string]bool // of the deliveries the answer has, nil if it did not come whole
}

// kills is a sidecar with many lives, and all that was seen of it.
type kills struct {
	*sidecar
	target  string // of the receiver
	level   string // of the log lines
	follow  sync.WaitGroup
	refused bool // an answer of 503 is no fault

	mu       sync.Mutex // guards what follows
	life     int
	serial   int
	requests []*request
	arrivals []arrival
	entries  []queue.Entry   // of this life, as the log showed them
	settled  map[attempt]int // the life in which it was
	marked   int             // as many of entries are in settled
	fresh    int             // of them in this life alone
	trigger  func(k *kills)  // looks whether to kill now
	accepted int             // 202s of this life
	arrived  int             // in this life
	late     []time.Duration // what answers but 503 took, where it was more than 2 s
	paused   time.Duration   // for how long the process has been suspended, in all
	reopened map[int]bool    // the lives in which the store may have been opened again, after which what was under way is sent again, as after a kill
}

const killConfig = `[server]
listen = "%[1]s"

[queue]
min_free = "0B"

[log]
level = "%[4]s"

[defaults]
retry   = { attempts = 10, first = "20ms", window = "5s" }
timeout = "60s"
headers = { X-Life = "%[2]d" }

[[route]]
name = "crm"
url = "%[3]s/crm"
signal_types = ["lead"]

[[route]]
name = "chat"
url = "%[3]s/chat"
signal_types = ["lead"]
where = ".serial %% 3 == 0"
transform = "{ serial, text: \"signal \\(.serial)\" }"

[[route]]
name = "later" # its second attempts are made after all is over
url = "%[3]s/later"
signal_types = ["lead"]
where = ".serial %% 20 == 0"
retry = { attempts = 10, first = "10h", window = "240h" }
`

// routesOf are the routes that a signal passes.
func routesOf(serial int) []string {
	routes := []string{"crm"}
	if serial%3 == 0 {
		routes = append(routes, "chat")
	}
	if serial%20 == 0 {
		routes = append(routes, "later")
	}
	return routes
}

func newKills(t *testing.T) *kills {
	k := &kills{sidecar: newSidecar(t, t.TempDir()), level: "warn", settled: map[attempt]int{}, reopened: map[int]bool{}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k.target = "http://" + l.Addr().String()
	server := &http.Server{Handler: http.HandlerFunc(k.receive)}
	ended := make(chan struct{})
	go func() { defer close(ended); server.Serve(l) }()
	t.Cleanup(func() {
		server.Close()
		<-ended
	})
	return k
}

// receive is the receiver. It refuses some first attempts, and takes its time with some.
func (k *kills) receive(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // its sidecar died in the middle of it: it has not arrived
	}
	a := arrival{route: r.URL.Path[1:], signal: r.Header.Get("X-Beton-Signal-Id"), status: http.StatusOK}
	a.id = r.Header.Get("webhook-id")
	var signal struct{ Serial int }
	var faults [3]error
	faults[0] = json.Unmarshal(body, &signal)
	a.n, faults[1] = strconv.Atoi(r.Header.Get("X-Beton-Attempt"))
	a.life, faults[2] = strconv.Atoi(r.Header.Get("X-Life"))
	if err := errors.Join(faults[:]...); err != nil {
		k.t.Errorf("%s got %v %q: %v", r.URL, r.Header, body, err)
	}
	a.serial = signal.Serial
	if a.route == "later" || a.n == 1 && a.serial%11 == 0 || a.n == 2 && a.serial%77 == 0 {
		a.status = http.StatusNotFound
	}
	k.mu.Lock()
	k.arrivals = append(k.arrivals, a)
	if a.life == k.life {
		k.arrived++
		k.look()
	}
	k.mu.Unlock()
	if a.serial%29 == 0 { // a slow one, which is under way for longer than others
		select {
		case <-r.Context().Done():
		case <-time.After(time.Duration(a.serial%7) * 5 * time.Millisecond):
		}
	}
	if a.serial%13 == 0 {
		w.Header().Set("Connection", "close")
	}
	w.WriteHeader(a.status)
}

// look kills this life if that is what was waited for. mu is held.
func (k *kills) look() {
	if k.trigger != nil && !k.killed.Load() {
		k.trigger(k)
	}
}

func (k *kills) start() {
	k.t.Helper()
	k.mu.Lock()
	k.life++
	k.entries, k.marked, k.fresh, k.accepted, k.arrived = nil, 0, 0, 0, 0
	k.mu.Unlock()
	k.begin(fmt.Sprintf(killConfig, k.address, k.life, k.target, k.level))
}

// ready waits until the sidecar accepts, or is dead, and follows its log from then on.
func (k *kills) ready() {
	k.t.Helper()
	k.sidecar.ready()
	resp, err := k.client.Get("http://" + k.address + "/log?follow=true&limit=1000")
	if err != nil {
		if !k.killed.Load() {
			k.t.Error(err)
		}
		return
	}
	k.follow.Go(func() {
		defer resp.Body.Close()
		lines := bufio.NewScanner(resp.Body)
		for lines.Scan() {
			if len(lines.Bytes()) == 0 {
				continue // a sign of life
			}
			var e queue.Entry
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
				if k.killed.Load() {
					return // cut in the middle
				}
				k.t.Errorf("the log has %q: %v", lines.Bytes(), err)
			}
			k.mu.Lock()
			k.entries = append(k.entries, e)
			k.mu.Unlock()
		}
	})
}

// kill ends this life as kill -9 does, stop as SIGTERM does.
func (k *kills) kill() {
	k.sidecar.kill()
	k.follow.Wait()
}

func (k *kills) stop() {
	k.t.Helper()
	k.sidecar.stop()
	k.follow.Wait()
}

// round is one life under load.
func (k *kills) round(rng *rand.Rand) {
	k.t.Helper()
	n := 1 + rng.IntN(400)
	if rng.IntN(4) == 0 {
		n = 1 + rng.IntN(10)
	}
	what := []string{"accepted", "arrived", "settled", "started"}[rng.IntN(4)]
	k.mu.Lock()
	k.trigger = map[string]func(*kills){
		"accepted": func(k *kills) {
			if k.accepted >= n {
				k.die()
			}
		},
		"arrived": func(k *kills) {
			if k.arrived >= n {
				k.die()
			}
		},
		"settled": func(k *kills) {
			if k.fresh >= n {
				k.die()
			}
		},
	}[what]
	k.mu.Unlock()
	k.start()
	if what == "started" { // while it opens the store, or has just done so
		for range rng.IntN(40) {
			resp, err := k.client.Get("http://" + k.address + "/readyz")
			if err == nil {
				resp.Body.Close()
			}
		}
		k.kill()
		return
	}
	k.ready()
	var posters sync.WaitGroup
	for range 1 + rng.IntN(8) {
		own := rand.New(rand.NewPCG(rng.Uint64(), 0))
		posters.Go(func() {
			for !k.killed.Load() && !k.t.Failed() {
				k.post(k.signals(own))
			}
		})
	}
	posters.Wait()
	k.kill()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.trigger = nil // or it might kill the next life, which nobody loads
	k.t.Logf("life %d, killed when %d %s: %d accepted, %d arrived; %d settled, %d more seen to end", k.life, n, what, k.accepted, k.arrived, k.fresh, len(k.entries)-k.marked)
}

// signals makes a request of one to three signals.
func (k *kills) signals(rng *rand.Rand) *request {
	k.mu.Lock()
	defer k.mu.Unlock()
	r := &request{}
	n := max(1, rng.IntN(6)-2)
	var all []string
	for range n {
		k.serial++
		r.serials = append(r.serials, k.serial)
		all = append(all, fmt.Sprintf(`{"signal_type":"lead","serial":%d,"pad":"%s"}`, k.serial, strings.Repeat("x", rng.IntN(2000))))
	}
	r.body = []byte(all[0])
	if n > 1 {
		r.body = []byte("[" + strings.Join(all, ",") + "]")
	}
	if rng.IntN(2) == 0 {
		r.key = fmt.Sprintf("key-%d", r.serials[0])
	}
	k.requests = append(k.requests, r)
	return r
}

// post makes the request. It has no answer only if this life has ended.
func (k *kills) post(r *request) {
	k.mu.Lock()
	seen := len(k.entries)
	r.life = k.life
	paused, began := k.paused, time.Now()
	k.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "POST", "http://"+k.address+"/signals", bytes.NewReader(r.body))
	if err != nil {
		k.t.Error(err)
		return
	}
	req.GetBody = nil // net/http is not to send it a second time by itself
	req.Header.Set("Content-Type", "application/json")
	if r.key != "" {
		req.Header.Set("Idempotency-Key", r.key)
	}
	resp, err := k.client.Do(req)
	if err != nil {
		if !k.killed.Load() {
			k.t.Errorf("life %d gave no answer: %v", r.life, err)
		}
		return
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusServiceUnavailable && k.refused {
		time.Sleep(10 * time.Millisecond)
		return
	}
	k.mu.Lock()
	if took := time.Since(began) - (k.paused - paused); took > 2*time.Second {
		k.late = append(k.late, took)
	}
	k.mu.Unlock()
	if resp.StatusCode != http.StatusAccepted {
		b, _ := io.ReadAll(resp.Body)
		k.t.Errorf("life %d answered %s %s", r.life, resp.Status, b)
		return
	}
	type signal struct {
		ID         string
		Deliveries []struct{ ID, Route string }
	}
	var answer struct {
		signal
		Signals []signal
	}
	err = json.NewDecoder(resp.Body).Decode(&answer)
	if err != nil && !k.killed.Load() {
		k.t.Errorf("life %d gave half an answer: %v", r.life, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	r.answer = true
	if err == nil {
		if len(r.serials) == 1 {
			answer.Signals = []signal{answer.signal}
		}
		r.ids = map[string]bool{}
		for i, s := range answer.Signals {
			var routes []string
			for _, d := range s.Deliveries {
				r.ids[d.ID] = true
				routes = append(routes, d.Route)
			}
			slices.Sort(routes)
			want := routesOf(r.serials[i])
			slices.Sort(want)
			if !slices.Equal(routes, want) {
				k.t.Errorf("signal %d went to %q, want %q", r.serials[i], routes, want)
			}
		}
	}
	if r.life == k.life {
		k.mark(seen)
		k.accepted++
		k.look()
	}
}

// mark makes the first n entries settled. mu is held.
func (k *kills) mark(n int) {
	for ; k.marked < n; k.marked++ {
		e := k.entries[k.marked]
		a := attempt{e.Delivery.String(), e.Attempt}
		if _, already := k.settled[a]; !already { // what an earlier life made is shown again
			k.settled[a] = k.life
			k.fresh++
		}
	}
}

// again repeats what had no answer and a key.
func (k *kills) again() {
	k.mu.Lock()
	requests := slices.Clone(k.requests)
	k.mu.Unlock()
	n := 0
	for _, r := range requests {
		if r.key != "" && !r.answer {
			k.post(r)
			n++
		}
	}
	k.t.Logf("%d signals in %d requests, %d of these repeated", k.serial, len(requests), n)
}

// rest waits until everything has arrived and nothing is under way: until the
// files of the store, as a kill would leave them, say so. From then on every
// attempt is settled.
func (k *kills) rest() {
	k.t.Helper()
	var last error
	if !wait(func() bool {
		last = k.resting()
		return last == nil
	}) {
		k.fatal(fmt.Sprintf("life %d does not come to rest: %v", k.life, last))
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, a := range k.arrivals {
		if _, already := k.settled[a.attempt]; !already {
			k.settled[a.attempt] = k.life
		}
	}
}

// resting is an error unless all of the store is delivered, or held after one attempt.
func (k *kills) resting() error {
	copied, err := os.MkdirTemp(k.dir, "copy-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(copied)
	if err := os.CopyFS(copied, os.DirFS(filepath.Join(k.dir, "data"))); err != nil {
		return err // it is not at rest
	}
	q, err := queue.Open(queue.Options{Path: copied})
	if err != nil {
		return err
	}
	defer q.Close(context.Background())
	for f := (queue.Filter{State: queue.StateHeld, Limit: 1000}); ; {
		found, err := q.Deliveries(context.Background(), f)
		page, next := found.Deliveries, found.Next
		if err != nil {
			return err
		}
		for _, d := range page {
			if d.Route != "later" || d.Attempts != 1 {
				return fmt.Errorf("%s of %s waits after %d attempts", d.ID, d.Route, d.Attempts)
			}
		}
		if f.After = next; next == "" {
			return nil
		}
	}
}

// judge compares what was seen in all lives with what was promised, and with
// what the last life left.
func (k *kills) judge() {
	t := k.t
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.t.Failed() {
		return
	}
	data := filepath.Join(k.dir, "data")
	if err := queue.Check(data); err != nil {
		t.Error(err)
	}

	// Each attempt once in a life, and never again once it was settled.
	type made struct {
		attempt
		life int
	}
	once := map[made]bool{}
	first := map[attempt]int{} // the life of the first
	most := map[string]int{}   // attempts of a delivery
	repeats := map[int]int{}   // by the life that died
	for _, a := range k.arrivals {
		if once[made{a.attempt, a.life}] && !k.reopened[a.life] {
			t.Errorf("life %d made attempt %d of %s twice", a.life, a.n, a.id)
		}
		once[made{a.attempt, a.life}] = true
		if life, settled := k.settled[a.attempt]; settled && life < a.life {
			t.Errorf("life %d made attempt %d of %s, whose end was on disk in life %d", a.life, a.n, a.id, life)
		}
		if life, already := first[a.attempt]; !already {
			first[a.attempt] = a.life
		} else if life < a.life {
			repeats[a.life-1]++
		}
		most[a.id] = max(most[a.id], a.n)
	}
	for id, n := range most {
		for i := range n {
			if _, made := first[attempt{id, i + 1}]; !made {
				t.Errorf("%s had attempt %d, and never attempt %d", id, n, i+1)
			}
		}
	}

	// One webhook-id a signal and route, and the one that was promised.
	type target struct {
		serial int
		route  string
	}
	ids, signals, delivered := map[target]string{}, map[int]string{}, map[target]bool{}
	owner := map[string]target{}
	for _, a := range k.arrivals {
		o := target{a.serial, a.route}
		if id, already := ids[o]; already && id != a.id {
			t.Errorf("signal %d went to %s as %s and as %s", a.serial, a.route, id, a.id)
		}
		if is, already := owner[a.id]; already && is != o {
			t.Errorf("%s is %v and %v", a.id, is, o)
		}
		if s, already := signals[a.serial]; already && s != a.signal {
			t.Errorf("signal %d is %s and %s", a.serial, s, a.signal)
		}
		ids[o], owner[a.id], signals[a.serial] = a.id, o, a.signal
		if a.status == http.StatusOK {
			delivered[o] = true
		}
	}
	accepted, unanswered, came := 0, 0, 0
	for _, r := range k.requests {
		there, all := 0, 0
		for _, serial := range r.serials {
			for _, route := range routesOf(serial) {
				o := target{serial, route}
				all++
				id, arrived := ids[o]
				if !arrived {
					continue
				}
				there++
				if route != "later" && !delivered[o] {
					t.Errorf("%s of signal %d to %s was never delivered", id, serial, route)
				}
				if r.ids != nil && !r.ids[id] {
					t.Errorf("signal %d arrived at %s as %s, the 202 promised %v", serial, route, id, r.ids)
				}
			}
		}
		switch {
		case r.answer && there < all:
			t.Errorf("%d of the %d deliveries of request %v arrived, it was answered 202 in life %d", there, all, r.serials, r.life)
		case r.answer:
			accepted++
		case there != 0 && there != all:
			t.Errorf("%d of the %d deliveries of request %v arrived, which had no answer: it is neither there nor not", there, all, r.serials)
		default:
			unanswered++
			if there > 0 {
				came++
			}
		}
	}

	// The delivery log of all lives has each attempt once, and the store counts what arrived.
	q, err := queue.Open(queue.Options{Path: data})
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close(context.Background())
	logged := map[attempt]bool{}
	for f := (queue.LogFilter{Limit: 1000}); ; {
		found, err := q.Log(context.Background(), f)
		page, next := found.Entries, found.Next
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page {
			a := attempt{e.Delivery.String(), e.Attempt}
			if _, made := first[a]; logged[a] || !made {
				t.Errorf("the log has attempt %d of %s twice, or without its having been made", a.n, a.id)
			}
			logged[a] = true
		}
		if f.After = next; next == "" {
			break
		}
	}
	for a := range first {
		if !logged[a] {
			t.Errorf("attempt %d of %s is not in the log; settled in life %d", a.n, a.id, k.settled[a])
		}
	}
	want := map[string]int64{}
	for o := range ids {
		want[o.route]++
	}
	for _, r := range q.Status().Routes {
		got := r.Delivered
		if r.Name == "later" {
			got = r.Held
		}
		if got != want[r.Name] || got != r.Delivered+r.Held+r.Dead {
			t.Errorf("%s: %d arrived, the store says %+v", r.Name, want[r.Name], r)
		}
	}
	total := 0
	for _, n := range repeats {
		total += n
	}
	t.Logf("%d requests answered 202, %d not, of which %d came; %d deliveries, %d attempts, %d of them repeated after %d kills",
		accepted, unanswered, came, len(ids), len(first), total, len(repeats))
}
