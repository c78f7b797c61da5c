package transform

import (
	stdjson "encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/itchyny/gojq"

	"signalpost/transform/budget"
	"signalpost/transform/builtins"
	"signalpost/transform/json"
)

func Example() {
	signal, err := json.Decode([]byte(`{"confidence": 0.92, "id": 9007199254740993, "account": {"name": "Acme Corp"}}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	where, err := Compile(`.confidence >= 0.8`)
	if err != nil {
		fmt.Println(err)
		return
	}
	shape, err := Compile(`{company: .account.name, score: (.confidence * 100 | round), id, route: $route}`)
	if err != nil {
		fmt.Println(err)
		return
	}
	vars := Vars{SignalID: "sig_1", ReceivedAt: "2026-04-29T14:31:08Z", Route: "crm"}
	ok, err := where.Match(nil, signal, vars)
	fmt.Println(ok, err)
	bodies, err := shape.Shape(nil, signal, vars)
	for _, b := range bodies {
		fmt.Println(string(b), err)
	}
	// Output:
	// true <nil>
	// {"company":"Acme Corp","id":9007199254740993,"route":"crm","score":92} <nil>
}

func ExampleCompileError() {
	_, err := Compile("{\n  company: .account.name,\n  score: rounded(.confidence)\n}")
	fmt.Println(err)
	// Output: line 3, column 10: function rounded/1 is not defined (name/number of arguments)
}

func ExampleRunError() {
	p, _ := Compile(`"x" * 1e9`)
	_, err := p.Shape(nil, nil, Vars{})
	fmt.Println(err)
	// Output: the expression would make a string of more than 4 MiB
}

func TestMatch(t *testing.T) {
	v := decoded(t, sample)
	for src, want := range map[string]bool{
		`.confidence >= 0.8`: true, `.confidence > 0.92`: false, `.confidence == 0.920`: true,
		`true`: true, `false`: false, `null`: false, `0`: true, `""`: true, `[]`: true, `empty`: false,
		`false, true`: false, `true, false`: true, `true, error("never asked for")`: true,
		`.events | any(. == "api_key_created")`:                    true,
		`.account.domain | endswith(".com")`:                       true,
		`.missing.deeply`:                                          false,
		`$signal_id == "sig_01JT0000000000000000000000"`:           true,
		`$route == "crm" and ($received_at | startswith("2026-"))`: true,
		`.events[]`: true, `.nothing[]?`: false, `first(range(10))`: true,
	} {
		if got, err := compiled(t, src).Match(nil, v, sampleVars); got != want || err != nil {
			t.Errorf("Match(%s) = %v, %v, want %v", src, got, err, want)
		}
	}
	if ok, err := compiled(t, `error("x")`).Match(nil, v, sampleVars); ok || kindOf(err) != "failed" {
		t.Errorf("Match of an error = %v, %v", ok, err)
	}
	if ok, err := compiled(t, `last(range(1e12))`).Match(nil, v, sampleVars); ok || kindOf(err) != "timeout" {
		t.Errorf("Match of a runaway = %v, %v", ok, err)
	}
}

func TestShape(t *testing.T) {
	const in = `{"id":9007199254740993,"p":1.10,"h":1e400,"d":0.1000000000000000055,"s":"<\u2028😀&>\u0000","l":[1,2],"big":` +
		`123456789012345678901234567890}`
	v, err := json.Decode([]byte(in))
	if err != nil {
		t.Fatal(err)
	}
	for src, want := range map[string]string{
		`.`: "{\"big\":123456789012345678901234567890,\"d\":0.1000000000000000055,\"h\":1e400," +
			"\"id\":9007199254740993,\"l\":[1,2],\"p\":1.10,\"s\":\"<\u2028😀&>\\u0000\"}",
		`.id, {id}, [.p, .h], {x: .d}`:            `9007199254740993|{"id":9007199254740993}|[1.10,1e400]|{"x":0.1000000000000000055}`,
		`"\(.id) \(.h)", (.p | tojson, tostring)`: `"9007199254740993 1e400"|"1.10"|"1.10"`,
		`.id + 1, .big + 1, .big == .big - 0`:     `9007199254740994|123456789012345678901234567891|true`,
		`.l[] as $x | {$x}`:                       `{"x":1}|{"x":2}`,
		`empty`:                                   ``,
		`null, "s", 1, false`:                     `null|"s"|1|false`,
		`nan, infinite, -infinite`:                `null|1.7976931348623157e+308|-1.7976931348623157e+308`,
		`[.l[] | {a: .}] | map(.a) | add`:         `3`,
		"# a comment\n.l\n| length":               `2`,
		`$signal_id, $received_at, $route`:        `"sig_01JT0000000000000000000000"|"2026-04-29T14:31:08.123Z"|"crm"`,
		`$signal_type`:                            `"product_qualified_lead"`,
		`.l | .[.[0]]`:                            `2`,
		`[{"k":[5],"n":"k"}] | .[][.[0].n]`:       `[5]`,
		`(.id | tostring | fromjson) == .id`:      `true`,
		`(.l[0] = 9 | .l), .l`:                    `[9,2]|[1,2]`,
	} {
		results, err := compiled(t, src).Shape(nil, v, sampleVars)
		var got []string
		for _, b := range results {
			got = append(got, string(b))
		}
		if strings.Join(got, "|") != want || err != nil {
			t.Errorf("Shape(%s) = %s, %v, want %s", src, strings.Join(got, "|"), err, want)
		}
	}
}

// Long lists of constants are no deep nesting.
func TestLongLists(t *testing.T) {
	if raceEnabled {
		t.Skip("with the race detector it can run over its time")
	}
	list := "[" + strings.Repeat(`"a.example",`, 5000) + `"b.example"]`
	if ok, err := compiled(t, `IN("b.example"; `+list+`[])`).Match(nil, nil, Vars{}); !ok || err != nil {
		t.Errorf("a list of 5001 constants: %v, %v", ok, err)
	}
	table := "{" + strings.Repeat(`"a": 1, `, 1000) + `"b": 2}.b == 2`
	if ok, err := compiled(t, table).Match(nil, nil, Vars{}); !ok || err != nil {
		t.Errorf("a table of 1001 constants: %v, %v", ok, err)
	}
}

func TestResultBounds(t *testing.T) {
	results, err := compiled(t, `range(100)`).Shape(nil, nil, Vars{})
	if len(results) != MaxResults || err != nil {
		t.Errorf("%d results, %v, want %d", len(results), err, MaxResults)
	}
	for src, want := range map[string]string{
		`"x" * (1048576 - 2)`: "ok", `"x" * (1048576 - 1)`: "output",
		`["x" * (1048576 - 4)]`: "ok", `["x" * (1048576 - 3)]`: "output",
		`"\"" * 524287`: "ok", `"\"" * 524288`: "output",
		`range(101)`: "results",
	} {
		results, err := compiled(t, src).Shape(nil, nil, Vars{})
		if kindOf(err) != want || err != nil && results != nil {
			t.Errorf("%s: %v, want %s", src, err, want)
		}
	}
}

func TestRunErrors(t *testing.T) {
	v := decoded(t, sample)
	for src, want := range map[string]string{
		`error("no account")`:             `the expression raised an error: no account`,
		`error({code: 3})`:                `the expression raised an error: {"code":3}`,
		`error(null)`:                     `the expression raised an error: null`,
		`.source + 1`:                     `cannot add: string ("posthog") and number (1)`,
		`.events.name`:                    `expected an object but got: array (["visited_pricing_page"," ...])`,
		`.confidence / 0`:                 `cannot divide number (0.92) by: number (0)`,
		`.source | keys`:                  `keys cannot be applied to: string ("posthog")`,
		`.a[400000000] = 1`:               `setpath(["a",400000000]) cannot be applied to {"account":{"domain":"acm ...}: array index too large: 400000000; an array that is assigned to has 1048576 elements at most`,
		`{} | .[.a]`:                      `expected a string for object key but got: null`,
		`last(range(1e12))`:               `the expression ran for more than 100 ms`,
		`range(1000)`:                     `the expression yields more than 100 results`,
		`"x" * 2000000`:                   `result 1 is larger than 1 MiB, or nested more than 10000 deep`,
		`try error("\(1e9)") catch error`: `the expression raised an error: 1000000000`,
		`{} | .[[0]]`:                     `expected an array but got: object ({})`,
	} {
		_, err := compiled(t, src).Shape(nil, v, sampleVars)
		if err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", src, err, want)
		}
	}
	for _, src := range []string{`error("é" * 100000)`, `error([range(10000)])`, `"é" * 100000 | test("(")`,
		`error("é" * 100000 | explode | implode)`, `"x" * 100000 | fromjson`, `.["x" * 100000] | .[0] = 1 | .["y" * 100000] = 2`} {
		_, err := compiled(t, src).Shape(nil, nil, sampleVars)
		if err == nil || len(err.Error()) > budget.MaxMessage || !utf8.ValidString(err.Error()) {
			t.Errorf("%s: an error of %d bytes", src, len(fmt.Sprint(err)))
		}
	}
}

// The text of an error that panics stays a text, and a panic stays in its run.
func TestPanics(t *testing.T) {
	if err := asRunError(panicking{}); err.Kind != budget.Failed || err.Msg == "" {
		t.Errorf("asRunError = %+v", err)
	}
	if _, err := compiled(t, `type, tojson`).Shape(nil, struct{}{}, Vars{}); kindOf(err) != "failed" {
		t.Errorf("a value of no JSON type: %v", err)
	}
	if _, err := compiled(t, `1`).Shape(nil, nil, Vars{}); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

type panicking struct{}

func (panicking) Error() string { panic("no text") }

func TestCompileErrors(t *testing.T) {
	for _, c := range []struct {
		src          string
		line, column int
		token, msg   string
	}{
		{``, 1, 1, "", "the expression is empty"},
		{"# nothing\n", 2, 1, "", "the expression is empty"},
		{`def f: 1;`, 1, 10, "", "ends after a definition"},
		{`.a |`, 1, 5, "", "unexpected end"},
		{"{\n  a: .b,\n  c: .d ]\n}", 3, 9, "]", "unexpected token"},
		{`"abc`, 1, 5, "", "unterminated string"},
		{"\n\n  .a | foo", 3, 8, "foo", "function foo/0 is not defined"},
		{`.foo | map(.foo) | foo(1)`, 1, 20, "foo", "function foo/1 is not defined"},
		{`"foo \(1 + foo)" # foo`, 1, 12, "foo", "function foo/0"},
		{`"é", foo`, 1, 6, "foo", "function foo/0"},
		{`map`, 1, 1, "map", "but map/1 is"},
		{`length(1)`, 1, 1, "length", "but length/0 is"},
		{`1 as $x | $y`, 1, 11, "$y", "variable $y is not defined"},
		{`{a: $b}`, 1, 5, "$b", "$signal_id, $received_at, $route"},
		{`{$b}`, 1, 2, "$b", "variable $b is not defined"},
		{`(1 as $x | .) | $x`, 1, 7, "$x", "variable $x is not defined"},
		{`break $out`, 1, 7, "$out", "label $out is not defined"},
		{`@yaml`, 1, 1, "@yaml", "format @yaml is not defined"},
		{`@yaml "x"`, 1, 1, "@yaml", "format @yaml is not defined"},
		{`_modify(.a; 1)`, 1, 1, "_modify", "function _modify/2 is not defined"},
		{`_add(1; 2)`, 1, 1, "_add", "function _add/2 is not defined"},
		{`$__prog_args`, 1, 1, "$__prog_args", "is not defined"},
		{`$__loc__`, 1, 1, "$__loc__", "is not defined"},
		{`.a | env`, 1, 6, "env", "cannot read the environment"},
		{`env.HOME`, 1, 1, "env", "cannot read the environment"},
		{`$ENV.HOME`, 1, 1, "$ENV", "cannot read the environment"},
		{`{$ENV}`, 1, 2, "$ENV", "cannot read the environment"},
		{`input`, 1, 1, "input", "cannot read input"},
		{`[inputs]`, 1, 2, "inputs", "cannot read input"},
		{`input_filename`, 1, 1, "input_filename", "cannot read input"},
		{`input_line_number`, 1, 1, "input_line_number", "cannot read input"},
		{`debug`, 1, 1, "debug", "cannot write to the terminal"},
		{`debug(1)`, 1, 1, "debug", "cannot write to the terminal"},
		{`stderr`, 1, 1, "stderr", "cannot write to the terminal"},
		{`halt`, 1, 1, "halt", "cannot end the process"},
		{`1 | halt_error`, 1, 5, "halt_error", "cannot end the process"},
		{`halt_error(1)`, 1, 1, "halt_error", "cannot end the process"},
		{`"m" | modulemeta`, 1, 7, "modulemeta", "cannot read files"},
		{`get_search_list`, 1, 1, "get_search_list", "cannot read files"},
		{`builtins`, 1, 1, "builtins", "not available"},
		{`import "m" as m; m::f`, 1, 1, "import", "cannot read files"},
		{`include "m"; .`, 1, 1, "include", "cannot read files"},
		{`import "m" as $m; .`, 1, 1, "import", "cannot read files"},
		{`module {}; .`, 1, 1, "module", "is no module"},
		{`m::f`, 1, 1, "m::f", "is not defined"},
		{"\xff", 1, 1, "", "not UTF-8"},
		{strings.Repeat("(", 40000) + "1" + strings.Repeat(")", 40000), 1, 1, "", "longer than 64 KiB"},
		{strings.Repeat("(", 30000) + "1" + strings.Repeat(")", 30000), 1, 1, "", "nested more than"},
		{strings.Repeat("[", 30000) + strings.Repeat("]", 30000), 1, 1, "", "nested more than"},
		{"." + strings.Repeat("[0]", 20000), 1, 1, "", "nested more than"},
		{"." + strings.Repeat("[]", 20000), 1, 1, "", "nested more than"},
		{"1" + strings.Repeat("+1", 20000), 1, 1, "", "nested more than"},
		{"-" + strings.Repeat("-", 20000) + "1", 1, 1, "", "nested more than"},
		{"1" + strings.Repeat(",1", 20000), 1, 1, "", "nested more than"},
		{"1" + strings.Repeat("|1", 20000), 1, 1, "", "nested more than"},
		{"if 1 then 1 " + strings.Repeat("elif 1 then 1 ", 4000) + "end", 1, 1, "", "nested more than"},
		{strings.Repeat("try ", 15000) + "1", 1, 1, "", "nested more than"},
		{". as " + strings.Repeat("[", 20000) + "$x" + strings.Repeat("]", 20000) + " | 1", 1, 1, "", "nested more than"},
		{"\"" + strings.Repeat(`\(1)`, 16000) + "\"", 1, 1, "", "parts"},
		{strings.Repeat("def f: 1; ", 6000) + "1", 1, 1, "", "parts"},
	} {
		p, err := Compile(c.src)
		var ce *CompileError
		if !errors.As(err, &ce) || p != nil {
			t.Errorf("Compile(%.60q) = %v, %v", c.src, p, err)
			continue
		}
		if ce.Line != c.line || ce.Column != c.column || ce.Token != c.token || !strings.Contains(ce.Msg, c.msg) {
			t.Errorf("Compile(%.60q): %+v, want %d:%d %q %q", c.src, *ce, c.line, c.column, c.token, c.msg)
		}
		if len(ce.Error()) > 2*budget.MaxMessage {
			t.Errorf("Compile(%.60q): an error of %d bytes", c.src, len(ce.Error()))
		}
	}
}

// Every function gojq has is available, guarded, or denied for a reason.
func TestKnowsStock(t *testing.T) {
	q, err := gojq.Parse("builtins[]")
	if err != nil {
		t.Fatal(err)
	}
	for it := q.Run(nil); ; {
		v, ok := it.Next()
		if !ok {
			break
		}
		sig := v.(string)
		name, _, _ := strings.Cut(sig, "/")
		_, isDenied := builtins.Denied[name]
		_, isStock := builtins.Stocks[sig]
		_, isFunction := builtins.Functions[sig]
		_, isPrelude := prelude()[sig]
		if !isDenied && !isStock && !isFunction && !isPrelude && sig != "path/1" {
			t.Errorf("%s is not known", sig)
		}
	}
}

// One value is shared by the expressions of all routes, and one program by all
// signals: the race detector watches.
func TestConcurrentUse(t *testing.T) {
	v, err := json.Decode([]byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	before := mustMarshal(v)
	var programs []*Program
	for _, src := range []string{
		sampleShape, `del(.events[0], .account.name)`, `.events[0] = 1`, `.events |= sort`, `walk(.)`, `map_values(1)`,
		`del(..)`, `.. |= .`, `(.. | strings) |= ascii_upcase`, `.account += {"x": 1}`, `.events[1:] = []`,
		`.events | sort | reverse`, `to_entries | from_entries`, `delpaths([["account", "name"], ["events", 1]])`,
		`.source | gsub("o"; "0")`, `"\(.)"`, `. * {"account": {"x": 1}}`, `[range(30000)] | length`, `.events[] |= empty`,
	} {
		programs = append(programs, compiled(t, src))
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10 {
				for _, p := range programs {
					if _, err := p.Shape(nil, v, sampleVars); err != nil && kindOf(err) != "timeout" {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	if after := mustMarshal(v); after != before {
		t.Errorf("the value became %s", after)
	}
}

// A light expression does not wait for runaway ones.
func TestLightAmongRunaways(t *testing.T) {
	v := decoded(t, sample)
	runaway, light := compiled(t, `last(range(1e12))`), compiled(t, sampleShape)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 16 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					runaway.Shape(nil, v, sampleVars)
				}
			}
		})
	}
	time.Sleep(20 * time.Millisecond)
	for range 20 {
		if _, err := light.Shape(nil, v, sampleVars); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	wg.Wait()
}

// A number longer than what is computed on still passes, and still compares as
// an error, not as an hour of work.
func TestLongNumbers(t *testing.T) {
	long := strings.Repeat("9", 1_000_000)
	v := map[string]any{"n": stdjson.Number(long), "x": stdjson.Number("1." + long)}
	if got, err := compiled(t, `.n`).Shape(nil, v, Vars{}); err != nil || string(got[0]) != long {
		t.Errorf("a long number does not pass: %v", err)
	}
	for _, src := range strings.Fields(strings.ReplaceAll(`
		.n+1  .n==1  -.n+1  .n|floor  .n|todate  .n|gmtime  .n|abs  .n|isnormal  .n|finites  [.n]|mktime  [.n]|implode
		[.n,.n]|sort  [.n,.n]|unique  [.n,.n]|min  [.n,.n]|group_by(.)  .n|tostring|tonumber
		[range(.n)]  range(0;1;.n)  limit(.n;1)  pow(2;.n)  "x"*.n
		.n~as~$n|[1]|.[$n]  .n~as~$n|[1]|.[$n:]  .n~as~$n|[1]|.[:$n]  .n~as~$n|[1]|has($n)  .n~as~$n|[1]|nth($n)
		.n~as~$n|[1]|.[$n]=1  .n~as~$n|[1]|.[$n]|=1  .n~as~$n|[1]|.[$n:]=[]  .n~as~$n|[1]|del(.[$n])  .n~as~$n|[1]|.[0]+=$n
		.n~as~$n|[1]|getpath([$n])  .n~as~$n|[1]|getpath([{start:$n,end:null}])  .n~as~$n|[1]|setpath([$n];1)
		.n~as~$n|[[1]]|flatten($n)  .n~as~$n|[1]|index($n)  .n~as~$n|[1]|contains([$n])  .n~as~$n|[1]|bsearch($n)
		.n~as~$n|[1]|.[[$n]]  .n~as~$n|[1]|.~as~{($n):$x}|$x  .n~as~$n|[1]-[$n]  .n~as~$n|1%$n  .n~as~$n|1/$n`, "  ", " ")) {
		src = strings.ReplaceAll(src, "~", " ")
		p, start := compiled(t, src), time.Now()
		if _, err := p.Shape(nil, v, Vars{}); kindOf(err) != "failed" {
			t.Errorf("%s: %v", src, err)
		}
		if took := time.Since(start); took > 30*time.Second {
			t.Errorf("%s took %v", src, took)
		}
	}
	// Nor does one that stands beside what is large and not compared.
	for range 10 {
		if _, err := compiled(t, `{a: .n, z: [range(20000)]} == {a: 1, z: []}`).Shape(nil, v, Vars{}); kindOf(err) != "failed" {
			t.Fatalf("behind a large member: %v", err)
		}
	}
}

func FuzzCompile(f *testing.F) {
	for _, name := range []string{"stock.txt", "runaway.txt"} {
		for i, c := range readCases(f, name) {
			if name == "runaway.txt" && i%8 != 0 {
				continue // they take their time, and have their test
			}
			_, src, _ := strings.Cut(c, " => ")
			f.Add(src)
		}
	}
	v := decoded(f, sample)
	before := mustMarshal(v)
	f.Fuzz(func(t *testing.T, src string) {
		p, err := Compile(src)
		if err != nil {
			var ce *CompileError
			if !errors.As(err, &ce) || ce.Line < 1 || ce.Column < 1 {
				t.Fatalf("%T: %+v", err, err)
			}
			return
		}
		start := time.Now()
		results, err := p.Shape(nil, v, sampleVars)
		if took := time.Since(start); took > time.Minute {
			t.Fatalf("took %v", took)
		}
		if kind := kindOf(err); strings.HasPrefix(kind, "*") {
			t.Fatalf("%s: %v", kind, err)
		}
		if err != nil && strings.Contains(err.Error(), "fault of its interpreter") {
			t.Fatal(err)
		}
		for _, b := range results {
			if len(b) > MaxOutput || !stdjson.Valid(b) {
				t.Fatalf("result %q", b)
			}
		}
		if after := mustMarshal(v); after != before {
			t.Fatalf("the input became %s", after)
		}
	})
}

func TestPackageIsPure(t *testing.T) {
	files, err := filepath.Glob("*.go")
	more, err2 := filepath.Glob("*/*.go")
	if err != nil || err2 != nil || len(more) < 3 {
		t.Fatal(more, err, err2)
	}
	for _, file := range append(files, more...) {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, forbidden := range []string{`"os"`, `"net"`, `"net/http"`, `"signalpost/queue`, `"signalpost/proxy`, `"unsafe"`} {
			if strings.Contains(string(b), "\t"+forbidden) {
				t.Errorf("%s imports %s", file, forbidden)
			}
		}
	}
}

// $params are there for what makes a request, whatever else decides.
func TestParams(t *testing.T) {
	vars := sampleVars
	vars.Params = map[string]any{"key": "K3Y", "b-c": "BC"}
	for src, want := range map[string]struct{ result, named string }{
		`{k: $params.key}`:                           {`{"k":"K3Y"}`, "key@4"},
		`"Bearer \($params["b-c"] | @uri)"`:          {`"Bearer BC"`, "b-c@10"},
		`$params | .key + "x"`:                       {`"K3Yx"`, ""},
		`{($params.key): [$params.key, $params.no]}`: {`{"K3Y":["K3Y",null]}`, "key@2 no@30"},
		`{key: 1} as $params | $params.key`:          {`1`, ""},
		`def f($params): $params.no; f({no: 2})`:     {`2`, ""},
	} {
		p, err := CompileShape(src)
		if err != nil {
			t.Errorf("%s: %v", src, err)
			continue
		}
		results, err := p.Shape(nil, nil, vars)
		var named []string
		for _, name := range slices.Sorted(maps.Keys(p.Params())) {
			named = append(named, fmt.Sprintf("%s@%d", name, p.Params()[name]))
		}
		if err != nil || string(results[0]) != want.result || strings.Join(named, " ") != want.named {
			t.Errorf("%s = %s, %v, names %q, want %v", src, results, err, named, want)
		}
	}
	for _, src := range []string{`$params.key`, `.a == $params.key`, `{$params}`, `. as $x | $params`} {
		if _, err := Compile(src); err == nil || !strings.Contains(err.Error(), "only transform, path and query can name it") {
			t.Errorf("%s: %v", src, err)
		}
	}
	if _, err := Compile(`{key: 1} as $params | $params.key`); err != nil {
		t.Errorf("a variable of the expression's own: %v", err)
	}
	if _, err := Compile(`$parms`); err == nil || strings.Contains(err.Error(), "$params") {
		t.Errorf("a filter is told of $params: %v", err)
	}
}
