//go:build !race

// The programs run here are built without the race detector: once is enough.

package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signalpost/proxy/api"
)

// senders are the languages of the documentation, and how a program is run.
var senders = []struct{ heading, language, file, run string }{
	{"Go", "go", "send.go", "go run send.go"},
	{"JavaScript", "js", "send.mjs", "node send.mjs"},
	{"Python", "python", "sender.py", "python3 sender.py"},
	{"Ruby", "ruby", "send.rb", "ruby send.rb"},
	{"PHP", "php", "send.php", "php send.php"},
	{"Java", "java", "Send.java", "java Send.java"},
}

// TestReadmeSenders runs each program of the documentation as it is printed, but for the
// port. It meets a sidecar that is full, then none, then one that takes the
// signal; and once more with the same key, which stores nothing. What no retry mends, it
// is told of at once.
func TestReadmeSenders(t *testing.T) {
	for _, s := range senders {
		t.Run(s.language, func(t *testing.T) {
			t.Parallel()
			tool(t, strings.Fields(s.run)[0])
			dir := t.TempDir()
			text := only(t, "sending ## "+s.heading, s.language)
			port := placeSender(t, dir, s.file, text)

			// One answer, 503; nobody listens any more when it is given, and the
			// sidecar starts behind it.
			full, err := net.Listen("tcp", "127.0.0.1:"+port)
			if err != nil {
				t.Fatal(err)
			}
			var key string
			answered := make(chan struct{})
			go http.Serve(full, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				full.Close()
				key = r.Header.Get("Idempotency-Key")
				w.Header().Set("Connection", "close")
				w.WriteHeader(http.StatusServiceUnavailable)
				close(answered)
			}))
			done := make(chan error, 1)
			go func() {
				out, err := bash(t, dir, s.run)
				if err != nil {
					err = fmt.Errorf("%w: %s", err, out)
				}
				done <- err
			}()
			select {
			case <-answered:
			case err := <-done:
				t.Fatalf("it ends before it was answered: %v", err)
			}
			time.Sleep(300 * time.Millisecond) // so that it asks again before: it need not, but then nothing is seen
			takeSignals(t, dir, port)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if key != "lead-4711" {
				t.Errorf("the key is %q", key)
			}
			if out, err := bash(t, dir, s.run); err != nil {
				t.Errorf("the second time: %v\n%s", err, out)
			}
			if got := storedTypes(t, port); got != "product_qualified_lead" {
				t.Errorf("stored: %s", got)
			}
			placeSender(t, dir, s.file, strings.Replace(text, "signal_type", "signal_kind", 1), port)
			if out, err := bash(t, dir, s.run); err == nil || !strings.Contains(out, "422") {
				t.Errorf("what is no signal: %v\n%s", err, out)
			}
		})
	}
}

// placeSender writes a program of the documentation with the port of a sidecar, a
// free one unless it is given.
func placeSender(t *testing.T, dir, file, text string, port ...string) string {
	t.Helper()
	if len(port) == 0 {
		port = []string{mustFreePort(t)}
	}
	if strings.Count(text, "127.0.0.1:8787") != 1 {
		t.Fatalf("the sidecar is not named once:\n%s", text)
	}
	text = strings.Replace(text, "127.0.0.1:8787", "127.0.0.1:"+port[0], 1)
	if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return port[0]
}

// takeSignals runs a sidecar whose route delivers nothing, until the test's end.
func takeSignals(t *testing.T, dir, port string) {
	t.Helper()
	text := "[server]\nlisten = \"127.0.0.1:" + port + "\"\n[[route]]\nname = \"one\"\nurl = \"http://127.0.0.1:1\"\npaused = true\n"
	if err := os.WriteFile(filepath.Join(dir, "signalpost.toml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(binaries, "signalpost"), "run")
	cmd.Dir = dir
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
}

// storedTypes are the types of the signals that a sidecar has stored.
func storedTypes(t *testing.T, port string) string {
	t.Helper()
	resp, err := http.Get("http://127.0.0.1:" + port + "/signals")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var page api.SignalPage
	if err := json.NewDecoder(resp.Body).Decode(&page); err != nil {
		t.Fatal(err)
	}
	var types []string
	for _, s := range page.Signals {
		types = append(types, s.Type)
	}
	return strings.Join(types, " ")
}

// TestReadmeOutbox runs the outbox of the documentation: a row is posted and removed; one that
// was posted and not removed, as by a crash between the two, makes no second
// signal; one that is refused stays with the reason, and holds up no other.
func TestReadmeOutbox(t *testing.T) {
	tool(t, "python3")
	dir := t.TempDir()
	port := placeSender(t, dir, "sender.py", only(t, "sending ## Python", "python"))
	for name, text := range map[string]string{
		"outbox.sql": only(t, "sending ## The outbox", "sql"),
		"outbox.py":  only(t, "sending ## The outbox", "python"),
		"db.py":      "import sqlite3, sys\ndb = sqlite3.connect('app.db', timeout=60)\ndb.executescript(sys.argv[1])\n",
		"ask.py":     "import sqlite3, sys\nfor row in sqlite3.connect('app.db', timeout=60).execute('SELECT fault FROM outbox'): print(*row)\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	takeSignals(t, dir, port)
	out, err := bash(t, dir, `set -eu
python3 db.py 'CREATE TABLE accounts (domain TEXT, plan TEXT)'
python3 db.py "$(cat outbox.sql)"
for again in 1 2; do
  python3 outbox.py & loop=$!
  trap 'kill $loop' EXIT
  until [ "$(python3 ask.py)" = "" ]; do sleep 0.05; done
  kill $loop
  trap - EXIT
  wait $loop || true
  python3 db.py "$(cat outbox.sql)"
done
python3 db.py "INSERT INTO outbox (id, signal, made) VALUES ('bad', '{}', '2000-01-01')"
python3 outbox.py & loop=$!
trap 'kill $loop' EXIT
until [ "$(python3 ask.py | grep -c .)" = 1 ] && python3 ask.py | grep 422; do sleep 0.05; done
`)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(out, "signal_type") {
		t.Errorf("the fault does not say what is missing: %s", out)
	}
	if got := storedTypes(t, port); got != "expansion_ready" {
		t.Errorf("stored: %s", got)
	}
}
