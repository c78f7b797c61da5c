package rehearse

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"signalpost/proxy/api"
	"signalpost/proxy/table"
	"signalpost/queue"
	"signalpost/transform"
)

// What a plan says of a route, of changes of it that are looked at one by one.
func TestPlan(t *testing.T) {
	for _, c := range []struct{ before, after, signals, want string }{
		{`transform = '{ a: .n, k: $params.k }'
query = '{ k: $params.k }'
params = { k = "1" }`, `transform = '{ a: .n, k: $params.k }'
query = '{ k: $params.k }'
params = { k = "2" }`, `{"n":1}`, `1 1 +0 -0`},
		{`transform = '{ a: .n }'`, `transform = '{ a: .m }'`, `{"n":1,"m":null} {"n":2,"m":3} {"n":3} {"n":4,"m":5}`, `4 4 +0 -0; .a 1 null 2; .a 2 3 2; first 4`},
		{`transform = '{ a: .n }'`, `transform = '{ a: .n, b: 1 }'`, `{"n":1}`, `1 1 +0 -0; .b  1 1; first 1`},
		{`transform = '{ "a b": [.n] }'`, `transform = '{ "a b": [.n + 1] }'`, `{"n":1} {"n":2}`, `2 2 +0 -0; .["a b"][0] 1 2 2; first 2`},
		{`transform = '.l[]'`, `transform = '.l[1:][]'`, `{"l":[1,2,3]} {"l":[4]}`, `4 2 +0 -2; first 2`},
		{`transform = '.n'`, `transform = 'if .n > 1 then error("no \(.n)") else .n end'`, `{"n":1} {"n":2} {"n":3}`, `3 3 +0 -0; 2 fail: the expression raised an error: no 2; first 2`},
		{`transform = 'if .n > 1 then error("no") else .n end'`, `transform = '.n'`, `{"n":1} {"n":2}`, `2 2 +0 -0; .  2 1; first 1`},
		{`transform = 'error("a")'`, `transform = 'error("b")'`, `{"n":1}`, `1 1 +0 -0`},
		{`transform = '{ n }'
format = "form"`, `transform = '{ n }'`, `{"n":1}`, `1 1 +0 -0; . "n=1" {"n":1} 1; content_type "application/x-www-form-urlencoded"  1; first 1`},
		{`path = '"/\(.n)"'`, `path = '"/\(.m)"'`, `{"n":1,"m":2}`, `1 1 +0 -0; path "/1" "/2" 1; first 1`},
		{`query = '{ n }'`, ``, `{"n":1}`, `1 1 +0 -0; query "n=1"  1; first 1`},
		{`order_by = ".n"`, `order_by = ".m"`, `{"n":1.0,"m":"x"} {"n":1,"m":1.0} {"n":3}`, `3 3 +0 -0; order_by 1 "x" 2; first 2`},
		{``, `order_by = ".n"`, `{"n":[]} {"m":1}`, `2 2 +0 -0; 1 fail: order_by: its result is neither a string nor a number nor null; first 1`},
		{``, `transform = '.'`, `{"n":1.0}`, `1 1 +0 -0`}, // other bytes, and the same
		{`transform = '.n'`, `transform = '"\(.n)" * 600'`, `{"n":1234}`, `1 1 +0 -0; . 1234 "\"` + strings.Repeat("1234", 255) + `123…" 1; first 1`},
	} {
		const route = "[[route]]\nname = \"a\"\nurl = \"https://x.example.com\"\n"
		var lines []string
		for _, s := range strings.Split(c.signals, " ") {
			lines = append(lines, `{"signal_type":"x",`+s[1:])
		}
		p := planned(t, route+c.before, route+c.after, strings.Join(lines, "\n\n"))
		r := p.Routes[0]
		got := fmt.Sprintf("%d %d +%d -%d", r.Before, r.After, r.More, r.Fewer)
		for _, change := range r.Changes {
			got += fmt.Sprintf("; %s %s %s %d", change.Path, change.From, change.To, change.Count)
		}
		if r.Errors > 0 {
			got += fmt.Sprintf("; %d fail: %s", r.Errors, r.Error)
		}
		if len(r.First) > 0 {
			got += fmt.Sprintf("; first %d", len(r.First))
		}
		if got != c.want || p.Signals != len(lines) {
			t.Errorf("%s\nand\n%s\nis %s\nwant %s", c.before, c.after, got, c.want)
		}
	}
}

// planned is a plan of two configs, neither of which runs.
func planned(t *testing.T, before, after, signals string) api.Plan {
	t.Helper()
	var tables []*table.Table
	for _, text := range []string{before, after} {
		now, err := table.New(load(t, text), "test")
		if err != nil {
			t.Fatal(err)
		}
		defer now.Close()
		tables = append(tables, now)
	}
	p, err := Plan(t.Context(), transform.ForSignals, tables[0], tables[1], "", func(yield func(queue.Signal) error) error {
		return Signals(strings.NewReader(signals), yield)
	})
	if err != nil {
		t.Fatal(err)
	}
	Compare(&p, StatusOf(tables[0]), tables[1])
	return p
}

// What is held of a route does not grow with the paths that differ.
func TestPlanIsBounded(t *testing.T) {
	var signals strings.Builder
	for i := range 3 * maxPaths {
		fmt.Fprintf(&signals, "{\"signal_type\":\"x\",\"n\":%d}\n", i)
	}
	const route = "[[route]]\nname = \"a\"\nurl = \"https://x.example.com\"\ntransform = '"
	r := planned(t, route+"{}'", route+`{ "k\(.n)": 1 }'`, signals.String()).Routes[0]
	n := 0
	for _, c := range r.Changes {
		n += c.Count
	}
	if len(r.Changes) != maxPaths+1 || n != 3*maxPaths || r.Changes[0].Path != otherPath || r.Changes[0].From != nil || len(r.First) != maxFirst {
		t.Errorf("%d paths, %d changes: %+v", len(r.Changes), n, r.Changes[0])
	}
}

// What else of a route differs is told, but no secret.
func TestPlanSettings(t *testing.T) {
	p := planned(t, `
[[route]]
name = "a"
url = "https://a.example.com/s3cret"
timeout = "1s"
where = ".n"
[[route]]
name = "b"
url = "https://b.example.com"
secret = "s3cret"
[[route]]
name = "c"
url = "https://c.example.com"
`, `
[[route]]
name = "d"
url = "https://d.example.com"
[[route]]
name = "b"
url = { env = "NO_SUCH_VARIABLE" }
secrets = ["s3cret", "s3cret2"]
headers = { X-Team = "s3cret" }
retry = { attempts = 3 }
[[route]]
name = "a"
url = "https://z.example.com/s3cret"
timeout = "2s"
signatures = ["github"]
where = ".m"
`, `{"signal_type":"x"}`)
	got := ""
	for _, r := range p.Routes {
		got += r.Route + " " + r.State
		for _, c := range r.Settings {
			got += fmt.Sprintf(" %s:%s→%s", c.Path, c.From, c.To)
		}
		got += "\n"
	}
	want := `d appears
b  schedule.attempts:10→3 headers:→{"X-Team":"[secret]"} secret:"[secret]"→ secrets:→["[secret]","[secret]"]
a  limits.timeout:"1s"→"2s" signatures[0]:"beton"→"github" signatures[1]:"standard"→ target:"https://a.example.com"→"https://z.example.com"
c goes
`
	if got != want {
		t.Errorf("differ\n%swant\n%s", got, want)
	}
}

// A line that is no signal is named.
func TestSignals(t *testing.T) {
	for text, want := range map[string]string{
		"{\"signal_type\":\"x\"}\n\n{\"signal_type\":1}": "line 3: signal_type must be a string; found a number",
		`[{"signal_type":"x"}]`:                          "line 1: one signal a line is expected, and this is a batch",
		`{"signal_type":"x"`:                             "line 1: not JSON: found the end at offset 18",
		`{"id":"sig_01KDVDNA010000000000000000"}`:        `line 1: the signal has no signal_type; add "signal_type": "name"`,
		"": "<nil>",
		`{"id":"sig_01KDVDNA010000000000000000","signal_type":"y","signal":{"signal_type":"y"}}`: "sig_01KDVDNA010000000000000000 y {\"signal_type\":\"y\"}; <nil>",
		`{"signal_type":"x"}`: "sig_01KDVDNA010000000000000000 x {\"signal_type\":\"x\"}; <nil>",
	} {
		got := ""
		err := Signals(strings.NewReader(text), func(s queue.Signal) error {
			got += fmt.Sprintf("%s %s %s; ", s.ID, s.Type, s.Body)
			return nil
		})
		broken := Signals(io.MultiReader(strings.NewReader(text+"{"), iotest.ErrReader(io.ErrUnexpectedEOF)), func(queue.Signal) error { return nil })
		if err == nil && broken != io.ErrUnexpectedEOF {
			t.Errorf("%s that breaks off: %v", text, broken)
		}
		if got += fmt.Sprint(err); !strings.HasSuffix(got, want) {
			t.Errorf("%s is %s, want %s", text, got, want)
		}
	}
}
