package client

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"signalpost/proxy/api"
	"signalpost/proxy/system"
)

// With a key a signal gets through: no sidecar, one that breaks off, one that
// takes nothing now; with another refusal, or without a key, it is told at once.
func TestSend(t *testing.T) {
	var asked []string
	var answers []func(w http.ResponseWriter)
	say := func(status int, header ...string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			p := api.Refuse(status, "no")
			for i := 0; i < len(header); i += 2 {
				p.With(header[i], header[i+1])
			}
			p.Write(w)
		}
	}
	breaks := func(http.ResponseWriter) { panic(http.ErrAbortHandler) }
	takes := func(w http.ResponseWriter) { api.Write(w, 202, api.Accepted{ID: "sig_1", Deliveries: []api.Made{}}) }
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		asked = append(asked, r.Header.Get("Idempotency-Key")+" "+r.Header.Get("Content-Type")+" "+r.URL.String()+" "+string(body))
		answers[min(len(asked), len(answers))-1](w)
	})
	for _, tt := range []struct {
		name    string
		signals Signals
		answers []func(http.ResponseWriter)
		tries   int
		status  int // that is told; 0: it is accepted
	}{
		{"at once", Signals{Body: []byte("{}")}, []func(http.ResponseWriter){takes}, 1, 0},
		{"later", Signals{Body: []byte("{}"), Key: "k", Lines: true, Route: "a b"}, []func(http.ResponseWriter){breaks, say(503), say(503), takes}, 4, 0},
		{"never", Signals{Body: []byte("{}"), Key: "k"}, []func(http.ResponseWriter){say(503), say(422)}, 2, 422},
		{"no key", Signals{Body: []byte("{}")}, []func(http.ResponseWriter){say(503), takes}, 1, 503},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := httptest.NewServer(handler)
			defer server.Close()
			asked, answers = nil, tt.answers
			c, err := New(server.URL, "")
			if err != nil {
				t.Fatal(err)
			}
			accepted, _, err := c.Send(t.Context(), tt.signals)
			if p, _ := err.(*api.Problem); tt.status != 0 && (p == nil || p.Status != tt.status) || tt.status == 0 && (err != nil || len(accepted) != 1) {
				t.Errorf("%v, %v", accepted, err)
			}
			if len(asked) != tt.tries || len(slices.Compact(asked)) != 1 {
				t.Errorf("it asked %q", asked)
			}
			if want := `k application/x-ndjson /signals?route=a+b {}`; tt.signals.Lines && asked[0] != want {
				t.Errorf("it asked %q", asked)
			}
		})
	}
}

// The sidecar says how long to wait, and ctx when to give up; a sidecar that comes
// up later is found.
func TestSendWaits(t *testing.T) {
	asked := make(chan bool, 9)
	ctx, cancel := context.WithCancel(t.Context())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- true
		time.AfterFunc(leastPause*4, cancel)
		api.Refuse(503, "full").With("Retry-After", "3600").Write(w)
	}))
	defer server.Close()
	c, err := New(server.URL, "")
	if err != nil {
		t.Fatal(err)
	}
	<-func() chan bool {
		done := make(chan bool)
		go func() {
			defer close(done)
			if _, _, err := c.Send(ctx, Signals{Body: []byte("{}"), Key: "k"}); err == nil || err.Error() != "full" {
				t.Errorf("given up: %v", err)
			}
		}()
		return done
	}()
	if len(asked) != 1 {
		t.Errorf("it asked %d times within the wait", len(asked))
	}

	ports, err := system.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprint("127.0.0.1:", ports[0])
	if c, err = New(address, ""); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(leastPause, func() {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Error(err)
			return
		}
		late := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { api.Write(w, 202, api.Accepted{ID: "sig_1"}) })}
		t.Cleanup(func() { late.Close() })
		go late.Serve(l)
	})
	if _, _, err := c.Send(t.Context(), Signals{Body: []byte("{}"), Key: "k"}); err != nil {
		t.Error(err)
	}
}
