package e2e

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/elazarl/goproxy"
)

// TestProxyEnvironment sends through a proxy that HTTPS_PROXY names. The
// receiver's name means something to the proxy alone.
func TestProxyEnvironment(t *testing.T) {
	receiver := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer receiver.Close()
	var mu sync.Mutex
	connects := map[string]int{} // by host and port
	proxy := goproxy.NewProxyHttpServer()
	proxy.Logger = log.New(io.Discard, "", 0)
	proxy.OnRequest().HandleConnectFunc(func(host string, ctx *goproxy.ProxyCtx) (*goproxy.ConnectAction, string) {
		mu.Lock()
		defer mu.Unlock()
		connects[host]++
		r := http.Request{Header: http.Header{"Authorization": ctx.Req.Header["Proxy-Authorization"]}}
		if user, password, _ := r.BasicAuth(); user != "me" || password != "pr0xy-pass" {
			ctx.Resp = goproxy.NewResponse(ctx.Req, goproxy.ContentTypeText, http.StatusProxyAuthRequired, "who are you?")
			return goproxy.RejectConnect, host
		}
		return goproxy.OkConnect, host
	})
	proxy.ConnectDial = func(network, addr string) (net.Conn, error) {
		if addr != "example.com:443" { // which is in the certificates of httptest
			return nil, errors.New("no way there")
		}
		return net.Dial(network, receiver.Listener.Addr().String())
	}
	server := httptest.NewServer(proxy)
	defer server.Close()
	address := server.Listener.Addr().String()

	tests := []struct {
		name     string
		url      string // of the route
		user     string // and password at the proxy
		noProxy  string
		connects int
		want     string // error of the first attempt; "": delivered
		not      string
	}{
		{"delivered", "https://example.com/hooks/s3cr3t", "me:pr0xy-pass@", "", 1, "", ""},
		{"no credentials", "https://example.com/hooks/s3cr3t", "", "", 1, "proxy http://" + address + ": answered 407 Proxy Authentication Required when asked to connect to example.com:443", ""},
		{"wrong credentials", "https://example.com/hooks/s3cr3t", "me:wr0ng-pass@", "", 1, "proxy http://" + address + ": answered 407 Proxy Authentication Required", "wr0ng"},
		{"no way", "https://nowhere.invalid/hooks/s3cr3t", "me:pr0xy-pass@", "", 1, "proxy http://" + address + ": answered 502 Bad Gateway when asked to connect to nowhere.invalid:443", "pr0xy-pass"},
		{"not proxied", "https://nowhere.invalid/hooks/s3cr3t", "me:pr0xy-pass@", ".invalid", 0, "DNS", "proxy"},
		{"loopback is not proxied", "https://" + receiver.Listener.Addr().String() + "/hooks/s3cr3t", "me:pr0xy-pass@", "", 0, "", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			u, _ := url.Parse(test.url)
			host := u.Host
			if u.Port() == "" {
				host += ":443"
			}
			mu.Lock()
			clear(connects)
			mu.Unlock()
			dir := t.TempDir()
			port, err := freePort()
			if err != nil {
				t.Fatal(err)
			}
			base := "http://127.0.0.1:" + port
			write(t, dir, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: receiver.Certificate().Raw})))
			write(t, dir, "one.toml", fmt.Sprintf("[server]\nlisten = '127.0.0.1:%s'\n[[route]]\nname = 'one'\nurl = '%s'\ntls = { ca_file = 'ca.pem' }\n", port, test.url))
			sidecar := signalpost(dir, "http://"+test.user+address, test.noProxy, "run", "--config", "one.toml")
			var out strings.Builder
			sidecar.Stdout, sidecar.Stderr = &out, &out
			if err := sidecar.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() {
				sidecar.Process.Signal(os.Interrupt)
				if err := sidecar.Wait(); err != nil {
					t.Errorf("%v\n%s", err, out.String())
				}
				for _, secret := range []string{"s3cr3t", "pr0xy-pass", "wr0ng-pass"} {
					if strings.Contains(out.String(), secret) {
						t.Errorf("%s was printed:\n%s", secret, out.String())
					}
				}
			}()
			sent := false
			var log struct {
				Entries []struct{ Verdict, Error string }
			}
			for deadline := time.Now().Add(patience); len(log.Entries) == 0; time.Sleep(10 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("no attempt was made")
				}
				if !sent {
					resp, err := http.Post(base+"/signals", "application/json", strings.NewReader(signal))
					if err == nil {
						resp.Body.Close()
						sent = resp.StatusCode == http.StatusAccepted
					}
					continue
				}
				resp, err := http.Get(base + "/log")
				if err != nil {
					t.Fatal(err)
				}
				json.NewDecoder(resp.Body).Decode(&log)
				resp.Body.Close()
			}
			first := log.Entries[len(log.Entries)-1]
			if delivered := first.Verdict == "delivered"; delivered != (test.want == "") || !strings.Contains(first.Error, test.want) ||
				test.not != "" && strings.Contains(first.Error, test.not) {
				t.Errorf("%+v: want error %q", first, test.want)
			}
			mu.Lock()
			defer mu.Unlock()
			if n := connects[host]; min(n, 1) != test.connects {
				t.Errorf("the proxy was asked %d times for %s", n, host)
			}
		})
	}
	t.Run("against block_private_networks", func(t *testing.T) {
		dir := t.TempDir()
		write(t, dir, "one.toml", "[[route]]\nname = 'one'\nurl = 'https://example.com/s3cr3t'\nblock_private_networks = true\n")
		out, err := signalpost(dir, "http://me:pr0xy-pass@"+address, "", "check", "--config", "one.toml").CombinedOutput()
		if err == nil || !strings.Contains(string(out), "one.toml:4:") || !strings.Contains(string(out), "NO_PROXY") || strings.Contains(string(out), "pr0xy-pass") || strings.Contains(string(out), "s3cr3t") {
			t.Errorf("%v: %s", err, out)
		}
		if out, err := signalpost(dir, "http://me:pr0xy-pass@"+address, "example.com", "check", "--config", "one.toml").CombinedOutput(); err != nil {
			t.Errorf("with NO_PROXY: %v: %s", err, out)
		}
	})
}

// signalpost is the binary under test in a folder, behind a proxy.
func signalpost(dir, proxy, noProxy string, args ...string) *exec.Cmd {
	c := exec.Command(filepath.Join(binaries, "signalpost"), args...)
	c.Dir = dir
	c.Env = append(os.Environ(), "HTTPS_PROXY="+proxy, "HTTP_PROXY="+proxy, "NO_PROXY="+noProxy, "https_proxy=", "http_proxy=", "no_proxy=")
	return c
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
