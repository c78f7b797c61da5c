package config

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
)

// full has a secret, the canary, wherever a string can be one.
const full = `[server]
listen = "127.0.0.1:8787"
token = "CANARY"
[queue]
path = "data"
max_size = "10GiB"
[log]
level = "info"
[defaults]
timeout = "15s"
secret = 'CANARY'
[defaults.headers]
X-Key = "CANARY"
[[route]]
name = "crm"
url = "https://crm.example.com/CANARY?key=CANARY"
where = '.a == 1'
transform = """
{ a: .b }"""
secrets = ["CANARY", { env = "CRM_SECRET" }]
basic_auth = { username = "u", password = "CANARY" }
params = { key = "CANARY" }
path = '"/\($params.key)"'
retry = { attempts = 3, first = "1s" }
[[route]]
name = "slack"
url = '''https://slack.example.com/CANARY'''
bearer_token = """
CANARY"""
signal_types = ["a", "b*"]
give_up_on = [410]
rate = "5/s"
[route.headers]
X-Other = 'CANARY'
`

// One byte too many or too few, anywhere, brings no secret into a fault.
func TestDamageShowsNoSecret(t *testing.T) {
	t.Parallel()
	good(t, full)
	damage := []string{"", `"`, `"""`, "'''", "\n", "=", "[", "{", "#", `\`}
	step := 1
	if testing.Short() {
		step = 7
	}
	for at := 0; at < len(full); at += step {
		for _, junk := range damage {
			rest := full[at:]
			if junk == "" {
				rest = rest[1:]
			}
			text := full[:at] + junk + rest
			c, faults := parse("x.toml", []byte(text), testInputs())
			shown := faults.Error()
			if c != nil {
				shown = c.Warnings.Error()
			}
			for _, part := range []string{canary, canary[1:], canary[:5]} {
				if strings.Contains(shown, part) {
					t.Fatalf("%q at %d: %s", junk, at, shown)
				}
			}
		}
	}
}

// parse never panics; it gives a config or faults, each within the file; it
// accepts nothing that is no TOML; it shows no secret.
func FuzzLoad(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte(minimal))
	files, _ := filepath.Glob("testdata/bad/*.toml")
	for _, file := range append(files, "../../config.example.toml") {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	out := testInputs()
	const outsideCanary = "hidden-from-outside"
	out.env = func(string) (string, bool) { return outsideCanary, true }
	out.readFile = func(string) ([]byte, error) { return []byte(outsideCanary), nil }
	f.Fuzz(func(t *testing.T, data []byte) {
		c, faults := parse("x.toml", slices.Clone(data), out)
		if (c == nil) == (len(faults) == 0) {
			t.Fatalf("%v, %v", c, faults)
		}
		var document map[string]any
		err := toml.Unmarshal(bytes.TrimPrefix(data, []byte("\ufeff")), &document)
		if c != nil && err != nil {
			t.Fatalf("accepted, though no TOML: %v", err)
		}
		if c != nil {
			faults = c.Warnings
			if len(c.Routes) == 0 {
				t.Fatal("no route")
			}
			for _, r := range c.Routes {
				if r.Name == "" || r.URL.IsZero() || r.Target == "" || r.Timeout <= 0 || r.Retry.Attempts < 1 || r.Concurrency < 1 {
					t.Fatalf("incomplete: %+v", r)
				}
			}
		}
		if err == nil && strings.Contains(faults.Error(), "is already set on line") {
			t.Fatalf("go-toml finds nothing there twice: %v", faults)
		}
		lines := strings.Split(strings.TrimPrefix(string(data), "\ufeff"), "\n")
		for i, fault := range faults {
			if fault.Line < 1 || fault.Line > len(lines) || fault.Column < 1 || fault.Column > utf8.RuneCountInString(lines[fault.Line-1])+1 ||
				fault.File != "x.toml" || fault.Msg == "" {
				t.Fatalf("no such place: %#v", fault)
			}
			if i > 0 && (fault.Line < faults[i-1].Line || fault.Line == faults[i-1].Line && fault.Column < faults[i-1].Column) {
				t.Fatalf("not sorted: %v", faults)
			}
			if strings.ContainsAny(fault.Error(), "\n\x00\x1b") {
				t.Fatalf("more than one clean line: %q", fault.Error())
			}
		}
		shown := faults.Error()
		if c != nil {
			shown = c.Warnings.Error()
		}
		if strings.Contains(shown, outsideCanary) && !bytes.Contains(data, []byte(outsideCanary)) {
			t.Fatalf("a secret is in %s", shown)
		}
		if err == nil && onlyInSecrets(document, "") && strings.Contains(shown, canary) {
			t.Fatalf("a secret is in %s", shown)
		}
	})
}

// onlyInSecrets reports whether the canary is nowhere in a document but in the
// text of secret values, and in URLs behind the host.
func onlyInSecrets(v any, key string) bool {
	switch v := v.(type) {
	case map[string]any:
		for k, sub := range v {
			// The values of headers are known by their table.
			if in := key; in != "headers" {
				in = k
				if !onlyInSecrets(sub, in) {
					return false
				}
			} else if _, text := sub.(string); !text && !onlyInSecrets(sub, k) {
				return false
			}
			if strings.Contains(k, canary) {
				return false
			}
		}
	case []any:
		for _, sub := range v {
			if !onlyInSecrets(sub, key) {
				return false
			}
		}
	case string:
		if !strings.Contains(v, canary) {
			return true
		}
		switch key {
		case "token", "secret", "secrets", "bearer_token", "password":
			return true
		case "url":
			_, behind, ok := strings.Cut(v, "://")
			host, _, _ := strings.Cut(behind, "/")
			return ok && !strings.Contains(host, canary) && !strings.Contains(v[:strings.Index(v, "://")], canary)
		}
		return false
	}
	return true
}
