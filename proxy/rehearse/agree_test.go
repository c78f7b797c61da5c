package rehearse_test

import (
	"context"
	stdjson "encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/itchyny/gojq"

	"signalpost/proxy"
	"signalpost/proxy/api"
	"signalpost/proxy/client"
	"signalpost/proxy/config"
	"signalpost/proxy/rehearse"
	"signalpost/proxy/table"
	"signalpost/queue"
	"signalpost/transform"
)

const maxFirst = 5 // ids that a plan shows

func write(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "signalpost.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// sidecar starts a sidecar, and returns a client of it.
func sidecar(t *testing.T, routes string) *client.Client {
	t.Helper()
	dir := t.TempDir()
	cfg, err := config.Load(t.Context(), write(t, fmt.Sprintf("[server]\nlisten = \"127.0.0.1:0\"\n[queue]\npath = %q\n%s", filepath.Join(dir, "data"), routes)))
	if err != nil {
		t.Fatalf("%v\n%s", err, routes)
	}
	p, err := proxy.New(cfg, nil, "test")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	addr, ended := make(chan string, 1), make(chan error, 1)
	go func() { ended <- p.Serve(ctx, func(a string) { addr <- a }) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	c, err := client.New(<-addr, "")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var (
	wheres = []string{``, `.n > 2`, `.s == "y"`, `if .n == 3 then error("odd") else true end`, `.a.b`, `empty`, `.items[0]?`}
	shapes = []string{``, `{ n, s }`, `{ n: (.n + 1), id: $signal_id, at: $received_at, r: $route }`, `.items[]?`, `.a.b`, `.a.c`, `{ a, x: [.n, .s] }`,
		`if .s == "y" then error("bad " + $route) else . end`, `select(.n > 3)`, `.n, .s`, `empty`, `{ n: .m }`, `[.items, { "odd key": .s }]`}
	further = []string{``, `path = '"/p/\(.n)"'`, `path = '"/p/\(.s)"'`, `query = '{ s, n }'`, `query = '{ s: $params.key }'`, `content_type = "a/b"`, `path = '.s'`, `order_by = 'if .n == 5 then [] else null end'`}
)

// someConfig writes some of five routes, in any order, that send nothing.
func someConfig(r *rand.Rand) string {
	pick := func(list []string) string { return list[r.IntN(len(list))] }
	var b strings.Builder
	names := []string{"a", "b", "c", "d", "e"}
	r.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	for _, name := range names[:2+r.IntN(4)] {
		fmt.Fprintf(&b, "[[route]]\nname = %q\nurl = \"http://127.0.0.1:9/x\"\npaused = true\nparams = { key = \"s3cret\" }\nwhere = '%s'\ntransform = '''%s'''\n%s\n", name, pick(wheres), pick(shapes), pick(further))
		if r.IntN(3) == 0 {
			b.WriteString("signal_types = [\"x*\"]\n")
		}
	}
	return b.String()
}

func someSignal(r *rand.Rand) string {
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	return fmt.Sprintf(`{ "signal_type": "%s", "n": %d, "s": "%s", "items": %s, "a": %s }`, pick("x1", "x2", "y"), r.IntN(6), pick("x", "y", "z"),
		pick(`[]`, `[1]`, `[{"k":1.0},{"k":2}]`, `null`, `"no"`), pick(`null`, `{"b":true}`, `{"b":{"d":[1,2]},"c":1}`, `{"b":null}`))
}

// A seen is a delivery as its receiver would see it, but for what is of the sidecar
// alone: the id of the signal, its time, and the random part of placeholders.
type seen struct {
	failed        bool
	body          any
	path, content string
}

var (
	timeForm = regexp.MustCompile(`20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ`)
	random   = regexp.MustCompile(`param[A-Z2-7]{26}`)
	idForm   = regexp.MustCompile(`sig_\w{26}`)
)

// made are the deliveries that a sidecar made of signals: of each, by route.
func made(t *testing.T, c *client.Client, signals []api.Accepted) (all []map[string][]seen) {
	t.Helper()
	for _, s := range signals {
		its := map[string][]seen{}
		for _, d := range s.Deliveries {
			var one api.Delivery
			if err := c.Get(t.Context(), "/deliveries/"+d.ID, &one); err != nil {
				t.Fatal(err)
			}
			x := seen{failed: one.State == queue.StateDead}
			if !x.failed {
				if err := stdjson.Unmarshal([]byte(timeForm.ReplaceAllString(idForm.ReplaceAllString(string(one.Body), "ID"), "TIME")), &x.body); err != nil {
					t.Fatal(err)
				}
				x.path, x.content = random.ReplaceAllString(one.Request.Path, "param"), one.Request.Headers["Content-Type"]
			}
			its[d.Route] = append(its[d.Route], x)
		}
		all = append(all, its)
	}
	return all
}

// What a plan forecasts of two configs is what sidecars with them make of the same signals.
func TestPlanAgrees(t *testing.T) {
	for seed := range uint64(5) {
		r := rand.New(rand.NewPCG(seed, 1))
		before, after := someConfig(r), someConfig(r)
		var lines []string
		for range 40 {
			lines = append(lines, someSignal(r))
		}
		body := []byte(strings.Join(lines, "\n"))
		a, b := sidecar(t, before), sidecar(t, after)
		sentA, _, err1 := a.Send(t.Context(), client.Signals{Body: body, Lines: true})
		sentB, _, err2 := b.Send(t.Context(), client.Signals{Body: body, Lines: true})
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		got := planOf(t, a, after)
		check(t, fmt.Sprintf("seed %d\n%s\nand\n%s", seed, before, after), got, sentA, made(t, a, sentA), made(t, b, sentB))
	}
}

// planOf is a plan of all that a sidecar has stored.
func planOf(t *testing.T, c *client.Client, after string) api.Plan {
	t.Helper()
	var status api.Status
	if err := c.Get(t.Context(), "/status", &status); err != nil {
		t.Fatal(err)
	}
	old, err := rehearse.Running(&status)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	cfg, err := config.LoadRehearsal(t.Context(), write(t, after))
	if err != nil {
		t.Fatal(err)
	}
	now, err := table.New(cfg, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer now.Close()
	from, err := c.Signals(t.Context(), url.Values{"since": {"1h"}})
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	p, err := rehearse.Plan(t.Context(), transform.ForSignals, old, now, "", func(yield func(queue.Signal) error) error { return rehearse.Signals(from, yield) })
	if err != nil {
		t.Fatal(err)
	}
	rehearse.Compare(&p, status.Routes, now)
	return p
}

func check(t *testing.T, about string, got api.Plan, sent []api.Accepted, before, after []map[string][]seen) {
	t.Helper()
	var listed []string
	for _, p := range got.Routes {
		listed = append(listed, p.Route)
		want := api.RoutePlan{Route: p.Route, Changes: p.Changes, First: []string{}, Error: p.Error, State: p.State, Settings: p.Settings}
		var pairs [][2]seen
		uneven, differing := false, 0
		for i := range before {
			was, is := before[i][p.Route], after[i][p.Route]
			want.Before, want.After = want.Before+len(was), want.After+len(is)
			want.More, want.Fewer = want.More+max(0, len(is)-len(was)), want.Fewer+max(0, len(was)-len(is))
			failed := func(s seen) bool { return s.failed }
			if p.State == "goes" {
				want.Waiting += int64(len(slices.DeleteFunc(slices.Clone(was), failed)))
			}
			if slices.ContainsFunc(is, failed) && !slices.ContainsFunc(was, failed) {
				want.Errors++
			}
			if !reflect.DeepEqual(was, is) && len(want.First) < maxFirst {
				want.First = append(want.First, sent[i].ID)
			}
			uneven = uneven || len(was) != len(is) && len(was) > 0 && len(is) > 0
			for j := range min(len(was), len(is)) {
				if pairs = append(pairs, [2]seen{was[j], is[j]}); !is[j].failed && !reflect.DeepEqual(was[j], is[j]) {
					differing++
				}
			}
		}
		if !reflect.DeepEqual(p, want) {
			t.Errorf("%s\nforecast %+v\nhappened %+v", about, p, want)
		}
		covered := 0
		for _, c := range p.Changes {
			covered += c.Count
			if n, like := counts(t, pairs, c); !uneven && (n < c.Count || !like) {
				t.Errorf("%s\nchange %s %s → %s is forecast %d times, and happened %d times, so: %v", about, c.Path, c.From, c.To, c.Count, n, like)
			}
		}
		if !uneven && covered < differing {
			t.Errorf("%s\nroute %s: %d deliveries differ, forecast are %+v", about, p.Route, differing, p.Changes)
		}
	}
	for i := range before {
		for route := range before[i] {
			if !slices.Contains(listed, route) {
				t.Errorf("%s\nroute %s is not forecast", about, route)
			}
		}
	}
}

// counts evaluates the path of a change as jq, and returns how many pairs of deliveries
// differ there, and whether one does as it says.
func counts(t *testing.T, pairs [][2]seen, c api.Change) (n int, like bool) {
	t.Helper()
	if !strings.HasPrefix(c.Path, ".") {
		for _, pair := range pairs {
			if pair[0].path != pair[1].path || pair[0].content != pair[1].content {
				n++
			}
		}
		return n, true
	}
	q, err := gojq.Parse(c.Path)
	if err != nil {
		t.Fatal(err)
	}
	at := func(s seen) string {
		v, _ := q.Run(s.body).Next()
		if s.failed {
			return ""
		}
		if _, none := v.(error); none {
			return ""
		}
		b, _ := stdjson.Marshal(v)
		return string(b)
	}
	mask := func(v stdjson.RawMessage) string {
		var x any
		if stdjson.Unmarshal([]byte(timeForm.ReplaceAllString(idForm.ReplaceAllString(string(v), "ID"), "TIME")), &x) != nil {
			return ""
		}
		b, _ := stdjson.Marshal(x)
		return string(b)
	}
	for _, pair := range pairs {
		from, to := at(pair[0]), at(pair[1])
		if from != to || c.From == nil || c.To == nil {
			n++
		}
		// What is missing is null for jq.
		like = like || (from == mask(c.From) || c.From == nil) && (to == mask(c.To) || c.To == nil)
	}
	return n, like
}
