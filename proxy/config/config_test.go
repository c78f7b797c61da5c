package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"maps"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"signalpost/proxy/files"
	"signalpost/proxy/sign"
	"signalpost/queue"
)

const minimal = `[[route]]
name = "crm"
url = "https://crm.example.com/hooks/CANARY"
`

// good parses a config that has to be without faults.
func good(t *testing.T, text string) *Config {
	t.Helper()
	return goodIn(t, "signalpost.toml", text, testInputs())
}

func goodIn(t *testing.T, path, text string, out inputs) *Config {
	t.Helper()
	c, faults := parse(path, []byte(text), out)
	if len(faults) > 0 {
		t.Fatalf("%v\nin\n%s", faults, text)
	}
	return c
}

func check(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: got %#v, want %#v", what, got, want)
	}
}

func reveal(secrets []Secret) []string {
	var texts []string
	for _, s := range secrets {
		texts = append(texts, s.Reveal())
	}
	return texts
}

func TestDefaultsOfTheContract(t *testing.T) {
	c := good(t, minimal)
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	check(t, "server", []any{c.Server.Listen, c.Server.MaxBody, c.Server.Token.IsZero(), len(c.Server.Hosts)},
		[]any{"127.0.0.1:8787", int64(1 << 20), true, 0})
	check(t, "queue", c.Queue, Queue{filepath.Join(wd, "data"), queue.Limits{MaxSize: 10 << 30, MinFree: 256 << 20, MaxAge: 168 * time.Hour, Retention: 72 * time.Hour, DedupWindow: 24 * time.Hour}})
	check(t, "log", c.Log, Log{slog.LevelInfo, "auto"})
	check(t, "path", c.Path, "signalpost.toml")
	if !regexp.MustCompile("^[0-9a-f]{12}$").MatchString(c.Hash) || c.Hash == good(t, minimal+" ").Hash {
		t.Errorf("hash %q", c.Hash)
	}
	r := c.Routes[0]
	check(t, "name, target", []string{r.Name, r.Target}, []string{"crm", "https://crm.example.com"})
	check(t, "url", r.URL.Reveal(), "https://crm.example.com/hooks/CANARY")
	check(t, "timeout", r.Timeout, 15*time.Second)
	check(t, "retry", r.Retry, queue.Schedule{Attempts: 10, First: 5 * time.Second, Window: 24 * time.Hour, Jitter: 0.1})
	check(t, "lists", [][]string{r.SignalTypes, r.Signatures}, [][]string{nil, {"beton", "standard"}})
	check(t, "give up on", r.GiveUpOn, []Status{410})
	check(t, "limits", []any{r.Concurrency, r.Rate}, []any{8, 0.0})
	check(t, "request", []string{r.Method, r.Format, r.ContentType, r.Compression, r.Path.Source(), r.Query.Source()}, []string{"POST", "json", "", "none", "", ""})
	check(t, "switches", []bool{r.Paused, r.BlockPrivateNetworks, r.AllowHTTP}, []bool{false, false, false})
	if r.Where != nil || r.Transform != nil || r.Path != nil || r.Query != nil || r.Params != nil || r.Signer != nil || r.BasicAuth != nil || r.TLS.Config != nil ||
		len(r.Secrets) != 0 || len(r.Headers) != 0 || !r.BearerToken.IsZero() {
		t.Errorf("something is set that has no default: %+v", r)
	}
}

func TestEveryKey(t *testing.T) {
	dir := t.TempDir()
	writeCertificate(t, dir, "ca.pem", "ca.key")
	write(t, dir, "token", "tok"+canary+"\r\n")
	out := testInputs()
	read := map[string]bool{}
	out.readFile = func(path string) ([]byte, error) {
		read[path] = true
		return testInputs().readFile(path)
	}
	c := goodIn(t, filepath.Join(dir, "x.toml"), `
[server]
listen = "unix:run/s.sock"
max_body = "512KiB"
token = { file = "token" }
hosts = ["Signals.Example.com."]
[queue]
path = "../store"
max_size = "1TiB"
min_free = "0B"
max_age = "1d12h"
retention = "1.5d"
dedup_window = "90m"
[log]
level = "debug"
format = "json"
[[route]]
name = "a"
url = { env = "URL_HTTP" }
allow_http = true
signal_types = ["a_*", "b?", "a!b^c"]
where = ".a"
transform = """
.b"""
secret = { env = "CRM_SECRET" }
signatures = ["github", "stripe"]
headers = { x-api-key = { env = "CRM_SECRET" }, X-Team = "growth", authorization = "x" }
timeout = "100ms"
retry = { attempts = 2, first = "1m", window = "1s", jitter = 0 }
give_up_on = [404, "4xx", 0x19A]
order_by = ".account.id"
success = ".ok"
concurrency = 1_000
rate = "90/m"
paused = true
tls = { ca_file = "ca.pem", cert_file = "ca.pem", key_file = "ca.key" }
block_private_networks = true
[[route]]
name = "b"
url = 'https://b.example.com:8443'
secrets = ["one", { file = "token" }]
basic_auth = { username = "", password = "p:w" }
method = "PATCH"
transform = "{ $params }"
path = '"/a"'
query = "{}"
format = "form"
content_type = "application/x-b; charset=utf-8"
compression = "gzip"
params = { A_1 = "one", b = { file = "token" } }
rate = "0.5/h"
give_up_on = []
[[route]]
name = "c"
url = 'http://LocalHost:1/'
bearer_token = "abc"
headers = { user-agent = "mine" }
secrets = []
where = " "
[route.retry]
attempts = 1
first = "30d"
`, out)
	check(t, "server", []any{c.Server.Listen, c.Server.MaxBody, c.Server.Token.Reveal(), c.Server.Hosts},
		[]any{"unix:" + dir + "/run/s.sock", int64(512 << 10), "tok" + canary, []string{"signals.example.com"}})
	check(t, "queue", c.Queue, Queue{filepath.Join(filepath.Dir(dir), "store"), queue.Limits{MaxSize: 1 << 40, MinFree: 0, MaxAge: 36 * time.Hour, Retention: 36 * time.Hour, DedupWindow: 90 * time.Minute}})
	check(t, "log", c.Log, Log{slog.LevelDebug, "json"})
	check(t, "files", read, map[string]bool{filepath.Join(dir, "token"): true, filepath.Join(dir, "ca.pem"): true, filepath.Join(dir, "ca.key"): true})
	r := c.Routes[0]
	check(t, "target", r.Target, "http://crm.example.com")
	check(t, "types", r.SignalTypes, []string{"a_*", "b?", "a!b^c"})
	check(t, "sources", []string{r.Where.Source(), r.Transform.Source()}, []string{".a", ".b"})
	check(t, "secrets", reveal(r.Secrets), []string{canary})
	check(t, "retry", r.Retry, queue.Schedule{Attempts: 2, First: time.Minute, Window: time.Second, Jitter: 0})
	check(t, "give up on", r.GiveUpOn, []Status{404, Any4xx, 410})
	check(t, "order, success", []string{r.OrderBy.Source(), r.Success.Source()}, []string{".account.id", ".ok"})
	check(t, "limits", []any{r.Concurrency, r.Rate, r.Timeout}, []any{1000, 1.5, 100 * time.Millisecond})
	check(t, "headers", []string{r.Headers["x-api-key"].Reveal(), r.Headers["X-Team"].Reveal(), r.Headers["authorization"].Reveal()}, []string{canary, "growth", "x"})
	if r.Where == nil || r.Transform == nil || r.Signer == nil || !r.Paused || !r.BlockPrivateNetworks || !r.AllowHTTP {
		t.Errorf("something is not set: %+v", r)
	}
	check(t, "tls", []any{r.TLS.CAFile, r.TLS.CertFile, r.TLS.KeyFile, len(r.TLS.Config.Certificates), r.TLS.Config.RootCAs != nil},
		[]any{filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca.key"), 1, true})
	r = c.Routes[1]
	check(t, "secrets", reveal(r.Secrets), []string{"one", "tok" + canary})
	check(t, "basic", []string{r.BasicAuth.Username, r.BasicAuth.Password.Reveal()}, []string{"", "p:w"})
	check(t, "request", []string{r.Method, r.Path.Source(), r.Query.Source(), r.Format, r.ContentType, r.Compression}, []string{"PATCH", `"/a"`, "{}", "form", "application/x-b; charset=utf-8", "gzip"})
	check(t, "params", []string{r.Params["A_1"].Reveal(), r.Params["b"].Reveal()}, []string{"one", "tok" + canary})
	check(t, "rate", r.Rate*3600, 0.5)
	check(t, "give up on", r.GiveUpOn, []Status{})
	r = c.Routes[2]
	check(t, "bearer", r.BearerToken.Reveal(), "abc")
	check(t, "agent", r.Headers["user-agent"].Reveal(), "mine")
	check(t, "retry", r.Retry, queue.Schedule{Attempts: 1, First: 30 * 24 * time.Hour, Window: 24 * time.Hour, Jitter: 0.1})
	if r.Where != nil || r.Signer != nil {
		t.Errorf("not empty: %+v", r)
	}
}

func TestDefaultsMerge(t *testing.T) {
	c := good(t, `
[defaults]
timeout = "1s"
signal_types = ["a", "b"]
secret = "one"
bearer_token = "tok"
where = ".x"
retry = { attempts = 3, first = "1s" }
[defaults.headers]
X-A = "1"
X-B = "1"
[[route]]
name = "inherits"
url = "https://x.example.com/"
[[route]]
name = "overrides"
url = "https://x.example.com/"
timeout = "2s"
signal_types = ["c"]
secrets = ["two", "three"]
basic_auth = { username = "u", password = "p" }
where = ""
retry.first = "2s"
headers = { x-b = "2", X-C = "2" }
`)
	type row struct {
		Timeout         time.Duration
		Types, Secrets  []string
		Bearer          string
		Basic, HasWhere bool
		Retry           queue.Schedule
		Headers         map[string]string
	}
	var got []row
	for _, r := range c.Routes {
		h := map[string]string{}
		for name, value := range r.Headers {
			h[name] = value.Reveal()
		}
		got = append(got, row{r.Timeout, r.SignalTypes, reveal(r.Secrets), r.BearerToken.Reveal(), r.BasicAuth != nil, r.Where != nil, r.Retry, h})
	}
	check(t, "routes", got, []row{
		{time.Second, []string{"a", "b"}, []string{"one"}, "tok", false, true,
			queue.Schedule{Attempts: 3, First: time.Second, Window: 24 * time.Hour, Jitter: 0.1}, map[string]string{"X-A": "1", "X-B": "1"}},
		{2 * time.Second, []string{"c"}, []string{"two", "three"}, "", true, false,
			queue.Schedule{Attempts: 3, First: 2 * time.Second, Window: 24 * time.Hour, Jitter: 0.1}, map[string]string{"X-A": "1", "x-b": "2", "X-C": "2"}},
	})
}

// A basic_auth of which each table has a part is whole.
func TestDefaultsMergeCompletes(t *testing.T) {
	c := good(t, `defaults.basic_auth.username = "u"
`+minimal+`basic_auth.password = "p"`)
	check(t, "basic", []string{c.Routes[0].BasicAuth.Username, c.Routes[0].BasicAuth.Password.Reveal()}, []string{"u", "p"})
	for _, none := range []string{`""`, `{ env = "EMPTY" }`} { // a login by its name alone, as Stripe has
		c = good(t, minimal+`basic_auth = { username = "u", password = `+none+` }`)
		check(t, none, []any{c.Routes[0].BasicAuth.Username, c.Routes[0].BasicAuth.Password.IsZero()}, []any{"u", true})
	}
}

func TestSecretFiles(t *testing.T) {
	for content, want := range map[string]string{
		"s": "s", "s\n": "s", "s\r\n": "s", "a b\n": "a b", "\xff\xe9\n": "\xff\xe9",
	} {
		dir := t.TempDir()
		write(t, dir, "secret", content)
		c := goodIn(t, filepath.Join(dir, "x.toml"), minimal+`secret = { file = "secret" }`, testInputs())
		check(t, content, c.Routes[0].Secrets[0].Reveal(), want)
	}
}

// What is put into bodies is text, else it would arrive as another.
func TestParamsAreText(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "key", "\xff\xe9\n")
	_, faults := parse(filepath.Join(dir, "x.toml"), []byte(minimal+`params = { key = { file = "key" } }`), testInputs())
	if text := faults.Error(); !strings.Contains(text, "params.key: is no UTF-8, and could not stand in JSON (file \"key\")") {
		t.Error(text)
	}
}

func TestListen(t *testing.T) {
	for listen, token := range map[string]bool{
		"127.0.0.1:0": false, "127.8.8.8:1": false, "[::1]:8787": false, "localhost:8787": false, "unix:/s": false,
		"[::ffff:127.0.0.1]:1": false, ":8787": true, "0.0.0.0:8787": true, "[::]:8787": true, "signals.example.com:80": true, "10.0.0.1:65535": true,
	} {
		text := "[server]\nlisten = \"" + listen + "\"\n"
		good(t, text+"token = \"abc\"\n"+minimal)
		c, faults := parse("x.toml", []byte(text+minimal), testInputs())
		if needs := len(faults) > 0; needs != token {
			t.Errorf("%s: token needed %v, want %v (%v)", listen, needs, token, faults)
		} else if !needs {
			check(t, "listen", c.Server.Listen, listen)
		}
	}
}

func TestURLs(t *testing.T) {
	for text, target := range map[string]string{
		"https://x.example.com":                  "https://x.example.com",
		"HTTPS://X.example.com:8443/a?b=c%20d":   "https://X.example.com:8443",
		"https://[2001:db8::1]:1/":               "https://[2001:db8::1]:1",
		"https://bücher.example/":                "https://bücher.example",
		"http://127.1.2.3:9000/":                 "http://127.1.2.3:9000",
		"http://[::1]/":                          "http://[::1]",
		"http://localhost/hooks":                 "http://localhost",
		"https://under_score.internal/x":         "https://under_score.internal",
		"https://x.example.com/?u=https://a:b@c": "https://x.example.com",
		"https://x.example.com/?q=a b":           "https://x.example.com",
	} {
		c := good(t, "[[route]]\nname = \"x\"\nurl = \""+text+"\"\n")
		check(t, text, []string{c.Routes[0].URL.Reveal(), c.Routes[0].Target}, []string{text, target})
	}
}

// A proxy would connect for us, to wherever it likes.
func TestProxyAgainstBlockPrivateNetworks(t *testing.T) {
	out := testInputs()
	text := minimal + "block_private_networks = true\n"
	goodIn(t, "x.toml", text, out)
	for _, proxy := range []func(*http.Request) (*url.URL, error){
		func(*http.Request) (*url.URL, error) { return url.Parse("http://" + canary + "@proxy") },
		func(*http.Request) (*url.URL, error) { return nil, errors.New(canary) },
	} {
		out.proxy = proxy
		goodIn(t, "x.toml", minimal, out)
		_, faults := parse("x.toml", []byte(text), out)
		if len(faults) != 1 || faults[0].Line != 4 || !strings.Contains(faults[0].Msg, "NO_PROXY") || strings.Contains(faults.Error(), canary) {
			t.Errorf("%v", faults)
		}
	}
}

func TestWarnings(t *testing.T) {
	c := good(t, `
[[route]]
name = "none"
url = "https://x.example.com/"
[[route]]
name = "secrets"
url = "https://x.example.com/"
secrets = ["CANARY", "whsec_Q0FOQVJZ", "$CANARY", "${CANARY}"]
[[route]]
name = "unsigned"
url = "https://127.0.0.1/"
secret = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"
signatures = []
concurrency = 500
block_private_networks = true
[[route]]
name = "trap"
url = "http://localhost/"
secret = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"
[route.headers]
X-Team = "Bearer ${TOKEN:-none}"
timeout = "15s"
[[route]]
name = "fine"
url = "https://x.example.com/"
secret = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"
`)
	want := []string{
		`x:3:8: route "none": no secret`,
		`x:8:12: route "secrets": the secret does not begin with whsec_`,
		`x:8:22: route "secrets": the secret holds 6 bytes`,
		`x:8:40: route "secrets": $ and the name after it are taken as written: an environment variable is read only as a whole secret value, { env = "NAME" }; also at 8:51 (route "secrets"), 21:10 (route "trap")`,
		`x:13:14: route "unsigned": signatures is empty`,
		`x:14:15: route "unsigned": concurrency: 500`,
		`x:15:26: route "unsigned": block_private_networks: no attempt will reach`,
		`x:22:1: route "trap": headers: "timeout" is sent as a header`,
	}
	var got []string
	for _, w := range c.Warnings {
		text := strings.Replace(w.Error(), "config signalpost.toml", "x", 1)
		got = append(got, text)
		if strings.Contains(text, canary) {
			t.Errorf("a secret is in %s", text)
		}
	}
	if len(got) != len(want) {
		t.Fatalf("got\n%s", strings.Join(got, "\n"))
	}
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("got %s\nwant %s", got[i], want[i])
		}
	}
}

// What is legal and cannot be meant is told once a cause, with all its places.
func TestWarningsOncePerCause(t *testing.T) {
	c := good(t, `
[server]
hosts = ["a.example.com"]
[queue]
path = "$HOME/data"
[defaults]
where = '.plan = "CANARY"'
secret = "v1,whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"
[[route]]
name = "a"
url = "https://x.example.com/?token=${TOKEN}"
[[route]]
name = "b"
url = "https://x.example.com/$id?a=$$"
headers = { Authorization = "Bearer ${TOKEN}", X-Price = "US$5" }
transform = """
{ signal: $signal_id,
  a: (.a | test("(?<=a\n).")) }"""
secret = "pa$$word"
[[route]]
name = "c"
url = "https://x.example.com/"
where = "true"
[[route]]
name = "d"
url = "https://x.example.com/"
where = '.a | test("a"; "x")'
secrets = []
[[route]]
name = "e"
url = "https://x.example.com/"
where = '.a == 1'
secrets = []
`)
	want := []string{
		`x:5:8: $ and the name after it are taken as written: an environment variable is read only as a whole secret value, { env = "NAME" }; also at 11:7 (route "a"), 15:29 (route "b")`,
		`x:7:16: where: a filter that assigns with = passes every signal: compare with ==`,
		`x:8:10: the secret begins with v1,whsec_: v1, is the version of its signatures and hardly part of it: leave out v1,`,
		`x:18:17: route "b": transform: invalid regular expression`,
		`x:19:10: route "b": the secret does not begin with whsec_`,
		`x:23:10: route "c": where: the filter gives the same for every signal`,
		`x:25:8: route "d": no secret: receivers cannot tell these deliveries from anyone else's; set secret; also at 30:8 (route "e")`,
		`x:27:25: route "d": where: unsupported regular expression flag`,
	}
	got := strings.Split(strings.ReplaceAll(c.Warnings.Error(), "config signalpost.toml", "x"), "\n")
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || !strings.HasPrefix(got[i], want[i]) {
			t.Fatalf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	if strings.Contains(c.Warnings.Error(), canary) {
		t.Errorf("the text of a value is in %s", c.Warnings)
	}
}

// Load goes by the real file system, and says what it read.
func TestLoad(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.toml")
	fails := func(what, want string, named ...string) {
		t.Helper()
		c, err := Load(t.Context(), path)
		if c != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v; want %s", what, c, err, want)
		}
		if _, ok := errors.AsType[Faults](err); !ok {
			t.Errorf("%s: the error is a %T", what, err)
		}
		if e, ok := err.(*LoadError); ok {
			check(t, what, slices.Sorted(maps.Keys(e.Files)), append(named, path))
		} else {
			t.Errorf("%s: the error is a %T", what, err)
		}
	}
	fails("no file", path+": there is no such file: name the config with --config, or write one with signalpost init")
	write(t, dir, "x.toml", strings.Repeat("#", MaxFile+1))
	fails("too large", path+": cannot be read: it is larger than 1MiB")
	write(t, dir, "x.toml", minimal+`secret = { file = "secret" }`)
	fails("no secret", `x.toml:4:19: route "crm": secret.file: the file "secret" cannot be read`, filepath.Join(dir, "secret"))
	write(t, dir, "secret", strings.Repeat("x", maxSecret+1))
	fails("large secret", `secret.file: the file "secret" is larger than a secret, of 64KiB at most`, filepath.Join(dir, "secret"))
	write(t, dir, "secret", strings.Repeat("x", MaxFile+1))
	fails("huge secret", `secret.file: the file "secret" cannot be read: it is larger than 1MiB`, filepath.Join(dir, "secret"))
	if _, err := Load(t.Context(), path); strings.Count(err.Error(), "secret.file") != 1 {
		t.Errorf("one fault is told as %v", err)
	}
	write(t, dir, "secret", canary)
	c, err := Load(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	check(t, "files", c.Files, map[string]string{path: files.Digest(os.ReadFile(path)), filepath.Join(dir, "secret"): files.Digest([]byte(canary), nil)})
	check(t, "path", c.Path, path)

	if err := errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600)); err != nil {
		t.Fatal(err)
	}
	fails("pipe", "cannot be read: it is a pipe")
	go os.WriteFile(path, []byte(minimal+`secret = { file = "secret" }`), 0)
	if c, err := LoadOnce(t.Context(), path); err != nil || c.Routes[0].Secrets[0].Reveal() != canary {
		t.Errorf("a pipe, once: %v, %v", c, err)
	}

	path = dir
	fails("folder", "cannot be read: it is a folder")
}

// The example names every key, and loads: as it is, and with each line that is
// commented out put in.
func TestExample(t *testing.T) {
	data, err := os.ReadFile("../../config.example.toml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	writeCertificate(t, dir, "c.pem", "c.key")
	writeCertificate(t, dir, "ca.pem", "ca.key")
	out := testInputs()
	out.env = func(string) (string, bool) { return canary, true }
	write(t, dir, "whsk.key", sign.NewPrivateKey()+"\n")
	load := func(text string) *Config { return goodIn(t, filepath.Join(dir, "x.toml"), text, out) }

	c := load(string(data))
	for _, w := range c.Warnings {
		if !strings.HasPrefix(w.Msg, "no secret") {
			t.Errorf("%v", w)
		}
	}

	lines := strings.Split(string(data), "\n")
	key := regexp.MustCompile(`^(# )?([a-z_0-9]+) = `)
	section := regexp.MustCompile(`^(?:# )?\[+([a-z]+)\]+$`)
	creds := "-----BEGIN NATS USER JWT-----\n-----BEGIN USER NKEY SEED-----\n"
	if err := os.WriteFile(filepath.Join(dir, "signalpost.creds"), []byte(creds), 0o600); err != nil {
		t.Fatal(err)
	}
	found := map[string][]string{} // by section
	current := ""
	for i, line := range lines {
		if m := section.FindStringSubmatch(line); m != nil {
			current = m[1]
		}
		m := key.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		found[current] = append(found[current], m[2])
		if current != "defaults" && (i == 0 || !strings.HasPrefix(lines[i-1], "# ")) {
			t.Errorf("%s has no comment", m[2])
		}
		if m[1] != "" {
			with := slices.Clone(lines)
			with[i] = strings.TrimPrefix(line, "# ")
			for j, l := range with { // a table that is off, and what goes together
				off, other := strings.CutPrefix(l, "# ")
				if m := key.FindStringSubmatch(l); current == "fleet" && other && (off == "[fleet]" || m != nil && (m[2] == "servers" || strings.HasPrefix(line, "# user") && m[2] == "password" || strings.HasPrefix(line, "# pass") && m[2] == "user")) {
					with[j] = off
				}
			}
			text := strings.Join(with, "\n")
			if m[2] == "signing_key" {
				text = strings.Replace(text, `"standard"]`, `"standard", "ed25519"]`, 1)
			}
			load(text)
		}
	}
	for name, s := range map[string]schema{
		"server": serverKeys(new(Server)), "queue": queueKeys(new(Queue)), "log": logKeys(new(Log)), "fleet": fleetKeys(new(Fleet)), "alerts": alertKeys(new(Alerts)), "route": routeKeys(new(Route)),
	} {
		for key := range s {
			if !slices.Contains(found[name], key) {
				t.Errorf("the example has no %s of [%s]", key, name)
			}
		}
	}
	for _, s := range []schema{retryKeys(new(queue.Schedule)), basicAuthKeys(new(BasicAuth)), tlsKeys(new(TLS)), formKeys(new(sign.Form)), oauth2Keys(new(OAuth2))} {
		for key := range s {
			if !strings.Contains(string(data), " "+key+" = ") {
				t.Errorf("the example has no %s", key)
			}
		}
	}

	// What it shows as defaults are the defaults.
	bare := good(t, minimal)
	bare.Queue.Path = c.Queue.Path
	check(t, "queue", c.Queue, bare.Queue)
	check(t, "log", c.Log, bare.Log)
	check(t, "listen", []any{c.Server.Listen, c.Server.MaxBody}, []any{bare.Server.Listen, bare.Server.MaxBody})
	a, b := c.Routes[0], bare.Routes[0]
	check(t, "route", []any{a.Timeout, a.Retry, a.GiveUpOn, a.Concurrency, a.Signatures, a.Paused, a.AllowHTTP, a.BlockPrivateNetworks},
		[]any{b.Timeout, b.Retry, b.GiveUpOn, b.Concurrency, b.Signatures, b.Paused, b.AllowHTTP, b.BlockPrivateNetworks})
}

// A file of nothing but faults does not flood whoever is told of them.
func TestManyFaults(t *testing.T) {
	_, faults := parse("x.toml", []byte(strings.Repeat("[[route]]\n", 1000)), testInputs())
	text := faults.Error()
	if len(faults) != 2000 || strings.Count(text, "\n") != 100 || !strings.HasSuffix(text, "\nand 1900 more") {
		t.Errorf("%d faults: %s", len(faults), text)
	}
}

// Every place within an expression is found in the file, however it is quoted.
func TestPlaceInString(t *testing.T) {
	for _, c := range []struct{ raw, find, before string }{
		{`'.a | ]'`, "]", `'.a | `},
		{`".a | ]"`, "]", `".a | `},
		{`"\u002ea \\ \"\t\U0001F600 | ]"`, "]", `"\u002ea \\ \"\t\U0001F600 | `},
		{`"\x2ea \e ]"`, "]", `"\x2ea \e `},
		{"'''\n.a\n  ]'''", "]", "'''\n.a\n  "},
		{"'''\r\n.a\r\n ]'''", "]", "'''\r\n.a\r\n "},
		{"\"\"\"\n.a \\\n   | \\\n\n  ]\"\"\"", "]", "\"\"\"\n.a \\\n   | \\\n\n  "},
		{`"""]"""`, "]", `"""`},
		{`"é\u00e9]"`, "]", `"é\u00e9`},
	} {
		v := readTree([]byte("x = "+c.raw+"\n"), func(int, string, ...any) { t.Errorf("%s is no TOML", c.raw) }).root.keys["x"]
		if got, want := v.offset(strings.Index(v.text, c.find)), len("x = "+c.before); got != want {
			t.Errorf("%s: found at %d, want %d", c.raw, got, want)
		}
	}
}

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// writeCertificate writes a certificate, which is an authority too, and its key.
func writeCertificate(t *testing.T, dir, certName, keyName string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, certName, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})))
	write(t, dir, keyName, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
}
