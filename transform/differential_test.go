package transform

import (
	"bytes"
	"math/rand/v2"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"fmt"
	"github.com/itchyny/gojq"
	"maps"
	"slices"
)

// Each line of the list in doc.go is a case: what comes of it here, and that gojq has
// something else.
func TestDifferences(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	cases := regexp.MustCompile(`(?m)^//\t(.+?) +(\w+): .+$`).FindAllStringSubmatch(string(doc), -1)
	if len(cases) < 15 {
		t.Fatalf("doc.go has %d cases", len(cases))
	}
	for _, c := range cases {
		src, want := c[1], c[2]
		p, err := Compile(src)
		if want == "compile" {
			if err == nil {
				t.Errorf("%s compiles", src)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", src, err)
			continue
		}
		results, err := p.Shape(nil, nil, sampleVars)
		got := kindOf(err)
		if err == nil {
			got = string(bytes.Join(results, nil))
		}
		if got != want && got != "timeout" {
			t.Errorf("%s: %s (%v), want %s", src, got, err, want)
		}
		if stock, failed := runStockShort(t, src, nil); failed != nil || strings.Join(stock, "") == want {
			t.Errorf("%s: gojq has %s, %v", src, stock, failed)
		}
	}
}

// TestDifferential runs random programs on random input through both gojq and
// this package, the same ones each time. DIFFERENTIAL_SEED begins with others,
// DIFFERENTIAL_RUNS sets how many; FuzzDifferential looks for more.
func TestDifferential(t *testing.T) {
	seed, runs := uint64(1), 4000
	if s := os.Getenv("DIFFERENTIAL_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	if s := os.Getenv("DIFFERENTIAL_RUNS"); s != "" {
		runs, _ = strconv.Atoi(s)
	}
	if raceEnabled {
		runs /= 10
	}
	t.Logf("DIFFERENTIAL_SEED=%d", seed)
	results := 0
	for i := range uint64(runs) {
		if results += differ(t, seed+i); t.Failed() {
			t.Fatalf("DIFFERENTIAL_SEED=%d DIFFERENTIAL_RUNS=1", seed+i)
		}
	}
	t.Logf("%d programs, %d results were the same", runs, results)
	if results < runs/2 {
		t.Errorf("%d programs had only %d results", runs, results)
	}
}

func FuzzDifferential(f *testing.F) {
	for i := range uint64(50) {
		f.Add(i)
	}
	f.Fuzz(func(t *testing.T, seed uint64) { differ(t, seed) })
}

// differ compares both on what the seed makes, and returns how many results they
// have in common.
func differ(t *testing.T, seed uint64) int {
	m := &maker{Rand: rand.New(rand.NewPCG(seed, 1))}
	src, input := m.program(), m.value(3)
	p, err := Compile(src)
	if err != nil {
		if _, stockErr := gojq.Parse(src); stockErr == nil {
			t.Errorf("seed %d: %s does not compile: %v", seed, src, err)
		}
		return 0
	}
	want, wantFailed := runStockShort(t, src, decoded(t, input))
	v := decoded(t, input)
	got, err := p.Shape(nil, v, sampleVars)
	switch kindOf(err) {
	case "timeout", "memory", "output", "results", "busy":
		return 0 // bounds of our own
	}
	if err != nil && strings.Contains(err.Error(), "fault of its interpreter") {
		return 0 // which gojq meets at other places of the expression as it was written
	}
	if wantFailed == nil && want == nil {
		return 0 // too much for stock
	}
	var texts []string
	for _, b := range got {
		texts = append(texts, string(b))
	}
	if after := mustMarshal(v); after != mustMarshal(decoded(t, input)) {
		t.Errorf("seed %d: %s | %s changed its input to %s", seed, input, src, after)
	}
	if (err != nil) != (wantFailed != nil) {
		t.Errorf("seed %d: %s | %s = %s, %v; gojq has %s, %v", seed, input, src, texts, err, want, wantFailed)
		return 0
	}
	if err == nil && strings.Join(texts, "\n") != strings.Join(want, "\n") {
		t.Errorf("seed %d: %s | %s =\n%s; gojq has\n%s", seed, input, src, texts, want)
	}
	return len(want)
}

// runStockShort is gojq's result, as far as MaxResults; nothing at all if it takes long.
func runStockShort(t *testing.T, src string, v any) (results []string, failed error) {
	defer func() {
		if recover() != nil { // gojq has faults
			results, failed = nil, nil
		}
	}()
	q, err := gojq.Parse(src)
	if err != nil {
		t.Fatalf("%s: %v", src, err)
	}
	code, err := gojq.Compile(q, gojq.WithVariables(varNames))
	if err != nil {
		t.Fatalf("%s compiles here and not with gojq: %v", src, err)
	}
	it := code.RunWithContext(&stepsContext{t.Context(), 200_000}, v, sampleVars.SignalID, sampleVars.ReceivedAt, sampleVars.Route, sampleVars.SignalType, sampleVars.Params)
	results = []string{}
	for {
		w, ok := it.Next()
		if !ok {
			return results, nil
		}
		if err, ok := w.(error); ok {
			if err == errSteps {
				return nil, nil
			}
			return results, err
		}
		results = append(results, mustMarshal(w))
		if len(results) > MaxResults {
			return nil, nil
		}
	}
}

// What is not read of a signal makes no difference.
func TestReads(t *testing.T) {
	less := 0
	for seed := range uint64(6_000) {
		m := &maker{Rand: rand.New(rand.NewPCG(seed, 2))}
		src := m.expression(m.IntN(4))
		v := map[string]any{}
		for _, name := range []string{"a", "b", "c", "é"} {
			v[name] = decoded(t, m.value(2))
		}
		p, err := Compile(src)
		if err != nil {
			continue
		}
		if p.checked.whole {
			continue
		}
		reads, part := Reads(nil, p), maps.Clone(v)
		maps.DeleteFunc(part, func(name string, _ any) bool { return !reads([]byte(name)) })
		want, wantErr := p.Shape(nil, v, sampleVars)
		got, gotErr := p.Shape(nil, part, sampleVars)
		if kind := kindOf(wantErr); kind == "timeout" || kind == "memory" {
			continue
		}
		if fmt.Sprintf("%s %v", got, gotErr) != fmt.Sprintf("%s %v", want, wantErr) {
			t.Fatalf("seed %d: %s | %s = %s, %v; with only %v %s, %v", seed, mustMarshal(v), src, want, wantErr, mustMarshal(part), got, gotErr)
		}
		if len(part) < len(v) {
			less++
		}
	}
	t.Logf("%d expressions read only a part", less)
	if less < 1000 {
		t.Errorf("only %d expressions read a part", less)
	}
	for src, want := range map[string]string{
		`.confidence >= 0.8`: "confidence", `{id, "source", n: .account.name, s: (.confidence * 100 | round), $route}`: "account confidence id source",
		`.events[] | {a: .}`: "events", `"\(.a) \(.b | ascii_downcase)"`: "a b", `if .a then .b["c"] else ."d" // .e? end`: "a b d e",
		`reduce .a[] as $x (0; . + $x)`: "a", `.a as [$x] | .b`: "a b", `@json "\(.a)"`: "a", `1`: "",
		`.`: "all", `{a: .}`: "all", `keys`: "all", `.a = 1`: "all", `.[$route]`: "all", `..`: "all", `. as {$a} | $a`: "a", `{"\($route)"}`: "all", `.a, del(.b)`: "all",
	} {
		got := "all"
		if c := compiled(t, src).checked; !c.whole {
			got = strings.Join(slices.Sorted(maps.Keys(c.members)), " ")
		}
		if got != want {
			t.Errorf("%s reads %q, want %q", src, got, want)
		}
	}
}
