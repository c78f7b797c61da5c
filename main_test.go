package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestServiceManager is systemd to the binary: it is told of each turn of life.
func TestServiceManager(t *testing.T) {
	dir := t.TempDir()
	bin := filepath.Join(dir, "signalpost")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	if err := os.WriteFile(filepath.Join(dir, "signalpost.toml"), []byte("[server]\nlisten = \"127.0.0.1:0\"\n[[route]]\nname = \"crm\"\nurl = \"http://127.0.0.1:9\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	socket.SetReadDeadline(time.Now().Add(3 * time.Minute))
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
