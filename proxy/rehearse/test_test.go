package rehearse

import (
	stdjson "encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"signalpost/proxy/api"
	"signalpost/proxy/config"
	"signalpost/queue"
	"signalpost/transform/json"
)

func write(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t testing.TB, text string) *config.Config {
	t.Helper()
	cfg, err := config.LoadRehearsal(t.Context(), write(t, "signalpost.toml", text))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// Two values differ where a reader sees that they do: numbers by value, members
// by name, elements by place.
func TestDiff(t *testing.T) {
	for _, c := range []struct {
		want, got string
		partial   bool
		diffs     string
	}{
		{`1`, `1.0`, false, ``},
		{`100`, `1e2`, false, ``},
		{`-0.10`, `-1E-1`, false, ``},
		{`0`, `-0e9`, false, ``},
		{`1`, `-1`, false, `. 1 -1;`},
		{`1e999999999999`, `1e999999999999`, false, ``},
		{`9007199254740993`, `9007199254740992`, false, `. 9007199254740993 9007199254740992;`},
		{`0.1`, `1`, false, `. 0.1 1;`},
		{`"a"`, `null`, false, `. "a" null;`},
		{`{}`, `[]`, false, `. {} [];`},
		{`[]`, `{"a":1}`, true, `. [] {"a":1};`},
		{`1`, `[1]`, false, `. 1 [1];`},
		{`{"a":1,"b":{"c":[1,2]}}`, `{"b":{"c":[1,3,4]},"d":null}`, false, `.a 1 ;.b.c[1] 2 3;.b.c[2]  4;.d  null;`},
		{`{"a":1,"b":{"c":[1]}}`, `{"a":1.0,"b":{"c":[1],"x":1},"d":null}`, true, ``},
		{`[{"a":1}]`, `[{"a":1,"b":2},3]`, true, `.[1]  3;`},
		{`{"a b":1,"\u0001":[2],"":3}`, `{}`, false, `.[""] 3 ;.["\u0001"] [2] ;.["a b"] 1 ;`},
	} {
		want, err1 := json.Decode([]byte(c.want))
		got, err2 := json.Decode([]byte(c.got))
		found := ""
		diff("", want, got, c.partial, func(path string, want, got any) {
			found += fmt.Sprintf("%s %s %s;", path, encode(want), encode(got))
		})
		if err1 != nil || err2 != nil || found != c.diffs {
			t.Errorf("%s and %s differ at %q, want %q", c.want, c.got, found, c.diffs)
		}
	}
}

const routes = `
[[route]]
name = "crm"
url = "https://crm.example.com"
where = ".n > 1"
transform = '{ n, id: $signal_id, at: $received_at, route: $route }'
[[route]]
name = "all"
url = { env = "NO_SUCH_URL" }
signal_types = ["a*"]
transform = '.items[]? | if . == "bad" then error("no " + .) else . end'
[[route]]
name = "raw"
url = "https://raw.example.com"
`

func TestTests(t *testing.T) {
	cfg := load(t, routes)
	for _, c := range []struct{ test, failures string }{
		{`signal = { signal_type = "a", n = 2 }
expect = { crm = { n = 2.0, id = "sig_01KDVDNA000000000000000000", at = "2026-01-01T00:00:00Z", route = "crm" }, all = "none", raw = { n = 2, signal_type = "a" } }`, ``},
		{`signal = { signal_type = "a", n = 2 }
partial = true
expect = { crm = { n = 2.0 }, raw = {} }`, ``},
		{`signal = { signal_type = "a", n = 1 }
expect = { crm = { n = 1 }, raw = [] }`, `crm want 1 delivery, got no delivery: where is false or null, or yields nothing; raw want no delivery, got 1 delivery; `},
		{`signal = { signal_type = "b", items = [1] }
expect = { all = [1] }`, `all want 1 delivery, got no delivery: signal_type "b" is none of signal_types: a*; `},
		{`signal = { signal_type = "a", items = [1, [2], "none"] }
expect = { all = [1, [2], "none"] }`, ``},
		{`signal = { signal_type = "a", items = [[2]] }
expect = { all = [[2]] }`, ``},
		{`signal = { signal_type = "a", items = ["none"] }
expect = { all = "none" }`, `all want no delivery, got 1 delivery; `},
		{`signal = { signal_type = "a", items = [1, 2] }
expect = { all = [1, 3] }`, `all .[1] 3 2; `},
		{`signal = { signal_type = "a", items = [{ a = 1 }] }
expect = { all = { a = 2 } }`, `all .a 2 1; `},
		{`signal = { signal_type = "a", items = ["bad"] }
expect_error = { all = "no bad" }`, ``},
		{`signal = { signal_type = "a", items = ["bad"] }
expect_error = { all = "no good" }`, `all the error was to hold "no good": the expression raised an error: no bad; `},
		{`signal = { signal_type = "a", items = ["bad"] }
expect = { all = "none" }`, `all an expression fails: the expression raised an error: no bad; `},
		{`signal = { signal_type = "a", items = [1] }
expect_error = { all = "no" }`, `all an error was to hold "no", and there is none: passes; 1 delivery; `},
		{`signal_json = '{"signal_type":"a","items":[null]}'
expect_json = { all = "[null]" }`, ``},
	} {
		tests, err := config.LoadTests(t.Context(), write(t, "t.toml", "[[test]]\nname = 'x'\n"+c.test), cfg)
		if err != nil {
			t.Fatal(err)
		}
		results, err := Test(t.Context(), cfg, "test", tests)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, f := range results[0].Failures {
			if f.Path != "" {
				f.Why = fmt.Sprintf("%s %s %s", f.Path, f.Want, f.Got)
			}
			got += f.Route + " " + f.Why + "; "
			if f.Line < 3 || results[0].OK {
				t.Errorf("%+v", results[0])
			}
		}
		if got != c.failures {
			t.Errorf("%s\nfails %s\nwant  %s", c.test, got, c.failures)
		}
	}
}

// Nothing that a config names outside of itself need be there.
func TestMissing(t *testing.T) {
	cfg := load(t, `
[server]
listen = "0.0.0.0:1"
token = { env = "NO_SUCH_1" }
[fleet]
servers = [{ env = "NO_SUCH_2" }]
credentials = { file = "none/3" }
[[route]]
name = "a"
url = { env = "NO_SUCH_4" }
secret = { env = "NO_SUCH_5" }
signing_key = { file = "none/6" }
signatures = ["standard", "ed25519"]
headers = { X-A = { file = "none/7" } }
params = { key = { env = "NO_SUCH_8" } }
proxy = { env = "NO_SUCH_9" }
tls = { ca_file = "none/10", cert_file = "none/11", key_file = "none/12" }
oauth2 = { token_url = "https://idp.example.com", client_id = { env = "NO_SUCH_13" }, client_secret = { file = "none/14" } }
transform = "{ k: $params.key }"
[[route]]
name = "b"
url = "https://b.example.com"
basic_auth = { username = "u", password = { env = "NO_SUCH_15" } }
`)
	if len(cfg.Missing) != 15 {
		t.Errorf("missing are %d: %q", len(cfg.Missing), cfg.Missing)
	}
	tests := []config.Test{{Type: "x", Signal: []byte(`{}`), Expect: []config.Expectation{{Route: "a", Bodies: []any{map[string]any{"k": "param03key"}}}}}}
	if results, err := Test(t.Context(), cfg, "test", tests); err != nil || !results[0].OK {
		t.Errorf("%+v, %v", results, err)
	}
}

// A recorded test can be read again, and expects what was made, whatever the
// signal and the body hold.
func FuzzRecord(f *testing.F) {
	for _, body := range []string{`{"a":[1,{"b":null}]}`, `"none"`, `[[1]]`, `[]`, `{"":{"a b":"\u0000\u007f\ud800'''\"\\"}}`, `1e400`, `99999999999999999999`, `-0.5E-2`, `"sig_01ARZ3NDEKTSV4RRFFQ69G5FAV"`, "{\"\u0085\U000e0001\":[\"\u202e\U000e0001'''\",null]}", "\"\u0085\U000e0001\"", `{"a":{}}`} {
		f.Add(`{"signal_type":"x","a":`+body+`}`, body)
	}
	f.Add(`{"a":1}`, `2`)
	cfg := &config.Config{Routes: []config.Route{{Name: "crm"}}}
	signal, _ := queue.ParseSignalID("sig_01ARZ3NDEKTSV4RRFFQ69G5FAV")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, sent, body string) {
		signals, batch, err := json.Signals("given", []byte(sent), false, nil)
		want, err2 := json.Decode([]byte(strings.ReplaceAll(body, signal.String(), "sig_01KDVDNA000000000000000000")))
		if batch || err != nil || err2 != nil || strings.Contains(sent, "sig_") || strings.Contains(sent+body, "2016-07-30T23:54:10Z") || strings.Contains(body, `\u`) && strings.Contains(fmt.Sprint(want), "sig_") {
			return
		}
		d := api.Delivery{Body: stdjson.RawMessage(body), SignalBody: stdjson.RawMessage(sent), Info: queue.Info{Route: "crm", Signal: signal, Type: signals[0].Type}}
		text, err := Record("dlv_x", []api.Delivery{d, d}[:1+len(sent)%2])
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "t.toml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if strings.ContainsFunc(text, func(r rune) bool { return r != '\n' && !strconv.IsPrint(r) }) {
			t.Errorf("a terminal cannot show %q", text)
		}
		tests, err := config.LoadTests(t.Context(), path, cfg)
		if err != nil {
			if strings.Count(sent+body, "[")+strings.Count(sent+body, "{") > 100 {
				return // go-toml nests less deep
			}
			t.Fatalf("%v\n%s", err, text)
		}
		if tests[0].Type != signals[0].Type {
			t.Errorf("type %q was recorded as %q", signals[0].Type, tests[0].Type)
		}
		for _, got := range tests[0].Expect[0].Bodies {
			diff("", want, got, false, func(path string, want, got any) {
				t.Errorf("at %s %s was recorded as %s\n%s", path, encode(want), encode(got), text)
			})
		}
		if len(tests[0].Expect[0].Bodies) != 1+len(sent)%2 {
			t.Errorf("%d bodies\n%s", len(tests[0].Expect[0].Bodies), text)
		}
	})
}
