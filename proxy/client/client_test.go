package client

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signalpost/proxy/api"
	"signalpost/queue"
)

func TestFromConfig(t *testing.T) {
	var got string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { got = r.Header.Get("Authorization") }))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	port := host[strings.LastIndex(host, ":"):]
	dir := t.TempDir()
	t.Setenv("SET", "fromenv")
	if err := os.WriteFile(filepath.Join(dir, "token"), []byte("fromfile\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		fmt.Sprintf("[server]\nlisten = %q", host):                                               "",
		fmt.Sprintf("[server]\nlisten = %q\ntoken = \"written\"", host):                          "Bearer written",
		fmt.Sprintf("[server]\nlisten = %q\ntoken = { env = \"SET\" }", "0.0.0.0"+port):          "Bearer fromenv",
		fmt.Sprintf("[server]\nlisten = %q\ntoken = { env = \"NOT_SET_ANYWHERE\" }", port):       "Bearer fallback",
		fmt.Sprintf("[server]\nlisten = %q\ntoken = { file = \"token\" }\nunknown = 1", host):    "Bearer fromfile",
		fmt.Sprintf("[server]\nlisten = %q\ntoken = { file = \"missing\" }", "localhost"+port):   "Bearer fallback",
		fmt.Sprintf("[server]\nlisten = %q\ntoken = \"written\"\n[[route]]\nnope = 1", host):     "Bearer written",
		fmt.Sprintf("[server]\nlisten = %q\ntoken = \"written\"\n[[route]]\nname = crm", host):   "Bearer written",
		fmt.Sprintf("[server]\nlisten = %q\ntoken = \"written\"\n[defaults]\ntimeout = 1", host): "Bearer written",
		fmt.Sprintf("[server]\nlisten = %q\ntoken = \"written\"\nhosts = [\"a]\n", host):         "Bearer written",
	} {
		path := filepath.Join(dir, "signalpost.toml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		fallback := "fallback"
		if want == "" {
			fallback = ""
		}
		c, err := FromConfig(t.Context(), path, fallback)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if err := c.Get(t.Context(), "/readyz", nil); err != nil || got != want {
			t.Errorf("%s: %v; sent %q, want %q", text, err, got, want)
		}
		if shown := fmt.Sprintf("%+v %#v %s", c, c, c.Server()); strings.Contains(shown, "written") || strings.Contains(shown, "fromfile") {
			t.Errorf("the client prints its token: %s", shown)
		}
	}
	for _, bad := range []string{"token = \"topsecret", "[server]\ntoken = \"topsecret", "[server]\nlisten = 1", "server = 1", "[server]\nlisten = \"nowhere\""} {
		if err := os.WriteFile(filepath.Join(dir, "bad.toml"), []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := FromConfig(t.Context(), filepath.Join(dir, "bad.toml"), "")
		if err == nil || strings.Contains(err.Error(), "topsecret") || !strings.Contains(err.Error(), "signalpost check; or name the sidecar with --server") {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if _, err := FromConfig(t.Context(), filepath.Join(dir, "none.toml"), ""); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "signalpost init") {
		t.Errorf("no file: %v", err)
	}
}

func TestErrors(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/status":
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(422)
			fmt.Fprint(w, `{"type":"about:blank","title":"x","status":422,"detail":"no good","index":2}`)
		case "/log":
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		default:
			fmt.Fprint(w, "<html>")
		}
	}))
	defer server.Close()
	c, err := New(server.URL+"/", "token")
	if err != nil {
		t.Fatal(err)
	}
	err = c.Get(t.Context(), "/status", new(api.Status))
	var refused *api.Problem
	if !errors.As(err, &refused) || refused.Status != 422 || err.Error() != "signal 2 of the batch (from 0): no good" {
		t.Errorf("%v", err)
	}
	if err := c.Get(t.Context(), "/log", new(api.LogPage)); err == nil || !strings.Contains(err.Error(), "302 Found: is it a Signalpost?") {
		t.Errorf("%v", err)
	}
	if err := c.Post(t.Context(), "/routes/a%2Fb/pause", nil, new(api.RouteStatus)); err == nil || !strings.Contains(err.Error(), "cannot be read") {
		t.Errorf("%v", err)
	}
	for _, server := range []string{"", "unix:", "ftp://x", "http://", "http://a:b@c", "http://x?y"} {
		if _, err := New(server, ""); err == nil {
			t.Errorf("New(%q) is no error", server)
		}
	}
}

// A sidecar that hangs is not waited for: nor before it answers, nor while it is followed.
func TestHangs(t *testing.T) {
	released := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/log" {
			for range 12 { // it lives, says it
				fmt.Fprintln(w)
				w.(http.Flusher).Flush()
				time.Sleep(100 * time.Millisecond)
			}
			fmt.Fprintln(w, `{"route":"crm"}`)
			w.(http.Flusher).Flush()
		}
		<-released
	}))
	defer server.Close()
	defer close(released)
	c, err := New(server.URL, "")
	if err != nil {
		t.Fatal(err)
	}
	c.patience = time.Second
	if err := c.Get(t.Context(), "/status", nil); err == nil || !strings.Contains(err.Error(), "says nothing: it hangs") {
		t.Errorf("%v", err)
	}
	entries := 0
	err = c.Follow(t.Context(), nil, func(queue.Entry) error { entries++; return nil })
	if err == nil || !strings.Contains(err.Error(), "says nothing: it hangs") || entries != 1 {
		t.Errorf("%d entries, then %v", entries, err)
	}
}
