package deliver

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"signalpost/proxy/config"
	"signalpost/proxy/sign"
	"signalpost/queue"
)

const (
	testAgent  = "signalpost/test"
	signingKey = "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=" // of RFC 8032
)

// testRoute is a route to a URL, with the defaults of a config and no secret.
func testRoute(t testing.TB, rawURL string) *config.Route {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	return &config.Route{
		Name:        "crm",
		URL:         config.NewSecret(rawURL),
		Target:      u.Scheme + "://" + u.Host,
		Signatures:  []string{"beton", "standard"},
		Timeout:     10 * time.Second,
		GiveUpOn:    []config.Status{410},
		Concurrency: 8,
		Retry:       queue.Schedule{Attempts: 10, First: 5 * time.Second, Window: 24 * time.Hour},
	}
}

// signed gives the route secrets and the signer that config would make of them.
func signed(t testing.TB, r *config.Route, secrets ...string) *config.Route {
	t.Helper()
	s, err := sign.New(r.Signatures, append(slices.Clip(secrets), signingKey))
	if err != nil {
		t.Fatal(err)
	}
	r.Signer, r.Secrets = s, nil
	for _, secret := range secrets {
		r.Secrets = append(r.Secrets, config.NewSecret(secret))
	}
	return r
}

func testEndpoint(t testing.TB, r *config.Route) *Endpoint {
	t.Helper()
	e, err := New(r, testAgent)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

const sampleBody = `{"signal_type":"product_qualified_lead","confidence":0.92,"account":{"name":"Acme Corp","domain":"acme.com"}}`

func testDelivery() queue.Delivery {
	s, err := queue.ParseSignalID("sig_01JT0000000000000000000000")
	if err != nil {
		panic(err)
	}
	return queue.Delivery{
		ID:          s.Delivery(1),
		Signal:      s,
		Route:       "crm",
		Type:        "product_qualified_lead",
		Traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
		Body:        []byte(sampleBody),
		Step:        1,
	}
}

func BenchmarkDeliver(b *testing.B) {
	busy := func(b *testing.B, run func() error) {
		b.ReportAllocs()
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusOK)
	}))
	defer server.Close()
	const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	newRoute := func(b *testing.B, url string) *config.Route {
		r := signed(b, testRoute(b, url), secret)
		r.Concurrency = 64
		r.Headers = map[string]config.Secret{"X-Team": config.NewSecret("growth"), "X-Api-Key": config.NewSecret("k3y-of-the-crm")}
		return r
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	address := leastReceiver(b)
	deliver := func(b *testing.B, change func(*Endpoint)) {
		e := testEndpoint(b, newRoute(b, "http://"+address+"/hooks/beton"))
		change(e)
		d := testDelivery()
		var before, after syscall.Rusage
		syscall.Getrusage(syscall.RUSAGE_SELF, &before)
		busy(b, func() error {
			o, err := e.Attempt(ctx, d, 1)
			if err == nil && o.Verdict != queue.Delivered {
				b.Fatalf("%+v", o)
			}
			return err
		})
		syscall.Getrusage(syscall.RUSAGE_SELF, &after)
		used := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
		b.ReportMetric(float64(used)/float64(b.N), "cpu-ns/op") // with the receiver's
	}
	b.Run("wire", func(b *testing.B) { deliver(b, func(*Endpoint) {}) })
	b.Run("nethttp", func(b *testing.B) { deliver(b, overHTTP) })
	// What a signed POST costs that knows no timeout, mask, trace or retry.
	b.Run("reference", func(b *testing.B) {
		r := newRoute(b, server.URL)
		transport := &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}
		defer transport.CloseIdleConnections()
		client := &http.Client{Transport: transport}
		d := testDelivery()
		busy(b, func() error {
			req, err := http.NewRequestWithContext(ctx, "POST", server.URL+"/hooks/beton", bytes.NewReader(d.Body))
			if err != nil {
				return err
			}
			now := time.Now()
			h := req.Header
			id := d.ID.String()
			h.Set("Content-Type", "application/json")
			h.Set("User-Agent", testAgent)
			h.Set("X-Team", "growth")
			h.Set("X-Api-Key", "k3y-of-the-crm")
			h.Set("Webhook-Id", id)
			h.Set("Webhook-Timestamp", strconv.FormatInt(now.Unix(), 10))
			h.Set("X-Beton-Signal-Id", d.Signal.String())
			h.Set("X-Beton-Signal-Type", d.Type)
			h.Set("X-Beton-Attempt", "1")
			h.Set("Traceparent", d.Traceparent)
			r.Signer.Sign(h, sign.Message{ID: id, Time: now, Type: d.Type, Body: d.Body})
			resp, err := client.Do(req)
			if err != nil {
				return err
			}
			io.Copy(io.Discard, resp.Body)
			return resp.Body.Close()
		})
	})
	b.Run("fake", func(b *testing.B) {
		e := testEndpoint(b, newRoute(b, "https://crm.example.com/hooks/beton"))
		e.client.HTTPClient.Transport = fakeTransport(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, ContentLength: 2, Body: io.NopCloser(strings.NewReader("ok")), Request: r}, nil
		})
		d := testDelivery()
		b.ReportAllocs()
		for b.Loop() {
			if _, err := e.Attempt(ctx, d, 1); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("header", func(b *testing.B) {
		e := testEndpoint(b, newRoute(b, "https://crm.example.com/hooks/beton"))
		d, now := testDelivery(), time.Now()
		b.ReportAllocs()
		h := maps.Clone(e.fixed)
		for b.Loop() {
			e.sign(h, e.request.URL, &d, 1, now)
		}
	})
}

// leastReceiver is the least that a receiver can be: it allocates nothing.
func leastReceiver(t testing.TB) (address string) {
	return wire(t, func(_ int, c net.Conn, _ *bufio.Reader) {
		buf, n := make([]byte, 8<<10), 0
		answer := []byte("HTTP/1.1 200 OK\r\nDate: Wed, 29 Apr 2026 14:31:08 GMT\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok")
		for {
			m, err := c.Read(buf[n:])
			if n += m; err != nil {
				return
			}
			if bytes.HasSuffix(buf[:n], []byte(sampleBody)) {
				c.Write(answer)
				n = 0
			}
		}
	})
}

// An attempt over a connection that is there allocates next to nothing.
func TestAttemptAllocates(t *testing.T) {
	e := testEndpoint(t, signed(t, testRoute(t, "http://"+leastReceiver(t)+"/x"), "a-secret"))
	d := testDelivery()
	if n := testing.AllocsPerRun(200, func() { e.Attempt(t.Context(), d, 1) }); n > 45 { // 16, and more with the race detector, whose pools forget
		t.Errorf("%g allocations", n)
	}
}

type fakeTransport func(*http.Request) (*http.Response, error)

func (f fakeTransport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

var quiet = log.New(io.Discard, "", 0)

// receives is a receiver that notes what it gets and answers with the function.
func receives(t testing.TB, answer http.HandlerFunc) (url string, requests func() []*http.Request, bodies func() []string) {
	t.Helper()
	var mu sync.Mutex
	var got []*http.Request
	var read []string
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		got, read = append(got, r), append(read, string(body))
		mu.Unlock()
		answer(w, r)
	}))
	server.Config.ErrorLog = quiet
	server.Start()
	t.Cleanup(server.Close)
	return server.URL,
		func() []*http.Request { mu.Lock(); defer mu.Unlock(); return slices.Clone(got) },
		func() []string { mu.Lock(); defer mu.Unlock(); return slices.Clone(read) }
}

func TestRequest(t *testing.T) {
	noLeak(t)
	base, requests, bodies := receives(t, func(http.ResponseWriter, *http.Request) {})
	r := testRoute(t, base+"/hooks/beton%2Fx?a=b&c=%20d")
	r.Signatures = sign.Presets()
	const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	signed(t, r, secret, "the-next-one")
	r.Headers = map[string]config.Secret{"X-Team": config.NewSecret("growth"), "X-Api-Key": config.NewSecret("k3y-of-the-crm")}
	r.BasicAuth = &config.BasicAuth{Username: "beton", Password: config.NewSecret("p4ssw0rd")}
	e := testEndpoint(t, r)
	d := testDelivery()
	start := time.Now().Unix()
	for attempt := 1; attempt <= 2; attempt++ {
		o, err := e.Attempt(context.Background(), d, attempt)
		if err != nil || o.Verdict != queue.Delivered || o.Status != 200 || o.Error != "" || o.Duration <= 0 || o.Fault || o.Reason != "" {
			t.Fatalf("attempt %d: %+v, %v", attempt, o, err)
		}
	}
	for i, got := range requests() {
		if got.Method != "POST" || got.RequestURI != "/hooks/beton%2Fx?a=b&c=%20d" || got.Host != strings.TrimPrefix(base, "http://") {
			t.Errorf("%s %s, host %s", got.Method, got.RequestURI, got.Host)
		}
		if bodies()[i] != sampleBody || got.ContentLength != int64(len(sampleBody)) || got.TransferEncoding != nil {
			t.Errorf("body %q, length %d, %v", bodies()[i], got.ContentLength, got.TransferEncoding)
		}
		want := map[string]string{
			"Content-Type":        "application/json",
			"Content-Length":      strconv.Itoa(len(sampleBody)),
			"User-Agent":          testAgent,
			"Webhook-Id":          d.ID.String(),
			"X-Beton-Signal-Id":   d.Signal.String(),
			"X-Beton-Signal-Type": d.Type,
			"X-Beton-Attempt":     strconv.Itoa(i + 1),
			"Traceparent":         d.Traceparent,
			"X-Team":              "growth",
			"X-Api-Key":           "k3y-of-the-crm",
			"Authorization":       "Basic " + base64.StdEncoding.EncodeToString([]byte("beton:p4ssw0rd")),
		}
		for name, value := range want {
			if v := got.Header[name]; len(v) != 1 || v[0] != value {
				t.Errorf("%s: %q, want %q", name, v, value)
			}
		}
		stamp, err := strconv.ParseInt(got.Header.Get("Webhook-Timestamp"), 10, 64)
		if err != nil || stamp < start || stamp > time.Now().Unix() {
			t.Errorf("timestamp %q", got.Header["Webhook-Timestamp"])
		}
		for _, preset := range r.Signatures {
			if err := sign.Verify(preset, []string{secret, signingKey}, got.Header, []byte(bodies()[i]), time.Now(), sign.Tolerance); err != nil {
				t.Errorf("%s: %v", preset, err)
			}
		}
		if err := sign.Verify("standard", []string{"the-next-one"}, got.Header, []byte(bodies()[i]), time.Now(), sign.Tolerance); err != nil {
			t.Errorf("standard, second secret: %v", err)
		}
		allowed := append(sign.Headers(r.Signatures), "Webhook-Timestamp")
		for name := range got.Header {
			if want[name] == "" && !slices.Contains(allowed, name) {
				t.Errorf("header %s: %q was not asked for", name, got.Header[name])
			}
		}
	}

	t.Run("plain", func(t *testing.T) {
		r := testRoute(t, base)
		r.BearerToken = config.NewSecret("t0ken")
		r.Headers = map[string]config.Secret{"Idempotency-Key": config.NewSecret("mine")}
		d := testDelivery()
		d.Traceparent, d.Body = "", nil
		if _, err := testEndpoint(t, r).Attempt(context.Background(), d, 3); err != nil {
			t.Fatal(err)
		}
		all := requests()
		got := all[len(all)-1]
		if got.Header.Get("Authorization") != "Bearer t0ken" || got.Header.Get("Idempotency-Key") != "mine" || got.ContentLength != 0 || got.URL.Path != "/" {
			t.Errorf("%v, length %d, path %q", got.Header, got.ContentLength, got.URL.Path)
		}
		for _, name := range append(sign.Headers(r.Signatures), "Traceparent") {
			if got.Header[name] != nil {
				t.Errorf("header %s: %q, want none", name, got.Header[name])
			}
		}
	})
	// What RFC 3986 forbids is encoded, what is encoded already is left alone.
	t.Run("characters of the url", func(t *testing.T) {
		for written, want := range map[string]string{
			"/hooks?q=ü|{}^`<>\"&a=b+c%20%2f%C3%BC": "/hooks?q=%C3%BC%7C%7B%7D%5E%60%3C%3E%22&a=b+c%20%2f%C3%BC",
			"/hooks?100%&x=%zz&y=%":                 "/hooks?100%25&x=%25zz&y=%25",
			"/a%2Fb/ü/{id}[0]|?c":                   "/a%2Fb/%C3%BC/%7Bid%7D%5B0%5D%7C?c",
			"/a:b@c;d=e,f!$&'()*+~._-?/?:@":         "/a:b@c;d=e,f!$&'()*+~._-?/?:@",
			"":                                      "/",
			"?":                                     "/?",
			"?q=a b":                                "/?q=a%20b",
			"?[a]":                                  "/?%5Ba%5D",
			"//a//b/../c":                           "//a//b/../c",
		} {
			for _, way := range []func(*Endpoint){func(*Endpoint) {}, overHTTP} {
				lines := make(chan string, 1)
				address := wire(t, func(_ int, c net.Conn, r *bufio.Reader) {
					line, _ := r.ReadString('\n')
					lines <- strings.TrimSpace(line)
					io.WriteString(c, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
					hang(r)
				})
				e := testEndpoint(t, testRoute(t, "http://"+address+written))
				way(e)
				if o := e.try(t); o.Verdict != queue.Delivered {
					t.Fatalf("%+v", o)
				}
				if got := <-lines; got != "POST "+want+" HTTP/1.1" {
					t.Errorf("%s: sent as %q, want %s", written, got, want)
				}
			}
		}
	})
	t.Run("large", func(t *testing.T) {
		d := testDelivery()
		d.Body = []byte(`"` + strings.Repeat("x", 1<<20) + `"`)
		if o, err := testEndpoint(t, testRoute(t, base)).Attempt(context.Background(), d, 1); err != nil || o.Verdict != queue.Delivered {
			t.Fatal(o, err)
		}
		if all := bodies(); all[len(all)-1] != string(d.Body) {
			t.Error("another body arrived")
		}
	})
	// Checked where signals come in; should one slip through, it must not be
	// sent, nor count against the endpoint.
	t.Run("header that cannot be sent", func(t *testing.T) {
		before := len(requests())
		d := testDelivery()
		d.Type = "a\r\nX-Injected: b"
		o, err := testEndpoint(t, testRoute(t, base)).Attempt(context.Background(), d, 1)
		if err != nil || o.Verdict != queue.Retry || o.Fault || !strings.HasPrefix(o.Error, "not sent: invalid header") {
			t.Errorf("%+v, %v", o, err)
		}
		if len(requests()) != before {
			t.Error("it was sent")
		}
	})
}

// verdictOf is an outcome without what was seen on the way.
func verdictOf(o queue.Outcome) queue.Outcome {
	o.Class, o.Peer, o.Reused, o.Timing, o.Started, o.Request = "", "", false, queue.Timing{}, time.Time{}, ""
	return o
}

func TestVerdict(t *testing.T) {
	noLeak(t)
	base, _, _ := receives(t, func(w http.ResponseWriter, r *http.Request) {
		status, _ := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/"))
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(status)
		if status != 204 && status != 304 {
			io.WriteString(w, "said")
		}
	})
	const wait = 7 * time.Second
	for _, tc := range []struct {
		status int
		want   queue.Outcome
	}{
		{200, queue.Outcome{Verdict: queue.Delivered, Response: "said"}},
		{201, queue.Outcome{Verdict: queue.Delivered, Response: "said"}},
		{204, queue.Outcome{Verdict: queue.Delivered}},
		{299, queue.Outcome{Verdict: queue.Delivered, Response: "said"}},
		{304, queue.Outcome{Verdict: queue.Retry, Error: "answered 304 Not Modified", Gap: wait}},
		{400, queue.Outcome{Verdict: queue.Retry, Error: "answered 400 Bad Request", Response: "said", Gap: wait}},
		{401, queue.Outcome{Verdict: queue.Retry, Error: "answered 401 Unauthorized", Response: "said", Gap: wait}},
		{404, queue.Outcome{Verdict: queue.Dead, Reason: queue.Gone, Error: "answered 404 Not Found, which is in give_up_on", Response: "said"}},
		{407, queue.Outcome{Verdict: queue.Retry, Error: "answered 407 Proxy Authentication Required", Response: "said", Gap: wait}},
		{410, queue.Outcome{Verdict: queue.Dead, Reason: queue.Gone, Error: "answered 410 Gone, which is in give_up_on", Response: "said"}},
		{429, queue.Outcome{Verdict: queue.Retry, Error: "answered 429 Too Many Requests", Response: "said", Gap: wait, Hold: wait, Fault: true}},
		{499, queue.Outcome{Verdict: queue.Retry, Error: "answered 499", Response: "said", Gap: wait}},
		{500, queue.Outcome{Verdict: queue.Retry, Error: "answered 500 Internal Server Error", Response: "said", Gap: wait, Fault: true}},
		{501, queue.Outcome{Verdict: queue.Retry, Error: "answered 501 Not Implemented", Response: "said", Gap: wait, Fault: true}},
		{502, queue.Outcome{Verdict: queue.Retry, Error: "answered 502 Bad Gateway", Response: "said", Gap: wait, Fault: true}},
		{503, queue.Outcome{Verdict: queue.Retry, Error: "answered 503 Service Unavailable", Response: "said", Gap: wait, Hold: wait, Fault: true}},
		{599, queue.Outcome{Verdict: queue.Retry, Error: "answered 599", Response: "said", Gap: wait, Fault: true}},
		{600, queue.Outcome{Verdict: queue.Retry, Error: "answered 600", Response: "said", Gap: wait}},
	} {
		r := testRoute(t, base+"/"+strconv.Itoa(tc.status))
		r.GiveUpOn = []config.Status{404, 410}
		got := testEndpoint(t, r).try(t)
		checkTruth(t, got, true)
		got = verdictOf(got)
		tc.want.Status, tc.want.Duration = tc.status, got.Duration
		if got != tc.want {
			t.Errorf("status %d:\n got %+v\nwant %+v", tc.status, got, tc.want)
		}
	}
}

// "4xx" is all of these but those that ask for another attempt.
func TestGiveUpOn4xx(t *testing.T) {
	base, _, _ := receives(t, func(w http.ResponseWriter, r *http.Request) {
		status, _ := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/"))
		w.WriteHeader(status)
	})
	for status, want := range map[int]queue.Verdict{200: queue.Delivered, 301: queue.Retry, 400: queue.Dead, 401: queue.Dead, 408: queue.Retry, 410: queue.Dead, 425: queue.Retry, 429: queue.Retry, 451: queue.Dead, 499: queue.Dead, 500: queue.Retry, 599: queue.Dead} {
		r := testRoute(t, base+"/"+strconv.Itoa(status))
		r.GiveUpOn = []config.Status{config.Any4xx, 599}
		if got := testEndpoint(t, r).try(t); got.Verdict != want || (want == queue.Dead) != (got.Reason == queue.Gone) {
			t.Errorf("%d: %+v, want %s", status, got, want)
		}
	}
}

// The gap to the next attempt follows the schedule, from the step the delivery
// is at; Retry-After lengthens it, and holds the route, within the window. The
// last attempt is the end.
func TestGap(t *testing.T) {
	base, _, _ := receives(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", r.URL.RawQuery)
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	const s = time.Second
	for _, tc := range []struct {
		step      int
		after     string
		gap, hold time.Duration
		why       queue.Reason
	}{
		{1, "", 10 * s, 0, ""},
		{2, "", 20 * s, 0, ""},
		{2, "5", 20 * s, 5 * s, ""},
		{2, "33", 33 * s, 33 * s, ""},
		{2, "3600", 60 * s, 70 * s, ""},
		{4, "3600", 0, 70 * s, queue.Exhausted},
		{9, "", 0, 0, queue.Exhausted},
	} {
		r := testRoute(t, base+"/?"+tc.after)
		r.Retry = queue.Schedule{Attempts: 4, First: 10 * s, Window: 70 * s} // 10, 20, 40
		d := testDelivery()
		d.Step = tc.step
		o, err := testEndpoint(t, r).Attempt(t.Context(), d, 9)
		if err != nil || (o.Gap-tc.gap).Abs() > time.Microsecond || o.Hold != tc.hold || o.Reason != tc.why || (o.Verdict == queue.Dead) != (tc.why != "") {
			t.Errorf("step %d, Retry-After %q: %+v, %v; want gap %s, hold %s, reason %q", tc.step, tc.after, o, err, tc.gap, tc.hold, tc.why)
		}
	}
	refused := testRoute(t, "http://"+nobody)
	refused.Retry.Attempts = 1
	if o := testEndpoint(t, refused).try(t); o.Verdict != queue.Dead || o.Reason != queue.Exhausted || !o.Fault {
		t.Errorf("the only attempt: %+v", o)
	}
}

func TestRedirect(t *testing.T) {
	noLeak(t)
	base, requests, _ := receives(t, func(w http.ResponseWriter, r *http.Request) {
		status, _ := strconv.Atoi(r.URL.Query().Get("status"))
		if to := r.URL.Query().Get("to"); to != "" {
			w.Header()["Location"] = []string{to}
		}
		w.WriteHeader(status)
	})
	for _, status := range []int{300, 301, 302, 303, 307, 308} {
		for to, want := range map[string]string{
			"https://user:t0psecret@other.example/t0psecret?t0psecret#t0psecret": ", a redirect to https://other.example: redirects are not followed",
			"/t0psecret":       ", a redirect to " + base + ": redirects are not followed",
			"//other.example":  ", a redirect to http://other.example: redirects are not followed",
			"http://[::1/%zz":  ", a redirect to what is not a URL: redirects are not followed",
			"mailto:t0psecret": ", a redirect to what is not a URL: redirects are not followed",
			"":                 "",
		} {
			before := len(requests())
			r := testRoute(t, base+"/?"+url.Values{"status": {strconv.Itoa(status)}, "to": {to}}.Encode())
			e := testEndpoint(t, r)
			// The URL holds the texts here only to tell the receiver what to answer.
			e.mask = &mask{func() []string { return nil }}
			o := e.try(t)
			if o.Verdict != queue.Retry || o.Status != status || o.Fault || o.Error != "answered "+statusName(status)+want {
				t.Errorf("%d to %q: %+v, want %q", status, to, o, want)
			}
			if n := len(requests()) - before; n != 1 {
				t.Errorf("%d to %q: %d requests, want 1", status, to, n)
			}
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 4, 29, 14, 31, 8, 0, time.UTC)
	for _, tc := range []struct {
		value string
		want  time.Duration
	}{
		{"", 0},
		{"0", 0},
		{"1", time.Second},
		{"120", 2 * time.Minute},
		{"007", 7 * time.Second},
		{"2592000", maxRetryAfter},
		{"2592001", maxRetryAfter},
		{"9223372036854775807", maxRetryAfter},
		{"99999999999999999999999999", maxRetryAfter},
		{"-1", 0},
		{"+1", 0},
		{"1.5", 0},
		{"1e3", 0},
		{"0x10", 0},
		{"soon", 0},
		{"10 s", 0},
		{"Wed, 29 Apr 2026 14:32:08 GMT", time.Minute},
		{"Wednesday, 29-Apr-26 14:32:08 GMT", time.Minute},
		{"Wed Apr 29 14:32:08 2026", time.Minute},
		{"Wed, 29 Apr 2026 14:31:08 GMT", 0},
		{"Wed, 29 Apr 2026 14:31:07 GMT", 0},
		{"Thu, 01 Jan 1970 00:00:00 GMT", 0},
		{"Fri, 31 Dec 9999 23:59:59 GMT", maxRetryAfter},
		{"2026-04-29T14:32:08Z", 0},
	} {
		if got := retryAfter(http.Header{"Retry-After": {tc.value}}, now); got != tc.want {
			t.Errorf("%q: %s, want %s", tc.value, got, tc.want)
		}
	}
	// A date is of the clock of who wrote it.
	for date, want := range map[string]time.Duration{
		"Wed, 29 Apr 2026 15:31:08 GMT": 2 * time.Second,
		"Wed, 29 Apr 2026 15:31:11 GMT": 0,
		"an hour ahead":                 time.Hour + 2*time.Second,
	} {
		h := http.Header{"Date": {date}, "Retry-After": {"Wed, 29 Apr 2026 15:31:10 GMT"}}
		if got := retryAfter(h, now); got != want {
			t.Errorf("Date %q: %s, want %s", date, got, want)
		}
		h.Set("Retry-After", "7")
		if got := retryAfter(h, now); got != 7*time.Second {
			t.Errorf("Date %q: seconds are %s", date, got)
		}
	}
	if got := retryAfter(http.Header{}, now); got != 0 {
		t.Errorf("no header: %s", got)
	}
	if got := retryAfter(http.Header{"Retry-After": {"5", "9"}}, now); got != 5*time.Second {
		t.Errorf("two headers: %s", got)
	}
}

func FuzzRetryAfter(f *testing.F) {
	f.Add("120")
	f.Add("Wed, 29 Apr 2026 14:32:08 GMT")
	f.Fuzz(func(t *testing.T, value string) {
		if d := retryAfter(http.Header{"Retry-After": {value}}, time.Unix(0, 0)); d < 0 || d > maxRetryAfter {
			t.Errorf("%q: %s", value, d)
		}
	})
}

func TestResponse(t *testing.T) {
	noLeak(t)
	const secret = "canary-of-the-crm-0123456789"
	long := func(n int, s string) string { return strings.Repeat("x", n) + s }
	for name, tc := range map[string]struct{ body, want string }{
		"short":                   {"ok", "ok"},
		"1 KiB":                   {long(1024, ""), long(1024, "")},
		"over 1 KiB":              {long(1024, "y"), long(1024, "")},
		"a rune that fits":        {long(1021, "€y"), long(1021, "€")},
		"a rune cut in two":       {long(1022, "€y"), long(1022, "")},
		"a rune cut in three":     {long(1023, "€y"), long(1023, "")},
		"an emoji cut":            {long(1023, "🙂y"), long(1023, "")},
		"invalid UTF-8":           {"a\xffb\xc3", "a\uFFFDb\uFFFD"},
		"grows by replacement":    {long(1023, "\xffy"), long(1023, "")},
		"control characters":      {"a\x00b\x1b[2J\r\n", "a\x00b\x1b[2J\r\n"},
		"secret":                  {"your secret is " + secret + "!", "your secret is [secret]!"},
		"secret twice":            {secret + secret, "[secret]"},
		"secret before the edge":  {long(990, secret+"y"), long(990, "[secret]y")},
		"secret across the edge":  {long(1010, secret+"y"), long(1010, "[secret]y")},
		"mask cut at the edge":    {long(1020, secret+"y"), long(1020, "[sec")},
		"secret behind the edge":  {long(1024, secret), long(1024, "")},
		"secret moves in the cut": {secret + secret + long(1010, secret), "[secret]" + long(1010, "[secre")},
		"secret at the kept edge": {long(4090, secret), long(1024, "")},
		// Masking makes it short, so what is kept ends in the middle of a secret.
		"many secrets":       {strings.Repeat(secret+" ", 200), strings.TrimSpace(strings.Repeat("[secret] ", 114))[:1024]},
		"beginning of one":   {"it begins with " + secret[:12], "it begins with " + secret[:12]},
		"across an emoji":    {"🙂" + secret + "🙂", "🙂[secret]🙂"},
		"cut by a bad byte":  {secret + "\xff", "[secret]\uFFFD"},
		"nothing but a mask": {secret, "[secret]"},
		"64 KiB":             {long(64<<10, ""), long(1024, "")},
		"1 MiB":              {long(1<<20, ""), long(1024, "")},
	} {
		t.Run(name, func(t *testing.T) {
			base, _, _ := receives(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, tc.body) })
			o := testEndpoint(t, signed(t, testRoute(t, base), secret)).try(t)
			if o.Verdict != queue.Delivered || o.Response != tc.want {
				t.Errorf("%s\n got %d bytes %q\nwant %d bytes %q", o.Verdict, len(o.Response), o.Response, len(tc.want), tc.want)
			}
			if !utf8.ValidString(o.Response) || len(o.Response) > maxResponseLog {
				t.Errorf("response of %d bytes, valid: %t", len(o.Response), utf8.ValidString(o.Response))
			}
		})
	}
	// Of what ends in the middle of a secret, that part goes too.
	t.Run("cut short", func(t *testing.T) {
		address := wire(t, func(_ int, c net.Conn, r *bufio.Reader) {
			readRequest(r)
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nit is "+secret[:20])
			c.(*net.TCPConn).CloseWrite()
			hang(r)
		})
		if o := testEndpoint(t, signed(t, testRoute(t, "http://"+address), secret)).try(t); o.Response != "it is [secret]" {
			t.Errorf("response %q", o.Response)
		}
	})
}

func TestMask(t *testing.T) {
	r := testRoute(t, "https://hooks.example.com/services/T0123456/B0/aBcDeFgHiJkLmNoPqRsT?token=qu%20ery%2Fvalue&v=1")
	signed(t, r, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "overlap-one", "one-overlap")
	r.Headers = map[string]config.Secret{
		"X-Api-Key": config.NewSecret(`a"b/c<d&e`), "X-Auth": config.NewSecret("Token headercredential"), "X-V": config.NewSecret("1"),
	}
	r.BasicAuth = &config.BasicAuth{Username: "beton", Password: config.NewSecret("pass word")}
	m := testEndpoint(t, r).mask
	for _, tc := range []struct{ text, want string }{
		{"", ""},
		{"nothing here, 1 of 1", "nothing here, 1 of 1"},
		{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "[secret]"},
		{"key MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw.", "key [secret]."},
		{"overlap-one-overlap", "[secret]"},
		{`a"b/c<d&e`, "[secret]"},
		{`{"got":"a\"b/c<d&e"}`, `{"got":"[secret]"}`},
		{`{"got":"a\"b\/c<d&e"}`, `{"got":"[secret]"}`},
		{`{"got":"a\"b/c\u003cd\u0026e"}`, `{"got":"[secret]"}`},
		{`a&#34;b/c&lt;d&amp;e`, "[secret]"},
		{`a%22b%2Fc%3Cd%26e`, "[secret]"},
		{"Token headercredential", "[secret]"},
		{"headercredential", "[secret]"},
		{"pass word, pass+word, pass%20word", "[secret], [secret], [secret]"},
		{base64.StdEncoding.EncodeToString([]byte("beton:pass word")), "[secret]"},
		{"beton", "beton"},
		{"POST https://hooks.example.com/services/T0123456/B0/aBcDeFgHiJkLmNoPqRsT?token=qu%20ery%2Fvalue&v=1 failed", "POST https://hooks.example.com[secret] failed"},
		{"/services/T0123456/B0/aBcDeFgHiJkLmNoPqRsT not found", "[secret] not found"},
		{`\/services\/T0123456\/B0\/aBcDeFgHiJkLmNoPqRsT`, "[secret]"},
		{"no team T0123456", "no team [secret]"},
		{"bad token aBcDeFgHiJkLmNoPqRsT", "bad token [secret]"},
		{"bad token qu ery/value", "bad token [secret]"},
		{"services are down", "services are down"},
	} {
		if got := m.clean(tc.text, true); got != tc.want {
			t.Errorf("clean(%q) = %q, want %q", tc.text, got, tc.want)
		}
	}
}

func FuzzMask(f *testing.F) {
	const secret = "abcab"
	m := &mask{func() []string { return []string{secret, "bcabx"} }}
	f.Add("xxabcabcabxx", 3)
	f.Fuzz(func(t *testing.T, text string, n int) {
		got := cut(m.clean(text, true), max(4, n%1000))
		if strings.Contains(strings.ReplaceAll(got, redacted, "\x00"), secret) {
			t.Errorf("%q in %q", secret, got)
		}
		if !utf8.ValidString(got) {
			t.Errorf("%q is not UTF-8", got)
		}
	})
}

// No secret of a route comes out, however a receiver turns it round.
func TestSecretsStay(t *testing.T) {
	noLeak(t)
	const canary = "c4n4ry"
	// All that came in, the way the other side sees it.
	echo := func(r *bufio.Reader) (all string, ok bool) {
		req, err := http.ReadRequest(r)
		if err != nil {
			return "", false
		}
		io.Copy(io.Discard, req.Body)
		var b strings.Builder
		fmt.Fprintf(&b, "%s %s", req.RequestURI, req.URL.Path)
		for name, values := range req.Header {
			fmt.Fprintf(&b, " %s: %s", name, strings.Join(values, ", "))
		}
		_, password, _ := req.BasicAuth()
		return b.String() + " " + password, true
	}
	for name, answer := range map[string]func(echo string) string{
		"body": func(s string) string {
			return fmt.Sprintf("HTTP/1.1 500 No\r\nContent-Length: %d\r\n\r\n%s", len(s), s)
		},
		"half a body": func(s string) string {
			return fmt.Sprintf("HTTP/1.1 500 No\r\nContent-Length: %d\r\n\r\n%s", len(s)+1, s)
		},
		"success":       func(s string) string { return "HTTP/1.1 200 OK\r\n\r\n" + s },
		"phrase":        func(s string) string { return "HTTP/1.1 500 " + s + "\r\nContent-Length: 0\r\n\r\n" },
		"status line":   func(s string) string { return s + "\r\n\r\n" },
		"status":        func(s string) string { return "HTTP/1.1 " + strings.ReplaceAll(s, " ", "") + "\r\n\r\n" },
		"header":        func(s string) string { return "HTTP/1.1 500 No\r\n" + s + "\r\n\r\n" },
		"header no key": func(s string) string { return "HTTP/1.1 500 No\r\n" + strings.ReplaceAll(s, ":", "") + "\r\n\r\n" },
		"length":        func(s string) string { return "HTTP/1.1 500 No\r\nContent-Length: " + s + "\r\n\r\n" },
		"coding":        func(s string) string { return "HTTP/1.1 500 No\r\nTransfer-Encoding: " + s + "\r\n\r\n" },
		"location":      func(s string) string { return "HTTP/1.1 302 No\r\nLocation: " + s + "\r\nContent-Length: 0\r\n\r\n" },
		"location path": func(s string) string {
			return "HTTP/1.1 302 No\r\nLocation: https://other.example/" + url.PathEscape(s) + "\r\nContent-Length: 0\r\n\r\n"
		},
		"location host": func(s string) string {
			return "HTTP/1.1 302 No\r\nLocation: https://c4n4ry-in-a-header.example/\r\nContent-Length: 0\r\n\r\n"
		},
		"retry after": func(s string) string { return "HTTP/1.1 503 No\r\nRetry-After: " + s + "\r\nContent-Length: 0\r\n\r\n" },
		"packed":      func(s string) string { return "HTTP/1.1 500 No\r\nContent-Encoding: " + s + "\r\n\r\n" + s },
		"nothing":     func(string) string { return "" },
	} {
		for _, auth := range []string{"basic", "bearer"} {
			t.Run(name+" "+auth, func(t *testing.T) {
				address := wire(t, func(_ int, c net.Conn, r *bufio.Reader) {
					if all, ok := echo(r); ok {
						io.WriteString(c, answer(all))
						c.(*net.TCPConn).CloseWrite()
						hang(r)
					}
				})
				r := testRoute(t, "http://"+address+"/hooks/c4n4ry-in-the-path?token=c4n4ry-in-the-query")
				signed(t, r, "c4n4ry-secret-one", "c4n4ry-secret-two")
				r.Headers = map[string]config.Secret{"X-Api-Key": config.NewSecret("c4n4ry-in-a-header")}
				var encoded string
				if auth == "basic" {
					r.BasicAuth = &config.BasicAuth{Username: "beton", Password: config.NewSecret("c4n4ry-password")}
					encoded = basicCredentials(r.BasicAuth)
				} else {
					r.BearerToken = config.NewSecret("c4n4ry-token")
				}
				e := testEndpoint(t, r)
				method, target, h := described(t, e, testDelivery(), 2, time.Now())
				shown := fmt.Sprintf("%+v\n%s %s %v\n%+v %#v %s", e.try(t), method, target, h, e, e, e)
				if strings.Contains(shown, canary) || encoded != "" && strings.Contains(shown, encoded) {
					t.Errorf("secret in %s", shown)
				}
			})
		}
	}
	t.Run("no connection", func(t *testing.T) {
		for _, rawURL := range []string{"http://127.0.0.1:1/c4n4ry?c4n4ry", "https://127.0.0.1:1/c4n4ry?c4n4ry"} {
			if o := testEndpoint(t, testRoute(t, rawURL)).try(t); strings.Contains(fmt.Sprintf("%+v", o), canary) {
				t.Errorf("secret in %+v", o)
			}
		}
		for _, rawURL := range []string{"https://exa mple/c4n4ry", "c4n4ry", "https:///c4n4ry", "https://[c4n4ry"} {
			r := testRoute(t, "https://127.0.0.1")
			r.URL = config.NewSecret(rawURL)
			if _, err := New(r, testAgent); err == nil || strings.Contains(err.Error(), canary) {
				t.Errorf("%q: error %v", rawURL, err)
			}
		}
	})
}

// described is the request of an attempt as people may see it, headers by canonical name.
func described(t testing.TB, e *Endpoint, d queue.Delivery, attempt int, sent time.Time) (method, target string, headers map[string]string) {
	t.Helper()
	r := Describe(e.Template(), &d, attempt, sent)
	return r.Method, r.Target, canonical(r.Headers)
}

// canonical are headers by canonical name.
func canonical(headers map[string]string) map[string]string {
	all := map[string]string{}
	for name, value := range headers {
		all[http.CanonicalHeaderKey(name)] = value
	}
	return all
}

func TestDescribe(t *testing.T) {
	r := signed(t, testRoute(t, "https://crm.example.com/hooks/secret?token=x"), "a-secret")
	r.Headers = map[string]config.Secret{"X-Api-Key": config.NewSecret("k3y")}
	r.BearerToken = config.NewSecret("t0ken")
	d := testDelivery()
	d.Traceparent = ""
	method, target, h := described(t, testEndpoint(t, r), d, 4, time.Now())
	if method != "POST" || target != "https://crm.example.com" {
		t.Errorf("%s %s", method, target)
	}
	for name, want := range map[string]string{
		"Authorization": "Bearer [secret]", "X-Api-Key": "[secret]", "Content-Type": "application/json", "X-Beton-Attempt": "4",
		"Webhook-Id": d.ID.String(), "User-Agent": testAgent,
	} {
		if h[name] != want {
			t.Errorf("%s: %q, want %q", name, h[name], want)
		}
	}
	// Whoever may look must not get the signature of a body of his own.
	for _, preset := range sign.Presets() {
		r := testRoute(t, "https://crm.example.com")
		r.Signatures = []string{preset}
		e := testEndpoint(t, signed(t, r, "a-secret"))
		_, _, h := described(t, e, d, 1, time.Now())
		for _, name := range sign.SignatureHeaders([]string{preset}) {
			if h[name] != "[signature]" {
				t.Errorf("%s: %q", name, h[name])
			}
		}
		_, _, unsent := described(t, e, d, 1, time.Time{})
		for _, name := range append(sign.SignatureHeaders([]string{preset}), "Webhook-Timestamp", "X-Slack-Request-Timestamp", "Traceparent") {
			if unsent[name] != "" {
				t.Errorf("%s of what was never sent: %q", name, unsent[name])
			}
		}
	}
	for name, value := range h {
		if value == "" {
			t.Errorf("header %s without a value", name)
		}
	}
	r.BearerToken, r.Headers = config.Secret{}, map[string]config.Secret{"Authorization": config.NewSecret("Custom k3y")}
	if _, _, h := described(t, testEndpoint(t, r), d, 1, time.Now()); h["Authorization"] != "[secret]" {
		t.Errorf("Authorization: %q", h["Authorization"])
	}
}

// Nothing of one attempt shows in another, however many are under way.
func TestManyAtOnce(t *testing.T) {
	noLeak(t)
	base, _, _ := receives(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Beton-Attempt") == "13" {
			w.WriteHeader(http.StatusBadGateway)
		}
		io.WriteString(w, r.Header.Get("X-Beton-Attempt"))
	})
	e := testEndpoint(t, signed(t, testRoute(t, base+"/x"), "a-secret"))
	var all sync.WaitGroup
	for n := range 16 {
		all.Go(func() {
			for range 50 {
				o, err := e.Attempt(context.Background(), testDelivery(), n)
				if err != nil || o.Response != strconv.Itoa(n) || (o.Verdict == queue.Delivered) != (n != 13) {
					t.Errorf("attempt %d: %+v, %v", n, o, err)
				}
			}
		})
	}
	all.Wait()
}
