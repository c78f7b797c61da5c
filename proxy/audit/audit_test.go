package audit

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"signalpost/proxy/config"
	"signalpost/proxy/sign"
)

const (
	signal = `{"signal_type":"product_qualified_lead","confidence":0.92,"account":{"name":"Acme Corp"},"n":12345678901234567890.10}`
	secret = "whsec_c2lnbmluZ3NlY3JldHNpZ25pbmdzZWNyZXQ="
)

// A receiver does all right, but for what it is told to do wrong.
type receiver struct {
	t     *testing.T
	wrong map[string]bool

	mu     sync.Mutex
	bodies []string
	ids    map[string]int
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	if err != nil {
		return
	}
	if r.wrong["closes"] {
		w.Header().Set("Connection", "close")
	}
	if q.Method == http.MethodOptions {
		if q.Header.Get("WebHook-Request-Origin") == "" || len(body) > 0 || q.Header.Get("Webhook-Signature") != "" {
			r.t.Errorf("OPTIONS with %v", q.Header)
		}
		switch {
		case r.wrong["allows"]:
			w.Header().Set("WebHook-Allowed-Origin", "*")
			w.Header().Set("WebHook-Allowed-Rate", "120")
		case r.wrong["allows another"]:
			w.Header().Set("WebHook-Allowed-Origin", "example.com")
		default:
			w.WriteHeader(http.StatusMethodNotAllowed)
		}
		return
	}
	r.mu.Lock()
	r.bodies = append(r.bodies, string(body))
	r.ids[q.Header.Get("Webhook-Id")]++
	again, many := r.ids[q.Header.Get("Webhook-Id")] > 1, len(r.bodies) > 12
	r.mu.Unlock()
	var presets []string
	for _, preset := range []string{"standard", "beton"} {
		if r.wrong[preset+" alone"] || !r.wrong["standard alone"] && !r.wrong["beton alone"] {
			presets = append(presets, preset)
		}
	}
	status := 200
	for _, preset := range presets {
		tolerance := 5 * time.Minute
		if r.wrong["any age"] {
			tolerance = -1
		}
		switch err := sign.Verify(preset, []string{secret}, q.Header, body, time.Now(), tolerance); {
		case err == nil:
		case strings.Contains(err.Error(), "there is no") || len(sign.Detect(q.Header)) == 0:
			if !r.wrong["unsigned"] {
				status = 401
			}
		case !r.wrong["forged"]:
			status = 401
		}
	}
	switch {
	case r.wrong["refuses all"]:
		status = 403
	case r.wrong["redirects"]:
		w.Header().Set("Location", "/elsewhere")
		status = 307
	case r.wrong["crashes at forgeries"] && status == 401:
		status = 500
	case again && r.wrong["conflict"]:
		status = 409
	case r.wrong["ASCII"] && strings.Contains(string(body), "𝔘"):
		status = 400
	case r.wrong["small"] && len(body) > 100<<10:
		status = 413
	case r.wrong["picky"] && q.Header.Get("X-Beton-Signal-Type") != "product_qualified_lead":
		status = 422
	case r.wrong["slow"] && many:
		time.Sleep(700 * time.Millisecond)
	}
	w.WriteHeader(status)
}

// run audits a receiver, and returns a word a line.
func run(t *testing.T, r *receiver, url, keys string, ask func(string) (bool, bool)) (words string, lines []Line) {
	t.Helper()
	text := fmt.Sprintf("[[route]]\nname = \"crm\"\nurl = %q\nsecret = %q\nwhere = \"false\"\n%s", url, secret, keys)
	cfg, err := config.Parse("audit", []byte(text), false)
	if path, ok := strings.CutPrefix(keys, "tls = "); ok {
		file := filepath.Join(t.TempDir(), "x.toml")
		os.WriteFile(file, []byte(strings.Replace(text, keys, "tls = { ca_file = \""+path+"\" }\n", 1)), 0o600)
		cfg, err = config.Load(t.Context(), file)
	}
	if err != nil {
		t.Fatal(err)
	}
	err = Run(t.Context(), Options{Config: cfg, Route: "crm", UserAgent: "test", Signal: []byte(signal), Ask: ask, Report: func(l Line) { lines = append(lines, l) }})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lines {
		words += map[Verdict]string{Passed: "+", Failed: "F", Unknown: "?", None: "."}[l.Verdict]
		if l.Text == "" || l.Verdict == Failed && l.Do == "" || l.Verdict == Passed && l.Do != "" || strings.Contains(l.Text+l.Do, secret) {
			t.Errorf("%+v", l)
		}
	}
	if r != nil {
		for _, b := range r.bodies {
			if !r.wrong["unread"] && !strings.Contains(b, "a sample") {
				t.Errorf("%.200s does not say that it is a sample", b)
			}
		}
		if len(r.bodies) > Samples {
			t.Errorf("%d samples, and %d are announced", len(r.bodies), Samples)
		}
	}
	return words, lines
}

func yes(string) (bool, bool)    { return true, true }
func no(string) (bool, bool)     { return false, true }
func nobody(string) (bool, bool) { return false, false }

func TestReceivers(t *testing.T) {
	//                                        right, forged, unsigned, old, twice, unicode, large, foreign, alone, together, kept, redirects, chain, expiry, versions, options
	tests := []struct {
		wrong, keys, want string
		ask               func(string) (bool, bool)
	}{
		{"", "", "++++++++++++....", yes},
		{"", "", "++++?+++++++....", nil},
		{"", "", "++++?+++++++....", nobody},
		{"", "", "++++F+++++++....", no},
		{"any age", "", "+++F++++++++....", yes},
		{"forged", "", "+F+F++++++++....", yes},
		{"unsigned", "", "++F+++++++++....", yes},
		{"beton alone", "", "+++F++++++++....", yes},
		{"standard alone", "", "++++++++++++....", yes},
		{"standard alone", "signatures = [\"beton\"]\n", "F??????????+....", yes},
		{"beton alone", "signatures = [\"beton\"]\n", "+++.++++++++....", yes},
		{"crashes at forgeries", "", "+???++++++++....", yes},
		{"refuses all", "", "F??????????+....", yes},
		{"redirects", "", "F??????????F....", yes},
		{"conflict", "", "++++F+++++++....", yes},
		{"ASCII", "", "+++++F++++++....", yes},
		{"small", "", "++++++F+++++....", yes},
		{"small", "transform = '{name: .account.name}'\n", "++++++.+++++....", yes},
		{"picky", "", "+++++++F++++....", yes},
		{"slow", "timeout = \"1s\"\n", "++++++++FF++....", yes},
		{"closes", "", "++++++++++F+....", yes},
		{"allows", "", "++++++++++++...+", yes},
		{"allows another", "", "++++++++++++...F", yes},
		{"", "concurrency = 2\n", "+++++++++.++....", yes},
		{"unread", "compression = \"gzip\"\n", "F??????????+....", yes},
		{"", "rate = \"50/s\"\n", "++++++++++++....", yes},
	}
	for _, test := range tests {
		t.Run(strings.TrimSpace(test.wrong+" "+test.keys), func(t *testing.T) {
			t.Parallel()
			r := &receiver{t: t, wrong: map[string]bool{test.wrong: true}, ids: map[string]int{}}
			server := httptest.NewServer(r)
			t.Cleanup(server.Close)
			want := strings.ReplaceAll(test.want, " ", "")
			if got, lines := run(t, r, server.URL, test.keys, test.ask); got != want {
				t.Errorf("got  %s\nwant %s\n%+v", got, want, lines)
			}
		})
	}
}

func TestSilent(t *testing.T) {
	if got, lines := run(t, nil, "http://127.0.0.1:1", "", yes); got != "F???????????...?" {
		t.Errorf("got %s, %+v", got, lines)
	}
}

// authority is one, with a certificate for 127.0.0.1 that ends after a time.
func authority(t *testing.T, valid time.Duration) (caFile string, pair tls.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "audit test"}, IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-90 * 24 * time.Hour), NotAfter: time.Now().Add(valid),
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return caFile, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestTLS(t *testing.T) {
	tests := []struct {
		name    string
		valid   time.Duration
		trusted bool
		least   uint16
		want    string // of the last four
	}{
		{"good", 60 * 24 * time.Hour, true, tls.VersionTLS12, "+++."},
		{"1.3 alone", 60 * 24 * time.Hour, true, tls.VersionTLS13, "+++."},
		{"ends soon", 3 * 24 * time.Hour, true, tls.VersionTLS12, "+F+."},
		{"old versions", 60 * 24 * time.Hour, true, tls.VersionTLS10, "++F."},
		{"unknown authority", 60 * 24 * time.Hour, false, tls.VersionTLS12, "F+??"},
		{"expired", -time.Hour, true, tls.VersionTLS12, "FF??"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			caFile, pair := authority(t, test.valid)
			r := &receiver{t: t, ids: map[string]int{}}
			server := httptest.NewUnstartedServer(r)
			server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: test.least}
			server.Config.ErrorLog = log.New(io.Discard, "", 0)
			server.StartTLS()
			t.Cleanup(server.Close)
			keys := ""
			if test.trusted {
				keys = "tls = " + caFile
			}
			got, lines := run(t, r, server.URL, keys, yes)
			if got[12:] != test.want {
				t.Errorf("got %s, want %s\n%+v", got[12:], test.want, lines[12:])
			}
		})
	}
}

// What cannot be examined is an error, and nothing is sent.
func TestCannot(t *testing.T) {
	sent := false
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { sent = true }))
	t.Cleanup(server.Close)
	for name, test := range map[string]struct{ keys, route, signal, want string }{
		"no route":      {"", "x", signal, `there is no route "x"`},
		"fails":         {"transform = '.n | error'\n", "crm", signal, "now it fails: "},
		"makes nothing": {"transform = 'empty'\n", "crm", signal, "give one that it does, as a FILE"},
		"no JSON":       {"", "crm", "{", "the sample signal: the body is not JSON"},
		"a batch":       {"", "crm", `[{"signal_type":"a"}]`, "the sample signal: "},
		"no signal":     {"", "crm", "{}", "signal_type"},
	} {
		cfg, err := config.Parse("audit", fmt.Appendf(nil, "[[route]]\nname = \"crm\"\nurl = %q\n%s", server.URL, test.keys), false)
		if err != nil {
			t.Fatal(err)
		}
		err = Run(t.Context(), Options{Config: cfg, Route: test.route, Signal: []byte(test.signal), Report: func(Line) {}})
		if err == nil || !strings.Contains(err.Error(), test.want) || sent {
			t.Errorf("%s: %v, sent %v", name, err, sent)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	cfg, _ := config.Parse("audit", fmt.Appendf(nil, "[[route]]\nname = \"crm\"\nurl = %q\n", server.URL), false)
	if err := Run(ctx, Options{Config: cfg, Route: "crm", Signal: []byte(signal), Report: func(Line) {}}); err == nil || sent {
		t.Errorf("after its end: %v, sent %v", err, sent)
	}
}
