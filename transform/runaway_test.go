package transform

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"signalpost/transform/budget"
)

type runaway struct {
	kinds []string
	src   string
}

func runaways(t testing.TB) (cases []runaway) {
	for _, c := range readCases(t, "runaway.txt") {
		kinds, src, ok := strings.Cut(c, " => ")
		if !ok {
			t.Fatalf("no => in %q", c)
		}
		cases = append(cases, runaway{strings.Fields(kinds), src})
	}
	return cases
}

func kindOf(err error) string {
	var re *RunError
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &re):
		return string(re.Kind)
	}
	return fmt.Sprintf("%T", err)
}

func TestRunaway(t *testing.T) {
	v := decoded(t, sample)
	work := make(chan runaway)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for c := range work {
				checkRunaway(t, v, c)
			}
		})
	}
	for _, c := range runaways(t) {
		work <- c
	}
	close(work)
	wg.Wait()
}

func checkRunaway(t *testing.T, v any, c runaway) {
	p, err := Compile(c.src)
	if err != nil {
		t.Errorf("Compile(%s): %v", c.src, err)
		return
	}
	start := time.Now()
	results, err := p.Shape(nil, v, sampleVars)
	took := time.Since(start)
	kind := kindOf(err)
	// A slow machine may meet the bound of time before any other.
	if !slices.Contains(c.kinds, kind) && kind != "timeout" {
		t.Errorf("%s: %s (%v), want %v", c.src, kind, err, c.kinds)
	}
	if err != nil && (results != nil || len(err.Error()) > budget.MaxMessage) {
		t.Errorf("%s: %d results with an error of %d bytes", c.src, len(results), len(err.Error()))
	}
	if took > time.Minute { // a guard against what never ends
		t.Errorf("%s: took %v", c.src, took)
	}
	t.Logf("%8.1f ms %-8s %.100s", float64(took.Microseconds())/1000, kind, c.src)
}

// All runaway expressions together, 64 at a time, in a process of their own:
// its peak of memory is what counts.
func TestRunawayMemory(t *testing.T) {
	const child = "TRANSFORM_RUNAWAY_CHILD"
	if os.Getenv(child) != "" {
		debug.SetGCPercent(400) // as main has it
		debug.SetMemoryLimit(384 << 20)
		v := decoded(t, sample)
		work := make(chan *Program)
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() {
				for p := range work {
					p.Shape(nil, v, sampleVars)
				}
			})
		}
		for _, c := range runaways(t) {
			work <- compiled(t, c.src)
		}
		// And the same one, over and over.
		for _, src := range []string{
			`[range(1e9) | "x" * 1000000]`, `[range(1e9) | null | .[1000000] = 1]`, `def f: [f]; f`,
			`[range(1e9) | {a: .}]`, `range(100) | "x" * 1000000`,
		} {
			p := compiled(t, src)
			for range 40 {
				work <- p
			}
		}
		close(work)
		wg.Wait()
		status, err := os.ReadFile("/proc/self/status")
		if err != nil {
			t.Fatal(err)
		}
		_, hwm, _ := strings.Cut(string(status), "VmHWM:")
		fmt.Printf("peak=%s\n", strings.Fields(hwm)[0])
		return
	}
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc")
	}
	if raceEnabled {
		t.Skip("the race detector takes memory of its own")
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestRunawayMemory$", "-test.v")
	cmd.Env = append(os.Environ(), child+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	_, rest, ok := strings.Cut(string(out), "peak=")
	if !ok {
		t.Fatalf("no peak in %s", out)
	}
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("peak resident set: %d MiB", kib>>10)
	if kib > 512<<10 {
		t.Errorf("the peak resident set is %d MiB, want at most 512", kib>>10)
	}
}
