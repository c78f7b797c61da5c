package cli

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"signalpost/proxy"
	"signalpost/proxy/api"
	"signalpost/proxy/config"
	"signalpost/proxy/sign"
	"signalpost/proxy/term"
	"signalpost/queue"
)

// command is the program with these arguments, but for run.
func command(ctx context.Context, stdout, stderr io.Writer, args ...string) *cobra.Command {
	root := &cobra.Command{Use: "signalpost", Version: "test"}
	Add(root, &cobra.Command{Use: "run"}, "test")
	root.SetContext(ctx)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetArgs(args)
	return root
}

// run runs a command as main does, and returns what it prints and its exit
// code; the error is what it says on standard error.
func run(t testing.TB, stdin string, args ...string) (stdout string, code int, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var out, stderr safeBuffer
	root := command(ctx, &out, &stderr, args...)
	root.SetIn(strings.NewReader(stdin))
	code = Execute(root)
	if stderr.String() != "" {
		err = errors.New(stderr.String())
	}
	return out.String(), code, err
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

const testToken = "opensesame"

// sidecar runs one with a route that delivers, one that is refused and one whose
// transform fails, and returns its address and its config.
func sidecar(t *testing.T) (server, path string) {
	t.Helper()
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/gone" {
			w.WriteHeader(http.StatusGone)
			io.WriteString(w, "no \x1b[31msuch\x1b[0m hook\u009b31m\u202e")
		}
	}))
	t.Cleanup(receiver.Close)
	dir := t.TempDir()
	path = filepath.Join(dir, "signalpost.toml")
	text := strings.ReplaceAll(`
[server]
listen = "unix:sock"
token = { file = "token" }
[[route]]
name = "good"
url = "%s/secretpath"
signal_types = ["product_*", "t"]
secret = "whsec_c2lnbmluZ3NlY3JldHNpZ25pbmdzZWNyZXQ="
[[route]]
name = "gone"
url = "%s/gone"
signal_types = ["product_*"]
[[route]]
name = "broken"
url = "%s"
signal_types = ["product_*"]
transform = '.confidence | error'
`, "%s", receiver.URL)
	for name, text := range map[string]string{path: text, filepath.Join(dir, "token"): testToken + "\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := config.Load(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	p, err := proxy.New(cfg, nil, "test")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	addr, served := make(chan string, 1), make(chan error, 1)
	go func() { served <- p.Serve(ctx, func(a string) { addr <- a }) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	select {
	case server = <-addr:
		return server, path
	case err := <-served:
		t.Fatal(err)
		return "", ""
	}
}

func TestCommandsOnASidecar(t *testing.T) {
	server, path := sidecar(t)
	t.Setenv("SIGNALPOST_TOKEN", "")
	t.Setenv("SIGNALPOST_CONFIG", path)

	var id, broken, sent string // of deliveries: one that is gone, one that has no body, and the one of the last send
	steps := []struct {
		args  string
		stdin string
		code  int
		want  []string // parts of what is printed, or of the error
		not   []string
	}{
		{"health", "", 0, []string{"ready"}, nil},
		{"send", "", 0, []string{"makes 3 deliveries", "dlv_", "good", "gone", "broken"}, nil},
		{"send --route good --json -", `{"signal_type":"t"}`, 0, []string{`{"id":"sig_`, `"route":"good"`}, nil},
		{"send --ndjson -", "{\"signal_type\":\"x\"}\n{\"signal_type\":\"t\"}", 0, []string{"makes no delivery", "makes 1 delivery", "\nWhy not: signalpost try FILE, with one"}, nil},
		{"send -", `{"signal_type":"x"}`, 0, []string{"makes no delivery\nWhy not: signalpost try -\n"}, nil},
		{"send -", `{"signal_type":1}`, 1, []string{"signal_type must be a string"}, nil},
		{"send -", `[{"signal_type":"t"},{}]`, 1, []string{"signal 1 of the batch"}, nil},
		{"send nowhere.json", "", 1, []string{"no such file", "standard input"}, nil},
		{"send --route nope", "", 1, []string{`no route "nope"`, "good, gone, broken"}, nil},
		{"SETTLE", "", 0, nil, nil},
		{"log", "", 0, []string{"delivered", "dead      gone", "gone: answered 410 Gone", "broken", "transform: "}, []string{"\x1b", "secretpath"}},
		{"log --verdict dead --route gone --since 1h --limit 5", "", 0, []string{"gone"}, []string{"delivered"}},
		{"log --limit 1", "", 0, []string{"older ones: --after "}, nil},
		{"log --verdict delivered --until 1h", "", 0, []string{"no entry"}, nil},
		{"log --json --route gone", "", 0, []string{`"entries"`, `"response": "no \u001b[31msuch\u001b[0m hook\u009b31m\u202e"`}, []string{"\u009b", "\u202e"}},
		{"log --verdict nope", "", 2, []string{"parameter verdict"}, nil},
		{"log --nope", "", 2, []string{"unknown flag"}, nil},
		{"log --jsno", "", 2, []string{"unknown flag: --jsno, did you mean --json?\nRun 'signalpost log --help' for usage."}, nil},
		{"lgo", "", 2, []string{`unknown command "lgo"`, "Did you mean this?\n  log"}, nil},
		{"log --route goode", "", 1, []string{`there is no route "goode", did you mean "good"?`}, nil},
		{"log -f --route xxxxx", "", 1, []string{`there is no route "xxxxx"; the routes are good, gone, broken`}, nil},
		{"log --route good --verdict dead", "", 0, []string{"no entry"}, nil},
		{"--version", "", 0, []string{"signalpost test\n"}, nil},
		{"send -", "{\"signal_type\":\"t\"}\n{\"signal_type\":\"t\"}", 2, []string{"several JSON documents: with --ndjson"}, nil},
		{"log more", "", 2, []string{`log takes flags, and words such as route:crm, status:5xx or text:"no such hook"; given: "more"`}, nil},
		{"log route:good type:t* -- -verdict:delivered", "", 0, []string{"no entry"}, nil},
		{"log --verdict failed --status 4xx --route g* --text ANSWERED", "", 0, []string{"dead      gone"}, []string{"good", "broken"}},
		{"log -verdict:delivered", "", 2, []string{"-verdict:delivered; put -- before a word that begins with -, as in: signalpost log -- -verdict:delivered"}, nil},
		{"log rout:good", "", 2, []string{`unknown word "rout", did you mean "route"?`}, nil},
		{"log route:good --route gone", "", 2, []string{"route is given twice"}, nil},
		{"log -- -status:410", "", 2, []string{"-status: the sidecar cannot leave out by this"}, nil},
		{"check x y", "", 2, []string{`check takes no arguments, only flags such as --config FILE; given: "x" "y"`}, nil},
		{"demo x", "", 2, []string{`demo takes no arguments, only flags; given: "x"`}, nil},
		{"send a b", "", 2, []string{`send takes at most one file, or - for standard input; given: "a" "b"`}, nil},
		{"try a b", "", 2, []string{`try takes at most one file, or - for standard input; given: "a" "b"`}, nil},
		{"retry a b", "", 2, []string{`retry takes the id of one delivery, or filters such as --route NAME for many; given: "a" "b"`}, nil},
		{"discard a \x1b[31m", "", 2, []string{`discard takes the id of one delivery, or filters`, `"a" "\x1b[31m"`}, nil},
		{"init", "", 2, []string{"init takes one kind of receiver: slack, teams, discord, pagerduty, n8n, zapier, make, generic; given: none"}, nil},
		{"status", "", 0, []string{"signalpost test, up ", "accepting signals", path, "ROUTE", "good", "http://127.0.0.1:"}, []string{"secretpath"}},
		{"status --json", "", 0, []string{`"accepting": true`, `"name": "broken"`}, nil},
		{"retry", "", 2, []string{"at least one filter"}, nil},
		{"retry dlv_x --route good", "", 2, []string{"not both"}, nil},
		{"retry dlv_x", "", 1, []string{"no such delivery"}, nil},
		{"retry --route gone --dry-run", "", 0, []string{"1 delivery would be due again"}, nil},
		{"retry --state held", "", 2, []string{"parameter state"}, nil},
		{"retry --reason gone --json", "", 0, []string{`"matched": 1`}, nil},
		{"SETTLE", "", 0, nil, nil},
		{"retry ID", "", 0, []string{"route gone"}, nil},
		{"SETTLE", "", 0, nil, nil},
		{"retry ID --json", "", 0, []string{`"route": "gone"`, `"id": "dlv_`}, nil},
		{"SETTLE", "", 0, nil, nil},
		{"log --delivery BROKEN", "", 0, []string{"dead (transform), 0 attempts, signal sig_", "no body could be made of the signal", `"confidence": 0.92`}, nil},
		{"log --delivery ID", "", 0, []string{"#1 410", "#2 410", "#3 410", "#4 410"}, nil},
		{"pause good", "", 0, []string{"good  paused, 0 pending"}, nil},
		{"pause nope", "", 1, []string{`no route "nope"`}, nil},
		{"pause", "", 2, []string{"pause takes the name of one route, which signalpost status lists; given: none"}, nil},
		{"resume good gone", "", 2, []string{`resume takes the name of one route, which signalpost status lists; given: "good" "gone"`}, nil},
		{"send --route good", "", 0, []string{"makes 1 delivery"}, nil},
		{"retry --route good", "", 0, []string{"0 deliveries due again\nnone is dead, 1 delivery pending: signalpost retry --route good --state pending"}, nil},
		{"retry --route good --json", "", 0, []string{`"matched": 0`}, []string{"pending"}},
		{"retry --route goode", "", 1, []string{`no route "goode"`}, nil},
		{"discard", "", 2, []string{"at least one filter"}, nil},
		{"discard dlv_x --route good", "", 2, []string{"not both"}, nil},
		{"discard dlv_x", "", 1, []string{"no such delivery"}, nil},
		{"discard ID", "", 1, []string{"already finished: it is dead"}, nil},
		{"discard --state dead --route=", "", 2, []string{"--route is empty"}, nil},
		{"discard --route good --state pending --dry-run", "", 0, []string{"1 delivery would be discarded"}, nil},
		{"discard --route good --state pending", "", 0, []string{"1 delivery discarded"}, nil},
		{"send --route good --json", "", 0, []string{"dlv_"}, nil},
		{"discard SENT", "", 0, []string{"dead (discarded), route good"}, nil},
		{"send --route good --json", "", 0, []string{"dlv_"}, nil},
		{"discard SENT --json", "", 0, []string{`"reason": "discarded"`, `"route": "good"`}, nil},
		{"resume good --json", "", 0, []string{`"state": "ok"`}, nil},
		{"health --server " + server, "", 0, []string{"ready"}, nil}, // no token needed
		{"status --server " + server, "", 1, []string{"token", "SIGNALPOST_TOKEN"}, []string{testToken}},
		{"status --server " + server + " --config x", "", 2, []string{"one of them"}, nil},
		{"status --server ftp://x", "", 2, []string{"http://HOST:PORT"}, nil},
		{"status --server http://a:b@x", "", 2, []string{"credentials"}, []string{"a:b"}},
		{"health --json", "", 0, []string{`"ready": true`}, nil},
		{"health --json --server unix:" + path + ".none", "", 1, []string{`"ready": false`, `"reason": "`, "no sidecar answers"}, nil},
		{"health --server unix:" + path + ".none", "", 1, []string{"no sidecar answers"}, nil},
		{"status --config " + path + ".none", "", 1, []string{"no such file", "--server"}, nil},
	}
	for _, step := range steps {
		if step.args == "SETTLE" {
			settle(t)
			if id == "" {
				text, _, _ := run(t, "", "log", "--route", "gone")
				id = regexp.MustCompile(`dlv_\w+`).FindString(text)
				text, _, _ = run(t, "", "log", "--route", "broken")
				broken = regexp.MustCompile(`dlv_\w+`).FindString(text)
			}
			continue
		}
		out, code, err := run(t, step.stdin, strings.Fields(strings.NewReplacer("ID", id, "BROKEN", broken, "SENT", sent).Replace(step.args))...)
		text := out
		if strings.HasPrefix(step.args, "send ") {
			sent = regexp.MustCompile(`dlv_\w+`).FindString(text)
		}
		if err != nil {
			text += err.Error()
		}
		if code != step.code {
			t.Errorf("%s: exit %d, want %d:\n%s", step.args, code, step.code, text)
		}
		for _, want := range step.want {
			if !strings.Contains(text, want) {
				t.Errorf("%s: lacks %q:\n%s", step.args, want, text)
			}
		}
		for _, not := range step.not {
			if strings.Contains(text, not) {
				t.Errorf("%s: has %q:\n%s", step.args, not, text)
			}
		}
	}

	t.Run("completion", func(t *testing.T) {
		for args, want := range map[string]string{
			"__complete pause ":          "good\tok\ngone\tok\nbroken\tok\n:4",
			"__complete log --route ":    "good\tok",
			"__complete log --verdict ":  "delivered\nretry\ndead\n:4",
			"__complete retry --reason ": "gone\nexhausted\n",
			"__complete try --route ":    "good\ngone\nbroken",
			"__complete verify --preset": "",
		} {
			out, _, _ := run(t, "", strings.Split(args, " ")...)
			if !strings.Contains(out, want) {
				t.Errorf("%s: %q", args, out)
			}
		}
	})
	t.Run("log -f", func(t *testing.T) {
		r, w := io.Pipe()
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan int, 1)
		go func() { ended <- Execute(command(ctx, w, os.Stderr, "log", "-f", "-n", "0", "--json")) }()
		d := json.NewDecoder(r)
		// It says nothing until something happens, so something happens until it speaks.
		sending, sent := context.WithCancel(ctx)
		var sender sync.WaitGroup
		sender.Go(func() {
			for sending.Err() == nil {
				run(t, "", "send", "--route", "good")
				time.Sleep(10 * time.Millisecond)
			}
		})
		var e queue.Entry
		if err := d.Decode(&e); err != nil || e.Route != "good" || e.Verdict != queue.Delivered {
			t.Errorf("%v %+v", err, e)
		}
		sent()
		sender.Wait()
		stop()
		go io.Copy(io.Discard, r)
		if code := <-ended; code != 0 {
			t.Errorf("interrupted, it ends with %d", code)
		}
	})
	// The sidecar can be asked what is wrong while its config is broken.
	t.Run("a broken config", func(t *testing.T) {
		b, _ := os.ReadFile(path)
		broken := filepath.Join(filepath.Dir(path), "broken.toml")
		os.WriteFile(broken, append(b, "[[route]]\nnope = 1\nsecret = { env = \"NOT_SET_ANYWHERE\" }\n"...), 0o600)
		if out, code, err := run(t, "", "status", "--config", broken); code != 0 {
			t.Errorf("%v %s", err, out)
		}
		out, code, err := run(t, "", "check", "--config", broken)
		if code != 1 || !strings.Contains(err.Error(), "broken.toml:") || !strings.Contains(err.Error(), "nope") || !strings.Contains(err.Error(), "NOT_SET_ANYWHERE") {
			t.Errorf("exit %d, %v, %s", code, err, out)
		}
		out, code, _ = run(t, "", "check", "--json", "--config", broken)
		var report checked
		if e := json.Unmarshal([]byte(out), &report); e != nil || code != 1 || report.OK || len(report.Faults) < 2 || report.Faults[0].Line == 0 {
			t.Errorf("%v, exit %d, %s", e, code, out)
		}
	})
	t.Run("a config through a pipe", func(t *testing.T) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		go func() {
			io.WriteString(w, "[[route]]\nname = \"piped\"\nurl = \"https://x.example.com/\"\n")
			w.Close()
		}()
		if out, code, err := run(t, "", "check", "--config", fmt.Sprintf("/dev/fd/%d", r.Fd())); code != 0 || !strings.Contains(out, "piped") {
			t.Errorf("%v %s", err, out)
		}
	})
	t.Run("check", func(t *testing.T) {
		t.Setenv("TZ", "Europe/Brelin")
		if out, _, _ := run(t, "", "check"); !strings.Contains(out, "warning: TZ=Europe/Brelin names no time zone") {
			t.Errorf("no warning of TZ: %s", out)
		}
		t.Setenv("TZ", "Europe/Berlin")
		if out, _, _ := run(t, "", "check", "--json"); strings.Contains(out, "TZ") {
			t.Errorf("a warning of a good TZ: %s", out)
		}
		out, code, err := run(t, "", "check")
		if code != 0 || !strings.Contains(out, "10 times over 24h, with gaps of 5s, 16s, 52s, 2m49s") || !strings.Contains(out, "warning: ") || strings.Contains(out, "secretpath") {
			t.Errorf("exit %d, %v, %s", code, err, out)
		}
	})
	t.Run("try", func(t *testing.T) {
		out, code, err := run(t, "", "try")
		if code != 1 || !strings.Contains(out, "✓ good  passes") || !strings.Contains(out, "✗ broken") || !strings.Contains(out, `"signal_type": "product_qualified_lead"`) || strings.Contains(out, "secretpath") {
			t.Errorf("exit %d, %v, %s", code, err, out)
		}
		if out, code, err = run(t, `{"signal_type":"t"}`, "try", "-", "--json"); code != 0 || strings.Count(out, `"matches": false`) != 2 {
			t.Errorf("exit %d, %v, %s", code, err, out)
		}
		if out, code, err = run(t, `{"signal_type":"t"}`, "try", "-", "--route", "nope"); code != 1 {
			t.Errorf("exit %d, %v, %s", code, err, out)
		}
		if out, code, err = run(t, "", "try", "--headers", "--route", "good"); code != 0 || !strings.Contains(out, "Webhook-Signature: [signature]\n") || !strings.Contains(out, "X-Beton-Signature: [signature]\n") {
			t.Errorf("exit %d, %v, %s", code, err, out)
		}
	})
}

// settle waits until nothing is pending.
func settle(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(2 * time.Millisecond) {
		out, _, _ := run(t, "", "status", "--json")
		if strings.Count(out, `"pending": 0`) == 3 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("never settled: %s", out)
		}
	}
}

func TestDemo(t *testing.T) {
	scratch := t.TempDir()
	t.Setenv("TMPDIR", scratch)
	out, code, err := run(t, "", "demo", "--once")
	if code != 0 {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"→ slack, crm", "passes no route", "beton ✓ standard ✓", "Acme Corp is ready to buy (92 %)", "503", "#2 200", "✓ 3 deliveries in 4 requests, every signature right."} {
		if !strings.Contains(out, want) {
			t.Errorf("lacks %q", want)
		}
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) > 25 {
		t.Errorf("%d lines", len(lines))
	}
	for _, line := range lines {
		if n := utf8.RuneCountInString(strings.ReplaceAll(line, scratch, "/tmp")); n > term.Columns {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	if strings.Contains(out, "✗") || strings.Contains(out, "\x1b") {
		t.Error("a bad signature, or colour where there is no terminal")
	}
	if left, _ := os.ReadDir(scratch); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if t.Failed() {
		t.Log(out)
	}
}

func TestVerify(t *testing.T) {
	dir := t.TempDir()
	const secret = "whsec_c2lnbmluZ3NlY3JldHNpZ25pbmdzZWNyZXQ="
	key := sign.NewPrivateKey()
	public, err1 := sign.PublicKey(key)
	signer, err2 := sign.New(sign.Presets(), []string{secret, key})
	if err := cmp.Or(err1, err2); err != nil {
		t.Fatal(err)
	}
	body := []byte(`{"a":1}`)
	old := time.Now().Add(-time.Hour)
	h := http.Header{}
	h.Set("Webhook-Id", "dlv_1")
	h.Set("Webhook-Timestamp", fmt.Sprint(old.Unix()))
	signer.Sign(h, sign.Message{ID: "dlv_1", Time: old, Type: "t", Body: body})
	var lines strings.Builder
	lines.WriteString("> POST /hook HTTP/1.1\r\n> host: x\r\n")
	for name, values := range h {
		fmt.Fprintf(&lines, "> %s: %s\r\n", strings.ToLower(name), values[0])
	}
	lines.WriteString(">\r\n")
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	headers, good := file("headers", lines.String()), file("body", string(body))
	changed, none, broken := file("changed", `{"a":2}`), file("none", "Host: x\n"), file("broken", "no header line")
	var z bytes.Buffer
	zip := gzip.NewWriter(&z)
	zip.Write(body)
	zip.Close()
	zipped, torn := file("zipped", z.String()), file("torn", z.String()[:z.Len()-4])
	packed := file("packed", strings.TrimSuffix(lines.String(), ">\r\n")+"> content-encoding: gzip\r\n")
	t.Setenv("SIGNALPOST_SECRET", "")
	for _, test := range []struct {
		args string
		code int
		want string
	}{
		{"--headers " + packed + " --body " + zipped + " --preset beton --secret " + secret, 0, "✓ beton"},
		{"--headers " + packed + " --body " + good + " --preset beton --secret " + secret, 0, "✓ beton"},
		{"--headers " + packed + " --body " + torn + " --preset beton --secret " + secret, 1, "unexpected EOF"},
		{"--headers " + headers + " --body " + zipped + " --preset beton --secret " + secret, 1, "✗ beton"},
		{"--headers " + headers + " --body " + good + " --secret " + public + " --secret " + secret, 0, "✓ slack"},
		{"--headers " + headers + " --body " + good + " --secret other --secret " + key + " --secret " + secret, 0, "✓ standard"},
		{"--headers " + headers + " --body - --secret " + public + " --secret " + secret, 0, "✓ beton"},
		{"--headers " + headers + " --body " + good + " --secret " + secret + " --json --preset github", 0, `"ok": true`},
		{"--headers " + headers + " --body " + good + " --secret other", 1, "✗ beton: no secret matches"},
		{"--headers " + headers + " --body " + changed + " --secret " + secret, 1, "6 of 6 signatures not verified"},
		{"--headers " + headers + " --body " + good + " --tolerance 5m --secret " + secret, 1, "✗ standard: timestamp"},
		{"--headers " + headers + " --body " + good + " --preset ed25519 --secret " + public, 0, "✓ ed25519"},
		{"--headers " + headers + " --body " + changed + " --preset ed25519 --secret " + public, 1, "✗ ed25519: no secret matches: signed with another key"},
		{"--headers " + headers + " --body " + good + " --secret " + secret, 1, "✗ ed25519: no secret: the preset ed25519 is verified with a public key (whpk_)"},
		{"--headers " + none + " --body " + good + " --secret " + secret, 1, "no signature header"},
		{"--headers " + none + " --body " + good + " --preset stripe --secret " + secret, 1, "header missing"},
		{"--headers " + broken + " --body " + good + " --secret " + secret, 1, "no header line"},
		{"--headers " + headers + " --body nowhere --secret " + secret, 1, "no such file"},
		{"--headers " + headers + " --body " + good, 2, "SIGNALPOST_SECRET"},
		{"--headers " + headers, 2, "both needed"},
		{"--headers - --body - --secret x", 2, "standard input"},
	} {
		out, code, err := run(t, string(body), append([]string{"verify"}, strings.Fields(test.args)...)...)
		text := out
		if err != nil {
			text += err.Error()
		}
		if code != test.code || !strings.Contains(text, test.want) || strings.Contains(text, secret) {
			t.Errorf("%s: exit %d, want %d and %q:\n%s", test.args, code, test.code, test.want, text)
		}
	}
}

func TestListen(t *testing.T) {
	r, w := io.Pipe()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	go func() {
		ended <- Execute(command(ctx, w, os.Stderr, "listen", "--addr", "127.0.0.1:0", "--status", "418"))
		w.Close()
	}()
	first := make([]byte, 200)
	n, _ := r.Read(first)
	url := regexp.MustCompile(`http://[0-9.:]+`).FindString(string(first[:n]))
	printed := make(chan string, 1)
	go func() { b, _ := io.ReadAll(r); printed <- string(b) }()
	resp, err := http.Post(url+"/hook", "application/json", strings.NewReader(`{"x":"\u001b[2J"}`))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 418 {
		t.Errorf("answered %d", resp.StatusCode)
	}
	stop()
	if code := <-ended; code != 0 {
		t.Errorf("interrupted, it ends with %d", code)
	}
	if text := <-printed; !strings.Contains(text, "POST /hook 418") || strings.Contains(text, "\x1b") {
		t.Errorf("%q", text)
	}
	if _, code, _ := run(t, "", "listen", "--fail", "2"); code != 2 {
		t.Errorf("exit %d", code)
	}
	if _, code, _ := run(t, "", "listen", "--addr", "192.0.2.1:1"); code != 1 {
		t.Errorf("exit %d", code)
	}
}

// status prints what there is to know, and what to do about it.
func TestStatus(t *testing.T) {
	text := func(s string) *string { return &s }
	dead := func(name string, state queue.RouteState) api.RouteStatus {
		return api.RouteStatus{Name: name, State: state, Dead: 2}
	}
	ok, ok2, gone := dead("a", queue.RouteOK), dead("b", queue.RouteFailing), dead("c", queue.RouteGone)
	for name, test := range map[string]struct {
		s    api.Status
		want string // a part
	}{
		"dead of one":     {api.Status{Routes: []api.RouteStatus{ok}}, "\n2 deliveries dead. Why: signalpost log --verdict dead\nOnce that is fixed:    signalpost retry --route a\n"},
		"dead of two":     {api.Status{Routes: []api.RouteStatus{ok, ok2}}, "\n4 deliveries dead. Why: signalpost log --verdict dead\nOnce that is fixed:    signalpost retry --state dead\n"},
		"dead and gone":   {api.Status{Routes: []api.RouteStatus{gone}}, "verdict dead\nRoute c has gone. Once it is back in the config: signalpost retry --route c\n"},
		"dead, some gone": {api.Status{Routes: []api.RouteStatus{ok, gone}}, "signalpost retry --route a\nRoute c has gone. "},
		"one fault":       {api.Status{Config: api.ConfigStatus{Error: text("config a.toml: no")}}, "\n        not reloaded: config a.toml: no\nstore "},
		"two faults":      {api.Status{Config: api.ConfigStatus{Error: text("config a.toml:1:1: no\nconfig a.toml:2:1: \x1b[31mneither")}}, "\n        not reloaded: config a.toml:1:1: no\n        config a.toml:2:1: \\x1b[31mneither\nstore "},
	} {
		var out bytes.Buffer
		printStatus(term.NewPage(&out), test.s, nil, time.Now())
		if !strings.Contains(out.String(), test.want) || strings.Contains(out.String(), "\x1b") {
			t.Errorf("%s: lacks %q:\n%s", name, test.want, out.String())
		}
	}
}

// TestMissing: who of a fleet did not answer is told once, by each command, and not on standard output.
func TestMissing(t *testing.T) {
	sidecar := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		lacks := api.Partial{Missing: []string{"n2 (01K)"}}
		answers := map[string]any{
			"/status": api.Status{Partial: lacks}, "/problems": api.Problems{Partial: lacks}, "/stats": api.Stats{Partial: lacks},
			"/log": api.LogPage{Partial: lacks}, "/retry": api.Matched{Partial: lacks}, "/routes/a/pause": api.RouteStatus{Partial: lacks},
		}
		b, _ := api.Marshal(answers[r.URL.Path])
		api.WriteJSON(w, http.StatusOK, b)
	}))
	defer sidecar.Close()
	for _, args := range [][]string{{"status"}, {"stats"}, {"log"}, {"retry", "--state", "dead", "--dry-run"}, {"pause", "a"}} {
		var out, said bytes.Buffer
		if err := command(t.Context(), &out, &said, append(args, "--server", sidecar.URL)...).Execute(); err != nil || said.String() != "missing, with all that it has: n2 (01K)\n" || strings.Contains(out.String(), "n2") {
			t.Errorf("%s: %v, said %q; %s", args, err, &said, &out)
		}
	}
}

// Every command has help with an example, and reads well in 80 columns.
func TestHelp(t *testing.T) {
	for _, c := range command(t.Context(), nil, nil).Commands() {
		if c.Name() == "run" || c.Name() == "version" {
			continue
		}
		if c.Short == "" || c.Example == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: short %q, example %q", c.Name(), c.Short, c.Example)
		}
		for line := range strings.Lines(c.Long + "\n" + c.Example) {
			if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > term.Columns+2 {
				t.Errorf("%s: %d columns: %s", c.Name(), n, line)
			}
		}
	}
}
