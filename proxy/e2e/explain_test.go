//go:build !race

package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var oneID = regexp.MustCompile(`(sig|dlv)_\w{26}`)

// explained is a config whose deliveries wait, and what was sent to it.
const explained = `[server]
listen = "LISTEN"
[[route]]
name = "crm"
url = "RECEIVER/hooks"
where = '.confidence >= 0.8 and (.events | length > 2)'
transform = '{ company: .account.name }'
secret = "whsec_c2lnbmluZ3NlY3JldHNpZ25pbmdzZWNyZXQ="
retry = { first = "1h", jitter = 0 }
[[route]]
name = "sales"
url = "RECEIVER/sales"
signal_types = ["expansion_*"]
secret = "whsec_c2lnbmluZ3NlY3JldHNpZ25pbmdzZWNyZXQ="
`

// TestRehearsalExplain runs what the page shows of explain, once the first attempt
// was answered 503.
func TestRehearsalExplain(t *testing.T) {
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		io.WriteString(w, "try again later")
	}))
	t.Cleanup(receiver.Close)
	s := newSidecar(t, t.TempDir())
	s.begin(strings.NewReplacer("LISTEN", s.address, "RECEIVER", receiver.URL).Replace(explained))
	out, err := bash(t, s.dir, `set -eu
until signalpost health > /dev/null 2>&1; do sleep 0.05; done
signalpost send --json > sent
until [ "$(signalpost log --verdict retry --json | grep -c '"verdict"')" = 1 ]; do sleep 0.05; done
`)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	sent, err := os.ReadFile(s.dir + "/sent")
	if err != nil {
		t.Fatal(err)
	}
	ids := oneID.FindAllString(string(sent), -1)
	var tr transcript
	script := oneID.ReplaceAllStringFunc(tr.script(only(t, "rehearsal ## Explain", "console")), func(id string) string {
		if strings.HasPrefix(id, "sig_") {
			return ids[0]
		}
		return ids[1]
	})
	if out, err = bash(t, s.dir, script); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	tr.check(t, out)
	for line := range strings.Lines(out) {
		if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > 80 {
			t.Errorf("a line of %d columns: %s", n, line)
		}
	}
}

// TestOperatingAlerts: what the page has of [alerts] is a config without fault or
// warning, and an alert comes out as it says.
func TestOperatingAlerts(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"signalpost.toml": only(t, "operating ## Being told", "toml"), "ops.url": "https://hooks.example.com/ops",
		"alert.json": `{"signal_type":"signalpost.deliveries_dead","route":"crm","reason":"gone","text":"3 deliveries died (gone 3).","count":3}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := bash(t, dir, "signalpost check && signalpost try alert.json", "CRM_SECRET=whsec_c2lnbmluZ3NlY3JldHNpZ25pbmdzZWNyZXQ=")
	if err != nil || strings.Contains(out, "warning") || !strings.Contains(out, `"text": "signalpost.deliveries_dead crm: 3 deliveries died (gone 3)."`) {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestRehearsalAudit runs what the page shows of audit, against listen.
func TestRehearsalAudit(t *testing.T) {
	dir, port := t.TempDir(), mustFreePort(t)
	config := strings.NewReplacer("LISTEN", "127.0.0.1:8787", "RECEIVER", "http://127.0.0.1:"+port).Replace(explained)
	if err := os.WriteFile(filepath.Join(dir, "signalpost.toml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var tr transcript
	out, err := bash(t, dir, `set -eu
signalpost listen --addr 127.0.0.1:`+port+` > listened &
trap 'kill $! 2> /dev/null; wait' EXIT
until grep -q '^listening' listened; do sleep 0.05; done
`+tr.script(only(t, "rehearsal ## Audit", "console")))
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	tr.check(t, out)
	for line := range strings.Lines(out) {
		if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > 80 {
			t.Errorf("a line of %d columns: %s", n, line)
		}
	}
}
