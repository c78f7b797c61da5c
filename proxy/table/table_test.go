package table

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"signalpost/proxy/config"
	"signalpost/proxy/memory"
	"signalpost/proxy/shape"
	"signalpost/queue"
	"signalpost/transform"
	"signalpost/transform/json"
)

// tableOf compiles a config that is written into a folder of the test.
func tableOf(t testing.TB, text string) *Table {
	t.Helper()
	path := filepath.Join(t.TempDir(), "signalpost.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	table, err := New(cfg, "signalpost/test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { table.Close() })
	return table
}

// routesOf writes routes, each a name and further lines.
func routesOf(routes ...string) string {
	var b strings.Builder
	for _, r := range routes {
		name, lines, _ := strings.Cut(r, "\n")
		fmt.Fprintf(&b, "[[route]]\nname = %q\nurl = \"http://127.0.0.1:9/%s\"\n%s\n", name, name, lines)
	}
	return b.String()
}

const sample = `{"signal_type":"product_qualified_lead","confidence":0.92,"id":12345678901234567890,"account":{"name":"Acme Corp"},"events":["a","b","c"]}`

// sampleID is that of a signal received on 2026-04-29 at 14:31:08.123.
var sampleID = func() (id queue.SignalID) {
	(*ulid.ULID)(&id).SetTime(ulid.Timestamp(time.Date(2026, 4, 29, 14, 31, 8, 123e6, time.UTC)))
	return id
}()

// offered offers a signal to a table and returns a line for each delivery.
func offered(t testing.TB, table *Table, body, only string) (lines []string, matched bool) {
	t.Helper()
	signals, _, err := json.Signals("", []byte(body), false, table.Reads)
	if err != nil {
		t.Fatal(err)
	}
	s := queue.Signal{ID: sampleID, Type: signals[0].Type, Body: []byte(body)}
	use := transform.NewSession(t.Context(), transform.ForSignals)
	defer use.Close()
	made, matched, err := table.Offer(use, &s, signals[0].Doc, only)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range made {
		switch {
		case m.Error != "":
			lines = append(lines, m.Route+" failed")
		case string(m.Body) == body:
			lines = append(lines, m.Route+" as it came")
		default:
			lines = append(lines, m.Route+" "+string(m.Body))
		}
	}
	return lines, matched
}

func TestShape(t *testing.T) {
	tests := []struct {
		name    string
		routes  []string
		only    string
		want    []string
		matched bool
	}{
		{"all go everywhere without a filter", []string{"a", "b"}, "", []string{"a as it came", "b as it came"}, true},
		{"one route alone", []string{"a", "b"}, "b", []string{"b as it came"}, true},
		{"one route alone that does not take it", []string{"a", "b\nsignal_types = ['x']"}, "b", nil, false},
		{"globs", []string{"a\nsignal_types = ['product_*']", "b\nsignal_types = ['expansion_*']", "c\nsignal_types = ['x', 'product_qualified_lea?']"}, "",
			[]string{"a as it came", "c as it came"}, true},
		{"where", []string{"a\nwhere = '.confidence >= 0.8'", "b\nwhere = '.confidence >= 0.95'", "c\nwhere = '.nothing'", "d\nwhere = 'empty'", "e\nwhere = '0'"}, "",
			[]string{"a as it came", "e as it came"}, true},
		{"no route passes", []string{"a\nwhere = 'false'"}, "", nil, false},
		{"transform keeps digits", []string{"a\ntransform = '{id, name: .account.name}'"}, "", []string{`a {"id":12345678901234567890,"name":"Acme Corp"}`}, true},
		{"several results", []string{"a\ntransform = '.events[]'"}, "", []string{`a "a"`, `a "b"`, `a "c"`}, true},
		{"no result is no delivery, but a match", []string{"a\ntransform = 'empty'"}, "", nil, true},
		{"null is a body", []string{"a\ntransform = 'null'"}, "", []string{"a null"}, true},
		{"where fails", []string{"a\nwhere = '.account + 1'", "b"}, "", []string{"a failed", "b as it came"}, true},
		{"transform fails after a result", []string{"a\ntransform = '1, error'", "b"}, "", []string{"a failed", "b as it came"}, true},
		{"transform after a where that does not pass", []string{"a\nwhere = 'false'\ntransform = 'error'"}, "", nil, false},
		{"variables", []string{"a\ntransform = '[$route, $received_at, ($received_at | fromdate), $signal_id]'"}, "",
			[]string{`a ["a","2026-04-29T14:31:08Z",1777473068,"` + sampleID.String() + `"]`}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, matched := offered(t, tableOf(t, routesOf(test.routes...)), sample, test.only)
			if strings.Join(got, "\n") != strings.Join(test.want, "\n") || matched != test.matched {
				t.Errorf("got %q, matched %t; want %q, matched %t", got, matched, test.want, test.matched)
			}
		})
	}
}

// Expressions that run away end, each when it has had its own time, and the
// routes that are quick are not touched.
func TestShapeRunaways(t *testing.T) {
	var routes []string
	for i := range 8 {
		routes = append(routes, fmt.Sprintf("slow%d\ntransform = 'def f: f; f'", i), fmt.Sprintf("quick%d\ntransform = '.confidence'", i))
	}
	table := tableOf(t, routesOf(routes...))
	got, _ := offered(t, table, sample, "")
	if len(got) != 16 {
		t.Fatalf("%d deliveries, want 16: %q", len(got), got)
	}
	for i := range 8 {
		if want := fmt.Sprintf("slow%d failed", i); got[2*i] != want {
			t.Errorf("got %q, want %q", got[2*i], want)
		}
		if want := fmt.Sprintf("quick%d 0.92", i); got[2*i+1] != want {
			t.Errorf("got %q, want %q", got[2*i+1], want)
		}
	}
}

func TestReshape(t *testing.T) {
	table := tableOf(t, routesOf("plain", "typed\nsignal_types = ['other']", "shaped\nwhere = '.confidence > 0.5'\ntransform = '.events[:2][]'", "none\ntransform = 'empty'", "bad\ntransform = '.account[0]'"))
	tests := map[string]string{
		"plain":  sample,
		"typed":  "",
		"shaped": `"a" "b"`,
		"none":   "",
		"bad":    "error",
		"gone":   "error",
	}
	for name, want := range tests {
		made, err := table.Reshape(queue.Signal{Type: "product_qualified_lead", Body: []byte(sample)}, name)
		var got []string
		for _, m := range made {
			if got = append(got, string(m.Body)); m.Error != "" {
				got = []string{"error"}
			}
		}
		if err != nil {
			got = append(got, "error")
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s: got %q (%v), want %q", name, s, err, want)
		}
	}
}

func TestTry(t *testing.T) {
	table := tableOf(t, routesOf("a\nsignal_types = ['product_*', 'x']", "b\nsignal_types = ['y', 'z*']"))
	tests := []struct {
		route, where, shape string
		matches             bool
		why                 string
		bodies              int
		fails               bool
	}{
		{"a", "", "", true, "passes", 1, false},
		{"a", "true", ".events[]", true, "passes", 3, false},
		{"a", "true", "empty", true, "passes, but transform yields nothing", 0, false},
		{"a", "true", "error", true, "passes, but transform failed", 0, true},
		{"a", "error", "1", false, "where failed", 0, true},
		{"a", ".nothing", "1", false, "where is false or null, or yields nothing", 0, false},
		{"b", "", "", false, `signal_type "product_qualified_lead" is none of signal_types: y, z*`, 0, false},
	}
	in := &input{Signal: &queue.Signal{Type: "product_qualified_lead", Body: []byte(sample)}}
	defer in.close()
	for _, test := range tests {
		r, fault := replace(&test.where, &test.shape).in(table.Route(test.route))
		got, err := r.try(nil, in)
		if err := errors.Join(fault, err); err != nil {
			t.Fatal(err)
		}
		if got.Matches != test.matches || got.Why != test.why || len(got.Bodies) != test.bodies || (got.Error != nil) != test.fails {
			t.Errorf("%s, where %q, transform %q: got %+v", test.route, test.where, test.shape, got)
		}
	}
}

// The request of a delivery is that of the attempt which was sent last, by the
// config of then; without one, what would be sent now.
// What is tried says which key failed.
func TestTrySaysWhatFailed(t *testing.T) {
	table := tableOf(t, routesOf("path\npath = '1'", "query\nquery = '[]'", "order_by\norder_by = '[]'", "format\nformat = 'form'\ntransform = '1'", "transform\ntransform = 'error(\"path: x\")'"))
	use := transform.NewSession(t.Context(), transform.ForTries)
	defer use.Close()
	trials, err := table.Try(t.Context(), use, &queue.Signal{ID: sampleID, Type: "t", Body: []byte(sample)}, "", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, trial := range trials {
		if trial.Why != "passes, but "+trial.Route+" failed" || trial.Error == nil {
			t.Errorf("%+v", trial)
		}
	}
}

func TestRequest(t *testing.T) {
	table := tableOf(t, routesOf("crm\nsecret = \"a-secret\"", "other\nbearer_token = \"t0ken\""))
	at := time.Date(2026, 4, 29, 14, 31, 8, 5e8, time.UTC)
	d := queue.Detail{Info: queue.Info{ID: sampleID.Delivery(1), Signal: sampleID, Route: "crm", Type: "t", Attempts: 3}, Body: []byte("{}")}
	r := table.Request(&d)
	if r.Sent || r.Time != nil || r.Headers["X-Beton-Attempt"] != "4" || r.Headers["Webhook-Timestamp"]+r.Headers["X-Beton-Signature"] != "" || r.Target != "http://127.0.0.1:9" {
		t.Errorf("never sent: %+v", r)
	}
	d.Request, d.Sent = table.Route("other").Endpoint.Template(), at
	d.Log = []queue.Entry{{Attempt: 1, Peer: "127.0.0.1:9"}, {Attempt: 2, Peer: "127.0.0.1:9"}, {Attempt: 3}}
	r = table.Request(&d)
	if !r.Sent || !r.Time.Equal(at) || r.Headers["X-Beton-Attempt"] != "2" || r.Headers["Webhook-Timestamp"] != "1777473068" || r.Headers["Authorization"] != "Bearer [secret]" {
		t.Errorf("sent: %+v", r)
	}
	d.Shape = `{"path":"/a","type":"text/csv"}`
	if r = table.Request(&d); r.Path != "/[secret]/a" || r.Headers["Content-Type"] != "text/csv" {
		t.Errorf("with what the signal decided: %+v", r)
	}
	d.Route = "gone"
	if table.Request(&d) == nil {
		t.Error("what was sent by a route that has gone is not shown")
	}
	if d.Request = ""; table.Request(&d) != nil {
		t.Error("a route that has gone would send something")
	}
	d.Route, d.Body = "crm", nil
	if table.Request(&d) != nil {
		t.Error("a delivery without a body would send something")
	}
}

func TestGlob(t *testing.T) {
	tests := []struct {
		pattern string
		yes, no []string
	}{
		{"", []string{""}, []string{"a"}},
		{"abc", []string{"abc"}, []string{"", "ab", "abcd", "xabc"}},
		{"*", []string{"", "a", "a*b"}, nil},
		{"a*", []string{"a", "ab", "a b c"}, []string{"", "ba"}},
		{"*a", []string{"a", "ba", "aa"}, []string{"", "ab"}},
		{"a?c", []string{"abc", "a?c", "a*c"}, []string{"ac", "abbc"}},
		{"a*b*c", []string{"abc", "aXbYc", "abbcc", "abcbc"}, []string{"acb", "ab", "abcd"}},
		{"**a**", []string{"a", "xay"}, []string{"", "b"}},
		{"?*?", []string{"ab", "abc"}, []string{"", "a"}},
		{"[a]", []string{"[a]"}, []string{"a"}},
		{`\*`, []string{`\`, `\x`}, []string{"*"}},
	}
	for _, test := range tests {
		for _, s := range test.yes {
			if !queue.Glob(test.pattern, s) {
				t.Errorf("%q does not match %q", test.pattern, s)
			}
		}
		for _, s := range test.no {
			if queue.Glob(test.pattern, s) {
				t.Errorf("%q matches %q", test.pattern, s)
			}
		}
	}
	long := strings.Repeat("a", 256)
	if queue.Glob(strings.Repeat("*a", 128)+"*b", long) { // comes back at all: the stars do not multiply
		t.Error("a glob of many stars matches what does not end so")
	}
}

func TestRoutesThatDoNotMatchCostNoMemory(t *testing.T) {
	var routes []string
	for i := range 100 {
		routes = append(routes, fmt.Sprintf("r%d\nsignal_types = ['other_%d_*', 'x?']\nwhere = 'true'", i, i))
	}
	table := tableOf(t, routesOf(routes...))
	s := queue.Signal{Type: "product_qualified_lead", Body: []byte(sample)}
	if n := testing.AllocsPerRun(100, func() { table.Offer(nil, &s, nil, "") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkShape(b *testing.B) {
	for _, n := range []int{1, 10} {
		b.Run(fmt.Sprintf("routes=%d", n), func(b *testing.B) {
			var routes []string
			for i := range n {
				routes = append(routes, fmt.Sprintf("r%d\nwhere = '.confidence >= 0.8'\ntransform = '{company: .account.name, score: (.confidence * 100 | round), id, type: .signal_type, n: (.events | length), first: .events[0]}'", i))
			}
			table := tableOf(b, routesOf(routes...))
			s := queue.Signal{Type: "product_qualified_lead", Body: []byte(sample)}
			b.ReportAllocs()
			for b.Loop() {
				if made, _, err := table.Offer(nil, &s, nil, ""); err != nil || len(made) != n {
					b.Fatalf("%d deliveries", len(made))
				}
			}
		})
	}
}

// What finds no memory to decode a signal in fails as a whole, and kills no
// delivery; signals that no route looks into do not need it.
func TestBusy(t *testing.T) {
	usual := decoding
	t.Cleanup(func() { decoding = usual })
	decoding = memory.New(1<<20, 10*time.Millisecond)
	plain, shaped := tableOf(t, routesOf("a")), tableOf(t, routesOf("a", "b\ntransform = '.confidence'"))
	s := queue.Signal{ID: sampleID, Type: "product_qualified_lead", Body: []byte(sample)}
	small := s
	s.Body = append(bytes.Repeat([]byte(" "), memory.Small), s.Body...)

	taken, err := decoding.Take(t.Context(), 1<<40)
	if err != nil {
		t.Fatal(err)
	}
	if made, _, err := plain.Offer(nil, &s, nil, ""); len(made) != 1 || err != nil {
		t.Errorf("forwarded: %d deliveries, %v", len(made), err)
	}
	if made, _, err := shaped.Offer(nil, &small, nil, ""); len(made) != 2 || err != nil {
		t.Errorf("a small one: %d deliveries, %v", len(made), err)
	}
	made, _, err1 := shaped.Offer(nil, &s, nil, "")
	bodies, err2 := shaped.Reshape(s, "b")
	trials, err3 := shaped.Try(t.Context(), nil, &s, "", nil, nil)
	for _, err := range []error{err1, err2, err3} {
		if !errors.Is(err, queue.ErrUnavailable) {
			t.Errorf("%v", err)
		}
	}
	if made != nil || bodies != nil || trials != nil {
		t.Errorf("%v, %v, %v", made, bodies, trials)
	}
	if bodies, err := shaped.Reshape(s, "a"); len(bodies) != 1 || err != nil {
		t.Errorf("reshaped to what is forwarded: %v, %v", bodies, err)
	}

	decoding.Give(taken)
	if made, _, err := shaped.Offer(nil, &s, nil, ""); len(made) != 2 || err != nil {
		t.Errorf("%d deliveries, %v", len(made), err)
	}
	if _, err := shaped.Reshape(queue.Signal{Type: "x", Body: []byte("{")}, "b"); err == nil || errors.Is(err, queue.ErrUnavailable) {
		t.Errorf("what is no JSON: %v", err)
	}
	if _, err := decoding.Take(t.Context(), 1<<40); err != nil {
		t.Errorf("not all has been given back: %v", err)
	}
}

// What a route makes beside JSON for its URL, and what it dies of: never of more than
// its own expressions.
func TestRequestOfSignal(t *testing.T) {
	for _, test := range []struct{ name, lines, want string }{
		{"path", `path = '"/contacts/\(.account.name | @uri)"'`, sample + ` {"path":"/contacts/Acme%20Corp"}`},
		{"query", `query = "{ id, tag: .events }"`, sample + ` {"query":"id=12345678901234567890&tag=a&tag=b&tag=c"}`},
		{"first result", "path = '\"/a\", \"b\"'\nquery = '{a: 1}, 3'", sample + ` {"path":"/a","query":"a=1"}`},
		{"form", "format = 'form'\ntransform = '{ name: .account.name }'", `name=Acme+Corp {"format":"form","type":"application/x-www-form-urlencoded"}`},
		{"text", "format = 'text'\ntransform = '.events[:2][]'", `a {"format":"text","type":"text/plain; charset=utf-8"}|b {"format":"text","type":"text/plain; charset=utf-8"}`},
		{"empty text", "format = 'text'\ntransform = '\"\"'", ` {"format":"text","type":"text/plain; charset=utf-8"}`},
		{"ndjson", "format = 'ndjson'\ntransform = '[.events, .confidence]'", "[\"a\",\"b\",\"c\"]\n0.92\n" + ` {"format":"ndjson","type":"application/x-ndjson"}`},
		{"content type", "content_type = 'application/cloudevents+json'", sample + ` {"type":"application/cloudevents+json"}`},
		{"content type of a format", "format = 'text'\ncontent_type = 'text/csv'\ntransform = '\"a,b\"'", `a,b {"format":"text","type":"text/csv"}`},
		{"json", "format = 'json'\ncompression = 'gzip'\nmethod = 'PUT'", sample + " "},
		{"no result needs no path", "path = 'error'\ntransform = 'empty'", ""},
		{"variables", "path = '\"/\\($route)/\\($signal_type)\"'\nwhere = '$signal_type == .signal_type'", sample + ` {"path":"/crm/product_qualified_lead"}`},

		{"path fails", "path = 'error(\"no\")'", "dead: path: the expression raised an error: no"},
		{"path is none", "path = '.nothing'", "dead: path: it is null, not a string"},
		{"path yields nothing", "path = 'empty'", "dead: path: it yields nothing"},
		{"path leads away", "path = '\"/a/../b\"'\ntransform = '.events[]'", `dead: path: "/a/../b" has a part that is . or .., which leads elsewhere`},
		{"query is none", "query = '{ a: .account }'", `dead: query: "a" is an object, not a string, a number, a boolean or an array of these`},
		{"format does not fit", "format = 'text'\ntransform = '.confidence'", "dead: format: text: it is a number, not a string"},
		{"of several", "format = 'text'\ntransform = '.events[0], 1'", "dead: format: text: it is a number, not a string"},
		{"grows beyond bounds", "format = 'form'\ntransform = '{ a: (\"&\" * 500000) }'", "dead: format: form: it comes to more than 1 MiB"},
		{"query beyond bounds", "query = '{ a: (\"&\" * 500000) }'", "dead: query: it comes to more than 1 MiB"},
		{"runs away", "path = 'last(range(1e12))'", "dead: path: the expression ran for more than 100 ms"},
	} {
		t.Run(test.name, func(t *testing.T) {
			table := tableOf(t, routesOf("crm\n"+test.lines))
			var got []string
			for _, m := range offeredTo(t, table, sample) {
				if m.Error != "" {
					got = append(got, "dead: "+m.Error)
				} else {
					got = append(got, string(m.Body)+" "+m.Shape)
				}
			}
			if s := strings.Join(got, "|"); s != test.want {
				t.Errorf("got %q, want %q", s, test.want)
			}
			again, err := table.Reshape(queue.Signal{ID: sampleID, Type: "product_qualified_lead", Body: []byte(sample)}, "crm")
			if err != nil || len(again) != len(got) || len(got) > 0 && (string(again[0].Body)+" "+again[0].Shape != got[0] && "dead: "+again[0].Error != got[0]) {
				t.Errorf("made anew: %+v, %v", again, err)
			}
		})
	}
}

// Of a signal that expressions read in part, those of paths and queries find theirs.
func TestRequestReads(t *testing.T) {
	table := tableOf(t, routesOf("a\nwhere = '.confidence > 0'", "b\npath = '\"/\\(.id)\"'", "c\nquery = '{ e: .events }'"))
	made := offeredTo(t, table, sample)
	if len(made) != 3 || made[1].Shape != `{"path":"/12345678901234567890"}` || made[2].Shape != `{"query":"e=a&e=b&e=c"}` {
		t.Errorf("%+v", made)
	}
}

// offeredTo is what the table makes of a signal, as it comes in by HTTP.
func offeredTo(t *testing.T, table *Table, body string) []queue.Made {
	t.Helper()
	signals, _, err := json.Signals("", []byte(body), false, table.Reads)
	if err != nil {
		t.Fatal(err)
	}
	use := transform.NewSession(t.Context(), transform.ForSignals)
	defer use.Close()
	made, _, err := table.Offer(use, &queue.Signal{ID: sampleID, Type: signals[0].Type, Body: []byte(body)}, signals[0].Doc, "")
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// Each signal's placeholders are its own, and no value is in anything that is made.
func TestParamsOfSignal(t *testing.T) {
	table := tableOf(t, routesOf("crm\nparams = { routing_key = 'v4lue' }\ntransform = '{ k: $params.routing_key, n: .n }, 2'\npath = '\"/\\($params.routing_key | @uri)\"'\nquery = '{ k: $params.routing_key }'"))
	seen := map[string]bool{}
	var before string
	for range 3 {
		made := offeredTo(t, table, `{"signal_type":"t","n":"`+before+`"}`)
		s, err := shape.Parse(made[0].Shape)
		if err != nil || len(made) != 2 || seen[string(s.Params)] {
			t.Fatalf("%+v, %v", made, err)
		}
		seen[string(s.Params)] = true
		filled, body, err := s.Fill(made[0].Body, func(name string) (string, bool) { return "v4lue", name == "routingkey" })
		// What a signal has seen of an earlier one stays as it is.
		if want := `{"k":"v4lue","n":"` + before + `"}`; err != nil || string(body) != want || filled.Path != "/v4lue" || filled.Query != "k=v4lue" {
			t.Errorf("%+v, %s, %v; want %s", filled, body, err, want)
		}
		if strings.Contains(fmt.Sprintf("%+v %s %s", made, made[0].Body, made[0].Shape), "v4lue") {
			t.Errorf("a value is stored: %+v", made)
		}
		before = strings.TrimPrefix(s.Path, "/")
		d := Normalized(queue.Detail{Body: made[0].Body, Shape: made[0].Shape})
		if d.Shape != `{"path":"/param10routingkey","query":"k=param10routingkey"}` || !strings.HasPrefix(string(d.Body), `{"k":"param10routingkey",`) {
			t.Errorf("settled: %s, %s", d.Body, d.Shape)
		}
	}
}

// What a try shows is the same each time, and whole.
func TestTryRequest(t *testing.T) {
	table := tableOf(t, "[[route]]\nname = 'crm'\nurl = 'http://127.0.0.1:9/T0KEN?k=v'\nmethod = 'PATCH'\nparams = { routing_key = 'v4lue' }\nformat = 'form'\n"+
		"transform = '{ k: $params.routing_key }'\npath = '\"/a/\\($params.routing_key)\"'\nquery = '{ b: .n }'\n")
	s := &queue.Signal{ID: sampleID, Type: "t", Body: []byte(`{"signal_type":"t","n":1}`)}
	use := transform.NewSession(t.Context(), transform.ForTries)
	defer use.Close()
	var where *string
	for _, shaped := range []string{"", "[]", "{k: ($params.routing_key + \"!\")}", "$params.routing_key", "$parms"} {
		override := &shaped
		if shaped == "" {
			override = nil
		}
		trials, err := table.Try(t.Context(), use, s, "", where, override)
		if err != nil || len(trials) != 1 {
			t.Fatal(trials, err)
		}
		got := ""
		if r := trials[0]; r.Error != nil {
			got = *r.Error
		} else {
			got = fmt.Sprintf("%s %s%s %s %s %s", r.Request.Method, r.Request.Target, r.Request.Path, r.Request.Headers["Content-Type"], r.Format, r.Bodies[0])
		}
		const request = "PATCH http://127.0.0.1:9/[secret]/a/param10routingkey?[secret]&b=1 application/x-www-form-urlencoded form "
		want := map[string]string{
			"": request + `"k=param10routingkey"`, "[]": "format: form: it is an array, not an object", "{k: ($params.routing_key + \"!\")}": request + `"k=param10routingkey%21"`,
			"$params.routing_key": "format: form: it is a string, not an object", "$parms": "transform: line 1, column 1: variable $parms is not defined; beside an expression's own there are $signal_id, $received_at, $route, $signal_type, $params",
		}[shaped]
		if got != want {
			t.Errorf("transform %q: got %s, want %s", shaped, got, want)
		}
	}
	named := "$params.routing_key"
	if trials, err := table.Try(t.Context(), use, s, "", &named, nil); err != nil || trials[0].Error == nil || !strings.Contains(*trials[0].Error, "only transform, path and query") {
		t.Errorf("where names a param: %+v, %v", trials, err)
	}
}
