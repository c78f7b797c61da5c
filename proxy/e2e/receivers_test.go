//go:build !race

// The programs run here are built without the race detector: once is enough.

package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signalpost/proxy/sign"
)

const (
	routeSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	nextSecret  = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
	plainSecret = "a secret as it is written"
	signedBody  = `{"company":"Grüße & Söhne","id":12345678901234567890,"n":1.0}`
)

// tool is the path of a program that a test needs. Where CI is set it must be
// there.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil && os.Getenv("CI") != "" {
		t.Fatalf("CI is set, and %v", err)
	} else if err != nil {
		t.Skip(err)
	}
	return path
}

// signed are the headers of a delivery that left at a time.
func signed(t *testing.T, at time.Time, secrets ...string) http.Header {
	t.Helper()
	s, err := sign.New([]string{"beton", "standard"}, secrets)
	if err != nil {
		t.Fatal(err)
	}
	h := http.Header{}
	s.Sign(h, sign.Message{ID: "dlv_01M86Y31S439RB04TTWYWF0001", Type: "t", Time: at, Body: []byte(signedBody)})
	h.Set("webhook-id", "dlv_01M86Y31S439RB04TTWYWF0001")
	h.Set("webhook-timestamp", fmt.Sprint(at.Unix()))
	return h
}

// TestReadmeReceivers runs the receivers of the documentation as they are printed, but for
// the port. They take what a real sidecar delivers, and what sign signs, and
// nothing else.
func TestReadmeReceivers(t *testing.T) {
	now := time.Now()
	with := func(h http.Header, name, value string) http.Header {
		h = h.Clone()
		h.Set(name, value)
		return h
	}
	good := signed(t, now, routeSecret)
	signature := good.Get("webhook-signature")
	cases := []struct {
		name string
		head http.Header
		body string
		want int
	}{
		{"signed", good, signedBody, 204},
		{"rotated, ours the second", signed(t, now, nextSecret, routeSecret), signedBody, 204},
		{"rotated, ours the first", signed(t, now, routeSecret, nextSecret), signedBody, 204},
		{"four minutes old", signed(t, now.Add(-4*time.Minute), routeSecret), signedBody, 204},
		{"ten minutes old", signed(t, now.Add(-10*time.Minute), routeSecret), signedBody, 401},
		{"ten minutes ahead", signed(t, now.Add(10*time.Minute), routeSecret), signedBody, 401},
		{"another secret", signed(t, now, nextSecret), signedBody, 401},
		{"another body", good, strings.Replace(signedBody, "1.0", "1", 1), 401},
		{"another id", with(good, "webhook-id", "dlv_0"), signedBody, 401},
		{"an old signature with a new time", with(signed(t, now.Add(-10*time.Minute), routeSecret), "webhook-timestamp", fmt.Sprint(now.Unix())), signedBody, 401},
		{"no time", with(good, "webhook-timestamp", ""), signedBody, 401},
		{"no number", with(good, "webhook-timestamp", "²"), signedBody, 401},
		{"no signature", with(good, "webhook-signature", ""), signedBody, 401},
		{"a signature cut short", with(good, "webhook-signature", signature[:len(signature)-4]), signedBody, 401},
		{"the version alone", with(good, "webhook-signature", "v1,"), signedBody, 401},
		{"no base64", with(good, "webhook-signature", "v1,§§§"), signedBody, 401},
		{"no header", http.Header{}, signedBody, 401},
	}
	for _, tt := range []struct{ language, program, file string }{
		{"js", "node", "receiver.mjs"},
		{"python", "python3", "receiver.py"},
		{"go", "go", "receiver.go"},
	} {
		t.Run(tt.language, func(t *testing.T) {
			program := tool(t, tt.program)
			dir := t.TempDir()
			port := mustFreePort(t)
			text := only(t, "verifying", tt.language)
			if n := strings.Count(text, "9000"); n != 1 {
				t.Fatalf("the port is named %d times", n)
			}
			if err := os.WriteFile(filepath.Join(dir, tt.file), []byte(strings.Replace(text, "9000", port, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			args := []string{tt.file}
			if tt.language == "go" {
				out, err := exec.Command(program, "build", "-o", filepath.Join(dir, "receiver"), filepath.Join(dir, tt.file)).CombinedOutput()
				if err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
				program, args = filepath.Join(dir, "receiver"), nil
			}
			for _, secret := range []string{routeSecret, plainSecret} {
				out := serve(t, dir, port, secret, program, args...)
				if secret == plainSecret {
					answers(t, port, signed(t, now, plainSecret), signedBody, 204, "a plain secret")
					answers(t, port, good, signedBody, 401, "another secret")
					out()
					continue
				}
				for _, c := range cases {
					answers(t, port, c.head, c.body, c.want, c.name)
				}
				deliverTo(t, port)
				if printed := out(); strings.Count(printed, "dlv_") < 5 || !strings.Contains(printed, "Acme Corp") {
					t.Errorf("it prints %s", printed)
				}
			}
		})
	}
}

// serve runs a receiver until the function it returns, which gives what was
// printed, is called.
func serve(t *testing.T, dir, port, secret, program string, args ...string) (stop func() string) {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "SIGNALPOST_SECRET="+secret)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	stop = func() string {
		if !ended {
			ended = true
			cmd.Process.Kill()
			cmd.Wait()
		}
		return out.String()
	}
	t.Cleanup(func() { stop() })
	if !wait(func() bool {
		c, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			c.Close()
		}
		return err == nil
	}) {
		t.Fatalf("it does not listen: %s", stop())
	}
	return stop
}

// answers posts, and checks the answer's status.
func answers(t *testing.T, port string, head http.Header, body string, want int, name string) {
	t.Helper()
	req, err := http.NewRequest("POST", "http://127.0.0.1:"+port+"/", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = head.Clone()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	resp.Body.Close()
	if resp.StatusCode != want {
		t.Errorf("%s: answered %d, want %d", name, resp.StatusCode, want)
	}
}

// deliverTo has a sidecar deliver to a receiver, by a secret that is not the only one.
func deliverTo(t *testing.T, receiver string) {
	t.Helper()
	dir := t.TempDir()
	text := fmt.Sprintf("[server]\nlisten = \"127.0.0.1:%s\"\n[[route]]\nname = \"one\"\nurl = \"http://127.0.0.1:%s/\"\nsecrets = [%q, %q]\n",
		mustFreePort(t), receiver, nextSecret, routeSecret)
	if err := os.WriteFile(filepath.Join(dir, "signalpost.toml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := bash(t, dir, `set -eu
trap 'kill $(jobs -p)' EXIT
signalpost run 2> log &
until signalpost health; do sleep 0.05; done
signalpost send
until grep -q '"attempt":1' log; do sleep 0.05; done 2>/dev/null
grep -q '"status":204.*"verdict":"delivered"' log || cat log`)
	if err != nil || strings.Contains(out, `"attempt":1`) {
		t.Errorf("%v: what a sidecar delivers is not taken:\n%s", err, out)
	}
}

// TestReadmeOpenssl runs the commands of the documentation, which print the two
// signatures.
func TestReadmeOpenssl(t *testing.T) {
	tool(t, "openssl")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "body.json"), []byte(signedBody), 0o600); err != nil {
		t.Fatal(err)
	}
	h := signed(t, time.Now(), routeSecret)
	out, err := bash(t, dir, "set -eu\n"+blocks(t, "verifying", "sh")[0].text,
		"SECRET="+routeSecret, "ID="+h.Get("webhook-id"), "TIMESTAMP="+h.Get("webhook-timestamp"))
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var lines []string
	for s := bufio.NewScanner(strings.NewReader(out)); s.Scan(); {
		lines = append(lines, s.Text())
	}
	if len(lines) != 2 || lines[0] != h.Get("X-Beton-Signature") || lines[1] != h.Get("webhook-signature") {
		t.Errorf("openssl prints %q, the headers are %q and %q", lines, h.Get("X-Beton-Signature"), h.Get("webhook-signature"))
	}
}
