package main

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"signalpost/proxy/config"
)

// The README is a promise: what it shows is run here.

func readme(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// blocks are the README's code blocks in a language, below a heading if one is named.
func blocks(t *testing.T, language, below string) []string {
	t.Helper()
	text := readme(t)
	if below != "" {
		_, rest, ok := strings.Cut(text, "\n## "+below+"\n")
		if !ok {
			t.Fatalf("README has no section %q", below)
		}
		text, _, _ = strings.Cut(rest, "\n## ")
	}
	var all []string
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
		all = append(all, m[1])
	}
	if len(all) == 0 {
		t.Fatalf("README has no %s block below %q", language, below)
	}
	return all
}

// binary builds the program once a test.
func binary(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "signalpost")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// TestReadmeQuickStart runs the commands of the quick start as they are
// printed, but for the ports and for building, and looks at what they print.
func TestReadmeQuickStart(t *testing.T) {
	bin := binary(t)
	dir := filepath.Dir(bin)
	script := strings.Join(blocks(t, "sh", "Quick start"), "\n")
	script = strings.Replace(script, "go build -o signalpost .\n", "", 1)
	script = strings.ReplaceAll(script, "127.0.0.1:9000", "127.0.0.1:"+freePort(t))
	port := freePort(t)
	script = strings.ReplaceAll(script, "127.0.0.1:8787", "127.0.0.1:"+port)
	script = strings.Replace(script, "<<'EOF'\n", "<<'EOF'\n[server]\nlisten = \"127.0.0.1:"+port+"\"\n", 1)
	// What a reader does by looking twice, a script does by waiting.
	script = strings.Replace(script, "./signalpost log\n", "until ./signalpost log | grep -q delivered; do sleep 0.05; done; ./signalpost log\n", 1)
	script = "set -eu\ntrap 'kill $(jobs -p)' EXIT\n" + script
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HTTP_PROXY=", "http_proxy=")
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{
		"is valid",
		`"deliveries":[{"id":"dlv_`,
		`"company": "Acme Corp"`,
		"beton", "standard",
		"delivered crm",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the quick start does not print %q:\n%s", want, out)
		}
	}
}

// TestReadmeTranscript runs the demo and compares the shape of what it prints
// with the transcript: ids, times and ports differ, and the order of what
// happens at the same time.
func TestReadmeTranscript(t *testing.T) {
	want := strings.SplitN(blocks(t, "console", "")[0], "\n", 2)[1]
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, binary(t), "demo", "--once").Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if shape(string(out)) != shape(want) {
		t.Errorf("the demo prints\n%s\nthe README shows\n%s", out, want)
	}
}

var changing = regexp.MustCompile(`dlv_\w{26}|127\.0\.0\.1:\d+|demo-\d+|\d\d:\d\d:\d\d|\d+(\.\d+)?ms|\s+`)

func shape(s string) string {
	var sections []string
	for _, section := range strings.Split(strings.TrimSpace(s), "\n\n") {
		lines := strings.Split(strings.ReplaceAll(section, "\n    ", " "), "\n")
		for i, l := range lines {
			lines[i] = strings.TrimSpace(changing.ReplaceAllString(l, " "))
		}
		head, rest := lines[0], lines[1:]
		slices.Sort(rest)
		sections = append(sections, head+"\n"+strings.Join(rest, "\n"))
	}
	return strings.Join(sections, "\n\n")
}

// TestReadmeConfigs loads every fragment.
func TestReadmeConfigs(t *testing.T) {
	for _, fragment := range blocks(t, "toml", "") {
		if !strings.Contains(fragment, "[[route]]") {
			t.Errorf("a fragment without a route loads nowhere:\n%s", fragment)
		}
		path := filepath.Join(t.TempDir(), "signalpost.toml")
		if err := os.WriteFile(path, []byte(fragment), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := config.Load(path); err != nil {
			t.Errorf("%v\n%s", err, fragment)
		}
	}
}

// TestReadmeFault shows the fault that the README shows.
func TestReadmeFault(t *testing.T) {
	dir := t.TempDir()
	text := strings.Repeat("\n", 10) + "[[route]]\nname = \"crm\"\nurl = \"https://crm.example.com\"\ntimout = \"3s\"\n"
	if err := os.WriteFile(filepath.Join(dir, "signalpost.toml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary(t), "check")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != exitFailed {
		t.Fatalf("check of a faulty file: %v\n%s", err, out)
	}
	if want := strings.SplitN(blocks(t, "console", "The config, a fragment at a time")[0], "\n", 2)[1]; string(out) != want {
		t.Errorf("check prints\n%s\nthe README shows\n%s", out, want)
	}
}

// TestReadmeIsComplete: every command and metric is named.
func TestReadmeIsComplete(t *testing.T) {
	text := readme(t)
	out, err := exec.Command(binary(t), "__complete", "").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(out), "\n") {
		name, _, ok := strings.Cut(line, "\t")
		if ok && name != "help" && name != "completion" && !strings.Contains(text, "`"+name) {
			t.Errorf("README does not name the command %q", name)
		}
	}
	source, err := os.ReadFile("proxy/metrics.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`signalpost_[a-z_]+`).FindAllString(string(source), -1) {
		if !strings.Contains(text, "`"+m+"`") {
			t.Errorf("README does not name the metric %s", m)
		}
	}
}

// TestServiceManager is systemd to the binary: it is told of each turn of life.
func TestServiceManager(t *testing.T) {
	bin := binary(t)
	dir := filepath.Dir(bin)
	if err := os.WriteFile(filepath.Join(dir, "signalpost.toml"), []byte("[server]\nlisten = \"127.0.0.1:0\"\n[[route]]\nname = \"crm\"\nurl = \"http://127.0.0.1:9\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	socket.SetReadDeadline(time.Now().Add(time.Minute))
	told := func(want string) {
		t.Helper()
		b := make([]byte, 4096)
		n, err := socket.Read(b)
		if err != nil {
			t.Fatalf("waiting for %s: %v", want, err)
		}
		if got := strings.TrimRight(string(b[:n]), "\n"); !regexp.MustCompile("^" + want + "$").MatchString(got) {
			t.Fatalf("told %q, want %q", got, want)
		}
	}
	cmd := exec.Command(bin, "run")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+filepath.Join(dir, "notify"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	told(`READY=1\nSTATUS=Listening on 127\.0\.0\.1:\d+`)
	cmd.Process.Signal(syscall.SIGHUP)
	told(`RELOADING=1\nMONOTONIC_USEC=\d+`)
	told(`READY=1`)
	cmd.Process.Signal(syscall.SIGTERM)
	told(`STOPPING=1\nSTATUS=.+`)
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
}
