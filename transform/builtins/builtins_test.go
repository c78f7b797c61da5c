package builtins

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/itchyny/gojq"

	"signalpost/transform/budget"
)

func begin(s *budget.Session) *budget.Run {
	r := new(budget.Run)
	r.Begin(s)
	return r
}

// The names of gojq's that are no part of its language, and that rewritten
// expressions call: a version without one of them is to be noticed here.
func TestInternalNames(t *testing.T) {
	names := map[string]int{"_add": 2, "_subtract": 2, "_multiply": 2, "_divide": 2, "_modulo": 2, "_alternative": 2}
	for sig, s := range Stocks {
		if s.Name != "" {
			names[s.Name] = 0
			if !strings.HasPrefix(s.Name, "_") {
				names[s.Name] = int(sig[len(sig)-1] - '0')
			}
		} else if sig[0] == '_' {
			names[sig[:len(sig)-2]] = int(sig[len(sig)-1] - '0')
		}
	}
	for name, arity := range names {
		args := []*gojq.Query{nil, nil}[:arity]
		for i := range args {
			args[i] = &gojq.Query{Term: &gojq.Term{Type: gojq.TermTypeIdentity}}
		}
		q := &gojq.Query{Term: &gojq.Term{Type: gojq.TermTypeFunc, Func: &gojq.Func{Name: name, Args: args}}}
		if _, err := gojq.Compile(q); err != nil {
			t.Errorf("%s/%d: %v", name, arity, err)
		}
	}
}

// However many regular expressions there are, those kept take no more than
// there is room for.
func TestPatterns(t *testing.T) {
	f, most := &Frame{}, 0
	for i := range 3000 {
		f.Run = begin(nil)
		_, err := f.pattern(fmt.Sprintf("x{50}%d", i), "")
		if f.IsHeavy() {
			continue // the machine is busy
		}
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, p := range patterns.byKey {
			n += p.bytes()
		}
		if most = max(most, n); n != patterns.bytes {
			t.Fatalf("%d bytes are kept, %d counted", n, patterns.bytes)
		}
	}
	if most > maxCompiled || most < maxCompiled/2 {
		t.Errorf("%d KiB were kept, want at most %d", most>>10, maxCompiled>>10)
	}
}

func TestPatternsConcurrentUse(t *testing.T) {
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			f := &Frame{Run: begin(nil)}
			for i := range 500 {
				if p, err := f.pattern(fmt.Sprint("y", i), ""); err == nil && !p.MatchString(fmt.Sprint("y", i)) {
					t.Error(p)
				}
			}
		})
	}
	all.Wait()
}
