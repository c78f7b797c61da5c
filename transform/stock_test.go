package transform

import (
	stdjson "encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/itchyny/gojq"
)

// readCases reads testdata/name: one case a line, # begins a comment.
func readCases(t testing.TB, name string) (cases []string) {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimRight(line, "\n"); line != "" && !strings.HasPrefix(line, "# ") {
			cases = append(cases, line)
		}
	}
	return cases
}

// What is guarded must give what gojq gives without a guard.
func TestAgreesWithStock(t *testing.T) {
	for _, c := range readCases(t, "stock.txt") {
		input, src, ok := strings.Cut(c, " => ")
		if !ok {
			t.Fatalf("no => in %q", c)
		}
		want, wantFailed := runStock(t, src, decoded(t, input))
		p, err := Compile(src)
		if err != nil {
			t.Errorf("Compile(%s): %v", src, err)
			continue
		}
		v := decoded(t, input)
		results, err := p.Shape(nil, v, Vars{})
		var got []string
		for _, b := range results {
			got = append(got, string(b))
		}
		if wantFailed {
			if err == nil {
				t.Errorf("%s | %s = %q, gojq fails after %q", input, src, got, want)
			}
		} else if err != nil {
			t.Errorf("%s | %s: %v, gojq yields %q", input, src, err, want)
		} else if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%s | %s = %q, gojq yields %q", input, src, got, want)
		}
		if after, _ := gojq.Marshal(v); string(after) != mustMarshal(decoded(t, input)) {
			t.Errorf("%s | %s changed its input to %s", input, src, after)
		}
	}
}

func mustMarshal(v any) string { b, _ := gojq.Marshal(v); return string(b) }

func decoded(t testing.TB, s string) any {
	t.Helper()
	d := stdjson.NewDecoder(strings.NewReader(s))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return v
}

func runStock(t testing.TB, src string, v any) (results []string, failed bool) {
	q, err := gojq.Parse(src)
	if err != nil {
		t.Fatalf("%s: %v", src, err)
	}
	code, err := gojq.Compile(q)
	if err != nil {
		t.Fatalf("%s: %v", src, err)
	}
	it := code.Run(v)
	for {
		w, ok := it.Next()
		if !ok {
			return results, false
		}
		if _, ok := w.(error); ok {
			return results, true
		}
		results = append(results, mustMarshal(w))
	}
}
