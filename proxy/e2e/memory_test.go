package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Whatever clients send at once, the process stays within 512 MiB. What does not
// fit is refused with a time to come back, and is not in the store; small signals
// are all taken.
func TestMemoryOfRequests(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a while")
	}
	const routes = 20
	s := newSidecar(t, t.TempDir())
	config := fmt.Sprintf("[server]\nlisten = %q\n", s.address)
	for i := range routes {
		config += fmt.Sprintf("[[route]]\nname = \"r%d\"\nurl = \"http://127.0.0.1:9/\"\npaused = true\nwhere = '.x'\ntransform = '{n: (.x | length), signal_type}'\n", i)
	}
	s.begin(config)
	s.ready()

	list := func(element string, size int) string {
		return `{"signal_type":"large","x":[` + strings.Repeat(element+",", size/(len(element)+1)) + `0]}`
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	answers := map[string]map[int]int{} // by name and status
	send := func(name string, clients int, path, contentType, body string) {
		mu.Lock()
		answers[name] = map[int]int{}
		mu.Unlock()
		for range clients {
			all.Go(func() {
				resp, err := http.Post("http://"+s.address+path, contentType, strings.NewReader(body))
				if err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
				defer resp.Body.Close()
				io.Copy(io.Discard, resp.Body)
				if resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") == "" {
					t.Errorf("%s: a 503 without Retry-After", name)
				}
				mu.Lock()
				defer mu.Unlock()
				answers[name][resp.StatusCode]++
			})
		}
	}
	send("objects", 100, "/signals", "application/json", list(`{"":0}`, 63<<10))
	send("large", 30, "/signals", "application/json", list(`{"":{"":0}}`, 1<<20-100))
	send("batch", 10, "/signals", "application/x-ndjson", strings.Repeat(`{"signal_type":"batch","x":1}`+"\n", 3000))
	send("huge batch", 5, "/signals", "application/x-ndjson", strings.Repeat(`{"signal_type":"a"}`+"\n", 50_000))
	send("try", 20, "/try", "application/json", `{"signal":`+list(`{"":0}`, 1<<20-100)+`}`)
	send("small", 50, "/signals", "application/json", `{"signal_type":"small","x":1}`)
	all.Wait()
	t.Logf("answers: %v", answers)
	if answers["small"][http.StatusAccepted] != 50 {
		t.Errorf("small signals are answered %v", answers["small"])
	}
	if n := answers["objects"][http.StatusAccepted]; n == 0 {
		t.Error("no large signal is taken")
	}
	signals, deliveries := 0, 0
	for _, name := range []string{"objects", "large", "small"} {
		signals += answers[name][http.StatusAccepted]
	}
	signals += 3000 * answers["batch"][http.StatusAccepted]
	huge := answers["huge batch"][http.StatusAccepted]
	if huge == 5 { // there is room for one at a time, and one that waits may follow
		t.Error("all huge batches are taken")
	}

	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.process.Process.Pid))
	if err != nil {
		t.Skip("there is no /proc to read the memory from")
	}
	peak, _ := strconv.Atoi(string(regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)[1]))
	t.Logf("%d MiB at most", peak>>10)
	if peak>>10 >= 512 {
		t.Errorf("it took %d MiB", peak>>10)
	}
	resp, err := s.client.Get("http://" + s.address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	metrics, _ := io.ReadAll(resp.Body)
	for _, pending := range regexp.MustCompile(`(?m)^signalpost_pending\{.*\} (\S+)$`).FindAllSubmatch(metrics, -1) {
		n, _ := strconv.ParseFloat(string(pending[1]), 64)
		deliveries += int(n)
	}
	if deliveries != routes*signals || !bytes.Contains(metrics, fmt.Appendf(nil, "signalpost_signals_total{result=\"unmatched\"} %d\n", 50_000*huge)) || !bytes.Contains(metrics, fmt.Appendf(nil, "signalpost_signals_total{result=\"accepted\"} %d\n", signals)) {
		t.Errorf("%d deliveries are in the store; %d signals were accepted", deliveries, signals)
	}
	s.stop()
}
