package cli

import (
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"signalpost/proxy/api"
)

// A test recorded of a delivery passes, whatever came of it; a plan of what runs
// finds no difference, and of what does not, those there are.
func TestRehearse(t *testing.T) {
	_, path := sidecar(t)
	dir := filepath.Dir(path)
	t.Setenv("SIGNALPOST_TOKEN", "")
	t.Setenv("SIGNALPOST_CONFIG", path)
	must := func(code int, stdin string, args ...string) string {
		t.Helper()
		out, got, err := run(t, stdin, args...)
		if got != code {
			t.Fatalf("%v: exit %d, %v\n%s", args, got, err, out)
		}
		if err != nil {
			out += err.Error()
		}
		return out
	}
	sent := must(0, `{"signal_type":"product_x","confidence":1.50,"n":null,"at":"`+"\u009b"+`"}`, "send", "-")
	sent += must(0, "", "send")
	ids := regexp.MustCompile(`dlv_\w+`).FindAllString(sent, -1)
	recorded := ""
	for _, id := range ids {
		recorded += must(0, "", "test", "--record", id)
	}
	if len(ids) != 6 || strings.Count(recorded, "[[test]]") != 6 || strings.Count(recorded, "expect_error") != 2 || strings.Count(recorded, "signal_json") != 3 || strings.Contains(recorded, "\u009b") {
		t.Errorf("recorded\n%s", recorded)
	}
	tests, report := filepath.Join(dir, "a.toml"), filepath.Join(dir, "junit.xml")
	if err := os.WriteFile(tests, []byte(recorded), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := must(0, "", "test", tests); !strings.HasSuffix(out, "6 tests, 0 failed\n") {
		t.Errorf("printed\n%s", out)
	}
	if err := os.WriteFile(filepath.Join(dir, testFile), []byte(recorded), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := must(0, "", "test"); !strings.HasSuffix(out, "6 tests, 0 failed\n") {
		t.Errorf("beside the config: %s", out)
	}
	must(1, "", "test", "--record", "dlv_x")
	must(2, "", "test", "--record", ids[0], tests)
	must(2, "", "test", "--server", "http://x")

	bad := strings.Replace(recorded, "confidence = ", "confidence = 9", 1)
	if err := os.WriteFile(tests, []byte(strings.Replace(bad, "name = \"", "name = \"\x7f <", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := must(1, "", "test", tests); !strings.Contains(out, "not TOML") {
		t.Errorf("a file of tests with a fault: %s", out)
	}
	if err := os.WriteFile(tests, []byte(strings.Replace(bad, "name = \"", "name = \"\\u0001<", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	out := must(1, "", "test", tests, tests, "--json", "--junit", report)
	var results struct {
		Tests []struct {
			OK       bool
			Line     int
			Failures []struct{ Route, Path string }
		}
		Failed int
	}
	object, _, _ := strings.Cut(out, "\nsignalpost:")
	if err := json.Unmarshal([]byte(object), &results); err != nil || len(results.Tests) != 12 || results.Failed < 2 || results.Failed == 12 {
		t.Errorf("%v: %+v\n%s", err, results, out)
	}
	var suites junitSuite
	b, err := os.ReadFile(report)
	if err == nil {
		err = xml.Unmarshal(b, &suites)
	}
	if err != nil || suites.Tests != 12 || suites.Failures != results.Failed || len(suites.Suites) != 1 || !strings.Contains(string(b), `<failure message="route good: .confidence: want `) || suites.Suites[0].Cases[0].Name != "\ufffd<"+ids[0]+" for good" {
		t.Errorf("%v: %s", err, b)
	}

	if out := must(0, "", "plan", "--fail-on", "lost,null,error"); out != "2 signals, by the config that runs and by the new one\n\nas it was: good, gone, broken\n" {
		t.Errorf("a plan of what runs:\n%s", out)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), "url = ", "transform = '{ c: .confidence, x: .n }'\nurl = ", 1)
	changed = strings.Replace(strings.Replace(changed, `file = "token"`, `file = "missing"`, 1), "| error", "| .[0]", 1)
	changed = strings.Replace(changed, `name = "gone"`, "name = \"new\"\ntimeout = \"1s\"", 1)
	file := filepath.Join(dir, "new.toml")
	if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"missing, and placeholders stand in: file \"missing\"", "gone  2 → 0 deliveries  +0 -2\n  goes", "new  0 → 2 deliveries  +2 -0\n  appears", ".c: nothing → 1.50, 2 of 2", "good  2 → 2 deliveries\n"} {
		if out := must(0, "", "plan", file); !strings.Contains(out, want) {
			t.Errorf("a plan without %q:\n%s", want, out)
		}
	}
	var p api.Plan
	out = must(1, "", "plan", file, "--json", "--fail-on=lost")
	object = out[strings.Index(out, "{") : strings.LastIndex(out, "}")+1]
	if err := json.Unmarshal([]byte(object), &p); err != nil || p.Signals != 2 || len(p.Routes) != 4 || !strings.Contains(out, "route gone: 2 deliveries fewer") {
		t.Errorf("%v\n%s", err, out)
	}
	must(0, "", "plan", file, "--fail-on=error")
	must(2, "", "plan", file, "--fail-on=all")
	must(2, "", "plan", file, "--since", "yesterday")
	must(2, "", "plan", file, "--since", "1h", "--signals", "-")
	if out := must(1, "{}", "plan", file, "--signals", "-"); !strings.Contains(out, "-: line 1: the signal has no signal_type") {
		t.Errorf("printed %s", out)
	}
	if out := must(0, `{"signal_type":"t"}`, "plan", file, "--signals", "-"); !strings.Contains(out, "1 signal, by") {
		t.Errorf("printed %s", out)
	}
	// No sidecar need run if the signals are somewhere else.
	other := filepath.Join(t.TempDir(), "other.toml")
	if err := os.WriteFile(other, []byte(strings.Replace(strings.Replace(string(text), `"unix:sock"`, `"unix:none"`, 1), `{ file = "token" }`, `"x"`, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := must(0, `{"signal_type":"t"}`, "plan", file, "--signals", "-", "--config", other); !strings.Contains(out, "stands for the config that runs") || !strings.Contains(out, "good  1 → 1 delivery") {
		t.Errorf("printed %s", out)
	}
	must(1, "", "plan", file, "--config", other)
}

func TestProgress(t *testing.T) {
	var drawn strings.Builder
	file, err := os.Create(filepath.Join(t.TempDir(), "signals"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	file.Write(make([]byte, 80))
	file.Seek(20, 0)
	saw, end := progress(&drawn, func(time.Time) float64 { return shareRead(file) })
	saw(time.Now())
	saw(time.Now()) // too soon
	end()
	saw, _ = progress(&drawn, shareUntil(time.Unix(100, 0)))
	saw(time.Unix(60, 0))
	time.Sleep(100 * time.Millisecond)
	saw(time.Unix(80, 0))
	saw, _ = progress(&drawn, shareUntil(time.Unix(100, 0)))
	saw(time.Unix(100, 0)) // 0 of 0
	const none = "\r[........................................] 1 signal "
	const want = "\r[##########..............................] 1 signal \r\x1b[K" + none + "\r[####################....................] 2 signals " + none
	if drawn.String() != want {
		t.Errorf("draws %q", drawn.String())
	}
}
