package config

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	signal "signalpost/transform/json"
)

var twoRoutes = &Config{Routes: []Route{{Name: "crm"}, {Name: "slack"}}}

// What is no test is a fault with its place, and all of them are told at once.
func TestTestFaults(t *testing.T) {
	const sound = "[[test]]\nname = 'a'\nsignal = { signal_type = 'x' }\nexpect = { crm = 'none' }\n"
	for _, c := range []struct {
		text string
		want []string
	}{
		{"", []string{`t:1:1: there is no test: add a [[test]] with a name, a signal and what routes make of it`}},
		{"test = 1", []string{`t:1:8: test: expected [[test]] tables`}},
		{"[[route]]\nname = 'a'\n" + sound, []string{`t:1:3: unknown key "route": expected test`}},
		{strings.Replace(sound, "name", "nmae", 1), []string{`t:2:1: unknown key "nmae", did you mean "name"?`}},
		{strings.Replace(sound, "name = 'a'\n", "", 1), []string{`t:1:3: name is missing: each [[test]] has one`}},
		{strings.Replace(sound, "'a'", "' '", 1), []string{`t:2:8: name: expected some text, not " "`}},
		{sound + "partial = 'yes'", []string{`t:5:11: partial: expected true or false, not "yes"`}},
		{strings.Replace(sound, "crm", "cmr", 1), []string{`t:4:12: there is no route "cmr", did you mean "crm"?`}},
		{strings.Replace(sound, "crm", "warehouse", 1), []string{`t:4:12: there is no route "warehouse"; the config has crm or slack`}},
		{sound + "expect_error = { crm = 'x' }", []string{`t:5:18: expect_error: something is expected of route "crm" already`}},
		{sound + "signal_json = '{}'", []string{`t:5:15: signal_json: the signal has no signal_type; add "signal_type": "name"`}},
		{sound + `signal_json = '{"signal_type":"y"}'`, []string{`t:5:1: signal and signal_json cannot both be set: leave one out`}},
		{strings.Replace(sound, "signal = { signal_type = 'x' }\n", "", 1), []string{`t:1:3: signal is missing: a table, or as JSON in signal_json`}},
		{strings.Replace(sound, "{ signal_type = 'x' }", "{ type = 'x' }", 1), []string{`t:3:10: signal: the signal has no signal_type; add "signal_type": "name"`}},
		{strings.Replace(sound, "{ signal_type = 'x' }", "'x'", 1), []string{`t:3:10: signal: expected a table, or JSON in signal_json, not "x"`}},
		{strings.Replace(sound, "signal = { signal_type = 'x' }", `signal_json = '{"signal_type": "x", }'`, 1), []string{`t:3:37: signal_json: not JSON: invalid character '}'`}},
		{strings.Replace(sound, "signal = { signal_type = 'x' }", `signal_json = '[]'`, 1), []string{`t:3:15: signal_json: the batch is empty; send at least one signal`}},
		{strings.Replace(sound, "signal = { signal_type = 'x' }", `signal_json = '[{"signal_type":"x"}]'`, 1), []string{`t:3:15: signal_json: one signal is tested, and this is a batch`}},
		{strings.Replace(sound, "'x' }", "'x', a = inf, b = 9223372036854775808 }", 1), []string{`t:3:35: signal.a: JSON has no inf`, `t:3:44: signal.b: the integers of TOML have 64 bits: say it in JSON instead`}},
		{strings.Replace(sound, "expect = { crm = 'none' }", "", 1), []string{`t:1:3: nothing is expected: add expect = { ROUTE = … }, where "none" is no delivery`}},
		{strings.Replace(sound, "expect = { crm = 'none' }", "expect = 'none'", 1), []string{`t:4:10: expect: expected a table of routes, not a string`}},
		{strings.Replace(sound, "expect = { crm = 'none' }", "expect_json = { crm = '{}', slack = '[1,]' }", 1), []string{
			`t:4:23: expect_json.crm: expected the list of the bodies as JSON, in a string`, `t:4:41: expect_json.slack: not JSON: `}},
		{strings.Replace(sound, "expect = { crm = 'none' }", "expect_error = { crm = '' }", 1), []string{`t:4:24: expect_error.crm: expected a part of the error's text, not ""`}},
		{sound + sound + "x =", []string{`t:9:3: not TOML: expected a value`}},
		{"[[test]]\nname = 'a'\ntype = 'a b '\nsignal = {}\nexpect = { crm = 'none' }", []string{`t:3:8: type: expected a signal_type, not "a b "`, `t:4:10: signal: signal_type must`}},
		{"[[test]]\nname = 'a'\nsignal = {}\nexpect = { crm = 'none' }\ntype = 'a'", nil},
	} {
		_, faults := parseTests("t", []byte(c.text), twoRoutes)
		if len(faults) != len(c.want) {
			t.Errorf("%s\nhas %v, want %q", c.text, faults, c.want)
			continue
		}
		for i, f := range faults {
			if got := strings.TrimPrefix(f.Error(), "config "); !strings.HasPrefix(got, c.want[i]) {
				t.Errorf("%s\nhas   %s\nwants %s", c.text, got, c.want[i])
			}
		}
	}
}

// What is written in a file of tests is what is tested.
func TestTests(t *testing.T) {
	path := filepath.Join(t.TempDir(), "t.toml")
	os.WriteFile(path, []byte(`
[[test]]
name = "one"
partial = true
expect = { crm = { a = 1 }, slack = "none" }

[test.signal]
signal_type = "x"
n = [ 1_000, 0xff, +5, -0, 1.50, 6e2, true, "\u00e9", 2026-01-02T03:04:05Z ]
o.p = 1

[[test]]
name = "two"
signal_json = '{ "signal_type": "x" }'
expect = { crm = [ 1, "none" ] }
expect_json = { slack = "[[1], null]" }

[[test]]
name = "three"
signal = { signal_type = "x" }
expect = { crm = [["none"]] }
expect_error = { slack = "no" }
`), 0o600)
	tests, err := LoadTests(t.Context(), path, twoRoutes)
	if err != nil || len(tests) != 3 {
		t.Fatal(tests, err)
	}
	if got, want := string(tests[0].Signal), `{"n":[1000,255,5,0,1.50,6e2,true,"é","2026-01-02T03:04:05Z"],"o":{"p":1},"signal_type":"x"}`; got != want {
		t.Errorf("the signal is %s, want %s", got, want)
	}
	if got := string(tests[1].Signal); got != `{ "signal_type": "x" }` {
		t.Errorf("the signal is %s", got)
	}
	if !tests[0].Partial || tests[1].Partial || tests[1].Place != (Place{path, 12, 3}) || tests[1].Expect[0].Place != (Place{path, 15, 12}) {
		t.Errorf("%+v", tests)
	}
	var bodies []string
	for _, test := range tests {
		for _, e := range test.Expect {
			b, _ := json.Marshal(e.Bodies)
			bodies = append(bodies, e.Route+" "+string(b)+e.Error)
		}
	}
	if want := []string{`crm [{"a":1}]`, `slack null`, `crm [1,"none"]`, `slack [[1],null]`, `crm [["none"]]`, `slack nullno`}; !slices.Equal(bodies, want) {
		t.Errorf("expects %q, want %q", bodies, want)
	}
	_, err = LoadTests(t.Context(), path+"x", twoRoutes)
	if err == nil || !strings.HasPrefix(err.Error(), "tests "+path+"x: there is no such file: signalpost help rehearsal shows how") {
		t.Error(err)
	}
}

// Whatever the file holds, there are tests that can be run, or faults with a place.
func FuzzTests(f *testing.F) {
	f.Add("[[test]]\nname = 'a'\nsignal = { signal_type = 'x', a = [1, {}, 1e3] }\nexpect = { crm = 'none' }\nexpect_json = { slack = '[1]' }")
	f.Add("[[test]]\nname = 'a'\nsignal_json = '''\n{ \"signal_type\": \"x\" }'''\nexpect_error = { crm = 'none' }\n[test.expect]\nslack = [[1]]")
	f.Fuzz(func(t *testing.T, text string) {
		tests, faults := parseTests("t", []byte(text), twoRoutes)
		for _, fault := range faults {
			if fault.Line < 1 || fault.Column < 1 || fault.Line > strings.Count(text, "\n")+1 {
				t.Errorf("place of %#v", fault)
			}
		}
		if len(faults) == 0 && len(tests) == 0 {
			t.Error("neither tests nor faults")
		}
		for _, test := range tests {
			if _, _, err := signal.Signals(test.Type, test.Signal, false, nil); len(faults) == 0 && (err != nil || len(test.Expect) == 0 || test.Name == "") {
				t.Errorf("%v: %+v", err, test)
			}
		}
	})
}

// Of a config that is rehearsed only, what is missing is no fault: placeholders
// of each kind stand in, and it says which.
func TestRehearsal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "signalpost.toml")
	os.WriteFile(filepath.Join(filepath.Dir(path), "empty"), []byte("\n"), 0o600)
	os.WriteFile(path, []byte(`
[server]
listen = "0.0.0.0:1"
token = { env = "CRM_SECRET_MISSING" }
[[route]]
name = "a"
url = { env = "URL_MISSING" }
secrets = [{ file = "missing" }, { env = "EMPTY_ONE" }, { file = "empty" }]
bearer_token = { env = "CRM_SECRET_MISSING" }
headers = { X-A = { env = "A_MISSING" } }
tls = { ca_file = "ca.pem", cert_file = "c.pem", key_file = "k.pem" }
`), 0o600)
	t.Setenv("EMPTY_ONE", "")
	c, err := LoadRehearsal(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"environment variable A_MISSING", "environment variable CRM_SECRET_MISSING", "environment variable EMPTY_ONE", "environment variable URL_MISSING",
		`file "c.pem"`, `file "ca.pem"`, `file "empty"`, `file "k.pem"`, `file "missing"`}
	if !slices.Equal(c.Missing, want) {
		t.Errorf("missing are %q, want %q", c.Missing, want)
	}
	if r := c.Routes[0]; r.URL.Reveal() != PlaceholderURL || r.Target != PlaceholderURL || len(r.Secrets) != 3 || r.Signer == nil {
		t.Errorf("%+v", r)
	}
	_, err = Load(t.Context(), path)
	if n := strings.Count(err.Error(), "\n") + 1; n != 10 {
		t.Errorf("for run these are %d faults, want 10:\n%v", n, err)
	}
	// What is there and wrong is a fault all the same.
	os.WriteFile(path, []byte("[[route]]\nname = 'a'\nurl = { env = 'EMPTY_ONE' }\nsecret = { env = 'SPACED' }"), 0o600)
	t.Setenv("SPACED", " x")
	if _, err := LoadRehearsal(t.Context(), path); err == nil || !strings.Contains(err.Error(), "white space") {
		t.Error(err)
	}
}

// What people see of a route are its keys, with defaults, but no secret value.
func TestSettings(t *testing.T) {
	c, faults := parse("t", []byte(`
[defaults]
headers = { X-A = "CANARY", X-B = { env = "CRM_SECRET" } }
tls = {}
[[route]]
name = "a"
url = "https://crm.example.com/CANARY"
timeout = "1s"
secrets = ["CANARY", "CANARY2"]
basic_auth = { username = "u", password = "CANARY" }
paused = true
`), testInputs())
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	s := c.Routes[0].Settings
	for key, want := range map[string]string{
		"headers": `{"X-A":"[secret]","X-B":"[secret]"}`, "tls": `{}`, "secrets": `["[secret]","[secret]"]`, "basic_auth": `{"password":"[secret]","username":"u"}`,
		"paused": `true`, "allow_http": `false`, "signatures": `["beton","standard"]`,
		"url": `null`, "timeout": `null`, "bearer_token": `null`, // elsewhere, or not set
	} {
		if got, err := json.Marshal(s[key]); string(got) != want || err != nil {
			t.Errorf("%s is %s, %v; want %s", key, got, err, want)
		}
	}
}
