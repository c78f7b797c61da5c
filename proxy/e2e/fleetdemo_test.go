//go:build !race

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"signalpost/proxy/fleet/natstest"
)

// TestFleetDemo: what a killed sidecar took arrives, nothing is left behind, and
// without nats-server it says how to get one.
func TestFleetDemo(t *testing.T) {
	t.Parallel()
	bin, scratch := t.TempDir(), t.TempDir()
	demo := func() (string, error) {
		c := exec.CommandContext(t.Context(), filepath.Join(binaries, "signalpost"), "demo", "--fleet", "--once")
		c.Env = []string{"PATH=" + bin, "TMPDIR=" + scratch, "HOME=" + scratch}
		out, err := c.CombinedOutput()
		return string(out), err
	}
	if out, err := demo(); err == nil || !strings.Contains(out, "go install github.com/nats-io/nats-server/v2@latest") {
		t.Errorf("without nats-server: %v\n%s", err, out)
	}
	if err := os.Symlink(natstest.Server(t), filepath.Join(bin, "nats-server")); err != nil {
		t.Fatal(err)
	}
	out, err := demo()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"Sidecar 3 is killed", "30 of 30 arrived", ", 3 ledgers", "adopted", "✓ 30 deliveries, none lost, every signature right."} {
		if !strings.Contains(out, want) {
			t.Errorf("lacks %q", want)
		}
	}
	if left, _ := os.ReadDir(scratch); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if t.Failed() {
		t.Log(out)
	}
}
