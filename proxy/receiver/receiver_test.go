package receiver_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"signalpost/proxy/receiver"
	"signalpost/proxy/sign"
)

const key = "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=" // of RFC 8032

const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// delivery is a request as Signalpost makes it.
func delivery(t testing.TB, id, body string, presets ...string) *http.Request {
	t.Helper()
	r := httptest.NewRequest("POST", "/hooks/crm?team=growth", strings.NewReader(body))
	m := sign.Message{ID: id, Time: time.Now(), Type: "expansion_seat", Body: []byte(body)}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("webhook-id", m.ID)
	r.Header.Set("webhook-timestamp", strconv.FormatInt(m.Time.Unix(), 10))
	r.Header.Set("X-Beton-Signal-Id", "sig_1")
	r.Header.Set("X-Beton-Signal-Type", m.Type)
	r.Header.Set("X-Beton-Attempt", "3")
	if len(presets) > 0 {
		s, err := sign.New(presets, []string{secret, key})
		if err != nil {
			t.Fatal(err)
		}
		s.Sign(r.Header, m)
	}
	return r
}

// serve lets the receiver answer, and returns what it saw beside the answer.
func serve(t testing.TB, o receiver.Options, rs ...*http.Request) (seen []receiver.Request, answers []*http.Response) {
	t.Helper()
	o.Seen = func(r receiver.Request) { seen = append(seen, r) }
	rc := receiver.New(o)
	for _, r := range rs {
		w := httptest.NewRecorder()
		rc.ServeHTTP(w, r)
		answers = append(answers, w.Result())
	}
	return seen, answers
}

func TestSeen(t *testing.T) {
	now := time.Now()
	seen, answers := serve(t, receiver.Options{Secrets: []string{"another", secret, key}},
		delivery(t, "dlv_1", `{"a":1}`, sign.Presets()...))
	if got := answers[0].StatusCode; got != 200 {
		t.Errorf("answered %d", got)
	}
	r := seen[0]
	if r.Time.Before(now) || r.Time.After(time.Now()) || r.Method != "POST" || r.Path != "/hooks/crm?team=growth" || string(r.Body) != `{"a":1}` || r.Err != nil ||
		r.Status != 200 || r.Duplicate || r.ID != "dlv_1" || r.SignalID != "sig_1" || r.SignalType != "expansion_seat" || r.Attempt != 3 ||
		r.Header.Get("Content-Type") != "application/json" {
		t.Errorf("saw %+v", r)
	}
	var presets []string
	for _, s := range r.Signatures {
		presets = append(presets, s.Preset)
		if s.Err != nil {
			t.Errorf("%s: %v", s.Preset, s.Err)
		}
	}
	if !slices.Equal(presets, sign.Presets()) {
		t.Errorf("signatures of %q", presets)
	}
}

func TestVerdicts(t *testing.T) {
	changed := delivery(t, "dlv_2", `{"a":1}`, "beton", "standard")
	changed.Body = io.NopCloser(strings.NewReader(`{"a":2}`))
	var late *http.Request
	synctest.Test(t, func(t *testing.T) { late = delivery(t, "dlv_3", `{"a":1}`, "standard") }) // whose clock begins in 2000
	for _, tt := range []struct {
		name    string
		r       *http.Request
		secrets []string
		want    []error
	}{
		{name: "unsigned", r: delivery(t, "dlv_1", "{}"), secrets: []string{secret}},
		{name: "no secret", r: delivery(t, "dlv_1", "{}", "beton", "slack"), want: []error{receiver.ErrNoSecret, receiver.ErrNoSecret}},
		{name: "wrong secret", r: delivery(t, "dlv_1", "{}", "stripe"), secrets: []string{"another"}, want: []error{sign.ErrMismatch}},
		{name: "changed", r: changed, secrets: []string{secret}, want: []error{sign.ErrMismatch, sign.ErrMismatch}},
		{name: "late", r: late, secrets: []string{secret}, want: []error{sign.ErrTimestamp}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			seen, answers := serve(t, receiver.Options{Secrets: tt.secrets}, tt.r)
			if answers[0].StatusCode != 200 {
				t.Errorf("a bad signature was answered %d: the verdict is shown, it is no answer", answers[0].StatusCode)
			}
			got := seen[0].Signatures
			if len(got) != len(tt.want) {
				t.Fatalf("%d verdicts, want %d", len(got), len(tt.want))
			}
			for i := range got {
				if !errors.Is(got[i].Err, tt.want[i]) {
					t.Errorf("%s: got %v, want %v", got[i].Preset, got[i].Err, tt.want[i])
				}
			}
		})
	}
}

func TestStatus(t *testing.T) {
	for _, tt := range []struct {
		o     receiver.Options
		want  []int
		after string // Retry-After of answers from 400 up
	}{
		{receiver.Options{}, []int{200, 200}, ""},
		{receiver.Options{Status: 204}, []int{204}, ""},
		{receiver.Options{Status: 410, RetryAfter: 1500 * time.Millisecond}, []int{410}, "2"},
		{receiver.Options{Status: 302}, []int{302}, ""},
		{receiver.Options{Fail: 1}, []int{503, 503}, ""},
		{receiver.Options{Fail: 0.5, FailStatus: 429, RetryAfter: time.Minute, Rand: cycle(0.49, 0.5, 0, 0.99)}, []int{429, 200, 429, 200}, "60"},
	} {
		var rs []*http.Request
		for i := range tt.want {
			rs = append(rs, delivery(t, fmt.Sprint(i), "{}"))
		}
		seen, answers := serve(t, tt.o, rs...)
		for i, want := range tt.want {
			if answers[i].StatusCode != want || seen[i].Status != want {
				t.Errorf("%+v, request %d: answered %d, shown %d, want %d", tt.o, i, answers[i].StatusCode, seen[i].Status, want)
			}
			after := ""
			if want >= 400 {
				after = tt.after
			}
			if got := answers[i].Header.Get("Retry-After"); got != after {
				t.Errorf("%+v, request %d: Retry-After %q, want %q", tt.o, i, got, after)
			}
		}
	}
}

func cycle(values ...float64) func() float64 {
	i := -1
	return func() float64 { i++; return values[i%len(values)] }
}

func TestDuplicate(t *testing.T) {
	seen, _ := serve(t, receiver.Options{Fail: 0.5, Rand: cycle(0, 0.9)},
		delivery(t, "dlv_1", "{}"), // fails
		delivery(t, "dlv_1", "{}"), // a retry is no duplicate
		delivery(t, "dlv_1", "{}"), // what was delivered already is
		delivery(t, "dlv_2", "{}"),
		delivery(t, "", "{}"),
		delivery(t, "", "{}"), // no id, no telling
		delivery(t, "", "{}"),
	)
	want := []bool{false, false, true, false, false, false, false}
	for i, r := range seen {
		if r.Duplicate != want[i] {
			t.Errorf("request %d: duplicate is %v, want %v", i, r.Duplicate, want[i])
		}
	}
}

func TestDuplicatesAreForgotten(t *testing.T) {
	last := false
	rc := receiver.New(receiver.Options{Seen: func(r receiver.Request) { last = r.Duplicate }})
	send := func(id int) bool {
		rc.ServeHTTP(httptest.NewRecorder(), delivery(t, fmt.Sprint("dlv_", id), "{}"))
		return last
	}
	for id := range 4097 {
		send(id)
	}
	if send(0) {
		t.Error("the oldest is remembered: memory grows with the requests")
	}
	if !send(4096) || !send(2) {
		t.Error("a recent one is forgotten")
	}
}

func TestBodies(t *testing.T) {
	broken := httptest.NewRequest("POST", "/", iotest.ErrReader(errors.New("line cut")))
	compressed := func(n int, cut int) *http.Request {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		z.Write(make([]byte, n))
		z.Close()
		r := httptest.NewRequest("POST", "/", bytes.NewReader(b.Bytes()[:b.Len()-cut]))
		r.Header.Set("Content-Encoding", "gzip")
		return r
	}
	for _, tt := range []struct {
		name string
		r    *http.Request
		want int
		says string
	}{
		{"compressed", compressed(receiver.MaxBody, 0), 200, ""},
		{"compressed and too large", compressed(receiver.MaxBody+1, 0), 413, "its body is over 10 MiB"},
		{"compressed and cut", compressed(10, 3), 400, "its body could not be read: unexpected EOF"},
		{"at the limit", httptest.NewRequest("POST", "/", bytes.NewReader(make([]byte, receiver.MaxBody))), 200, ""},
		{"too large", httptest.NewRequest("POST", "/", bytes.NewReader(make([]byte, receiver.MaxBody+1))), 413, "its body is over 10 MiB"},
		{"broken", broken, 400, "its body could not be read: line cut"},
		{"none", httptest.NewRequest("GET", "/", nil), 200, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// However it misbehaves, it does not wait for a body it has not read.
			o := receiver.Options{Hang: tt.want != 200}
			seen, answers := serve(t, o, tt.r)
			if answers[0].StatusCode != tt.want || seen[0].Status != tt.want {
				t.Errorf("answered %d, shown %d, want %d", answers[0].StatusCode, seen[0].Status, tt.want)
			}
			if tt.says == "" && seen[0].Err != nil || tt.says != "" && (seen[0].Err == nil || seen[0].Err.Error() != tt.says || seen[0].Body != nil) {
				t.Errorf("got %v and %d bytes, want %q", seen[0].Err, len(seen[0].Body), tt.says)
			}
		})
	}
}

func TestLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		_, answers := serve(t, receiver.Options{Latency: 2 * time.Second}, delivery(t, "dlv_1", "{}"))
		if got := time.Since(begin); got != 2*time.Second || answers[0].StatusCode != 200 {
			t.Errorf("answered %d after %s", answers[0].StatusCode, got)
		}
	})
}

// Whoever ends the waiting, it never ends in a success.
func TestWaitingEnds(t *testing.T) {
	for _, o := range []receiver.Options{{Hang: true}, {Latency: time.Hour}} {
		for _, how := range []string{"client leaves", "receiver closes", "closed before"} {
			t.Run(fmt.Sprintf("%s/hang %v", how, o.Hang), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var seen []receiver.Request
					o.Seen = func(r receiver.Request) { seen = append(seen, r) }
					rc := receiver.New(o)
					if how == "closed before" {
						rc.Close()
					}
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					w := httptest.NewRecorder()
					done := make(chan struct{})
					go func() {
						defer close(done)
						rc.ServeHTTP(w, delivery(t, "dlv_1", "{}").WithContext(ctx))
					}()
					time.Sleep(time.Minute)
					switch how {
					case "client leaves":
						cancel()
					case "receiver closes":
						rc.Close()
						rc.Close() // twice is once
					}
					synctest.Wait()
					select {
					case <-done:
					default:
						t.Fatal("still waiting")
					}
					if w.Code != 503 {
						t.Errorf("answered %d", w.Code)
					}
					if len(seen) != 1 || o.Hang && seen[0].Status != 0 {
						t.Errorf("saw %+v", seen)
					}
				})
			})
		}
	}
}

// Over a real connection: the client's time-out ends a hang, and the server
// shuts down with requests under way.
func TestHangOverTheWire(t *testing.T) {
	arrived := make(chan struct{}, 8)
	rc := receiver.New(receiver.Options{Hang: true, Seen: func(receiver.Request) { arrived <- struct{}{} }})
	ended := make(chan struct{}, 8)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc.ServeHTTP(w, r)
		ended <- struct{}{}
	}))
	defer server.Close()

	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		r, _ := http.NewRequestWithContext(ctx, "POST", server.URL, strings.NewReader("{}"))
		if answer, err := server.Client().Do(r); err == nil {
			answer.Body.Close()
			t.Errorf("a hanging receiver answered %d", answer.StatusCode)
		}
	})
	<-arrived
	cancel()
	<-ended

	wg.Go(func() {
		answer, err := server.Client().Post(server.URL, "application/json", strings.NewReader("{}"))
		if err != nil {
			t.Error(err)
			return
		}
		answer.Body.Close()
		if answer.StatusCode != 503 {
			t.Errorf("answered %d on closing", answer.StatusCode)
		}
	})
	<-arrived
	rc.Close()
	<-ended
}

func TestConcurrently(t *testing.T) {
	var overlap, calls int // guarded by nothing but the promise that calls do not overlap
	rc := receiver.New(receiver.Options{
		Secrets: []string{secret},
		Fail:    0.3,
		Rand:    cycle(0.1, 0.5, 0.9),
		Seen: func(r receiver.Request) {
			overlap++
			if overlap != 1 || len(r.Signatures) != 1 || r.Signatures[0].Err != nil {
				t.Errorf("%d at once, signatures %v", overlap, r.Signatures)
			}
			calls++
			overlap--
		},
	})
	server := httptest.NewServer(rc)
	defer server.Close()
	var mu sync.Mutex
	failed := 0
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 30 {
				r := delivery(t, fmt.Sprintf("dlv_%d_%d", i, j), "{}", "standard")
				out, _ := http.NewRequest("POST", server.URL, r.Body)
				out.Header = r.Header
				answer, err := server.Client().Do(out)
				if err != nil {
					t.Error(err)
					return
				}
				io.Copy(io.Discard, answer.Body)
				answer.Body.Close()
				if answer.StatusCode == 503 {
					mu.Lock()
					failed++
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	if calls != 240 || failed != 80 {
		t.Errorf("%d requests seen, %d failed; want 240 and 80", calls, failed)
	}
}

func TestCheck(t *testing.T) {
	for _, tt := range []struct {
		o    receiver.Options
		want string
	}{
		{receiver.Options{}, ""},
		{receiver.Options{Status: 599, Fail: 1, FailStatus: 200, RetryAfter: 1, Latency: 1}, ""},
		{receiver.Options{Status: 100}, "status 100: expected 200 to 599"},
		{receiver.Options{Status: 600}, "status 600: expected 200 to 599"},
		{receiver.Options{FailStatus: -1}, "status of failures -1: expected 200 to 599"},
		{receiver.Options{Fail: 30}, "share of failures 30: expected 0 to 1"},
		{receiver.Options{Fail: -0.1}, "share of failures -0.1: expected 0 to 1"},
		{receiver.Options{Fail: math.NaN()}, "share of failures NaN: expected 0 to 1"},
		{receiver.Options{Latency: -time.Second}, "latency -1s: expected 0 or more"},
		{receiver.Options{RetryAfter: -time.Second}, "retry after -1s: expected 0 or more"},
	} {
		got := ""
		if err := tt.o.Check(); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("Check of %+v: got %q, want %q", tt.o, got, tt.want)
		}
		func() {
			defer func() {
				if (recover() != nil) != (tt.want != "") {
					t.Errorf("New does not hold to Check: %+v", tt.o)
				}
			}()
			receiver.New(tt.o)
		}()
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	o := receiver.Options{Secrets: []string{secret}, Status: 201}
	rc := receiver.New(o)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		for _, value := range []any{o, &o, rc, []*receiver.Receiver{rc}, struct{ O receiver.Options }{o}} {
			if text := fmt.Sprintf(verb, value); strings.Contains(text, secret[6:]) {
				t.Errorf("%s of %T holds a secret: %s", verb, value, text)
			}
		}
	}
	if text := fmt.Sprintf("%+v", o); !strings.Contains(text, "Secrets:[1 redacted] Status:201") {
		t.Errorf("got %s", text)
	}
	if o.Secrets[0] != secret {
		t.Error("printing changed the options")
	}
}

// Without the public key a signature by ed25519 is neither good nor bad.
func TestNoPublicKey(t *testing.T) {
	seen, _ := serve(t, receiver.Options{Secrets: []string{secret}}, delivery(t, "dlv_1", `{}`, "standard", "ed25519"))
	if s := seen[0].Signatures; len(s) != 2 || s[0].Err != nil || s[1].Err != receiver.ErrNoSecret {
		t.Errorf("%+v", s)
	}
}
