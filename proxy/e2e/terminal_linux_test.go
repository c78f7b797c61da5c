//go:build !race

package e2e

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"signalpost/proxy/term"
)

// onTerminal runs the program in a folder on a terminal of so many columns and
// 24 rows, and returns what it shows.
func onTerminal(t *testing.T, dir string, columns uint16, env []string, args ...string) string {
	t.Helper()
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	fd := int(terminal.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	side, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(binaries, "signalpost"), args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.Env = dir, side, side, append(append(os.Environ(), "TERM=xterm", "NO_COLOR="), env...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	side.Close()
	out, _ := io.ReadAll(terminal) // which ends with an error when nobody writes any more
	cmd.Wait()
	return strings.ReplaceAll(string(out), "\r\n", "\n")
}

var shading = regexp.MustCompile("\x1b\\[[0-9;]*m")

// TestTerminal looks at a sidecar with long names and a route that is refused: on
// a terminal all fits, names stay different, and colour is used unless NO_COLOR says not.
func TestTerminal(t *testing.T) {
	dir := t.TempDir()
	port, good, refusing := mustFreePort(t), mustFreePort(t), mustFreePort(t)
	long := strings.Repeat("partner-", 7)
	config := fmt.Sprintf("[server]\nlisten = \"127.0.0.1:%s\"\n", port)
	for name, to := range map[string]string{long + "europe1": good, long + "europe2": refusing} {
		config += fmt.Sprintf("[[route]]\nname = %q\nurl = \"http://127.0.0.1:%s/\"\nretry = { attempts = 9, first = \"50ms\", window = \"10s\" }\n", name, to)
	}
	if err := os.WriteFile(filepath.Join(dir, "signalpost.toml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	script := exec.Command("bash", "-c", `
signalpost listen --addr 127.0.0.1:`+good+` > good &
signalpost listen --addr 127.0.0.1:`+refusing+` --status 401 > refusing &
exec signalpost run 2> log`)
	script.Dir, script.Env = dir, append(os.Environ(), "PATH="+binaries+":"+os.Getenv("PATH"))
	script.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	if err := script.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.Kill(-script.Process.Pid, unix.SIGTERM)
		script.Wait()
	})
	out, err := bash(t, dir, `until signalpost health; do sleep 0.05; done 2>/dev/null
signalpost send > /dev/null; signalpost send > /dev/null
until signalpost status | grep -q refused; do sleep 0.05; done`)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, args := range [][]string{{"run", "--config", "missing.toml"}, {"run"}} { // whose store is in use
		shown := onTerminal(t, dir, 80, nil, args...)
		if lines := strings.Split(strings.TrimSpace(shown), "\n"); len(lines) < 2 || term.Width(lines[0]) > 80 || !strings.HasPrefix(lines[1], "  ") {
			t.Errorf("an error on a terminal of 80 columns:\n%s", shown)
		}
	}
	for _, columns := range []uint16{80, 120} {
		for _, args := range []string{"status", "log", "stats", "check"} {
			shown := onTerminal(t, dir, columns, nil, args)
			plain := onTerminal(t, dir, columns, []string{"NO_COLOR=1"}, args)
			t.Logf("%d columns: signalpost %s\n%s", columns, args, plain)
			if !shading.MatchString(shown) || strings.Contains(plain, "\x1b") {
				t.Errorf("%d columns: %s: no colour, or with NO_COLOR:\n%q\n%q", columns, args, shown, plain)
			}
			for _, text := range []string{shading.ReplaceAllString(shown, ""), plain} {
				names := map[string]bool{}
				for line := range strings.Lines(text) {
					if n := term.Width(strings.TrimSuffix(line, "\n")); n > int(columns) && !strings.Contains(line, long) {
						t.Errorf("%d columns: %s: a line of %d: %s", columns, args, n, line)
					}
					for _, name := range regexp.MustCompile(`partner-[^ ]*…[^ ]*`).FindAllString(line, -1) {
						names[name] = true
					}
				}
				if args != "check" && len(names) == 1 {
					t.Errorf("%d columns: %s: names are cut to the same text:\n%s", columns, args, text)
				}
			}
		}
	}
}
