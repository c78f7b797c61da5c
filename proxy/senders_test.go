package proxy

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"signalpost/queue"
)

// hurried are short times for clients, for tests that exhaust them.
var hurried = timeouts{
	header: 2 * time.Second, request: 2 * time.Second, body: time.Second, answer: 4 * time.Second,
	long: 4 * time.Second, follower: time.Second, idle: time.Second, drain: 2 * time.Second,
}

func hurry(p *Proxy) { p.timeouts = hurried }

// head is the beginning of a request, whose body it announces with the headers.
func head(path string, headers ...string) string {
	return "POST " + path + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" + strings.Join(append(headers, "\r\n"), "\r\n")
}

// plainRequest is one that the shortcut answers.
func plainRequest(body string, headers ...string) string {
	return head("/signals", append(headers, fmt.Sprint("Content-Length: ", len(body)))...) + body
}

// bomb is gzip that unpacks to n bytes of blanks.
func bomb(n int) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	io.CopyN(w, blanks{}, int64(n))
	w.Close()
	return b.String()
}

type blanks struct{}

func (blanks) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = ' '
	}
	return len(b), nil
}

// Senders that stall, lie or never end are all here at once, many of each.
// Every one's connection ends, a healthy sender notices nothing, and nothing of
// theirs is left in the store.
func TestHostileSenders(t *testing.T) {
	r := run(t, routesOf("a\npaused = true"), hurry)
	const signal = `{"signal_type":"hostile"}`
	forever := func(first, more string, pause time.Duration) func(net.Conn) {
		return func(c net.Conn) {
			for text := first; ; text = more {
				if _, err := io.WriteString(c, text); err != nil {
					return
				}
				time.Sleep(pause)
			}
		}
	}
	large := bomb(16 << 20)
	once := func(text string) func(net.Conn) { return forever(text, "", time.Hour) }
	tests := map[string]struct {
		send   func(net.Conn) // for as long as it likes: the connection's end ends it
		answer int            // status of the first answer, 0: none
	}{
		"says nothing":              {once(""), 0},
		"stalls in its headers":     {once("POST /signals HTTP/1.1\r\nHost: local"), 0},
		"trickles its headers":      {forever("POST /signals HTTP/1.1\r\nHost: localhost\r\nX: ", "x", 5*time.Millisecond), 0},
		"endless headers":           {forever("POST /signals HTTP/1.1\r\nHost: localhost\r\n", "X-Filler: "+strings.Repeat("x", 1000)+"\r\n", 0), 431},
		"an endless request line":   {forever("POST /", strings.Repeat("x", 1000), 0), 431},
		"stalls before its body":    {once(head("/signals", "Content-Length: 100")), 408},
		"stalls in its body":        {once(head("/signals", "Content-Length: 100") + signal), 408},
		"trickles its body":         {forever(head("/signals", "Content-Length: 100000000")+`{"signal_type":"`, "x", 5*time.Millisecond), 413},
		"trickles a body that fits": {forever(head("/signals", "Content-Length: 100000")+`{"signal_type":"`, "x", 5*time.Millisecond), 408},
		"trickles chunks":           {forever(head("/signals", "Transfer-Encoding: chunked"), "1\r\n \r\n", 5*time.Millisecond), 408},
		"stalls in a chunk":         {once(head("/signals", "Transfer-Encoding: chunked") + "ff\r\n" + signal), 408},
		"a large body that stalls":  {once(head("/signals", "Content-Length: 1000000") + signal + strings.Repeat(" ", 900_000)), 408},
		"announces a terabyte":      {once(head("/signals", "Content-Length: 1000000000000")), 413},
		"an endless body":           {forever(head("/signals", "Transfer-Encoding: chunked"), "1000\r\n"+strings.Repeat(" ", 4096)+"\r\n", 0), 413},
		"an endless chunk size":     {forever(head("/signals", "Transfer-Encoding: chunked"), "0", 0), 400},
		"an endless trailer":        {forever(head("/signals", "Transfer-Encoding: chunked")+"0\r\n", "X: x\r\n", 0), 400},
		"a gzip bomb":               {once(head("/signals", "Content-Encoding: gzip", fmt.Sprint("Content-Length: ", len(large))) + large), 413},
		"gzip that stalls":          {once(head("/signals", "Content-Encoding: gzip", "Content-Length: 1000") + bomb(100)), 408},
		"a longer body than said":   {once(head("/signals", "Content-Length: 5") + signal), 400},
		"a negative length":         {once(head("/signals", "Content-Length: -5") + signal), 400},
		"two lengths":               {once(head("/signals", "Content-Length: 25", "Content-Length: 26") + signal), 400},
		"a length and chunks":       {once(head("/signals", "Content-Length: 3", "Transfer-Encoding: chunked") + "ff\r\n{"), 408},
		"stalls in a wish":          {once(head("/retry", "Content-Length: 100") + `{"state":`), 408},
		"stalls in a trial":         {once(head("/try", "Content-Length: 900000") + `{"signal":`), 408},
		"garbage":                   {once("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"), 400},
		"says nothing more":         {once(head("/signals", "Content-Length: 2") + "{}"), 422},
		"takes no answer": {func(c net.Conn) {
			for {
				if _, err := io.WriteString(c, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
					return
				}
			}
		}, -1},
	}
	var senders sync.WaitGroup
	var at atomic.Int64
	for name, test := range tests {
		for range 8 {
			c, err := net.Dial("tcp", r.addr)
			if err != nil {
				t.Fatal(err)
			}
			at.Add(1)
			senders.Go(func() {
				sent := make(chan struct{})
				go func() { defer close(sent); test.send(c) }()
				defer func() { c.Close(); at.Add(-1) }()
				c.SetReadDeadline(latest()) // what does not end by itself fails here
				status := 0
				if test.answer >= 0 {
					in := bufio.NewReader(c)
					if resp, err := http.ReadResponse(in, nil); err == nil {
						status = resp.StatusCode
					}
					if _, err := io.Copy(io.Discard, in); err != nil && strings.Contains(err.Error(), "i/o timeout") {
						t.Errorf("%s: its connection does not end", name)
					}
				} else {
					<-sent // the other side has closed, or it would still be writing
					return
				}
				// What is endless may still be written when the answer is thrown away, and
				// on a busy machine its time is up before it is too large.
				endless := strings.HasPrefix(name, "an endless") && (status == 0 || status == http.StatusRequestTimeout)
				if status != test.answer && !endless {
					t.Errorf("%s: answered %d, want %d", name, status, test.answer)
				}
			})
		}
	}
	healthy := 0
	for at.Load() > 0 { // as long as one of them is there
		req, err := http.NewRequest("POST", "http://"+r.addr+"/signals", strings.NewReader(sample))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Close = true // one that is kept may be closed for idleness just when it is used again
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusAccepted {
			t.Fatalf("the healthy sender is answered %d", resp.StatusCode)
		}
		healthy++
	}
	senders.Wait()
	if healthy == 0 {
		t.Error("nothing was sent meanwhile")
	}
	page, err := r.queue.Deliveries(t.Context(), queue.Filter{Limit: healthy + 1})
	list := page.Deliveries
	if err != nil || len(list) != healthy {
		t.Errorf("the store has %d deliveries, %v; want %d", len(list), err, healthy)
	}
	for _, d := range list {
		if d.Type == "hostile" {
			t.Errorf("%s came from a hostile sender", d.ID)
		}
	}
}

// However many clients send large bodies and never end, the memory they take
// has a bound, and small signals are taken at once. When they have gone, large ones are again.
func TestLargeBodiesHaveABound(t *testing.T) {
	r := run(t, routesOf("a\npaused = true"), func(p *Proxy) { p.timeouts.body = 50 * time.Millisecond })
	heap := func() int {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	before := heap()
	const senders, size = 400, 1 << 20
	const arriving, largeBody = 64 << 20, 64 << 10 // bytes that all large bodies may hold; above which one is large
	part := []byte(head("/signals", fmt.Sprint("Content-Length: ", size)) + `{"signal_type":"a"` + strings.Repeat(" ", size-1000))
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	var writing sync.WaitGroup
	var refused atomic.Int64
	for range senders {
		c, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
		writing.Go(func() { c.Write(part) })
		go func() {
			if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err == nil && resp.StatusCode == http.StatusServiceUnavailable {
				if resp.Header.Get("Retry-After") == "" {
					t.Error("no Retry-After")
				}
				refused.Add(1)
			}
		}()
	}
	const fit = arriving / size
	r.until("those that do not fit are refused", func() bool { return refused.Load() == senders-fit })
	r.send()
	if got, most := heap()-before, arriving*5/4+(senders*(largeBody+64<<10)); got > most { // a buffer grows by a quarter
		t.Errorf("%d MiB of heap, want %d at most", got>>20, most>>20)
	}
	for _, c := range conns {
		c.Close()
	}
	writing.Wait()
	r.until("a large one is taken again", func() bool {
		body := `{"signal_type":"large","x":"` + strings.Repeat("x", size/2) + `"}`
		resp, err := http.Post("http://"+r.addr+"/signals", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var p struct{ Detail string }
		if json.NewDecoder(resp.Body).Decode(&p); resp.StatusCode == http.StatusServiceUnavailable && !strings.Contains(p.Detail, "memory for requests is used up") {
			t.Errorf("refused with %q", p.Detail)
		}
		return resp.StatusCode == http.StatusAccepted
	})
}

// TestShortcutStops: a plain signal that is being shaped when the sidecar
// stops is accepted, as net/http's server would have it.
func TestShortcutStops(t *testing.T) {
	var routes strings.Builder
	for i := range 2 {
		fmt.Fprintf(&routes, "\n[[route]]\nname = 'r%d'\nurl = 'http://127.0.0.1:1'\npaused = true\nwhere = '.quick or last(range(1000000000000)) > 0'\n", i)
	}
	r := run(t, routes.String(), func(p *Proxy) { p.timeouts.drain = time.Minute }) // which a busy machine does not need
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	// Once the first is answered the second is read; it takes 200 ms at least.
	io.WriteString(c, plainRequest(`{"signal_type":"a","quick":true}`)+plainRequest(sample))
	answers := bufio.NewReader(c)
	quick, err := http.ReadResponse(answers, nil)
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, quick.Body)
	r.until("the second is being shaped", func() bool {
		stacks := make([]byte, 1<<20)
		return strings.Contains(string(stacks[:runtime.Stack(stacks, true)]), ".Offer(")
	})
	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	resp, err := http.ReadResponse(answers, nil)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusAccepted {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}
