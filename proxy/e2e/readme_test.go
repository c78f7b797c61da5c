//go:build !race

// The programs run here are built without the race detector: once is enough.

package e2e

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"signalpost/proxy"
	"signalpost/proxy/config"
	"signalpost/proxy/docs"
	"signalpost/proxy/front"
	"signalpost/transform"
)

// The README and the pages of documentation are a promise: what they show is run
// here, and what there is, they name. What they say of receivers is in
// receivers_test.go, of places to run in homes_test.go.
//
// Where something stands is said as "README ## Limits", "homes ## Compose", or
// "recipes" for a whole page; "" is all there is.

// pages are the README and the pages, by name.
var pages = func() map[string]string {
	all := map[string]string{}
	for _, t := range docs.Topics() {
		all[t.Name] = t.Text
	}
	b, err := os.ReadFile("../../README.md")
	if err != nil {
		panic(err)
	}
	all["README"] = string(b)
	return all
}()

// section is the text below a heading of a page to the next one that is not below
// it.
func section(t testing.TB, where string) string {
	t.Helper()
	page, heading, _ := strings.Cut(where, " ")
	if where == "" {
		var all strings.Builder
		for _, name := range slices.Sorted(maps.Keys(pages)) {
			all.WriteString(pages[name])
		}
		return all.String()
	}
	text, ok := pages[page]
	if !ok {
		t.Fatalf("there is no page %q", page)
	}
	if heading == "" {
		return text
	}
	if _, text, ok = strings.Cut(text, "\n"+heading+"\n"); !ok {
		t.Fatalf("%s has no %q", page, heading)
	}
	for depth := strings.IndexByte(heading, ' '); depth >= 2; depth-- {
		text, _, _ = strings.Cut(text, "\n"+strings.Repeat("#", depth)+" ")
	}
	return text
}

// A block is a code block: its language and what stands in it.
type block struct{ language, text string }

var fence = regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$")

// blocks are the code blocks somewhere, those in the languages named or all.
func blocks(t testing.TB, where string, languages ...string) []block {
	t.Helper()
	var all []block
	for _, m := range fence.FindAllStringSubmatch(section(t, where), -1) {
		if len(languages) == 0 || slices.Contains(languages, m[1]) {
			all = append(all, block{m[1], m[2]})
		}
	}
	if len(all) == 0 {
		t.Fatalf("there is no %v block in %q", languages, where)
	}
	return all
}

// only is the one code block in a language somewhere.
func only(t testing.TB, where, language string) string {
	t.Helper()
	all := blocks(t, where, language)
	if len(all) != 1 {
		t.Fatalf("there are %d %s blocks in %q, not one", len(all), language, where)
	}
	return all[0].text
}

// bash runs a script in dir, with the program and dir in its PATH.
func bash(t testing.TB, dir, script string, env ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+binaries+":"+os.Getenv("PATH"), "HTTP_PROXY=", "http_proxy=", "SIGNALPOST_CONFIG=", "SIGNALPOST_TOKEN=")
	cmd.Env = append(cmd.Env, env...)
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// changing is what differs between one run and the next: ids, ports, times,
// sizes, hashes, and how wide a column is.
var changing = regexp.MustCompile(`(dlv|sig)_\w{26}|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z|\b\d{10}\b|127\.0\.0\.1:\d+|demo-\d+|\d\d:\d\d:\d\d(\.\d+)?|(\d+(\.\d+)?(ms|s|m|h))+\b|\d+(\.\d+)? [KMGT]?i?B\b|\(?\b[0-9a-f]{12}\b\)?|1\.2\.3(-test)?|\s+`)

func mask(line string) string {
	return strings.TrimSpace(changing.ReplaceAllString(line, " "))
}

// transcript replaces each command that a console block shows by one that marks
// where its output begins, and check compares all that was shown with all that
// was printed.
type transcript struct{ want []string }

const mark = "@@ "

func (tr *transcript) script(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if command, ok := strings.CutPrefix(line, "$ "); ok {
			fmt.Fprintf(&b, "echo '%s%d'\n{ %s; } 2>&1 || true\n", mark, len(tr.want), strings.TrimSuffix(command, "\n"))
			tr.want = append(tr.want, "")
			continue
		}
		tr.want[len(tr.want)-1] += line
	}
	return b.String() + "echo '" + mark + "end'\n"
}

func (tr *transcript) check(t *testing.T, out string) {
	t.Helper()
	for i, want := range tr.want {
		_, got, ok := strings.Cut(out, fmt.Sprintf("%s%d\n", mark, i))
		if !ok {
			t.Fatalf("command %d did not run:\n%s", i, out)
		}
		got, _, _ = strings.Cut(got, mark)
		if mask(got) != mask(want) {
			t.Errorf("a command prints\n%s\nthe README shows\n%s", got, want)
		}
	}
}

// TestReadmeQuickStart runs the blocks of the quick start as they are printed, but
// for the ports and for building, and looks at what they print. What they need
// to wait for within a block they wait for themselves, but that the test waits
// until an edit is taken over instead of a second; between two blocks a reader
// looks twice, and the test until a delivery has arrived.
func TestReadmeQuickStart(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink(filepath.Join(binaries, "signalpost"), filepath.Join(dir, "signalpost")); err != nil {
		t.Fatal(err)
	}
	port, receiver := mustFreePort(t), mustFreePort(t)
	var tr transcript
	var script strings.Builder
	edited := regexp.MustCompile(`(' signalpost.toml\n(?:./signalpost try\n)?)sleep 1\n`)
	script.WriteString(`set -eu
trap 'kill $(jobs -p) 2> /dev/null || true; wait' EXIT
taken() { hash=$(sha256sum signalpost.toml | cut -c1-12); until ./signalpost status --json | grep -q "\"hash\": \"$hash\""; do sleep 0.05; done; }
arrived() { until [ "$(./signalpost log --verdict delivered --json | grep -c '"verdict"')" = $1 ]; do sleep 0.05; done; ./signalpost log; }
`)
	for _, b := range blocks(t, "README ## Quick start") {
		if b.language == "console" {
			script.WriteString(tr.script(b.text))
			continue
		}
		text := strings.Replace(b.text, "go build -o signalpost .\n", "", 1)
		text = strings.ReplaceAll(text, "127.0.0.1:8787", "127.0.0.1:"+port)
		text = strings.Replace(text, "./signalpost init slack\n", "./signalpost init slack\nsed -i 's/127.0.0.1:8787/127.0.0.1:"+port+"/; s/127.0.0.1:9000/127.0.0.1:"+receiver+"/' signalpost.toml\n", 1)
		text = strings.Replace(text, "./signalpost listen", "./signalpost listen --addr 127.0.0.1:"+receiver, 1)
		text = edited.ReplaceAllString(text, "${1}taken\n")
		script.WriteString(text)
		switch {
		case strings.Contains(text, "curl "):
			script.WriteString("arrived 1\n")
		case strings.Contains(text, "./signalpost retry "):
			script.WriteString("arrived 2\n")
		}
	}
	script.WriteString("wait || true\necho all has ended\n") // by what the last block kills
	out, err := bash(t, dir, script.String())
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	tr.check(t, out)
	for _, want := range []string{
		"signalpost.toml is written",
		`"deliveries":[{"id":"dlv_`,
		`"text": "*Acme Corp* is ready to talk (92 %)"`,
		"✓ beton", "✓ standard",
		"delivered slack",
		"1 delivery due again",
		"slack  https://hooks.slack.com\n",
		"all has ended\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the quick start does not print %q:\n%s", want, out)
		}
	}
	// It is typed in a clone, and one of the files is a credential.
	if left := leftBehind(t, dir); left != "" {
		t.Errorf("of the quick start git would take up\n%s", left)
	}
}

// leftBehind is what of a folder git would take up if it were a clone.
func leftBehind(t *testing.T, dir string) string {
	t.Helper()
	tool(t, "git")
	ignore, err := os.ReadFile("../../.gitignore")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ".gitignore"), ignore, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := bash(t, dir, "git init -q 2>&1 && git status --porcelain --untracked-files=all")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return strings.Replace(out, "?? .gitignore\n", "", 1)
}

// TestReadmeApp sends a signal as the app does, twice: it is stored once.
func TestReadmeApp(t *testing.T) {
	dir := t.TempDir()
	port := mustFreePort(t)
	post := strings.ReplaceAll(only(t, "README ## The app's side", "sh"), "127.0.0.1:8787", "127.0.0.1:"+port)
	out, err := bash(t, dir, `set -eu
trap 'kill $(jobs -p)' EXIT
signalpost init generic > init
sed -i 's/127.0.0.1:8787/127.0.0.1:'`+port+`'/' signalpost.toml
signalpost run 2> log &
until signalpost health > health 2>&1; do sleep 0.05; done
`+post+post, "EVENT_ID=event-1")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	answers := strings.SplitAfter(out, "}]}")
	if len(answers) != 3 || answers[0] != strings.TrimSpace(answers[1]) || !strings.Contains(answers[0], `"route":"receiver"`) {
		t.Errorf("answered %q", answers)
	}
}

func mustFreePort(t testing.TB) string {
	t.Helper()
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// TestReadmeTranscript runs the demo and compares the shape of what it prints
// with the transcript. What happens at the same time has no order.
func TestReadmeTranscript(t *testing.T) {
	_, want, _ := strings.Cut(blocks(t, "README", "console")[0].text, "\n")
	got, err := bash(t, t.TempDir(), "signalpost demo --once")
	if err != nil {
		t.Fatalf("%v\n%s", err, got)
	}
	shape := func(s string) string {
		var sections []string
		for _, section := range strings.Split(strings.TrimSpace(s), "\n\n") {
			lines := strings.Split(strings.ReplaceAll(section, "\n    ", " "), "\n")
			for i := range lines {
				lines[i] = mask(lines[i])
			}
			slices.Sort(lines[1:])
			sections = append(sections, strings.Join(lines, "\n"))
		}
		return strings.Join(sections, "\n\n")
	}
	if shape(got) != shape(want) {
		t.Errorf("the demo prints\n%s\nthe README shows\n%s", got, want)
	}
}

// outside gives a config of the README what it names: variables, files and
// folders, all of which hold what their name says. The config is written to a folder of
// its own.
func outside(t *testing.T, text string) (path string) {
	t.Helper()
	dir := t.TempDir()
	value := func(name string) string {
		switch {
		case strings.Contains(strings.ToLower(name), "url"):
			return "https://hooks.example.com/from/" + filepath.Base(name)
		case strings.HasSuffix(name, ".creds"):
			return "-----BEGIN NATS USER JWT-----\nx\n------END NATS USER JWT------\n-----BEGIN USER NKEY SEED-----\nx\n------END USER NKEY SEED------"
		case strings.Contains(name, "whsk"):
			return "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="
		case strings.Contains(strings.ToLower(name), "secret"):
			return "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
		}
		return "value-of-" + filepath.Base(name)
	}
	for _, m := range regexp.MustCompile(`env = "(\w+)"`).FindAllStringSubmatch(text, -1) {
		t.Setenv(m[1], value(m[1]))
	}
	for _, m := range regexp.MustCompile(`\bfile = "([^"]+)"`).FindAllStringSubmatch(text, -1) {
		name := filepath.Join(dir, m[1]) // absolute ones too
		text = strings.ReplaceAll(text, `"`+m[1]+`"`, `"`+name+`"`)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, []byte(value(m[1])+"\n"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range regexp.MustCompile(`\bca_file = "([^"]+)"`).FindAllStringSubmatch(text, -1) {
		name := filepath.Join(dir, m[1])
		text = strings.ReplaceAll(text, `"`+m[1]+`"`, `"`+name+`"`)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		writeCA(t, name)
	}
	path = filepath.Join(dir, "signalpost.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestReadmeConfigs loads every fragment.
func TestReadmeConfigs(t *testing.T) {
	for _, b := range blocks(t, "", "toml") {
		if strings.Contains(b.text, "[[test]]") {
			continue // TestRehearsalTests runs them
		}
		if !strings.Contains(b.text, "[[route]]") {
			t.Errorf("a fragment without a route loads nowhere:\n%s", b.text)
		}
		if _, err := config.Load(t.Context(), outside(t, b.text)); err != nil {
			t.Errorf("%v\n%s", err, b.text)
		}
	}
}

// TestReadmeRecipes tries every recipe with the signal, and compares the
// bodies with those shown.
func TestReadmeRecipes(t *testing.T) {
	all := blocks(t, "recipes")
	signal := all[0].text
	if signal != cliSample(t) {
		t.Error("the signal shown is not the one that try takes")
	}
	fresh := regexp.MustCompile(`sig_\w{26}|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)
	var names []string
	for i := 1; i+1 < len(all); i += 2 {
		if all[i].language != "toml" || all[i+1].language != "json" {
			t.Fatalf("a recipe is a config and what comes of it; found %s and %s:\n%s", all[i].language, all[i+1].language, all[i].text)
		}
		cfg, err := config.Load(t.Context(), outside(t, all[i].text))
		if err != nil {
			t.Fatal(err)
		}
		trials, err := proxy.Try(t.Context(), cfg, "test", []byte(signal), "")
		if err != nil || len(trials) != 1 || trials[0].Error != nil {
			t.Fatalf("%v, %+v", err, trials)
		}
		names = append(names, trials[0].Route)
		var want []string
		for d := json.NewDecoder(strings.NewReader(all[i+1].text)); ; {
			var body json.RawMessage
			if err := d.Decode(&body); err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			want = append(want, canonical(t, body))
		}
		var got []string
		for _, body := range trials[0].Bodies {
			masked := fresh.ReplaceAllStringFunc(string(body), func(s string) string {
				switch {
				case strings.Contains(signal, s):
					return s
				case strings.HasPrefix(s, "sig_"):
					return "sig_…"
				}
				return "…"
			})
			got = append(got, canonical(t, []byte(masked)))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s makes\n%s\nthe README shows\n%s", trials[0].Route, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	if want := "slack n8n zapier make function warehouse crm"; strings.Join(names, " ") != want {
		t.Errorf("there are recipes for %v, want %s", names, want)
	}
}

// TestReadmeDifferences: what the README says of gojq is what package
// transform says, whose tests prove it.
func TestReadmeDifferences(t *testing.T) {
	doc, err := os.ReadFile("../../transform/doc.go")
	if err != nil {
		t.Fatal(err)
	}
	listed := ""
	for _, m := range regexp.MustCompile(`(?m)^//\t(.*\n)`).FindAllStringSubmatch(string(doc), -1) {
		listed += m[1]
	}
	if shown := only(t, "expressions ## How it differs from gojq", "text"); shown != listed {
		t.Errorf("the README lists\n%s\ntransform/doc.go\n%s", shown, listed)
	}
}

// TestReadmeJq: each expression comes to what the documentation says.
func TestReadmeJq(t *testing.T) {
	for line := range strings.Lines(only(t, "expressions ## How it differs from jq", "text")) {
		columns := regexp.MustCompile(` {2,}`).Split(line, 3)
		src, want := columns[0], columns[1]
		got := "compile"
		if p, err := transform.Compile(src); err == nil {
			got = "failed"
			if results, err := p.Shape(nil, nil, transform.Vars{}); err == nil {
				got = string(bytes.Join(results, []byte("\n")))
			}
		}
		if got != want {
			t.Errorf("%s comes to %s, not %s", src, got, want)
		}
	}
}

// cliSample is the sample signal of the program.
func cliSample(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../cli/sample.json")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func canonical(t *testing.T, body []byte) string {
	t.Helper()
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestReadmeFault shows the fault that the README shows.
func TestReadmeFault(t *testing.T) {
	dir := t.TempDir()
	text := strings.Repeat("\n", 10) + "[[route]]\nname = \"crm\"\nurl = \"https://crm.example.com\"\ntimout = \"3s\"\n"
	if err := os.WriteFile(filepath.Join(dir, "signalpost.toml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var tr transcript
	out, err := bash(t, dir, tr.script(only(t, "README ## The config, a fragment at a time", "console")))
	if err != nil {
		t.Fatal(err)
	}
	tr.check(t, out)
}

// TestReadmeRunbook types what one types when a delivery did not arrive.
func TestReadmeRunbook(t *testing.T) {
	dir := t.TempDir()
	port, good, gone := mustFreePort(t), mustFreePort(t), mustFreePort(t)
	text := fmt.Sprintf(`[server]
listen = "127.0.0.1:%s"
[[route]]
name = "slack"
url = "http://127.0.0.1:%s"
[[route]]
name = "crm"
url = "http://127.0.0.1:%s"
`, port, good, gone)
	if err := os.WriteFile(filepath.Join(dir, "signalpost.toml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var tr transcript
	out, err := bash(t, dir, `set -eu
trap 'kill $(jobs -p)' EXIT
signalpost run 2> log &
signalpost listen --addr 127.0.0.1:`+good+` > good &
signalpost listen --addr 127.0.0.1:`+gone+` --status 410 > gone &
until grep -q listening good && grep -q listening gone && signalpost health; do sleep 0.05; done 2>/dev/null
signalpost send; signalpost send
until [ "$(grep -c '"verdict":"delivered"' log) $(grep -c '"msg":"delivery given up' log)" = "2 2" ]; do sleep 0.05; done
`+tr.script(only(t, "operating ## A delivery did not arrive", "console")))
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	tr.check(t, out)
}

// TestReadmeIsComplete: every key, endpoint, parameter and key of a log line is
// named. Commands and metrics are in reference_test.go.
func TestReadmeIsComplete(t *testing.T) {
	names := func(page, kind, name string) {
		t.Helper()
		if !regexp.MustCompile("`[^`]*" + regexp.QuoteMeta(name) + `([^\w-][^` + "`]*)?`").MatchString(section(t, page)) {
			t.Errorf("%q does not name the %s %s", page, kind, name)
		}
	}
	read := func(path string) string {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}

	// The example names every key of the schema: config's own test sees to that.
	keys := regexp.MustCompile(`(?m)(?:^(?:# )?|[{,] )(\w+) += `).FindAllStringSubmatch(read("../../config.example.toml"), -1)
	for _, m := range keys {
		if m[1] != "env" && m[1] != "file" && m[1] != "audience" { // which are no keys of ours
			names("config", "key", m[1])
		}
	}

	document, err := front.Document("test")
	if err != nil {
		t.Fatal(err)
	}
	var described struct {
		Paths map[string]map[string]struct {
			Parameters []struct{ Name string }
		}
	}
	if err := json.Unmarshal(document, &described); err != nil {
		t.Fatal(err)
	}
	endpoints, parameters := 0, 0
	for path, methods := range described.Paths {
		for method, endpoint := range methods {
			names("http", "endpoint", strings.ToUpper(method)+" "+path)
			endpoints++
			for _, p := range endpoint.Parameters {
				if p.Name != "If-None-Match" { // said by ETag
					names("http", "parameter", p.Name)
				}
				parameters++
			}
		}
	}
	if endpoints < 16 || parameters < 10 {
		t.Errorf("found %d endpoints and %d parameters", endpoints, parameters)
	}
	for _, name := range []string{"GET /", "GET /assets/"} {
		names("http", "endpoint", name)
	}

	_, log := scrape(t, t.TempDir())
	for line := range strings.Lines(log) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		for key := range entry {
			names("logs", "key of a log line", key)
		}
	}
}

// scrape runs a sidecar in dir through a delivery that arrives, one that does not, an
// expression that fails and a reload that does, and returns its metrics and
// its log.
func scrape(t *testing.T, dir string) (metrics, log string) {
	t.Helper()
	port, receiver := mustFreePort(t), mustFreePort(t)
	text := fmt.Sprintf(`[server]
listen = "127.0.0.1:%s"
[log]
format = "json"
[[route]]
name = "good"
url = "http://127.0.0.1:%s"
[[route]]
name = "refused"
url = "http://127.0.0.1:1"
retry = { attempts = 1 }
[[route]]
name = "broken"
url = "http://127.0.0.1:%s"
transform = "error"
`, port, receiver, receiver)
	if err := os.WriteFile(filepath.Join(dir, "signalpost.toml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := bash(t, dir, `set -eu
trap 'kill $(jobs -p)' EXIT
signalpost run 2> log &
signalpost listen --addr 127.0.0.1:`+receiver+` > receiver &
until grep -q listening receiver && signalpost health > health; do sleep 0.05; done 2>/dev/null
signalpost send > sent
until grep -q '"msg":"delivered"' log && grep -q '"msg":"delivery given up' log; do sleep 0.05; done 2>/dev/null
echo '[' >> signalpost.toml
until grep -q 'not reloaded' log; do sleep 0.05; done 2>/dev/null
curl -sS http://127.0.0.1:`+port+`/metrics
`)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b, err := os.ReadFile(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	return out, string(b)
}

// What a log command of the README picks are lines that there are.
func TestReadmeLogs(t *testing.T) {
	script := only(t, "logs", "sh")
	_, log := scrape(t, t.TempDir())
	_, filter, ok := strings.Cut(script, "2>&1 | ")
	if !ok {
		t.Fatalf("log lines go to standard error: %s", script)
	}
	cmd := exec.Command("bash", "-c", filter)
	cmd.Stdin = strings.NewReader(log)
	out, err := cmd.Output()
	if err != nil || bytes.Count(out, []byte("\n")) == 0 {
		t.Errorf("%v: it picks %q of\n%s", err, out, log)
	}
}

// TestReadmeLinks: links lead to headings and files that there are, and the README
// to every page.
func TestReadmeLinks(t *testing.T) {
	anchors := map[string]bool{} // file#heading
	file := func(page string) string {
		if page == "README" {
			return "README.md"
		}
		return "proxy/docs/" + page + ".md"
	}
	for page, text := range pages {
		for _, m := range regexp.MustCompile(`(?m)^##+ (.+)$`).FindAllStringSubmatch(text, -1) {
			anchors[file(page)+"#"+strings.ReplaceAll(regexp.MustCompile(`[^\w -]`).ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-")] = true
		}
	}
	for page, text := range pages {
		for _, m := range regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(text, -1) {
			link := m[1]
			if strings.HasPrefix(link, "https://") {
				continue
			}
			path, heading, _ := strings.Cut(link, "#")
			if path = filepath.Join(filepath.Dir(file(page)), path); strings.HasPrefix(link, "#") {
				path = file(page)
			}
			if _, err := os.Stat(filepath.Join("../..", path)); err != nil {
				t.Errorf("%s links to %s: %v", page, link, err)
			}
			if heading != "" && !anchors[path+"#"+heading] {
				t.Errorf("%s links to %s: there is no such heading", page, link)
			}
		}
		if !strings.Contains(pages["README"], "("+file(page)+")") && page != "README" {
			t.Errorf("the README does not link to the page %s", page)
		}
	}
}

// TestReadmeIsShort: whoever starts reads all of it.
func TestReadmeIsShort(t *testing.T) {
	if lines := strings.Count(pages["README"], "\n"); lines > 400 {
		t.Errorf("the README has %d lines; 400 at most, the rest goes to the pages", lines)
	}
}

// TestReadmeHelp: the program prints each page, and names it in its help.
func TestReadmeHelp(t *testing.T) {
	help, err := bash(t, t.TempDir(), "signalpost help")
	if err != nil {
		t.Fatal(err)
	}
	for _, topic := range docs.Topics() {
		if out, err := bash(t, t.TempDir(), "signalpost help "+topic.Name); err != nil || !strings.HasSuffix(out, topic.Text) { // behind the help of a command of that name
			t.Errorf("help %s: %v\n%s", topic.Name, err, out)
		}
		if !regexp.MustCompile(`(?m)^  ` + topic.Name + ` +\S.{10,66}$`).MatchString(help) {
			t.Errorf("help does not list %s, or says in too few or too many words what it is about:\n%s", topic.Name, help)
		}
	}
}

// writeCA writes the certificate of an authority that signs nothing.
func writeCA(t *testing.T, path string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// The commands that measure what the README says it costs do so.
func TestReadmeCosts(t *testing.T) {
	t.Parallel()
	script := strings.Replace(only(t, "README ### What it costs", "sh"), "-count 5", "-benchtime 1x", 1)
	out, err := bash(t, "../..", "set -e\n"+script, "SIGNALPOST_BACKLOG=2000", "GOFLAGS="+os.Getenv("GOFLAGS")+" -vet=off")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{
		"BenchmarkAccept/nethttp", "BenchmarkAccept/signalpost", "BenchmarkThrough/nethttp", "BenchmarkThrough/signalpost",
		"signals/s", "MB-at-most", "last/first", "ms-to-first", "stored/accepted",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("nothing of %s:\n%s", want, out)
		}
	}
}
