//go:build !race

// The programs run here are built without the race detector: once is enough.

package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var fileOf = regexp.MustCompile(`^# (\S+\.toml)\n`)

// TestRehearsalTests runs what the page shows of tests, with nothing but the
// binary and the two files.
func TestRehearsalTests(t *testing.T) {
	dir := t.TempDir()
	var tr transcript
	script := ""
	for _, b := range blocks(t, "rehearsal ## Tests") {
		if b.language == "console" {
			script += tr.script(b.text)
		} else if err := os.WriteFile(filepath.Join(dir, fileOf.FindStringSubmatch(b.text)[1]), []byte(b.text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := bash(t, dir, script)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	tr.check(t, out)
	for _, key := range []string{"name", "signal", "signal_json", "type", "expect", "expect_json", "expect_error", "partial"} {
		if !strings.Contains(section(t, "rehearsal ## Tests"), key) {
			t.Errorf("the page does not name the key %s", key)
		}
	}
}

// TestRehearsalPlan plans what the page shows, by a sidecar that has got the signals
// that the page shows.
func TestRehearsalPlan(t *testing.T) {
	dir, port := t.TempDir(), mustFreePort(t)
	for _, b := range append(blocks(t, "rehearsal ## Tests", "toml"), blocks(t, "rehearsal ## Plan", "toml")...) {
		name, text := fileOf.FindStringSubmatch(b.text)[1], b.text
		if name == "signalpost.toml" { // its receiver needs not be there
			text = "[server]\nlisten = \"127.0.0.1:" + port + "\"\n" + strings.Replace(text, "transform", "paused = true\ntransform", 1)
		}
		if name == "new.toml" {
			text += "paused = true\n"
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var tr transcript
	script := `set -eu
trap 'kill $(jobs -p)' EXIT
CRM_URL=https://crm.example.com/hooks CRM_SECRET=whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw signalpost run 2> log &
until signalpost health > health 2>&1; do sleep 0.05; done
signalpost send --ndjson - > sent <<'END'
` + only(t, "rehearsal ## Plan", "ndjson") + "END\n" + tr.script(only(t, "rehearsal ## Plan", "console"))
	out, err := bash(t, dir, script)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	tr.check(t, out)
}
