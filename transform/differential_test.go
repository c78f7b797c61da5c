package transform

import (
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/itchyny/gojq"
)

// An expression means what gojq says it means. differences are what is
// otherwise by intent: the list of doc.go, a case each, or several.
var differences = []struct{ input, src, ours string }{
	{`null`, `"x" * 5000000 | length`, "memory"},
	{`null`, `[range(1000000) | [.]] | flatten | length`, ""}, // it only takes too long or too much
	{`null`, `[.[2000000] = 1] | length`, "failed"},
	{`null`, `"9" * 5000 | tonumber > 0`, "failed"},
	{`null`, `reduce range(14) as $i (10; . * .) | tostring | length`, "failed"},
	{`null`, `[range(200)] | .[[range(150)]]`, "failed"},
	{`null`, `jn(2000000; 1) == 0`, "failed"},
	{`0`, `strftime("%Y" + " " * 2000)`, "failed"},
	{`"a"`, `test("a" * 5000), 1`, "failed"},
	{`"a"`, `test("(a{1000}){3}{10}")?, 1`, ""},
	{`null`, `{} | error`, "failed"},
}

func TestDifferences(t *testing.T) {
	for _, c := range differences {
		if c.ours == "" {
			continue
		}
		results, err := compiled(t, c.src).Shape(nil, decoded(t, c.input), sampleVars)
		got := kindOf(err)
		if err == nil && len(results) > 0 {
			got = string(results[0])
		}
		if got != c.ours {
			t.Errorf("%s | %s: %s (%v), want %s", c.input, c.src, got, err, c.ours)
		}
		want, failed := runStock(t, c.src, decoded(t, c.input))
		if !failed && len(want) > 0 && want[0] == got {
			t.Errorf("%s | %s is no difference: gojq has %s, too", c.input, c.src, want)
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
	it := code.RunWithContext(&stepsContext{t.Context(), 20_000}, v, sampleVars.SignalID, sampleVars.ReceivedAt, sampleVars.Route)
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
