package proxy_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"signalpost/proxy"
	"signalpost/proxy/api"
	"signalpost/proxy/config"
)

// A sidecar is one that runs for a test, seen from outside.
type sidecar struct {
	t      testing.TB
	proxy  *proxy.Proxy
	config string // path
	base   string // http://HOST:PORT
	stop   func() // returns when Serve has; may be called again
}

// start runs a sidecar with the config, to which [server] listen and [queue]
// path are added, until the test ends. %s in it is the receiver's address.
func start(t testing.TB, text string, receiver http.Handler) *sidecar {
	t.Helper()
	if receiver == nil {
		receiver = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	}
	server := httptest.NewServer(receiver)
	t.Cleanup(server.Close)
	s := &sidecar{t: t, config: filepath.Join(t.TempDir(), "signalpost.toml")}
	s.write(strings.ReplaceAll(text, "%s", server.URL))
	s.run()
	return s
}

// run runs a sidecar with the config file and the store that s has.
func (s *sidecar) run() {
	t := s.t
	t.Helper()
	cfg, err := config.Load(context.Background(), s.config)
	if err != nil {
		t.Fatal(err)
	}
	s.proxy, err = proxy.New(cfg, nil, "test")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	addr := make(chan string, 1)
	served := make(chan error, 1)
	go func() { served <- s.proxy.Serve(ctx, func(a string) { addr <- a }) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(s.stop)
	select {
	case a := <-addr:
		s.base = "http://" + a
	case err := <-served:
		t.Fatalf("Serve: %v", err)
	}
}

// write writes the config file.
func (s *sidecar) write(text string) {
	s.t.Helper()
	if !strings.Contains(text, "[server]") {
		text = "[server]\n" + text
	}
	text = strings.Replace(text, "[server]\n", "[server]\nlisten = \"127.0.0.1:0\"\n", 1)
	if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// reload edits the config file and has it read.
func (s *sidecar) reload(edit func(string) string) {
	s.t.Helper()
	text, err := os.ReadFile(s.config)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(s.config, []byte(edit(string(text))), 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := s.proxy.Reload(context.Background()); err != nil {
		s.t.Fatal(err)
	}
}

// An answer is what came back, whole.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) String() string { return fmt.Sprintf("%d %s", a.status, a.body) }

// problem reads a problem, and complains if it is none.
func (a answer) problem(t testing.TB) (p struct {
	Type, Title, Detail string
	Status              int
	Index               *int
}) {
	t.Helper()
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type is %q, not application/problem+json: %s", got, a)
	}
	if err := json.Unmarshal([]byte(a.body), &p); err != nil {
		t.Fatalf("%v: %s", err, a)
	}
	if p.Type == "" || p.Title == "" || p.Detail == "" || p.Status != a.status {
		t.Errorf("an incomplete problem: %s", a)
	}
	return p
}

// do makes a request. header is pairs; Host is one of them.
func (s *sidecar) do(method, path, body string, header ...string) answer {
	s.t.Helper()
	r, err := http.NewRequest(method, s.base+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
		} else {
			r.Header[header[i]] = append(r.Header[header[i]], header[i+1])
		}
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	a := answer{resp.StatusCode, resp.Header, string(b)}
	conforms(s.t, r, body, a)
	return a
}

const (
	isJSON  = "application/json"
	isLines = "application/x-ndjson"
)

func (s *sidecar) post(path, body string, header ...string) answer {
	s.t.Helper()
	return s.do("POST", path, body, append([]string{"Content-Type", isJSON}, header...)...)
}

// get reads a JSON answer of 200 into v.
func (s *sidecar) get(path string, v any) {
	s.t.Helper()
	a := s.do("GET", path, "")
	if a.status != 200 {
		s.t.Fatalf("GET %s: %s", path, a)
	}
	if err := json.Unmarshal([]byte(a.body), v); err != nil {
		s.t.Fatalf("GET %s: %v: %s", path, err, a)
	}
}

// until asks again until it is so.
func (s *sidecar) until(what string, so func() bool) {
	s.t.Helper()
	for deadline := latest(); !so(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("never: %s", what)
		}
	}
}

// settled waits until no delivery is pending.
func (s *sidecar) settled() {
	s.t.Helper()
	s.until("nothing is pending", func() bool {
		var page deliveries
		s.get("/deliveries?state=pending", &page)
		return len(page.Deliveries) == 0
	})
}

type deliveries struct {
	Deliveries []delivery
	Next       string
}

type delivery struct {
	ID, Signal, Route, State, Reason string
	SignalType                       string `json:"signal_type"`
	Created                          time.Time
	Attempts                         int
	NextAttempt                      *time.Time `json:"next_attempt"`
	Last                             *entry
}

type entry struct {
	Time                             time.Time
	Delivery, Signal, Route, Verdict string
	SignalType                       string `json:"signal_type"`
	Reason, Error, Response          string
	Attempt, Status                  int
}

// An inbox is a receiver that keeps what it gets, and answers as told.
type inbox struct {
	mu     sync.Mutex
	bodies []string
	heads  []http.Header
	answer func(n int) int // the status of the n-th answer, from 1; nil: 200
}

func (b *inbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bodies = append(b.bodies, string(body))
	b.heads = append(b.heads, r.Header)
	if b.answer != nil {
		w.WriteHeader(b.answer(len(b.bodies)))
	}
}

func (b *inbox) got() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.bodies)
}

// held is a route that takes everything and sends nothing.
const held = `
[[route]]
name = "all"
url = "%s/all"
paused = true
`

func zipped(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	io.WriteString(w, text)
	w.Close()
	return b.String()
}

func TestSignalsRefused(t *testing.T) {
	s := start(t, "[server]\nmax_body = \"1KiB\"\n"+held, nil)
	const good = `{"signal_type":"a"}`
	big := `{"signal_type":"a","x":"` + strings.Repeat("x", 1024) + `"}`
	at := func(i int) *int { return &i }
	deep := `{"signal_type":"a","x":` + strings.Repeat("[", 200) // under max_body, cut short
	tests := []struct {
		name   string
		path   string // default /signals
		header []string
		body   string
		status int
		detail string // part of it
		index  *int
	}{
		{"empty body", "", []string{"Content-Type", isJSON}, "", 400, "at offset 0", nil},
		{"blank body", "", []string{"Content-Type", isJSON}, " \n", 400, "at offset 2", nil},
		{"not JSON", "", []string{"Content-Type", isJSON}, `{"signal_type":'a'}`, 400, "at offset 15", nil},
		{"cut short", "", []string{"Content-Type", isJSON}, deep, 400, "found the end at offset " + fmt.Sprint(len(deep)), nil},
		{"two values", "", []string{"Content-Type", isJSON}, good + good, 400, "expected nothing more, found '{' at offset 19", nil},
		{"a byte order mark", "", []string{"Content-Type", isJSON}, "\ufeff" + good, 400, "byte order mark", nil},
		{"not UTF-8 in a string", "", []string{"Content-Type", isJSON}, "{\"signal_type\":\"a\",\"x\":\"\xff\"}", 400, "not UTF-8: found the byte 0xff at offset 24", nil},
		{"a surrogate in UTF-8", "", []string{"Content-Type", isJSON}, "{\"signal_type\":\"\xed\xa0\x80\"}", 400, "not UTF-8", nil},
		{"not UTF-8 between values", "", []string{"Content-Type", isJSON}, "{\"signal_type\":\"a\"\xff}", 400, "at offset 18", nil},
		{"a control character", "", []string{"Content-Type", isJSON}, "{\"signal_type\":\"a\nb\"}", 400, "at offset 17", nil},
		{"a bad escape", "", []string{"Content-Type", isJSON}, `{"signal_type":"a\x"}`, 400, "at offset 18", nil},
		{"a bad \\u", "", []string{"Content-Type", isJSON}, `{"signal_type":"a\u00G0"}`, 400, "at offset 21", nil},
		{"a leading zero", "", []string{"Content-Type", isJSON}, `{"signal_type":"a","x":01}`, 400, "at offset 24", nil},
		{"NaN", "", []string{"Content-Type", isJSON}, `{"signal_type":"a","x":NaN}`, 400, "at offset 23", nil},
		{"a trailing comma", "", []string{"Content-Type", isJSON}, `{"signal_type":"a",}`, 400, "at offset 19", nil},
		{"an array that does not end", "", []string{"Content-Type", isJSON}, `[` + good + `,`, 400, "the end at offset 21", at(1)},
		{"an array with something behind", "", []string{"Content-Type", isJSON}, `[` + good + `] x`, 400, "at offset 22", nil},
		{"an array with a comma too many", "", []string{"Content-Type", isJSON}, `[` + good + `,]`, 400, "at offset 21", at(1)},
		{"a bad line", "", []string{"Content-Type", isLines}, good + "\n\n" + `{"signal_type":}` + "\n", 400, "at offset 36", at(1)},
		{"a value over two lines", "", []string{"Content-Type", isLines}, "{\n\"signal_type\":\"a\"}", 400, "at offset 1", at(0)},

		{"key of 256 bytes", "", []string{"Content-Type", isJSON, "Idempotency-Key", strings.Repeat("k", 256)}, good, 400, "256 bytes", nil},
		{"empty key", "", []string{"Content-Type", isJSON, "Idempotency-Key", ""}, good, 400, "empty", nil},
		{"two keys", "", []string{"Content-Type", isJSON, "Idempotency-Key", "a", "Idempotency-Key", "b"}, good, 400, "2 times", nil},
		{"a key that does not print", "", []string{"Content-Type", isJSON, "Idempotency-Key", "é"}, good, 400, "printable", nil},

		{"unknown parameter", "/signals?rout=all", []string{"Content-Type", isJSON}, good, 400, `"rout"; known are route`, nil},
		{"parameter twice", "/signals?route=all&route=all", []string{"Content-Type", isJSON}, good, 400, "2 times", nil},
		{"empty parameter", "/signals?route=", []string{"Content-Type", isJSON}, good, 400, "empty", nil},
		{"malformed query", "/signals?route=%zz", []string{"Content-Type", isJSON}, good, 400, "malformed", nil},
		{"unknown route", "/signals?route=nope", []string{"Content-Type", isJSON}, good, 404, `no route "nope"; the config has all`, nil},

		{"too large", "", []string{"Content-Type", isJSON}, big, 413, "1024 bytes", nil},
		{"too large, unpacked", "", []string{"Content-Type", isJSON, "Content-Encoding", "gzip"}, zipped(big), 413, "1024 bytes", nil},
		{"a gzip bomb", "", []string{"Content-Type", isJSON, "Content-Encoding", "gzip"}, zipped(strings.Repeat(" ", 10<<20)), 413, "1024 bytes", nil},
		{"empty gzip members without end", "", []string{"Content-Type", isJSON, "Content-Encoding", "gzip"}, strings.Repeat(zipped(""), 10000), 413, "1024 bytes", nil},

		{"not gzip", "", []string{"Content-Type", isJSON, "Content-Encoding", "gzip"}, good, 400, "gzip", nil},
		{"gzip cut short", "", []string{"Content-Type", isJSON, "Content-Encoding", "gzip"}, zipped(good)[:20], 400, "ended before", nil},
		{"gzip damaged", "", []string{"Content-Type", isJSON, "Content-Encoding", "gzip"}, zipped(good)[:len(zipped(good))-8] + "12345678", 400, "gzip", nil},
		{"another encoding", "", []string{"Content-Type", isJSON, "Content-Encoding", "br"}, good, 415, `"br"`, nil},
		{"two encodings", "", []string{"Content-Type", isJSON, "Content-Encoding", "gzip", "Content-Encoding", "gzip"}, zipped(zipped(good)), 415, "gzip,gzip", nil},

		{"no type", "", nil, good, 415, "found none", nil},
		{"text/plain", "", []string{"Content-Type", "text/plain"}, good, 415, `"text/plain"`, nil},
		{"a form", "", []string{"Content-Type", "application/x-www-form-urlencoded"}, good, 415, "urlencoded", nil},
		{"another charset", "", []string{"Content-Type", "application/json; charset=latin1"}, good, 415, "latin1", nil},
		{"almost the type", "", []string{"Content-Type", "application/jsonx"}, good, 415, "jsonx", nil},
		{"two types", "", []string{"Content-Type", isJSON, "Content-Type", "text/plain"}, good, 415, "several", nil},

		{"a string", "", []string{"Content-Type", isJSON}, `"a"`, 422, "object; found a string", nil},
		{"a number", "", []string{"Content-Type", isJSON}, `-1.5e+7`, 422, "found a number", nil},
		{"null", "", []string{"Content-Type", isJSON}, `null`, 422, "found null", nil},
		{"no signal_type", "", []string{"Content-Type", isJSON}, `{"a":{"signal_type":"a"}}`, 422, "no signal_type", nil},
		{"signal_type a number", "", []string{"Content-Type", isJSON}, `{"signal_type":1}`, 422, "must be a string; found a number", nil},
		{"signal_type empty", "", []string{"Content-Type", isJSON}, `{"signal_type":""}`, 422, "1 to 256", nil},
		{"signal_type of 257 bytes", "", []string{"Content-Type", isJSON}, `{"signal_type":"` + strings.Repeat("x", 257) + `"}`, 422, "257 bytes", nil},
		{"signal_type with a space before", "", []string{"Content-Type", isJSON}, `{"signal_type":" a"}`, 422, "space", nil},
		{"signal_type with a space behind", "", []string{"Content-Type", isJSON}, `{"signal_type":"a "}`, 422, "space", nil},
		{"signal_type not ASCII", "", []string{"Content-Type", isJSON}, `{"signal_type":"é"}`, 422, "ASCII", nil},
		{"signal_type that breaks lines", "", []string{"Content-Type", isJSON}, `{"signal_type":"a\r\nX-Evil: 1"}`, 422, "printable", nil},
		{"the last signal_type counts", "", []string{"Content-Type", isJSON}, `{"signal_type":"a","signal\u005ftype":2}`, 422, "found a number", nil},
		{"empty array", "", []string{"Content-Type", isJSON}, ` [ ] `, 422, "empty", nil},
		{"no lines", "", []string{"Content-Type", isLines}, "\n \r\n", 422, "empty", nil},
		{"element no object", "", []string{"Content-Type", isJSON}, `[` + good + `,[` + good + `]]`, 422, "found an array", at(1)},
		{"element without type", "", []string{"Content-Type", isJSON}, `[` + good + `,{}]`, 422, "no signal_type", at(1)},
		{"line without type", "", []string{"Content-Type", isLines}, good + "\n{}\n" + good, 422, "no signal_type", at(1)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := test.path
			if path == "" {
				path = "/signals"
			}
			a := s.do("POST", path, test.body, test.header...)
			if a.status != test.status {
				t.Fatalf("want %d, got %s", test.status, a)
			}
			p := a.problem(t)
			if !strings.Contains(p.Detail, test.detail) {
				t.Errorf("the detail lacks %q: %s", test.detail, p.Detail)
			}
			switch {
			case test.index == nil && p.Index != nil:
				t.Errorf("index is %d, want none", *p.Index)
			case test.index != nil && (p.Index == nil || *p.Index != *test.index):
				t.Errorf("want index %d: %s", *test.index, a)
			}
		})
	}
	t.Run("nested too deeply", func(t *testing.T) {
		s := start(t, held, nil)
		for depth, want := range map[int]int{999: 202, 1000: 400} {
			a := s.post("/signals", `{"signal_type":"a","x":`+strings.Repeat("[", depth)+strings.Repeat("]", depth)+`}`)
			if a.status != want {
				t.Errorf("%d deep: want %d, got %s", depth, want, a)
			}
		}
	})
	t.Run("leaves no trace", func(t *testing.T) {
		var page deliveries
		s.get("/deliveries", &page)
		if len(page.Deliveries) != 0 {
			t.Errorf("there are deliveries: %v", page.Deliveries)
		}
		if got, want := s.metric(`signalpost_signals_total{result="refused"}`), fmt.Sprint(len(tests)); got != want {
			t.Errorf("refused is %s, want %s", got, want)
		}
		if got := s.metric(`signalpost_signals_total{result="accepted"}`); got != "0" {
			t.Errorf("accepted is %s", got)
		}
	})
}

// metric returns a sample of /metrics, "" if there is none.
func (s *sidecar) metric(name string) string {
	s.t.Helper()
	a := s.do("GET", "/metrics", "")
	for line := range strings.Lines(a.body) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func TestSignalsAccepted(t *testing.T) {
	box := &inbox{}
	s := start(t, `
[[route]]
name = "raw"
url = "%s/raw"
[[route]]
name = "shaped"
url = "%s/shaped"
signal_types = ["shape"]
transform = '.items[]'
paused = true
`, box)
	tests := []struct {
		name, contentType, body, path string
		signals                       []string // what raw delivers, in any order
		batch                         bool
		routes                        [][]string // of each signal
	}{
		{"one", isJSON, "  {\"signal_type\": \"a\", \"n\": 1.000, \"u\": \"\\u00e9é\"}\r\n", "", []string{"  {\"signal_type\": \"a\", \"n\": 1.000, \"u\": \"\\u00e9é\"}\r\n"}, false, [][]string{{"raw"}}},
		{"charset", "Application/JSON; Charset=\"UTF-8\"", `{"signal_type":"b"}`, "", []string{`{"signal_type":"b"}`}, false, [][]string{{"raw"}}},
		{"array", isJSON, " [ {\"signal_type\":\"c\"} ,\n{ \"signal_type\" :\"d\" }\t] ", "", []string{`{"signal_type":"c"}`, `{ "signal_type" :"d" }`}, true, [][]string{{"raw"}, {"raw"}}},
		{"array of one", isJSON, `[{"signal_type":"e"}]`, "", []string{`{"signal_type":"e"}`}, true, [][]string{{"raw"}}},
		{"lines", isLines, "{\"signal_type\":\"f\"}\r\n\n {\"signal_type\":\"g\"} ", "", []string{`{"signal_type":"f"}`, `{"signal_type":"g"}`}, true, [][]string{{"raw"}, {"raw"}}},
		{"several results", isJSON, `{"signal_type":"shape","items":[1,2]}`, "", []string{`{"signal_type":"shape","items":[1,2]}`}, false, [][]string{{"raw", "shaped", "shaped"}}},
		{"no result", isJSON, `{"signal_type":"shape","items":[]}`, "?route=shaped", nil, false, [][]string{{}}},
		{"one route alone", isJSON, `{"signal_type":"shape","items":[3]}`, "?route=shaped", nil, false, [][]string{{"shaped"}}},
		{"passes no route", isJSON, `{"signal_type":"h"}`, "?route=shaped", nil, false, [][]string{{}}},
		{"an escaped signal_type", isJSON, `{"signal\u005ftype":"\u0069"}`, "", []string{`{"signal\u005ftype":"\u0069"}`}, false, [][]string{{"raw"}}},
	}
	type accepted struct {
		ID         string
		Deliveries []struct{ ID, Route string }
	}
	for _, packed := range []bool{false, true} {
		for _, test := range tests {
			t.Run(fmt.Sprintf("%s, packed %t", test.name, packed), func(t *testing.T) {
				before := len(box.got())
				header := []string{"Content-Type", test.contentType}
				body := test.body
				if packed {
					header = append(header, "Content-Encoding", "gzip")
					body = zipped(body)
				}
				a := s.do("POST", "/signals"+test.path, body, header...)
				if a.status != 202 || a.header.Get("Content-Type") != isJSON || a.header.Get("Idempotent-Replayed") != "" {
					t.Fatalf("%s %v", a, a.header)
				}
				var got struct {
					accepted
					Signals []accepted
				}
				if err := json.Unmarshal([]byte(a.body), &got); err != nil {
					t.Fatal(err)
				}
				if !test.batch {
					if got.Signals != nil {
						t.Errorf("the answer is that of a batch: %s", a)
					}
					got.Signals = []accepted{got.accepted}
				}
				if len(got.Signals) != len(test.routes) {
					t.Fatalf("want %d signals: %s", len(test.routes), a)
				}
				for i, signal := range got.Signals {
					routes := []string{}
					for _, d := range signal.Deliveries {
						routes = append(routes, d.Route)
						if !strings.HasPrefix(d.ID, "dlv_") {
							t.Errorf("id %q", d.ID)
						}
					}
					if !strings.HasPrefix(signal.ID, "sig_") || !slices.Equal(routes, test.routes[i]) || signal.Deliveries == nil {
						t.Errorf("want routes %v of signal %d: %s", test.routes[i], i, a)
					}
				}
				s.until("raw got all", func() bool { return len(box.got()) >= before+len(test.signals) })
				arrived := box.got()[before:]
				slices.Sort(arrived)
				slices.Sort(test.signals)
				if !slices.Equal(arrived, test.signals) {
					t.Errorf("arrived\n%q, want\n%q", arrived, test.signals)
				}
			})
		}
	}
	if got := s.metric(`signalpost_signals_total{result="unmatched"}`); got != "2" {
		t.Errorf("unmatched is %s, want 2", got)
	}
	if got := s.metric(`signalpost_signals_total{result="accepted"}`); got != "22" {
		t.Errorf("accepted is %s, want 22", got)
	}
}

// However many large bodies come at once, in pieces of unknown length, each is taken.
func TestLargeBodies(t *testing.T) {
	s := start(t, held, nil)
	body := `{"signal_type":"a","x":"` + strings.Repeat("x", 200<<10) + `"}`
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			resp, err := http.Post(s.base+"/signals", isJSON, io.MultiReader(strings.NewReader(body))) // chunked
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			if resp.StatusCode != 202 {
				t.Errorf("%d", resp.StatusCode)
			}
		})
	}
	all.Wait()
	var page deliveries
	s.get("/deliveries", &page)
	if len(page.Deliveries) != 16 {
		t.Fatalf("%d deliveries", len(page.Deliveries))
	}
	var d struct {
		Body json.RawMessage
	}
	s.get("/deliveries/"+page.Deliveries[7].ID, &d)
	if string(d.Body) != body {
		t.Error("the body is not the one sent")
	}
}

// A client that goes away in the middle of its body leaves no trace.
func TestBodyCutShort(t *testing.T) {
	s := start(t, held, nil)
	c, err := net.Dial("tcp", strings.TrimPrefix(s.base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "POST /signals HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"signal_type\":\"a\"}")
	c.(*net.TCPConn).CloseWrite()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	if a := (answer{resp.StatusCode, resp.Header, string(b)}); a.status != 400 || !strings.Contains(a.problem(t).Detail, "ended before") {
		t.Errorf("%s", a)
	}
	if n := s.count(); n != 0 {
		t.Errorf("%d deliveries", n)
	}
}

func TestTraceparent(t *testing.T) {
	const good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	box := &inbox{}
	s := start(t, "[[route]]\nname = \"all\"\nurl = \"%s\"\n", box)
	for sent, want := range map[string]string{
		good: good,
		"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-may-come": "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-may-come",
		good + "-more": "", // version 00 ends there
		"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01": "",
		"00-00000000000000000000000000000000-b7ad6b7169203331-01": "",
		"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01": "",
		"00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01": "",
		"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331":    "",
		"nonsense": "",
	} {
		before := len(box.got())
		if a := s.post("/signals", `{"signal_type":"a"}`, "Traceparent", sent); a.status != 202 {
			t.Fatal(a)
		}
		s.until("it arrived", func() bool { return len(box.got()) > before })
		box.mu.Lock()
		if got := box.heads[before].Get("traceparent"); got != want {
			t.Errorf("%s came as %q", sent, got)
		}
		box.mu.Unlock()
	}
}

// A tracestate goes with its traceparent, as far as it is one.
func TestTracestate(t *testing.T) {
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	box := &inbox{}
	s := start(t, "[[route]]\nname = \"all\"\nurl = \"%s\"\npaused = true\n", box)
	var many, few []string
	for i := range 40 {
		if many = append(many, fmt.Sprintf("k%d=v", i)); i < 32 {
			few = append(few, fmt.Sprintf("k%d=v", i))
		}
	}
	tests := []struct{ parent, state, want string }{
		{parent, "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7", "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"},
		{parent, " a=1 , ,b@c=2 3\t", "a=1,b@c=2 3"},
		{parent, strings.Join(many, ","), strings.Join(few, ",")},
		{parent, strings.Repeat("a="+strings.Repeat("x", 250)+",", 3), strings.TrimSuffix(strings.Repeat("a="+strings.Repeat("x", 250)+",", 2), ",")},
		{parent, "", ""}, {parent, "a", ""}, {parent, "A=1", ""}, {parent, "a=1,b=é", ""}, {parent, "a=b=c", ""}, {"nonsense", "a=1", ""},
	}
	for _, test := range tests {
		if a := s.post("/signals", `{"signal_type":"a"}`, "Traceparent", test.parent, "Tracestate", test.state); a.status != 202 {
			t.Fatal(a)
		}
		var page api.DeliveryPage
		var d api.Delivery
		s.get("/deliveries?limit=1", &page)
		s.get("/deliveries/"+page.Deliveries[0].ID.String(), &d)
		if got := d.Request.Headers["Tracestate"]; got != test.want {
			t.Errorf("%s is shown as %q", test.state, got)
		}
	}
	s.reload(func(text string) string {
		return strings.Replace(text, "paused = true", "paused = true\nconcurrency = 1", 1)
	})
	s.stop()
	s.run()
	s.reload(func(text string) string { return strings.Replace(text, "paused = true", "", 1) })
	s.until("all arrived", func() bool { return len(box.got()) == len(tests) })
	box.mu.Lock()
	defer box.mu.Unlock()
	for i, test := range tests {
		if got := box.heads[i].Values("Tracestate"); strings.Join(got, "|") != test.want || len(got) > 1 {
			t.Errorf("after a restart %s came as %q", test.state, got)
		}
	}
}

func TestIdempotencyKey(t *testing.T) {
	s := start(t, held, nil)
	const one, two = `{"signal_type":"one"}`, `{"signal_type":"two"}`
	key := func(k string) []string { return []string{"Idempotency-Key", k} }

	first := s.post("/signals", one, key("k")...)
	again := s.post("/signals", one, key("k")...)
	if first.status != 202 || again.status != 202 || first.body != again.body {
		t.Errorf("not the same answer:\n%s\n%s", first, again)
	}
	if first.header.Get("Idempotent-Replayed") != "" || again.header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("Idempotent-Replayed: first %q, again %q", first.header.Get("Idempotent-Replayed"), again.header.Get("Idempotent-Replayed"))
	}
	if a := s.do("POST", "/signals", zipped(one), "Content-Type", isJSON, "Content-Encoding", "gzip", "Idempotency-Key", "k"); a.body != first.body {
		t.Errorf("packed, the same bytes are others: %s", a)
	}
	for name, a := range map[string]answer{
		"another body":      s.post("/signals", two, key("k")...),
		"the same as lines": s.do("POST", "/signals", one, "Content-Type", isLines, "Idempotency-Key", "k"),
		"one route alone":   s.post("/signals?route=all", one, key("k")...),
	} {
		if a.status != 422 || !strings.Contains(a.problem(t).Detail, "key") {
			t.Errorf("%s: want 422, got %s", name, a)
		}
	}

	t.Run("a refused request binds no key", func(t *testing.T) {
		if a := s.post("/signals", `{}`, key("r")...); a.status != 422 {
			t.Fatal(a)
		}
		if a := s.post("/signals", one, key("r")...); a.status != 202 || a.header.Get("Idempotent-Replayed") != "" {
			t.Errorf("%s", a)
		}
	})
	t.Run("covers a batch", func(t *testing.T) {
		batch := "[" + one + "," + two + "]"
		first, again := s.post("/signals", batch, key("b")...), s.post("/signals", batch, key("b")...)
		if first.status != 202 || first.body != again.body {
			t.Errorf("not the same answer:\n%s\n%s", first, again)
		}
	})
	t.Run("255 bytes", func(t *testing.T) {
		if a := s.post("/signals", one, key(strings.Repeat("k", 255))...); a.status != 202 {
			t.Error(a)
		}
	})
	t.Run("many at once", func(t *testing.T) {
		before := s.count()
		var all sync.WaitGroup
		answers := make([]answer, 16)
		for i := range answers {
			all.Go(func() { answers[i] = s.post("/signals", one, key("m")...) })
		}
		all.Wait()
		fresh := 0
		for _, a := range answers {
			if a.status != 202 || a.body != answers[0].body {
				t.Errorf("%s, want %s", a, answers[0])
			}
			if a.header.Get("Idempotent-Replayed") == "" {
				fresh++
			}
		}
		if fresh != 1 || s.count() != before+1 {
			t.Errorf("%d fresh answers, %d deliveries; want one of each", fresh, s.count()-before)
		}
	})
	t.Run("replayed when the store is full", func(t *testing.T) {
		before := s.count()
		s.reload(func(text string) string { return text + "[queue]\nmin_free = \"1000000GiB\"\n" })
		s.until("it is not ready", func() bool { return s.do("GET", "/readyz", "").status == 503 })
		if a := s.post("/signals", one, key("k")...); a.status != 202 || a.body != first.body {
			t.Errorf("%s", a)
		}
		for name, a := range map[string]answer{
			"no key": s.post("/signals", one), "a new key": s.post("/signals", one, key("n")...),
		} {
			if a.status != 503 || a.header.Get("Retry-After") == "" || a.problem(t).Detail == "" {
				t.Errorf("%s: %s, Retry-After %q", name, a, a.header.Get("Retry-After"))
			}
		}
		if a := s.do("GET", "/readyz", ""); a.problem(t).Status != 503 {
			t.Error(a)
		}
		var st struct {
			Store struct {
				Accepting bool
				Reason    *string
			}
		}
		s.get("/status", &st)
		if st.Store.Accepting || st.Store.Reason == nil {
			t.Errorf("status says %+v", st)
		}
		// What was refused has left nothing behind, and its key is free.
		if n := s.count(); n != before {
			t.Errorf("%d deliveries, want %d", n, before)
		}
		s.reload(func(text string) string { return strings.Replace(text, "1000000GiB", "1B", 1) })
		s.until("it is ready again", func() bool { return s.do("GET", "/readyz", "").status == 200 })
		if a := s.post("/signals", two, key("n")...); a.status != 202 || a.header.Get("Idempotent-Replayed") != "" {
			t.Errorf("the key of a refused request: %s", a)
		}
	})
	if got := s.metric(`signalpost_signals_total{result="replayed"}`); got == "0" || got == "" {
		t.Errorf("replayed is %q", got)
	}
}

// count is how many deliveries there are.
func (s *sidecar) count() int {
	var page deliveries
	s.get("/deliveries?limit=1000", &page)
	return len(page.Deliveries)
}

func TestGuard(t *testing.T) {
	s := start(t, "[server]\ntoken = \"opensesame\"\nhosts = [\"Signalpost.internal\"]\n"+held, nil)
	const token = "Bearer opensesame"
	basic := func(user, password string) string {
		r, _ := http.NewRequest("GET", "/", nil)
		r.SetBasicAuth(user, password)
		return r.Header.Get("Authorization")
	}
	port := s.base[strings.LastIndex(s.base, ":"):]
	own := s.base
	tests := []struct {
		name   string
		status int // of GET /status
		header []string
	}{
		{"nothing", 401, nil},
		{"token", 200, []string{"Authorization", token}},
		{"token, scheme in lower case", 200, []string{"Authorization", "bearer opensesame"}},
		{"another token", 401, []string{"Authorization", "Bearer opensesam"}},
		{"empty token", 401, []string{"Authorization", "Bearer "}},
		{"another scheme", 401, []string{"Authorization", "Digest opensesame"}},
		{"password of any user", 200, []string{"Authorization", basic("any", "opensesame")}},
		{"password of no user", 200, []string{"Authorization", basic("", "opensesame")}},
		{"another password", 401, []string{"Authorization", basic("opensesame", "")}},
		{"no Basic at all", 401, []string{"Authorization", "Basic ###"}},

		{"localhost", 200, []string{"Authorization", token, "Host", "localhost" + port}},
		{"LOCALHOST.", 200, []string{"Authorization", token, "Host", "LOCALHOST." + port}},
		{"a name under localhost", 200, []string{"Authorization", token, "Host", "app.localhost"}},
		{"an IP address", 200, []string{"Authorization", token, "Host", "192.0.2.7:80"}},
		{"an IPv6 address", 200, []string{"Authorization", token, "Host", "[::1]" + port}},
		{"an IPv6 address without port", 200, []string{"Authorization", token, "Host", "[2001:db8::1]"}},
		{"a configured name", 200, []string{"Authorization", token, "Host", "signalpost.INTERNAL" + port}},
		{"a rebound name", 403, []string{"Authorization", token, "Host", "evil.example" + port}},
		{"a name that begins well", 403, []string{"Authorization", token, "Host", "localhost.evil.example"}},
		{"a name that ends well", 403, []string{"Authorization", token, "Host", "notlocalhost"}},
		{"an address as a label", 403, []string{"Authorization", token, "Host", "127.0.0.1.evil.example"}},
		{"403 before 401", 403, []string{"Host", "evil.example"}},

		{"our own page", 200, []string{"Authorization", token, "Origin", own, "Sec-Fetch-Site", "same-origin"}},
		{"typed into the address bar", 200, []string{"Authorization", token, "Sec-Fetch-Site", "none"}},
		{"another site", 403, []string{"Authorization", token, "Sec-Fetch-Site", "cross-site"}},
		{"another port of this machine", 403, []string{"Authorization", token, "Sec-Fetch-Site", "same-site", "Origin", "http://127.0.0.1:3000"}},
		{"an old browser", 403, []string{"Authorization", token, "Origin", "https://evil.example"}},
		{"an old browser, our own page", 200, []string{"Authorization", token, "Origin", own}},
		{"a sandboxed frame", 403, []string{"Authorization", token, "Origin", "null"}},
		{"an extension", 403, []string{"Authorization", token, "Origin", "chrome-extension://abc"}},
		{"a link to the API", 403, []string{"Authorization", token, "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := s.do("GET", "/status", "", test.header...)
			if a.status != test.status {
				t.Fatalf("want %d, got %s", test.status, a)
			}
			if a.status != 200 {
				a.problem(t)
			}
			if got := a.header.Get("WWW-Authenticate"); (got != "") != (a.status == 401) {
				t.Errorf("WWW-Authenticate is %q", got)
			}
			if got := a.header.Get("Access-Control-Allow-Origin"); got != "" {
				t.Errorf("Access-Control-Allow-Origin is %q", got)
			}
			// What a page may not read it may not change either, in whatever guise.
			for _, contentType := range []string{isJSON, "text/plain"} {
				want := test.status
				if want == 200 {
					want = 202
					if contentType != isJSON {
						want = 415
					}
				}
				a := s.do("POST", "/signals", `{"signal_type":"a"}`, append([]string{"Content-Type", contentType}, test.header...)...)
				if a.status != want {
					t.Errorf("POST as %s: want %d, got %s", contentType, want, a)
				}
			}
		})
	}
	t.Run("probes are open", func(t *testing.T) {
		for _, path := range []string{"/healthz", "/readyz"} {
			if a := s.do("GET", path, "", "Host", "evil.example", "Origin", "https://evil.example"); a.status != 200 {
				t.Errorf("%s: %s", path, a)
			}
		}
	})
	t.Run("all else is not", func(t *testing.T) {
		for _, path := range []string{"/log", "/deliveries", "/deliveries/x", "/signals/x", "/metrics", "/retry", "/nothing", "//signals", "/a/../log"} {
			if a := s.do("GET", path, ""); a.status != 401 {
				t.Errorf("%s: %s", path, a)
			}
			if a := s.do("GET", path, "", "Host", "evil.example"); a.status != 403 {
				t.Errorf("%s: %s", path, a)
			}
		}
	})
	t.Run("the page itself", func(t *testing.T) {
		for _, test := range []struct {
			refused bool
			header  []string
		}{
			{false, nil},
			{false, []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}}, // a link
			{true, []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"}},
			{true, []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "script"}},
			{true, []string{"Host", "evil.example"}},
		} {
			if a := s.do("GET", "/", "", test.header...); (a.status == 403) != test.refused || a.status == 401 {
				t.Errorf("%v: %s", test.header, a)
			}
		}
	})
	// Every browser sends a Host; scripts and probes that speak HTTP/1.0 may not.
	for request, want := range map[string]int{
		"GET /readyz HTTP/1.0\r\n\r\n":                                 200,
		"GET /status HTTP/1.0\r\nAuthorization: " + token + "\r\n\r\n": 200,
		"POST /signals HTTP/1.0\r\nAuthorization: " + token + "\r\nContent-Type: application/json\r\nContent-Length: 19\r\n\r\n{\"signal_type\":\"a\"}": 202,
		"GET /status HTTP/1.0\r\n\r\n": 401,
		"GET /status HTTP/1.0\r\nHost: evil.example\r\nAuthorization: " + token + "\r\n\r\n": 403,
		"GET /status HTTP/1.1\r\nAuthorization: " + token + "\r\n\r\n":                       400, // as RFC 9112 demands
	} {
		c, err := net.Dial("tcp", strings.TrimPrefix(s.base, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, request)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		c.Close()
		if err != nil || resp.StatusCode != want {
			t.Errorf("%q: %v, %v; want %d", request, resp, err, want)
		}
	}
}

func TestNotFoundAndMethods(t *testing.T) {
	s := start(t, held, nil)
	for _, test := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"GET", "/nothing", 404, ""},
		{"POST", "//signals", 404, ""},
		{"POST", "/x/../signals", 404, ""},
		{"POST", "/signals/", 404, ""},
		{"POST", "/", 405, "GET, HEAD"},
		{"PUT", "/signals", 405, "GET, HEAD, POST"},
		{"DELETE", "/signals", 405, "GET, HEAD, POST"},
		{"POST", "/log", 405, "GET, HEAD"},
		{"PUT", "/deliveries", 405, "GET, HEAD"},
		{"GET", "/retry", 405, "POST"},
		{"GET", "/routes/all/pause", 405, "POST"},
		{"POST", "/metrics", 405, "GET, HEAD"},
		{"POST", "/healthz", 405, "GET, HEAD"},
		{"GET", "/signals/nope", 404, ""},
		{"GET", "/signals/sig_01ARZ3NDEKTSV4RRFFQ69G5FAV", 404, ""},
		{"GET", "/deliveries/nope", 404, ""},
		{"GET", "/deliveries/dlv_01ARZ3NDEKTSV4RRFFQ69G5FAV", 404, ""},
		{"POST", "/deliveries/dlv_01ARZ3NDEKTSV4RRFFQ69G5FAV/retry", 404, ""},
		{"POST", "/routes/nope/pause", 404, ""},
		{"POST", "/routes/nope/resume", 404, ""},
	} {
		a := s.do(test.method, test.path, "")
		if a.status != test.status || a.header.Get("Allow") != test.allow {
			t.Errorf("%s %s: want %d, Allow %q; got %s, Allow %q", test.method, test.path, test.status, test.allow, a, a.header.Get("Allow"))
			continue
		}
		a.problem(t)
	}
	for _, path := range []string{"/status", "/log", "/healthz", "/metrics"} {
		if a := s.do("HEAD", path, ""); a.status != 200 || a.body != "" {
			t.Errorf("HEAD %s: %s", path, a)
		}
	}
}

func TestParameters(t *testing.T) {
	s := start(t, held, nil)
	for _, query := range []string{
		"/log?nope=1", "/log?route=", "/log?route=a&route=b", "/log?%zz", "/log?a;b",
		"/log?signal=nope", "/log?signal=dlv_01ARZ3NDEKTSV4RRFFQ69G5FAV", "/log?delivery=nope", "/log?verdict=ok", "/log?status=20", "/log?status=abc",
		"/log?since=yesterday", "/log?until=-5m", "/log?since=2026-04-29", "/log?since=2026-04-29T14:31:08,5Z", "/log?since=2026-04-29T9:31:08Z", "/log?since=2026-04-29T14:31:08%2B2:00", "/log?since=2026-04-29T14:31:08+02:00", "/log?limit=0", "/log?limit=1001", "/log?limit=-1", "/log?limit=1e2",
		"/log?after=nope", "/log?follow=yes", "/log?follow=true&after=x", "/log?follow=true&until=5m", "/log?follow=true&limit=1001", "/log?here=yes", "/metrics?here=true",
		"/deliveries?nope=1", "/deliveries?state=ok", "/deliveries?reason=ok", "/deliveries?signal=nope", "/deliveries?since=x", "/deliveries?limit=0", "/deliveries?after=nope",
		"/status?nope=1", "/metrics?nope=1", "/healthz?nope=1", "/readyz?nope=1", "/signals/sig_01ARZ3NDEKTSV4RRFFQ69G5FAV?nope=1", "/deliveries/dlv_01ARZ3NDEKTSV4RRFFQ69G5FAV?nope=1",
	} {
		a := s.do("GET", query, "")
		if a.status != 400 {
			t.Errorf("GET %s: want 400, got %s", query, a)
			continue
		}
		a.problem(t)
	}
	if a := s.do("GET", "/log?since=2026-04-29T14:31:08+02:00", ""); !strings.Contains(a.body, "%2B") {
		t.Errorf("an unescaped + is not explained: %s", a)
	}
	for _, query := range []string{
		"/log?since=7d&until=0s", "/log?since=1d12h", "/log?since=1.5d", "/log?since=2026-04-29T14:31:08%2B02:00", "/log?since=2026-04-29t14:31:08.5z&until=2026-04-29T14:31:08-00:00", "/log?status=503&limit=1000", "/log?route=Nope", "/deliveries?since=15m", "/log?here=true", "/status?here=false",
	} {
		if a := s.do("GET", query, ""); a.status != 200 {
			t.Errorf("GET %s: %s", query, a)
		}
	}
	for body, want := range map[string]int{
		`{"nope":1}`: 400, `{"route":1}`: 400, `{"state":"held"}`: 400, `{"reason":"x"}`: 400, `{"since":"x"}`: 400, `[]`: 400, `{`: 400, `{}{}`: 400,
		`{"status":true}`: 400, `{"status":"5"}`: 400, `{"status":""}`: 400, `{"status":410}`: 202, `{"status":"5xx,410"}`: 202, `{"dry_run":"yes"}`: 400, `{"route":""}`: 400, `{"route":null}`: 202, `{"dry_run":true}`: 200, `{"state":"delivered","dry_run":true}`: 200, ``: 202, `{}`: 202, `{"route":"x"}`: 202,
		`{"route":"` + strings.Repeat("x", 70000) + `"}`: 413,
	} {
		if a := s.post("/retry", body); a.status != want {
			t.Errorf("POST /retry %.30s: want %d, got %s", body, want, a)
		}
	}
	for body, want := range map[string]int{
		``: 400, `{}`: 400, `{"dry_run":true}`: 400, `{"reshape":true,"route":"x"}`: 400, `{"state":"delivered"}`: 400, `{"route":"x"}`: 202,
		`{"route":"","state":"dead"}`: 400, `{"route":null}`: 400,
		`{"state":"held","dry_run":true}`: 200,
	} {
		if a := s.post("/discard", body); a.status != want {
			t.Errorf("POST /discard %s: want %d, got %s", body, want, a)
		}
	}
	for _, path := range []string{"/routes/all/pause", "/routes/all/resume", "/deliveries/dlv_01ARZ3NDEKTSV4RRFFQ69G5FAV/retry", "/deliveries/dlv_01ARZ3NDEKTSV4RRFFQ69G5FAV/discard"} {
		if a := s.post(path+"?nope=1", ""); a.status != 400 {
			t.Errorf("POST %s with a parameter: %s", path, a)
		}
		if a := s.post(path, `{"for":"1h"}`); a.status != 400 && a.status != 404 && a.status != 409 {
			t.Errorf("POST %s with a member that it does not know: %s", path, a)
		}
	}
	for _, path := range []string{"/retry", "/discard", "/try", "/plan"} {
		if a := s.do("POST", path, `{"route":"x"}`, "Content-Type", "text/plain"); a.status != 415 {
			t.Errorf("POST %s as text/plain: %s", path, a)
		}
		if a := s.post(path+"?dry_run=true", `{"route":"x"}`); a.status != 400 {
			t.Errorf("POST %s with a parameter: %s", path, a)
		}
	}
}

func TestReading(t *testing.T) {
	box := &inbox{answer: func(n int) int {
		if n == 1 {
			return 500
		}
		return 200
	}}
	s := start(t, `
[[route]]
name = "crm"
url = "%s/hooks/very-secret?key=alsosecret"
transform = '{score: .n}'
headers = { X-Api-Key = "topsecret", X-Team = "growth" }
bearer_token = "bearersecret"
secret = "signingsecret"
retry = { attempts = 2, first = "1ms", window = "1ms" }
[[route]]
name = "broken"
url = "%s/broken"
signal_types = ["b"]
transform = '.n | error'
`, box)
	const first = `{"signal_type":"a","n":12345678901234567890.10}`
	const second = `{"signal_type":"b","n":2}`
	var sent struct {
		ID         string
		Deliveries []struct{ ID, Route string }
	}
	json.Unmarshal([]byte(s.post("/signals", first).body), &sent)
	s.settled()
	s.post("/signals", second)
	s.settled()

	t.Run("log", func(t *testing.T) {
		type page struct {
			Entries []entry
			Next    *string
		}
		for query, want := range map[string][]string{
			"":                                {"crm delivered 1", "broken dead 0", "crm delivered 2", "crm retry 1"},
			"?route=crm":                      {"crm delivered 1", "crm delivered 2", "crm retry 1"},
			"?verdict=dead":                   {"broken dead 0"},
			"?status=500":                     {"crm retry 1"},
			"?signal_type=a":                  {"crm delivered 2", "crm retry 1"},
			"?signal=" + sent.ID:              {"crm delivered 2", "crm retry 1"},
			"?delivery=" + delivered(sent.ID): {"crm delivered 2", "crm retry 1"},
			"?since=1h":                       {"crm delivered 1", "broken dead 0", "crm delivered 2", "crm retry 1"},
			"?until=1h":                       {},
			"?route=nope":                     {},
		} {
			var p page
			s.get("/log"+query, &p)
			got := []string{}
			for _, e := range p.Entries {
				got = append(got, fmt.Sprintf("%s %s %d", e.Route, e.Verdict, e.Attempt))
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) || p.Entries == nil || p.Next != nil {
				t.Errorf("%s: got %v, next %v; want %v", query, got, p.Next, want)
			}
		}
		seen := 0
		for after := ""; ; {
			var p page
			s.get("/log?limit=1"+after, &p)
			seen += len(p.Entries)
			if p.Next == nil {
				break
			}
			after = "&after=" + *p.Next
		}
		if seen != 4 {
			t.Errorf("page by page there are %d entries", seen)
		}
	})
	t.Run("deliveries", func(t *testing.T) {
		for query, want := range map[string]int{
			"": 3, "?state=delivered": 2, "?state=dead": 1, "?state=pending": 0, "?reason=transform": 1, "?route=crm": 2,
			"?signal_type=b": 2, "?signal=" + sent.ID: 1, "?since=1h": 3, "?until=1h": 0,
		} {
			var p deliveries
			s.get("/deliveries"+query, &p)
			if len(p.Deliveries) != want || p.Deliveries == nil {
				t.Errorf("%s: got %d, want %d", query, len(p.Deliveries), want)
			}
		}
		seen := 0
		for after := ""; ; {
			var p deliveries
			s.get("/deliveries?limit=2"+after, &p)
			seen += len(p.Deliveries)
			if p.Next == "" {
				break
			}
			after = "&after=" + p.Next
		}
		if seen != 3 {
			t.Errorf("page by page there are %d deliveries", seen)
		}
	})
	t.Run("a delivery", func(t *testing.T) {
		a := s.do("GET", "/deliveries/"+sent.Deliveries[0].ID, "")
		var d struct {
			delivery
			Request struct {
				Method, Target string
				Headers        map[string]string
			}
			Body       json.RawMessage
			SignalBody json.RawMessage `json:"signal_body"`
			Log        []entry
		}
		if err := json.Unmarshal([]byte(a.body), &d); err != nil {
			t.Fatal(err)
		}
		if d.State != "delivered" || d.Attempts != 2 || d.Route != "crm" || d.SignalType != "a" || d.Last == nil || d.Last.Attempt != 2 || len(d.Log) != 2 {
			t.Errorf("%s", a)
		}
		if string(d.Body) != `{"score":12345678901234567890.10}` || string(d.SignalBody) != first {
			t.Errorf("body %s, signal %s", d.Body, d.SignalBody)
		}
		if d.Request.Method != "POST" || !strings.HasPrefix(d.Request.Target, "http://127.0.0.1:") || d.Request.Headers["Webhook-Id"] != d.ID ||
			d.Request.Headers["X-Api-Key"] == "" || d.Request.Headers["Content-Type"] != isJSON {
			t.Errorf("request %+v", d.Request)
		}
		for _, secret := range []string{"very-secret", "alsosecret", "topsecret", "bearersecret", "signingsecret", "growth"} {
			if strings.Contains(a.body, secret) {
				t.Errorf("it shows %s: %s", secret, a)
			}
		}
	})
	t.Run("a delivery that has no body", func(t *testing.T) {
		var p deliveries
		s.get("/deliveries?route=broken", &p)
		a := s.do("GET", "/deliveries/"+p.Deliveries[0].ID, "")
		if !strings.Contains(a.body, `"body":null`) || !strings.Contains(a.body, `"request":null`) || !strings.Contains(a.body, `"reason":"transform"`) {
			t.Errorf("%s", a)
		}
	})
	t.Run("a signal", func(t *testing.T) {
		var got struct {
			ID         string
			SignalType string    `json:"signal_type"`
			ReceivedAt time.Time `json:"received_at"`
			Signal     json.RawMessage
			Deliveries []delivery
		}
		s.get("/signals/"+sent.ID, &got)
		if got.ID != sent.ID || got.SignalType != "a" || string(got.Signal) != first || len(got.Deliveries) != 1 || got.ReceivedAt.IsZero() {
			t.Errorf("%+v", got)
		}
	})
	t.Run("status", func(t *testing.T) {
		a := s.do("GET", "/status", "")
		var got map[string]any
		if err := json.Unmarshal([]byte(a.body), &got); err != nil {
			t.Fatal(err)
		}
		keys := func(v any) []string {
			names := []string{}
			for name := range v.(map[string]any) {
				names = append(names, name)
			}
			slices.Sort(names)
			return names
		}
		routes := got["routes"].([]any)
		for _, check := range []struct {
			got  any
			want string
		}{
			{got, "[config health host log_lines_dropped now routes store uptime version]"},
			{got["config"], "[error hash loaded_at path reloads]"},
			{got["store"], "[accepting bytes free max_size min_free reason]"},
			{routes[0], "[dead discarded failing_since health held last_error last_error_at last_success limits name next_probe oldest_due paused_by pending recent schedule settings signal_types state target transform where]"},
		} {
			if names := fmt.Sprint(keys(check.got)); names != check.want {
				t.Errorf("got %s, want %s", names, check.want)
			}
		}
		if crm := routes[0].(map[string]any); crm["name"] != "crm" || crm["state"] != "ok" || crm["last_success"] == nil || len(routes) != 2 {
			t.Errorf("%s", a)
		}
		for _, secret := range []string{"very-secret", "alsosecret", "broken\"/"} {
			if strings.Contains(a.body, secret) {
				t.Errorf("it shows %s", secret)
			}
		}
	})
	t.Run("status of a bad config", func(t *testing.T) {
		os.WriteFile(s.config, []byte("nope = 1\n"), 0o600)
		if s.proxy.Reload(t.Context()) == nil {
			t.Fatal("a bad config was loaded")
		}
		var got struct{ Config struct{ Error *string } }
		s.get("/status", &got)
		if got.Config.Error == nil || !strings.Contains(*got.Config.Error, "nope") {
			t.Errorf("%+v", got)
		}
		if got := s.metric("signalpost_config_last_reload_successful"); got != "0" {
			t.Errorf("config_last_reload_successful is %s", got)
		}
	})
}

// delivered is the id of a signal's first delivery.
func delivered(signal string) string {
	return "dlv_" + strings.TrimPrefix(signal, "sig_")[:22] + "0001"
}

func TestFollow(t *testing.T) {
	s := start(t, "[[route]]\nname = \"all\"\nurl = \"%s\"\n", nil)
	s.post("/signals", `{"signal_type":"old"}`)
	s.settled()
	open := func(query string) *json.Decoder {
		resp, err := http.Get(s.base + "/log?follow=true" + query)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != isLines {
			t.Fatalf("%d %v", resp.StatusCode, resp.Header)
		}
		return json.NewDecoder(resp.Body)
	}
	all, fresh, other := open(""), open("&limit=0"), open("&limit=0&signal_type=other")
	next := func(d *json.Decoder) string {
		var e entry
		if err := d.Decode(&e); err != nil {
			return err.Error()
		}
		return e.SignalType + " " + e.Verdict
	}
	if got := next(all); got != "old delivered" {
		t.Errorf("the last entry: %s", got)
	}
	s.post("/signals", `{"signal_type":"new"}`)
	s.settled()
	s.post("/signals", `{"signal_type":"other"}`)
	for name, d := range map[string]*json.Decoder{"all": all, "fresh": fresh} {
		if got := next(d); got != "new delivered" {
			t.Errorf("%s: %s", name, got)
		}
	}
	if got := next(other); got != "other delivered" {
		t.Errorf("other: %s", got)
	}
	next(all)
	next(fresh)
	s.stop()
	for name, d := range map[string]*json.Decoder{"all": all, "fresh": fresh, "other": other} {
		if got := next(d); got != "EOF" {
			t.Errorf("%s at shutdown: %s", name, got)
		}
	}
}

func TestRetryAndDiscard(t *testing.T) {
	box := &inbox{answer: func(n int) int { return 410 }}
	s := start(t, `
[[route]]
name = "crm"
url = "%s"
transform = '{v: 1}'
[[route]]
name = "broken"
url = "%s"
transform = 'error("no")'
`, box)
	var sent struct{ Deliveries []struct{ ID, Route string } }
	json.Unmarshal([]byte(s.post("/signals", `{"signal_type":"a"}`).body), &sent)
	crm, broken := sent.Deliveries[0].ID, sent.Deliveries[1].ID
	state := func(id string) (state, reason string, attempts int) {
		var d delivery
		s.get("/deliveries/"+id, &d)
		return d.State, d.Reason, d.Attempts
	}
	want := func(id, wantState, wantReason string, wantAttempts int) {
		t.Helper()
		s.settled()
		if st, reason, n := state(id); st != wantState || reason != wantReason || n != wantAttempts {
			t.Errorf("%s is %s %s after %d attempts; want %s %s after %d", id, st, reason, n, wantState, wantReason, wantAttempts)
		}
	}
	want(crm, "dead", "gone", 1)
	want(broken, "dead", "transform", 0)

	box.mu.Lock()
	box.answer = nil
	box.mu.Unlock()
	if a := s.post("/retry", `{"route":"crm","dry_run":true}`); a.status != 200 || strings.TrimSpace(a.body) != `{"matched":1}` {
		t.Errorf("%s", a)
	}
	want(crm, "dead", "gone", 1)
	for _, bad := range []string{`{"reshap":true}`, `{"reshape":1}`, `[]`} {
		if a := s.post("/deliveries/"+crm+"/retry", bad); a.status != 400 {
			t.Errorf("%s: %s", bad, a)
		}
	}
	if a := s.do("POST", "/deliveries/"+crm+"/retry", ""); a.status != 202 || !strings.Contains(a.body, crm) {
		t.Errorf("%s", a)
	}
	want(crm, "delivered", "", 2)
	if got := box.got(); len(got) != 2 || got[0] != got[1] {
		t.Errorf("the bodies are %q", got)
	}

	s.reload(func(text string) string {
		return strings.Replace(strings.Replace(text, `error("no")`, "{w: 2}", 1), "{v: 1}", "{v: 3}", 1)
	})
	if a := s.post("/retry", `{"reason":"transform"}`); a.status != 202 || strings.TrimSpace(a.body) != `{"matched":1}` {
		t.Errorf("%s", a)
	}
	want(broken, "delivered", "", 1)
	if a := s.post("/deliveries/"+crm+"/retry", `{"reshape":true}`); a.status != 202 {
		t.Errorf("%s", a)
	}
	want(crm, "delivered", "", 3)
	if got := box.got(); len(got) != 4 || got[2] != `{"w":2}` || got[3] != `{"v":3}` {
		t.Errorf("the bodies are %q", got)
	}

	if a := s.post("/discard", `{"state":"pending"}`); strings.TrimSpace(a.body) != `{"matched":0}` {
		t.Errorf("%s", a)
	}
	if a := s.do("POST", "/routes/crm/pause", ""); a.status != 200 || !strings.Contains(a.body, `"state":"paused"`) {
		t.Errorf("%s", a)
	}
	json.Unmarshal([]byte(s.post("/signals?route=crm", `{"signal_type":"b"}`).body), &sent)
	waits := sent.Deliveries[0].ID
	if st, _, _ := state(waits); st != "pending" {
		t.Errorf("on a paused route it is %s", st)
	}
	if a := s.post("/discard", `{"route":"crm","state":"pending"}`); a.status != 202 || strings.TrimSpace(a.body) != `{"matched":1}` {
		t.Errorf("%s", a)
	}
	want(waits, "dead", "discarded", 0)
	json.Unmarshal([]byte(s.post("/signals?route=crm", `{"signal_type":"b"}`).body), &sent)
	waits = sent.Deliveries[0].ID
	for _, body := range []string{`{"dry_run":true}`, `[]`, `{`} {
		if a := s.post("/deliveries/"+waits+"/discard", body); a.status != 400 {
			t.Errorf("%s: want 400, got %s", body, a)
		} else {
			a.problem(t)
		}
	}
	if a := s.do("POST", "/deliveries/"+waits+"/discard", ""); a.status != 202 || !strings.Contains(a.body, `"state":"dead","reason":"discarded"`) {
		t.Errorf("%s", a)
	}
	want(waits, "dead", "discarded", 0)
	for id, want := range map[string]struct {
		status int
		detail string
	}{
		waits:                            {409, "it is dead; there is nothing left to discard"},
		crm:                              {409, "it is delivered; there is nothing left to discard"},
		"dlv_01ARZ3NDEKTSV4RRFFQ69G5FAV": {404, "not found"},
		"nonsense":                       {404, "there is no such delivery"},
	} {
		if a := s.post("/deliveries/"+id+"/discard", "{}"); a.status != want.status || !strings.Contains(a.problem(t).Detail, want.detail) {
			t.Errorf("%s: want %d %s, got %s", id, want.status, want.detail, a)
		}
	}
	if a := s.do("POST", "/routes/crm/resume", ""); a.status != 200 || !strings.Contains(a.body, `"state":"ok"`) {
		t.Errorf("%s", a)
	}

	t.Run("held", func(t *testing.T) {
		s.do("POST", "/routes/crm/pause", "")
		json.Unmarshal([]byte(s.post("/signals?route=crm", `{"signal_type":"c"}`).body), &sent)
		id := sent.Deliveries[0].ID
		s.reload(func(text string) string { return strings.Replace(text, `name = "crm"`, `name = "other"`, 1) })
		if st, _, _ := state(id); st != "held" {
			t.Errorf("its route gone, it is %s", st)
		}
		if a := s.do("POST", "/deliveries/"+id+"/retry", ""); a.status != 409 {
			t.Errorf("want 409, got %s", a)
		} else {
			a.problem(t)
		}
		if a := s.do("GET", "/deliveries/"+id, ""); !strings.Contains(a.body, `"request":null`) {
			t.Errorf("%s", a)
		}
		var st struct {
			Routes []struct {
				Name, State string
				Held        int
				Target      *string
			}
		}
		s.get("/status", &st)
		if last := st.Routes[len(st.Routes)-1]; last.Name != "crm" || last.State != "gone" || last.Held != 1 || last.Target != nil {
			t.Errorf("%+v", st)
		}
	})
	t.Run("paused by the config", func(t *testing.T) {
		s.reload(func(text string) string {
			return strings.Replace(text, "name = \"broken\"\n", "name = \"broken\"\npaused = true\n", 1)
		})
		if a := s.do("POST", "/routes/broken/resume", ""); a.status != 409 {
			t.Errorf("want 409, got %s", a)
		}
	})
}

// Each filter of POST /retry and POST /discard leaves out what it should.
func TestAmendmentFilters(t *testing.T) {
	s := start(t, `
[[route]]
name = "gone"
url = "%s/gone"
[[route]]
name = "broken"
url = "%s/broken"
transform = "error"
`, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGone) }))
	s.post("/signals", `{"signal_type":"a"}`)
	time.Sleep(10 * time.Millisecond)
	mark := time.Now().Format(time.RFC3339Nano)
	time.Sleep(10 * time.Millisecond)
	s.post("/signals", `[{"signal_type":"a"},{"signal_type":"b"}]`)
	s.settled()
	for filter, want := range map[string]int{
		`"state":"dead"`:                           6,
		`"route":"gone"`:                           3,
		`"reason":"gone"`:                          3,
		`"reason":"transform"`:                     3,
		`"reason":"exhausted"`:                     0,
		`"signal_type":"a"`:                        4,
		`"signal_type":"b","route":"broken"`:       1,
		`"since":"` + mark + `"`:                   4,
		`"until":"` + mark + `"`:                   2,
		`"since":"` + mark + `","route":"gone"`:    2,
		`"since":"1h","until":"` + mark + `"`:      2,
		`"since":"` + mark + `","until":"1h"`:      0,
		`"signal_type":"b","until":"` + mark + `"`: 0,
	} {
		for _, path := range []string{"/retry", "/discard"} {
			if a := s.post(path, `{`+filter+`,"dry_run":true}`); a.status != 200 || strings.TrimSpace(a.body) != fmt.Sprintf(`{"matched":%d}`, want) {
				t.Errorf("POST %s {%s}: %s, want %d", path, filter, a, want)
			}
		}
	}
	var st struct {
		Routes []struct {
			Name      string
			LastError *string `json:"last_error"`
		}
	}
	s.get("/status", &st)
	if len(st.Routes) != 2 || st.Routes[0].LastError == nil || !strings.Contains(*st.Routes[0].LastError, "410") {
		t.Errorf("%+v", st)
	}
	var page deliveries
	s.get("/deliveries?signal_type=b", &page)
	var signal struct {
		ID         string
		ReceivedAt time.Time `json:"received_at"`
	}
	s.get("/signals/"+page.Deliveries[0].Signal, &signal)
	if at := ulid.Time(ulid.MustParse(strings.TrimPrefix(signal.ID, "sig_")).Time()); !signal.ReceivedAt.Equal(at) {
		t.Errorf("received at %v, and its id is of %v", signal.ReceivedAt, at)
	}
}

// A page has 100 entries unless it is asked for others.
// What somebody gave up on purpose is not sent again in bulk unless it is named;
// what waits for its next attempt can be sent at once.
func TestRetryInBulk(t *testing.T) {
	status := atomic.Int64{}
	status.Store(http.StatusUnauthorized)
	s := start(t, `
[[route]]
name = "a"
url = "%s"
retry = { first = "1h", window = "24h" }
`, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(int(status.Load())) }))
	count := func(query string) (n int) {
		var page deliveries
		s.get("/deliveries?"+query, &page)
		for _, d := range page.Deliveries {
			if d.Attempts > 0 {
				n++
			}
		}
		return n
	}
	s.post("/signals", `[{"signal_type":"keep"},{"signal_type":"keep"},{"signal_type":"drop"}]`)
	s.until("all have been tried", func() bool { return count("state=pending") == 3 })
	for _, test := range []struct {
		path, body string
		want       int
	}{
		{"/discard", `{"signal_type":"drop"}`, 1},
		{"/retry", `{"dry_run":true}`, 0},
		{"/retry", `{"route":"a","dry_run":true}`, 0},
		{"/retry", `{"state":"dead","dry_run":true}`, 0},
		{"/retry", `{"reason":"discarded","dry_run":true}`, 1},
		{"/retry", `{"state":"pending","dry_run":true}`, 2},
		{"/retry", `{"state":"delivered","dry_run":true}`, 0},
	} {
		if a := s.post(test.path, test.body); strings.TrimSpace(a.body) != fmt.Sprintf(`{"matched":%d}`, test.want) {
			t.Errorf("POST %s %s: %s, want %d", test.path, test.body, a, test.want)
		}
	}
	var st struct {
		Routes []struct{ Pending, Dead, Discarded int }
	}
	if s.get("/status", &st); len(st.Routes) != 1 || st.Routes[0].Pending != 2 || st.Routes[0].Dead != 0 || st.Routes[0].Discarded != 1 {
		t.Errorf("/status: %+v", st)
	}
	if n := s.metric(`signalpost_dead{route="a"}`); n != "1" {
		t.Errorf("the metric counts %s", n)
	}
	status.Store(http.StatusOK)
	if a := s.post("/retry", `{"state":"pending","route":"a"}`); a.status != 202 {
		t.Errorf("%s", a)
	}
	s.until("what waited is delivered", func() bool { return count("state=delivered") == 2 })
	if a := s.post("/retry", `{"reason":"discarded"}`); a.status != 202 {
		t.Errorf("%s", a)
	}
	s.until("what was discarded is delivered", func() bool { return count("state=delivered") == 3 })
	if s.get("/status", &st); st.Routes[0].Discarded != 0 {
		t.Errorf("/status: %+v", st)
	}
}

func TestDefaultLimit(t *testing.T) {
	s := start(t, "[[route]]\nname = 'broken'\nurl = '%s'\ntransform = 'error'\n", nil)
	s.do("POST", "/signals", strings.Repeat("{\"signal_type\":\"a\"}\n", 101), "Content-Type", isLines)
	for _, path := range []string{"/log", "/deliveries"} {
		var page struct {
			Entries    []json.RawMessage
			Deliveries []json.RawMessage
			Next       string
		}
		s.get(path, &page)
		if n := len(page.Entries) + len(page.Deliveries); n != 100 || page.Next == "" {
			t.Errorf("%s has %d, then %q", path, n, page.Next)
		}
	}
}

func TestTry(t *testing.T) {
	box := &inbox{}
	s := start(t, `
[[route]]
name = "crm"
url = "%s/path-secret"
signal_types = ["a"]
where = ".n >= 2"
transform = '{n, id: $signal_id, route: $route}, {more: .n}'
bearer_token = "tokensecret"
secret = "whsec_c2lnbmluZ3NlY3JldHNpZ25pbmdzZWNyZXQ="
[[route]]
name = "raw"
url = "%s"
`, box)
	type trial struct {
		Route   string
		Matches bool
		Why     string
		Bodies  []json.RawMessage
		Request *struct {
			Method, Target string
			Headers        map[string]string
		}
		Error *string
	}
	try := func(body string) (answer, []trial) {
		a := s.post("/try", body)
		var got struct{ Routes []trial }
		if a.status == 200 {
			if err := json.Unmarshal([]byte(a.body), &got); err != nil {
				t.Fatal(err)
			}
		}
		return a, got.Routes
	}
	a, got := try(`{"signal":{"signal_type":"a","n":3.0}}`)
	if len(got) != 2 || !got[0].Matches || len(got[0].Bodies) != 2 || string(got[0].Bodies[1]) != `{"more":3.0}` ||
		!strings.HasPrefix(string(got[0].Bodies[0]), `{"id":"sig_`) || got[0].Request == nil || got[0].Request.Headers["Webhook-Signature"] != "[signature]" || got[0].Error != nil {
		t.Errorf("%s", a)
	}
	if string(got[1].Bodies[0]) != `{"signal_type":"a","n":3.0}` {
		t.Errorf("%s", a)
	}
	for _, secret := range []string{"path-secret", "tokensecret", "c2lnb"} {
		if strings.Contains(a.body, secret) {
			t.Errorf("it shows %s", secret)
		}
	}
	if a, got := try(`{"signal":{"signal_type":"b","n":3},"route":"crm"}`); len(got) != 1 || got[0].Matches || !strings.Contains(got[0].Why, "signal_types") || got[0].Bodies == nil {
		t.Errorf("%s", a)
	}
	if a, got := try(`{"signal":{"signal_type":"a","n":1},"route":"crm"}`); len(got) != 1 || got[0].Matches || !strings.Contains(got[0].Why, "where") {
		t.Errorf("%s", a)
	}
	if a, got := try(`{"signal":{"signal_type":"a","n":1},"route":"crm","where":"","transform":"[.n]"}`); len(got) != 1 || !got[0].Matches || string(got[0].Bodies[0]) != "[1]" {
		t.Errorf("%s", a)
	}
	if a, got := try(`{"signal":{"signal_type":"a","n":1},"route":"crm","where":"true","transform":"error(\"no\")"}`); len(got) != 1 || !got[0].Matches || got[0].Error == nil || !strings.Contains(*got[0].Error, "no") {
		t.Errorf("%s", a)
	}
	if a, got := try(`{"signal":{"signal_type":"a"},"transform":"$params.nope"}`); len(got) != 2 || got[1].Matches || got[1].Error == nil || *got[1].Error != "transform: $params.nope is not set" {
		t.Errorf("%s", a)
	}
	if a, got := try(`{"signal":{"signal_type":"a","n":1},"where":".[","transform":")"}`); len(got) != 2 || got[1].Error == nil || !strings.Contains(*got[1].Error, "where: ") || !strings.Contains(*got[1].Error, "transform: ") {
		t.Errorf("%s", a)
	}
	for body, want := range map[string]int{
		``: 422, `{}`: 422, `{"signal":{}}`: 422, `{"signal":[{"signal_type":"a"}]}`: 422, `{"signal":1}`: 422, `{"signal":`: 400,
		`{"signal":{"signal_type":"a"},"route":"nope"}`: 404, `{"signal":{"signal_type":"a"},"nope":1}`: 400, `{"signal":{"signal_type":"a"},"where":1}`: 400,
	} {
		if a, _ := try(body); a.status != want {
			t.Errorf("%s: want %d, got %s", body, want, a)
		}
	}
	if len(box.got()) != 0 || s.count() != 0 {
		t.Error("something was stored or sent")
	}
}

func TestMetrics(t *testing.T) {
	s := start(t, `
[[route]]
name = "up"
url = "%s/up-secret"
[[route]]
name = "broken"
url = "%s"
transform = 'error("no")'
[[route]]
name = "idle"
url = "%s"
signal_types = ["never"]
`, nil)
	s.post("/signals", `{"signal_type":"a"}`)
	for range 2 { // the second is a replay, of each of its signals
		s.post("/signals?route=idle", `[{"signal_type":"b"},{"signal_type":"b"},{"signal_type":"b"}]`, "Idempotency-Key", "k")
	}
	for _, header := range [][]string{{"Host", "evil.example"}, {"Sec-Fetch-Site", "cross-site"}} {
		if a := s.post("/signals", `{"signal_type":"a"}`, header...); a.status != 403 {
			t.Errorf("%v: %s", header, a)
		}
	}
	// A delivery can be seen to have ended before that is on disk and counted.
	s.until("the attempt is counted", func() bool {
		return strings.Contains(s.do("GET", "/metrics", "").body, `signalpost_attempts_total{route="up",verdict="delivered"} 1`)
	})
	page := s.do("GET", "/metrics", "").body
	for _, want := range []string{
		`signalpost_signals_total{result="accepted"} 1`,
		`signalpost_signals_total{result="replayed"} 3`,
		`signalpost_signals_total{result="unmatched"} 3`,
		`signalpost_signals_total{result="refused"} 2`,
		`signalpost_deliveries_total{route="up",state="delivered"} 1`,
		`signalpost_deliveries_total{route="up",state="pending"} 1`,
		`signalpost_deliveries_total{route="broken",state="dead"} 1`,
		`signalpost_deliveries_total{route="broken",state="pending"} 0`,
		`signalpost_attempts_total{route="up",verdict="delivered"} 1`,
		`signalpost_attempts_total{route="up",verdict="retry"} 0`,
		`signalpost_attempts_total{route="broken",verdict="dead"} 0`,
		`signalpost_attempt_duration_seconds_count{route="up"} 1`,
		`signalpost_accept_duration_seconds_count 2`,
		`signalpost_pending{route="up"} 0`,
		`signalpost_held{route="up"} 0`,
		`signalpost_dead{route="broken"} 1`,
		`signalpost_oldest_due_seconds{route="up"} 0`,
		`signalpost_route_failing{route="up"} 0`,
		`signalpost_store_bytes `,
		`signalpost_store_free_bytes `,
		`signalpost_history_evicted_total 0`,
		`signalpost_config_last_reload_successful 1`,
		`signalpost_config_last_reload_success_timestamp_seconds `,
		`signalpost_unaccounted 0`,
		`go_goroutines `,
		`process_cpu_seconds_total `,
	} {
		if !strings.Contains(page, "\n"+want) {
			t.Errorf("lacks %s", want)
		}
	}
	if strings.Contains(page, "up-secret") || strings.Contains(page, "127.0.0.1") {
		t.Error("it shows a URL")
	}
	// A route that has gone stays while something of it is left.
	s.reload(func(text string) string {
		return strings.Replace(strings.Replace(text, `name = "idle"`, `name = "late"`, 1), `name = "up"`, `name = "new"`, 1)
	})
	for route, want := range map[string]string{"idle": "", "late": "0", "up": "0", "new": "0"} {
		if got := s.metric(fmt.Sprintf("signalpost_pending{route=%q}", route)); got != want {
			t.Errorf("pending of %s is %q, want %q", route, got, want)
		}
		if got := s.metric(fmt.Sprintf("signalpost_attempt_duration_seconds_count{route=%q}", route)); (got == "") != (want == "") {
			t.Errorf("attempts of %s are %q", route, got)
		}
	}
}

// A batch in which most signals meet an expression that never ends is accepted
// whole, each signal with its own dead delivery, in the order it came.
func TestBatchOfRunaways(t *testing.T) {
	s := start(t, `
[[route]]
name = "odd"
url = "%s/odd"
transform = 'if .n % 10 == 0 then .n else last(repeat(1)) end'
paused = true
`, http.NotFoundHandler())
	var lines strings.Builder
	for n := range 20 {
		fmt.Fprintf(&lines, `{"signal_type":"a","n":%d}`+"\n", n)
	}
	a := s.do("POST", "/signals", lines.String(), "Content-Type", isLines)
	var got struct {
		Signals []struct {
			ID         string
			Deliveries []struct{ ID string }
		}
	}
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.status != http.StatusAccepted || len(got.Signals) != 20 {
		t.Fatalf("%s %v", a, err)
	}
	for n, signal := range got.Signals {
		if len(signal.Deliveries) != 1 {
			t.Fatalf("signal %d makes %d deliveries", n, len(signal.Deliveries))
		}
		var d struct {
			State, Reason string
			SignalBody    struct{ N int } `json:"signal_body"`
		}
		s.get("/deliveries/"+signal.Deliveries[0].ID, &d)
		want, reason := "dead", "transform"
		if n%10 == 0 {
			want, reason = "pending", ""
		}
		if d.State != want || d.Reason != reason || d.SignalBody.N != n {
			t.Errorf("signal %d: %+v", n, d)
		}
	}
}

// latest is when a test gives up waiting for what is to come about, which takes far
// less, also on a machine that does thirty things at once.
func latest() time.Time { return time.Now().Add(3 * time.Minute) }
