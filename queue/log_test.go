package queue

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// overLog has the stores of rigs be views of a log in memory, whose appends take a while.
var overLog = flag.Bool("log", false, "run the tests over a log in memory")

// A memLog is a Log in memory, with an owner.
type memLog struct {
	mu      sync.Mutex
	records [][]byte
	late    []byte // on its way: it is appended before the log is read again, or never
	owner   *memJournal
	fault   func() string // "": none; lost, refused, late, slow
}

// logs are those of stores in memory, by their file systems.
var logs sync.Map

// over are the options of a queue on a file system, over the log of that if tests run over one.
func over(o Options, fs vfs.FS) Options {
	if *overLog {
		l, _ := logs.LoadOrStore(fs, new(memLog))
		o.Journal = l.(*memLog).open
	}
	return o
}

// powerCut is what a power cut leaves of a file system, and of its log, which is elsewhere: all.
func powerCut(mem *vfs.MemFS, c vfs.CrashCloneCfg) *vfs.MemFS {
	left := mem.CrashClone(c)
	if l, ok := logs.Load(vfs.FS(mem)); ok {
		l := l.(*memLog)
		l.mu.Lock()
		defer l.mu.Unlock()
		logs.Store(vfs.FS(left), &memLog{records: slices.Clone(l.records)})
	}
	return left
}

// A memJournal is the log as it was opened once.
type memJournal struct {
	*memLog
	ended bool // an append failed
}

var errLog = errors.New("no quorum, outcome unknown")

func (l *memLog) open() (string, Log, error) {
	return storePath, &memJournal{memLog: l}, nil
}

func (j *memJournal) Append(r []byte) (uint64, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.owner != j {
		return 0, ErrDeposed
	}
	if j.ended {
		panic("an append after one that failed")
	}
	fault := ""
	if j.fault != nil {
		fault = j.fault()
	}
	switch r = bytes.Clone(r); fault {
	case "refused", "late":
		j.ended = true
		if fault == "late" {
			j.late = r
		}
		return 0, errLog
	case "slow":
		time.Sleep(time.Millisecond)
	}
	j.records = append(j.records, r)
	if j.ended = fault == "lost"; j.ended {
		return 0, errLog
	}
	return uint64(len(j.records)), nil
}

func (j *memJournal) Read(after uint64, f func(uint64, []byte) error) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.owner = j // what was on its way comes to nothing from here on
	if j.late != nil && rand.IntN(2) == 0 {
		j.records = append(j.records, j.late)
	}
	j.late = nil
	if after > uint64(len(j.records)) {
		return fmt.Errorf("a view at %d of %d records", after, len(j.records))
	}
	for i, r := range j.records[after:] {
		for range 1 + rand.IntN(2) { // some come twice
			if err := f(after+uint64(i)+1, r); err != nil {
				return err
			}
		}
	}
	return nil
}

func (*memJournal) Restore(func(string, io.Reader) error) error { return nil }

// TestFaultsOfALog: a log whose acknowledgements get lost, that refuses, and whose
// records come late, a view that is lost with its disk, and another process that takes the log over:
// what was accepted is there, once, and nothing else.
func TestFaultsOfALog(t *testing.T) {
	l := &memLog{}
	var mu sync.Mutex
	one := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	faults := 0
	l.fault = func() string {
		mu.Lock()
		defer mu.Unlock()
		if one.IntN(20) > 0 {
			return []string{"", "slow"}[one.IntN(2)]
		}
		faults++
		return []string{"lost", "refused", "late"}[one.IntN(3)]
	}
	r := &rig{t: t, fs: vfs.NewMem(), endpoint: &endpoint{}, routes: []Route{route("a")}}
	var deposed *atomic.Bool // of the process that runs
	r.endpoint.set(0, always(no404))
	ready := func() {
		t.Helper()
		for end := time.Now().Add(time.Minute); r.Ready() != nil; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Error(r.Ready())
				return
			}
		}
	}
	start := func() {
		t.Helper()
		over := new(atomic.Bool)
		deposed = over
		r.options = Options{Courier: r.endpoint, Journal: func() (string, Log, error) {
			if over.Load() {
				return "", nil, ErrDeposed
			}
			return l.open()
		}}
		q, err := open(r.options, r.fs)
		if err != nil {
			t.Fatal(err)
		}
		r.Queue = q
		if err := q.Configure(Limits{}, r.routes); err != nil && !errors.Is(err, ErrUnavailable) {
			t.Fatal(err)
		}
	}
	start()
	none := func(refused map[SignalID]bool) {
		t.Helper()
		for id := range refused {
			if _, _, err := r.Signal(id); !errors.Is(err, ErrNotFound) {
				t.Errorf("%s was refused, and is there: %v", id, err)
			}
		}
	}
	accepted, refused := map[SignalID]bool{}, map[SignalID]bool{}
	for i := range 6 {
		var mu sync.Mutex
		var putting sync.WaitGroup
		for range 8 { // so that batches follow each other closely
			putting.Go(func() {
				for range 8 {
					ready()
					a := Accepted{Signal: Signal{ID: r.NewSignalID(), Type: "lead", Body: []byte(`{}`)}, Deliveries: []Made{{Route: "a"}}}
					err := r.Put([]Accepted{a}, nil, nil)
					mu.Lock()
					if err == nil {
						accepted[a.ID] = true
					} else if refused[a.ID] = true; !errors.Is(err, ErrUnavailable) {
						t.Error(err)
					}
					mu.Unlock()
				}
			})
		}
		putting.Wait()
		ready()
		if i%3 != 2 {
			continue
		}
		// Another process takes the log over, with no disk; this one notices, and is closed.
		none(refused)
		before := r.Queue
		deposed.Store(true)
		r.fs = vfs.NewMem()
		clear(refused) // only the process that refused them takes them back
		start()
		for before.Put([]Accepted{{Signal: Signal{ID: before.NewSignalID(), Type: "lead"}}}, nil, nil) == nil {
			t.Error("a process whose log another has accepts signals")
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = before.Close(ctx)
	}
	mu.Lock()
	l.fault = nil
	mu.Unlock()
	ready()
	if faults < 2 {
		t.Errorf("only %d faults", faults)
	}
	for id := range accepted {
		if _, deliveries, err := r.Signal(id); err != nil || len(deliveries) != 1 {
			t.Errorf("%s was accepted: %v", id, err)
		}
	}
	none(refused)
	r.close()
}
