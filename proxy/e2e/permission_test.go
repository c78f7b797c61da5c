package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A config that its process may not read is an error that names the user and
// what to do: init writes 0600, which the user of a container cannot read.
func TestConfigOfSomebodyElse(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "signalpost.toml")
	text := strings.NewReplacer("$PORT", "8787", "$RECEIVER", "9000").Replace(oneRoute) // neither is used
	err := os.WriteFile(config, []byte(text), 0o600)
	for _, folder := range []string{binaries, dir, filepath.Dir(dir)} { // what that user must see
		err = errors.Join(err, os.Chmod(folder, 0o755))
	}
	if err != nil {
		t.Fatal(err)
	}
	uid := os.Getuid()
	cmd := exec.Command(filepath.Join(binaries, "signalpost"), "run", "--config", "signalpost.toml")
	cmd.Dir = dir
	if uid == 0 {
		uid = 65532
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65532, Gid: 65532}}
	} else if err := os.Chmod(config, 0); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.CombinedOutput()
	want := fmt.Sprintf("config signalpost.toml: cannot be read: permission denied: this process is user %d: make the file and its folders readable to it (chown, chmod)", uid)
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), want) {
		t.Errorf("%v: %s\nwant %s", err, out, want)
	}

	// One that it may read, whose store it cannot make.
	if err := errors.Join(os.Chmod(config, 0o644), os.Chmod(dir, 0o555)); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(dir, 0o755)
	again := exec.Command(cmd.Path, cmd.Args[1:]...)
	again.Dir, again.SysProcAttr = cmd.Dir, cmd.SysProcAttr
	out, err = again.CombinedOutput()
	if want := fmt.Sprintf("cannot make the folder: permission denied; queue.path must be a folder that user %d", uid); err == nil || !strings.Contains(string(out), want) {
		t.Errorf("%v: %s\nwant %s", err, out, want)
	}
}
