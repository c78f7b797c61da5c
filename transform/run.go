package transform

import (
	"math/bits"
	"reflect"
	"runtime"
	"runtime/metrics"
	"time"

	"github.com/itchyny/gojq"
)

// The bounds of a run beside those it promises. Bytes are what a run has
// allocated since it began, whether or not it still holds them.
const (
	quantum    = 1000                  // ns of estimated work between two readings of the clock
	stepCost   = 25                    // ns estimated for one instruction of gojq's machine
	lightWork  = 2_000_000             // ns of work above which a run needs a slot
	lightGap   = 500_000               // ns between two readings of the clock that count as such work
	maxGap     = 10 * time.Millisecond // between two readings that counts as time of the run
	lightBytes = 512 << 10             // bytes above which a run needs a slot
	ownBytes   = 4 << 20               // bytes above which a run must find the process's heap below maxHeap
	maxHeap    = 160 << 20             // bytes of the process's heap; Go may let it double before it collects
	maxCall    = 16 << 20              // bytes one function call may allocate
	maxStacks  = 16 << 20              // bytes of the machine's own stacks
	maxText    = 4 << 20               // bytes of a string made by an expression
	maxItems   = 1 << 20               // length of an array made by an assignment
	maxDigits  = 4096                  // of a number that is computed on
)

// slots holds a token for every heavy run under way. Light runs, which are
// nearly all, never touch it. There are few, so that the memory of runaway
// ones does not add up, and so that they do not outnumber all others.
var slots = make(chan struct{}, min(max(runtime.GOMAXPROCS(0), 2), 4))

var closed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// A run is one evaluation of a program, and its budget. It is used by one
// goroutine.
//
// It is the context gojq runs under: gojq asks it for Done before every
// instruction, and so it counts them. Functions of this package, which
// gojq's machine calls, report their work and what they allocate to it; what
// would not fit is refused before it happens. Once a bound is met the run
// cannot go on: the expression has no way to catch that.
type run struct {
	input   any
	regexps *regexpCache

	done   chan struct{} // nil, or closed when err is set
	err    *RunError     // the bound that was met
	credit int           // ns of estimated work until the clock is read
	work   int           // ns of work so far
	took   time.Duration // so far
	last   time.Time     // the last reading of the clock
	heavy  bool          // holds a slot

	bytes     int
	nextBytes int // the value of bytes at which memory is looked at again
	machine   reflect.Value
	stacks    int // bytes of the machine's stacks that are part of bytes
}

func (r *run) Deadline() (time.Time, bool) { return time.Time{}, false }
func (r *run) Value(any) any               { return nil }

// Err is the bound that was met.
func (r *run) Err() error {
	if r.err == nil {
		return nil
	}
	return r.err
}

// Done is asked for before each instruction.
func (r *run) Done() <-chan struct{} {
	if r.credit -= stepCost; r.credit < 0 {
		r.check(0)
	}
	return r.done
}

// spend accounts for ns of work that is about to be done in one go. It ends
// the run, by a panic, if there is no time left for it.
func (r *run) spend(ns int) {
	if r.credit -= ns; r.credit < 0 {
		if r.check(ns); r.err != nil {
			panic(r.err)
		}
	}
}

// charge accounts for n bytes that are about to be allocated. It ends the run,
// by a panic, if they are too many.
func (r *run) charge(n int) {
	if n > maxCall || n < 0 {
		r.abort(KindMemory, "the expression would take more than %d MiB at once", maxCall>>20)
	}
	r.spend(n / 16)
	if r.bytes += n; r.bytes > r.nextBytes {
		if r.memory(); r.err != nil {
			panic(r.err)
		}
	}
}

// abort ends the run from within a function.
func (r *run) abort(kind Kind, format string, args ...any) {
	r.fail(kind, format, args...)
	panic(r.err)
}

func (r *run) fail(kind Kind, format string, args ...any) {
	if r.err == nil {
		r.err = runError(kind, format, args...)
		r.done = closed
	}
}

// check reads the clock, and looks at the machine's stacks. The estimated ns
// are still to come.
func (r *run) check(ns int) {
	now := time.Now()
	if r.last.IsZero() {
		r.last = now
	}
	// A long gap means that the processor has been elsewhere, for as long as
	// it liked where a container may use little of it. That is not counted.
	gap := now.Sub(r.last)
	r.work += max(quantum-r.credit, min(int(gap), lightGap))
	r.took += min(gap, maxGap)
	r.credit, r.last = quantum, now
	if n := stackBytes(r.machine); n > r.stacks {
		// While a stack grows, there is an old one beside the new one.
		r.bytes += 2 * (n - r.stacks)
		if r.stacks = n; n > maxStacks {
			r.fail(KindMemory, "the expression recurses too deeply")
			return
		}
		if r.bytes > r.nextBytes {
			r.memory()
		}
	}
	if r.work < lightWork {
		return
	}
	if r.acquire(); r.took+time.Duration(ns) > MaxTime {
		r.fail(KindTimeout, "the expression ran for more than %d ms", MaxTime.Milliseconds())
	}
}

// memory decides whether the run may go on allocating.
func (r *run) memory() {
	r.nextBytes = r.bytes + lightBytes
	r.acquire()
	if r.bytes < ownBytes {
		return
	}
	heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(heap)
	if heap[0].Value.Uint64() > maxHeap {
		r.fail(KindMemory, "the expression takes too much memory: %d MiB so far", r.bytes>>20)
	}
}

// acquire gets the run a slot. The wait is part of its time.
func (r *run) acquire() {
	if r.heavy || r.err != nil {
		return
	}
	select {
	case slots <- struct{}{}:
		r.heavy = true
		return
	default:
	}
	began := time.Now()
	t := time.NewTimer(MaxTime - r.took)
	defer t.Stop()
	select {
	case slots <- struct{}{}:
		r.heavy = true
		r.last = time.Now()
		r.took += r.last.Sub(began)
	case <-t.C:
		r.fail(KindTimeout, "the expression did not end in %d ms, some of which it waited for other long ones", MaxTime.Milliseconds())
	}
}

// release gives back what the run holds.
func (r *run) release() {
	if r.heavy {
		<-slots
		r.heavy = false
	}
}

// What allocating and sorting take, estimated from above. A map of Go has room
// for eight members at least.

func mapBytes(n int) int {
	if n <= 8 {
		return 350
	}
	return 100 + 80*n
}

func sortCost(n int) int { return 15 * n * bits.Len(uint(n)) }

// gojq's machine grows its stacks without bound while a function recurses, and
// tells nobody. So they are measured, by reflection: stackFields are their
// places in it. TestStacks fails should an update of gojq move them.
var stackFields = func() (fields [][]int) {
	machine := reflect.TypeOf(newMachine()).Elem()
	for _, name := range []string{"stack", "paths", "scopes"} {
		f, ok := machine.FieldByName(name)
		if !ok {
			panic("transform: gojq's machine has no field " + name)
		}
		data, ok := f.Type.Elem().FieldByName("data")
		if !ok {
			panic("transform: gojq's stacks have no field data")
		}
		fields = append(fields, []int{f.Index[0], data.Index[0]})
	}
	for _, name := range []string{"values", "forks"} {
		f, ok := machine.FieldByName(name)
		if !ok {
			panic("transform: gojq's machine has no field " + name)
		}
		fields = append(fields, f.Index)
	}
	return fields
}()

func newMachine() gojq.Iter {
	code, err := gojq.Compile(&gojq.Query{Term: &gojq.Term{Type: gojq.TermTypeIdentity}})
	if err != nil {
		panic(err)
	}
	return code.Run(nil)
}

// stackBytes is what the stacks of a machine take.
func stackBytes(machine reflect.Value) (n int) {
	if !machine.IsValid() {
		return 0
	}
	for _, f := range stackFields {
		v := machine.Field(f[0])
		if len(f) > 1 {
			v = v.Elem().Field(f[1])
		}
		n += v.Cap() * int(v.Type().Elem().Size())
	}
	return n
}
