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
	for _, key := range []string{"name", "signal", "signal_json", "expect", "expect_json", "expect_error", "partial"} {
		if !strings.Contains(section(t, "rehearsal ## Tests"), key) {
			t.Errorf("the page does not name the key %s", key)
		}
	}
}
