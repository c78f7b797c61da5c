package cli

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"signalpost/proxy/audit"
)

func TestAudit(t *testing.T) {
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.Header.Get("Webhook-Signature") == "" && r.Method == http.MethodPost {
			w.WriteHeader(http.StatusUnauthorized)
		}
		if !strings.HasSuffix(r.UserAgent(), " (audit)") {
			t.Errorf("the user agent is %s", r.UserAgent())
		}
	}))
	t.Cleanup(server.Close)
	path := filepath.Join(t.TempDir(), "signalpost.toml")
	if err := os.WriteFile(path, []byte("[[route]]\nname = \"crm\"\nurl = \""+server.URL+"/secretpath\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const secret = "--secret=whsec_c2lnbmluZ3NlY3JldHNpZ25pbmdzZWNyZXQ="
	for _, test := range []struct {
		in   string
		args []string
		code int
		says string
		sent bool
	}{
		{"", []string{"audit"}, 2, "one of --route and --url says what to examine", false},
		{"", []string{"audit", "--route", "crm", "--url", server.URL}, 2, "one of --route and --url", false},
		{"", []string{"audit", "--url", "ftp://x"}, 2, `--url: expected an absolute URL`, false},
		{"", []string{"audit", "--url", server.URL, "--secret", " x"}, 2, "--secret: begins or ends with white space", false},
		{"", []string{"audit", "--url", server.URL, secret, "--preset", "md5"}, 2, "--preset: expected beton", false},
		{"", []string{"audit", "--url", server.URL, secret, "--preset", "ed25519"}, 2, "examine the receiver with --route", false},
		{"", []string{"audit", "--url", server.URL, "--secret", "whsec_?"}, 2, "secret", false},
		{"", []string{"audit", "--config", path, "--route", "crn"}, 1, `there is no route "crn", did you mean "crm"?`, false},
		{"", []string{"audit", "--config", path, "--route", "crm"}, 1, "nothing was sent", false},
		{"n\n", []string{"audit", "--config", path, "--route", "crm"}, 1, "to " + server.URL + " now. Each", false},
		{"y\ny\n", []string{"audit", "--config", path, "--route", "crm"}, 1, "", true}, // no secret: it refuses what is not signed
		{"y\ny\n", []string{"audit", "--url", server.URL + "/secretpath", secret}, 1, "2 of 16 checks failed", true},
		{"y\nn\n", []string{"audit", "--url", server.URL, secret}, 1, "3 of 16 checks failed", true},
		{"", []string{"audit", "--url", server.URL, secret, "--yes"}, 1, "2 of 16 checks failed", true},
	} {
		asked.Store(0)
		out, code, err := run(t, test.in, test.args...)
		if err == nil || code != test.code || !strings.Contains(strings.Join(strings.Fields(err.Error()), " "), test.says) || (asked.Load() > 0) != test.sent {
			t.Errorf("%q: exit %d, %v, %d requests, want %d, %s", test.args, code, err, asked.Load(), test.code, test.says)
		}
		if strings.Contains(out+err.Error(), "secretpath") || strings.Contains(out+err.Error(), "c2lnbm") {
			t.Errorf("%q shows a secret: %s %v", test.args, out, err)
		}
	}
	out, code, _ := run(t, "", "audit", "--url", server.URL, secret, "--yes", "--json")
	var report struct {
		Target string
		Lines  []audit.Line
		Failed int
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != 1 || report.Target != server.URL || len(report.Lines) != 16 || report.Failed != 2 {
		t.Errorf("exit %d, %v, %s", code, err, out)
	}
}
