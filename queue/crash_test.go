package queue

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"signalpost/queue/store"
)

var (
	crashSeed = flag.Uint64("crash.seed", 0, "repeat the random crash test from this seed alone")
	crashFor  = flag.Duration("crash.for", 5*time.Second, "how long the random crash test runs")
)

// A hookFS calls hook before each operation, which can fail it, and after it,
// which can make it seem to have failed.
type hookFS struct {
	vfs.FS
	hook  func(o fsOp, after bool) error
	usage func() vfs.DiskUsage // nil: the file system's
}

type fsOp struct {
	kind string // create, remove, rename, link, reuse, mkdir, lock, write, sync, close; open, list, stat, usage, read
	name string
	size int // of what is written or to be read
}

func (o fsOp) read() bool {
	return slices.Contains([]string{"open", "list", "stat", "usage", "read"}, o.kind)
}

func (h *hookFS) do(kind, name string, f func() error) error {
	return h.doSize(fsOp{kind: kind, name: name}, f)
}

func (h *hookFS) doSize(o fsOp, f func() error) error {
	if err := h.hook(o, false); err != nil {
		return err
	}
	if err := f(); err != nil {
		return err
	}
	return h.hook(o, true)
}

func (h *hookFS) file(kind, name string, open func() (vfs.File, error)) (f vfs.File, err error) {
	err = h.do(kind, name, func() error { f, err = open(); return err })
	if err != nil {
		if f != nil {
			f.Close()
		}
		return nil, err
	}
	return &hookFile{f, h, name}, nil
}

func (h *hookFS) Unwrap() vfs.FS { return h.FS }
func (h *hookFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return h.file("create", name, func() (vfs.File, error) { return h.FS.Create(name, c) })
}
func (h *hookFS) Link(a, b string) error {
	return h.do("link", a, func() error { return h.FS.Link(a, b) })
}
func (h *hookFS) Open(name string, _ ...vfs.OpenOption) (vfs.File, error) {
	return h.file("open", name, func() (vfs.File, error) { return h.FS.Open(name) })
}
func (h *hookFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, _ ...vfs.OpenOption) (vfs.File, error) {
	return h.file("create", name, func() (vfs.File, error) { return h.FS.OpenReadWrite(name, c) })
}
func (h *hookFS) OpenDir(name string) (vfs.File, error) {
	return h.file("open", name, func() (vfs.File, error) { return h.FS.OpenDir(name) })
}
func (h *hookFS) Remove(name string) error {
	return h.do("remove", name, func() error { return h.FS.Remove(name) })
}
func (h *hookFS) Rename(a, b string) error {
	return h.do("rename", a, func() error { return h.FS.Rename(a, b) })
}
func (h *hookFS) ReuseForWrite(a, b string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return h.file("reuse", a, func() (vfs.File, error) { return h.FS.ReuseForWrite(a, b, c) })
}
func (h *hookFS) MkdirAll(dir string, perm os.FileMode) error {
	return h.do("mkdir", dir, func() error { return h.FS.MkdirAll(dir, perm) })
}
func (h *hookFS) Lock(name string) (c io.Closer, err error) {
	if err := h.hook(fsOp{kind: "lock", name: name}, false); err != nil {
		return nil, err
	}
	return h.FS.Lock(name)
}
func (h *hookFS) List(dir string) (names []string, err error) {
	err = h.do("list", dir, func() error { names, err = h.FS.List(dir); return err })
	return names, err
}
func (h *hookFS) Stat(name string) (i vfs.FileInfo, err error) {
	err = h.do("stat", name, func() error { i, err = h.FS.Stat(name); return err })
	return i, err
}
func (h *hookFS) GetDiskUsage(name string) (u vfs.DiskUsage, err error) {
	err = h.do("usage", name, func() error {
		if h.usage != nil {
			u = h.usage()
			return nil
		}
		u, err = h.FS.GetDiskUsage(name)
		return err
	})
	return u, err
}

type hookFile struct {
	vfs.File
	h    *hookFS
	name string
}

func (f *hookFile) Write(p []byte) (n int, err error) {
	err = f.h.doSize(fsOp{"write", f.name, len(p)}, func() error { n, err = f.File.Write(p); return err })
	return n, err
}
func (f *hookFile) Read(p []byte) (n int, err error) {
	if err := f.h.hook(fsOp{"read", f.name, len(p)}, false); err != nil {
		return 0, err
	}
	return f.File.Read(p)
}
func (f *hookFile) ReadAt(p []byte, at int64) (n int, err error) {
	if err := f.h.hook(fsOp{"read", f.name, len(p)}, false); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, at)
}
func (f *hookFile) Sync() error     { return f.h.do("sync", f.name, f.File.Sync) }
func (f *hookFile) SyncData() error { return f.h.do("sync", f.name, f.File.SyncData) }
func (f *hookFile) SyncTo(n int64) (full bool, err error) {
	err = f.h.do("sync", f.name, func() error { full, err = f.File.SyncTo(n); return err })
	return full, err
}
func (f *hookFile) Close() error { return f.h.do("close", f.name, f.File.Close) }

// A model knows what a store must hold and what it may. Every event has a
// number of one clock. A signal is unset until it is put, maybe until that is
// answered, and set from then on; so is an attempt, from the courier's answer
// to that of a Put which began after the attempt could be read.
type model struct {
	mu       sync.Mutex
	clock    uint64
	signals  map[SignalID]*modelSignal
	answers  map[DeliveryID][]modelAnswer
	entries  []Entry // as observed, in order
	durable  []modelMark
	engine   *engine // that entries are from
	pauses   map[string]modelPause
	limits   Limits
	expiring bool // retention is over in no time: what is old may be gone
}

type modelSignal struct {
	Accepted
	put, acked uint64
	key        string
	answer     []byte
	retried    bool
	reshaped   bool
	discarded  bool
	refused    *Queue // whose Put failed
	gone       uint64 // from then on what was refused is not there
}

type modelAnswer struct {
	at      uint64
	attempt int
	Outcome
}

// From at on, the first n entries are on disk.
type modelMark struct {
	at uint64
	n  int
}

type modelPause struct {
	paused     bool
	set, acked uint64
}

func newModel(l Limits) *model {
	return &model{
		signals: map[SignalID]*modelSignal{}, answers: map[DeliveryID][]modelAnswer{},
		pauses: map[string]modelPause{}, limits: l, expiring: l.Retention > 0 && l.Retention < time.Minute,
	}
}

// tick is called with mu held.
func (m *model) tick() uint64 { m.clock++; return m.clock }

func (m *model) now() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.clock
}

// observe is the queue's Observe.
func (m *model) observe(batch []Entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.entries = append(m.entries, batch...)
}

// put puts signals, one claim for all.
func (m *model) put(q *Queue, batch []Accepted, key string) error {
	var claim *Claim
	var answer []byte
	if key != "" {
		digest := sha256.Sum256([]byte(key))
		c, bound, err := q.Claim(context.Background(), key, digest)
		if err != nil || bound != nil {
			return err
		}
		defer c.Release()
		claim, answer = c, []byte("answer to "+key)
	}
	m.mu.Lock()
	if e := q.engine.Load(); e != m.engine { // the one before may have failed, and lost what it had not synced
		n := 0
		for _, d := range m.durable {
			n = max(n, d.n)
		}
		m.engine, m.entries = e, m.entries[:n]
	}
	at, n := m.tick(), len(m.entries)
	for _, a := range batch {
		m.signals[a.ID] = &modelSignal{Accepted: a, put: at, key: key, answer: answer}
	}
	m.mu.Unlock()
	err := q.Put(batch, claim, answer)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		for _, a := range batch {
			m.signals[a.ID].refused = q
		}
		return err
	}
	at = m.tick()
	for _, a := range batch {
		m.signals[a.ID].acked = at
	}
	m.durable = append(m.durable, modelMark{at, n})
	return nil
}

// takenBack says that q has opened its store again, and what it refused before
// is not there.
func (m *model) takenBack(q *Queue) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := m.tick()
	for _, s := range m.signals {
		if s.refused == q && s.gone == 0 {
			s.gone = at
		}
	}
}

// A modelCourier answers at random and tells the model.
type modelCourier struct {
	m      *model
	mu     sync.Mutex
	rng    *rand.Rand // guarded by mu
	gentle atomic.Bool
}

func (c *modelCourier) Deliver(ctx context.Context, d Delivery, attempt int) (Outcome, error) {
	c.mu.Lock()
	roll, nonce := c.rng.IntN(100), c.rng.Uint64()
	c.mu.Unlock()
	o := Outcome{Verdict: Delivered, Status: 200, Response: fmt.Sprint(nonce)}
	switch {
	case c.gentle.Load():
	case roll < 5:
		time.Sleep(time.Duration(roll) * time.Millisecond)
		if ctx.Err() != nil {
			return Outcome{}, ctx.Err()
		}
	case roll < 35:
		o.Verdict, o.Status, o.Error = Retry, 404, "404 Not Found"
	case roll < 42:
		o.Verdict, o.Reason, o.Status, o.Error = Dead, Gone, 410, "410 Gone"
	}
	attempts, ok := map[string]int{"b": 3, "c": 4, "d": 1}[d.Route]
	if !ok {
		attempts = 2
	}
	o = o.by(brief(attempts), d)
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	c.m.answers[d.ID] = append(c.m.answers[d.ID], modelAnswer{c.m.tick(), attempt, o})
	return o, nil
}

func reshapeTest(s Signal, route string) ([]Made, error) {
	switch s.ID[12] & 3 {
	case 0:
		return nil, errors.New("reshaping fails")
	case 1:
		return nil, nil
	case 2:
		return bodies("reshaped for " + route), nil
	}
	return bodies("reshaped for "+route, "and one more"), nil
}

// A cut is what a power cut would leave, and when it was.
type cut struct {
	fs            *vfs.MemFS
	before, after uint64 // model time
	what          string
}

func (m *model) cut(mem *vfs.MemFS, percent int, rng *rand.Rand, what string) cut {
	c := cut{before: m.now(), what: fmt.Sprintf("%s, %d%% of what was not synced kept", what, percent)}
	c.fs = powerCut(mem, vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
	c.after = m.now()
	return c
}

// verify opens what the cut left, compares it with the model, closes and
// checks it. It returns the first thing amiss. With adopt the model goes on from there.
func (m *model) verify(c cut, adopt bool) error {
	now := time.Now()
	if !adopt {
		defer logs.Delete(vfs.FS(c.fs))
	}
	q, err := open(over(Options{Path: storePath, Courier: refuser{}}, c.fs), c.fs) // with limits that let nothing expire meanwhile
	if err != nil {
		return err
	}
	err = m.compare(q, c, now, adopt)
	if cerr := q.Close(context.Background()); err == nil {
		err = cerr
	}
	if err == nil {
		err = check(storePath, c.fs)
	}
	return err
}

// A refuser is the courier of a queue that is not to send.
type refuser struct{}

func (refuser) Deliver(context.Context, Delivery, int) (Outcome, error) {
	panic("nothing is configured, and it sends")
}

func (m *model) compare(q *Queue, c cut, now time.Time, adopt bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var log []Entry
	for f := (LogFilter{Limit: 1000}); ; {
		found, err := q.Log(context.Background(), f)
		page, next := found.Entries, found.Next
		if err != nil {
			return err
		}
		log = append(log, page...)
		if f.After = next; next == "" {
			break
		}
	}
	slices.Reverse(log)
	logged := map[time.Time]Entry{}
	ofDelivery := map[DeliveryID][]Entry{}
	for _, e := range log {
		logged[e.Time] = e
		ofDelivery[e.Delivery] = append(ofDelivery[e.Delivery], e)
	}
	young := func(t time.Time) bool { return !m.expiring || now.Sub(t) < m.limits.Retention/2 }
	mustHave := 0
	for _, d := range m.durable {
		if d.at <= c.before {
			mustHave = max(mustHave, d.n)
		}
	}
	for _, e := range m.entries[:mustHave] {
		if got, ok := logged[e.Time]; young(e.Time) && (!ok || !equalEntries(got, e)) {
			return fmt.Errorf("%s: the attempt %+v was on disk, now the log has %+v", e.Delivery, e, got)
		}
	}
	there := map[SignalID]bool{}
	for id, s := range m.signals {
		sig, infos, err := q.Signal(id)
		switch {
		case errors.Is(err, ErrNotFound):
			if s.acked != 0 && s.acked <= c.before && young(id.Time()) {
				return fmt.Errorf("%s was acknowledged, and is lost", id)
			}
			if len(infos) > 0 {
				return fmt.Errorf("%s is not there, but deliveries of it", id)
			}
			continue
		case err != nil:
			return err
		case s.gone != 0 && s.gone <= c.before:
			return fmt.Errorf("%s was refused, and is there", id)
		case s.put > c.after:
			return fmt.Errorf("%s is there before it was put", id)
		}
		there[id] = true
		if !bytes.Equal(sig.Body, s.Body) || sig.Type != s.Type || sig.Traceparent != s.Traceparent {
			return fmt.Errorf("%s: is %+v, want %+v", id, sig, s.Signal)
		}
		found := map[DeliveryID]bool{}
		for _, i := range infos {
			found[i.ID] = true
			if n := int(i.ID[13]&0xf)<<16 | int(i.ID[14])<<8 | int(i.ID[15]); i.ID.Signal() == id && n >= 1 && n <= len(s.Deliveries) {
				if err := m.compareDelivery(q, s, n-1, i, c, ofDelivery[i.ID]); err != nil {
					return fmt.Errorf("%s: %w", i.ID, err)
				}
			} else if !s.reshaped {
				return fmt.Errorf("%s: was never made", i.ID)
			}
		}
		for n := range s.Deliveries {
			if d := id.Delivery(n + 1); !found[d] {
				return fmt.Errorf("%s is lost, its signal is there", d)
			}
		}
		if s.key != "" && young(id.Time()) {
			_, answer, err := q.Claim(context.Background(), s.key, sha256.Sum256([]byte(s.key)))
			if err != nil || !bytes.Equal(answer, s.answer) {
				return fmt.Errorf("%s: the idempotency key %s answers %q, %v; want %q", id, s.key, answer, err, s.answer)
			}
		}
	}
	for route, p := range m.pauses {
		known := q.engine.Load().store.Route(route)
		if p.acked != 0 && p.acked <= c.before && p.set <= c.before && (known == nil || known.Counts().Paused != p.paused) {
			return fmt.Errorf("route %s: paused is to be %v", route, p.paused)
		}
		if adopt && known != nil {
			m.pauses[route] = modelPause{paused: known.Counts().Paused}
		}
	}
	if n := q.Status().Unaccounted; n != 0 {
		return fmt.Errorf("%d deliveries are unaccounted for", n)
	}
	if adopt {
		maps.DeleteFunc(m.signals, func(id SignalID, s *modelSignal) bool {
			s.acked = m.clock
			return !there[id]
		})
		m.entries = log
		m.durable = []modelMark{{m.clock, len(log)}}
	}
	return nil
}

func equalEntries(a, b Entry) bool {
	sameTime := a.NextAttempt == nil && b.NextAttempt == nil ||
		a.NextAttempt != nil && b.NextAttempt != nil && a.NextAttempt.Equal(*b.NextAttempt)
	a.NextAttempt, b.NextAttempt = nil, nil
	a.Time, b.Time = a.Time.UTC(), b.Time.UTC()
	return a == b && sameTime
}

func (m *model) compareDelivery(q *Queue, s *modelSignal, n int, i Info, c cut, log []Entry) error {
	made := s.Deliveries[n]
	d, err := q.Delivery(i.ID)
	if err != nil {
		return err
	}
	if d.Route != made.Route || d.Signal != s.ID || d.Type != s.Type {
		return fmt.Errorf("is %+v, want %+v", d.Info, made)
	}
	body := made.Body
	if body == nil {
		body = s.Body
	}
	switch {
	case s.reshaped && (d.Body == nil || bytes.HasPrefix(d.Body, []byte("reshaped"))):
	case made.Error != "" && d.Body == nil:
	case made.Error == "" && bytes.Equal(d.Body, body):
	default:
		return fmt.Errorf("has the body %.40q, want %.40q", d.Body, body)
	}
	// Every entry is the answer of a courier, or a change that was asked for.
	for _, e := range log {
		if e.Attempt == 0 {
			continue
		}
		if !slices.ContainsFunc(m.answers[i.ID], func(a modelAnswer) bool {
			return a.at <= c.after && a.attempt == e.Attempt && a.Status == e.Status && a.Response == e.Response
		}) {
			return fmt.Errorf("no courier gave the answer %+v", e)
		}
	}
	if m.expiring {
		return nil
	}
	attempts := 0
	for _, e := range log {
		attempts = max(attempts, e.Attempt)
	}
	if d.Attempts != attempts {
		return fmt.Errorf("was attempted %d times, its log has %d", d.Attempts, attempts)
	}
	caused := true
	switch {
	case d.State == StateDelivered:
		caused = len(log) > 0 && log[len(log)-1].Verdict == Delivered
	case d.Reason == Gone || d.Reason == Exhausted:
		caused = len(log) > 0 && log[len(log)-1].Reason == d.Reason
	case d.Reason == Transform:
		caused = made.Error != "" || s.reshaped
	case d.Reason == Filtered:
		caused = s.reshaped
	case d.Reason == Discarded:
		caused = s.discarded
	case d.Reason == TooOld:
		caused = false
	case len(log) > 0 && log[len(log)-1].Verdict != Retry: // waits again
		caused = s.retried
	}
	if !caused {
		return fmt.Errorf("is %s %s without a cause; log %+v", d.State, d.Reason, log)
	}
	return nil
}

// A world is a store under a random workload, from power cut to power cut.
type world struct {
	*model
	rng     *rand.Rand
	mem     *vfs.MemFS
	fs      vfs.FS
	q       *Queue
	courier *modelCourier
	options Options
}

func fast(name string) Route { return Route{Name: name, Concurrency: 4, Target: name} }

// brief is a schedule of so many attempts that is soon over.
func brief(attempts int) Schedule {
	return Schedule{Attempts: attempts, First: time.Millisecond, Window: 10 * time.Millisecond, Jitter: 0.1}
}

var worldRoutes = []Route{fast("a"), fast("b"), fast("c"), fast("d")}

func newWorld(seed uint64) *world {
	rng := rand.New(rand.NewPCG(seed, 0))
	l := Limits{}
	if rng.IntN(4) == 0 {
		l = Limits{Retention: 300 * time.Millisecond, MaxAge: 150 * time.Millisecond, DedupWindow: 300 * time.Millisecond}
	}
	w := newWorldOf(seed, l)
	w.rng = rng
	return w
}

func newWorldOf(seed uint64, l Limits) *world {
	w := &world{model: newModel(l), rng: rand.New(rand.NewPCG(seed, 0)), mem: vfs.NewCrashableMem()}
	w.courier = &modelCourier{m: w.model, rng: rand.New(rand.NewPCG(seed, 1))}
	w.fs = w.mem
	w.options = Options{Path: storePath, Courier: w.courier, Observe: w.observe, Limits: l}
	return w
}

func (w *world) open() error {
	q, err := open(over(w.options, w.mem), w.fs)
	if err != nil {
		return err
	}
	w.q = q
	return q.Configure(w.limits, worldRoutes)
}

// accepted is a random signal.
func (w *world) accepted(rng *rand.Rand) Accepted {
	a := Accepted{Signal: Signal{ID: w.q.NewSignalID(), Type: fmt.Sprint("type", rng.IntN(3)), Body: randomBody(rng)}}
	if rng.IntN(3) == 0 {
		a.Traceparent = "00-trace"
	}
	for range rng.IntN(4) {
		m := Made{Route: worldRoutes[rng.IntN(len(worldRoutes))].Name}
		if m.Route < "c" && rng.IntN(2) == 0 {
			m.Order = fmt.Sprint(rng.IntN(2))
		}
		switch rng.IntN(4) {
		case 0:
			m.Body = randomBody(rng)
		case 1:
			if rng.IntN(3) == 0 {
				m.Error = "the expression failed"
			}
		}
		a.Deliveries = append(a.Deliveries, m)
	}
	return a
}

func randomBody(rng *rand.Rand) []byte {
	n := rng.IntN(200)
	switch rng.IntN(20) {
	case 0:
		n = rng.IntN(60_000)
	case 1:
		n = 0
	}
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// step does one random thing.
func (w *world) step(rng *rand.Rand, who int) error {
	switch n := rng.IntN(20); {
	case n < 12:
		batch := make([]Accepted, 1+rng.IntN(3))
		for i := range batch {
			batch[i] = w.accepted(rng)
		}
		key := ""
		if rng.IntN(2) == 0 {
			key = fmt.Sprintf("key %d of %d", rng.Uint64(), who)
		}
		return w.put(w.q, batch, key)
	case n < 15:
		w.mu.Lock()
		var id SignalID
		for k, s := range w.signals { // any
			id = k
			always := n == 13
			s.retried, s.reshaped, s.discarded = s.retried || n < 14, s.reshaped || n < 14, s.discarded || n == 14
			w.mu.Unlock()
			var err error
			if n < 14 {
				_, err = w.q.RetryAll(context.Background(), Filter{State: StateDead, Signal: id}, always, reshapeTest, false)
			} else {
				_, err = w.q.DiscardAll(context.Background(), Filter{Signal: id}, false)
			}
			return err
		}
		w.mu.Unlock()
		return nil
	case n < 16:
		route := worldRoutes[who%len(worldRoutes)].Name // each has its own
		p := modelPause{paused: rng.IntN(2) == 0}
		w.mu.Lock()
		p.set = w.tick()
		w.pauses[route] = p
		w.mu.Unlock()
		err := w.q.SetPaused(route, p.paused)
		if errors.Is(err, ErrNotFound) { // not configured just now
			w.mu.Lock()
			delete(w.pauses, route)
			w.mu.Unlock()
			return nil
		}
		w.mu.Lock()
		p.acked = w.tick()
		w.pauses[route] = p
		w.mu.Unlock()
		return err
	case n < 17:
		some := slices.Clone(worldRoutes)
		some = some[rng.IntN(2):]
		return w.q.Configure(w.limits, append(some, fast(fmt.Sprint("extra", rng.IntN(3)))))
	default:
		pace := 3000
		if w.expiring {
			pace = 40_000
		}
		time.Sleep(time.Duration(rng.IntN(pace)) * time.Microsecond)
		return nil
	}
}

// TestPowerCuts cuts the power at random moments of a random workload.
func TestPowerCuts(t *testing.T) {
	if *crashSeed != 0 {
		runWorld(t, *crashSeed, new(atomic.Int64))
		return
	}
	var cuts atomic.Int64
	start := time.Now()
	seed := rand.Uint64()
	length := *crashFor
	if testing.Short() || raceEnabled {
		length = min(length, 3*time.Second)
	}
	var wg sync.WaitGroup
	var worlds atomic.Uint64
	for range 2 {
		wg.Go(func() {
			for time.Since(start) < length && !t.Failed() {
				runWorld(t, seed+worlds.Add(1), &cuts)
			}
		})
	}
	wg.Wait()
	t.Logf("%d worlds, %d power cuts, %.0f a second", worlds.Load(), cuts.Load(), float64(cuts.Load())/time.Since(start).Seconds())
}

func runWorld(t *testing.T, seed uint64, cuts *atomic.Int64) {
	w := newWorld(seed)
	fail := func(what string, err error) {
		t.Errorf("%s: %v\nrepeat with: go test ./queue -run TestPowerCuts -crash.seed=%d (the moments of the cuts vary: -count=20)", what, err, seed)
	}
	pace := 3000
	if w.expiring {
		pace = 40_000 // sweeps take their time
	}
	for range 3 {
		if err := w.open(); err != nil {
			fail("open", err)
			return
		}
		var wg sync.WaitGroup
		stop := make(chan struct{})
		for who := range 3 {
			rng := rand.New(rand.NewPCG(w.rng.Uint64(), 0))
			wg.Go(func() {
				for range 40 { // enough for the cuts, and few enough to look at often
					select {
					case <-stop:
						return
					default:
					}
					if err := w.step(rng, who); err != nil {
						fail("step", err)
						return
					}
				}
			})
		}
		var taken []cut
		for range 1 + many(11) { // to look at what is left, nothing is at once
			time.Sleep(time.Duration(w.rng.IntN(pace)) * time.Microsecond)
			percent := []int{0, 0, 30, 70, 100}[w.rng.IntN(5)]
			taken = append(taken, w.cut(w.mem, percent, w.rng, "under load"))
		}
		close(stop)
		wg.Wait()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := w.q.Close(ctx); err != nil {
			fail("close", err)
			return
		}
		taken = append(taken, w.cut(w.mem, 0, w.rng, "after Close"))
		last := w.rng.IntN(len(taken))
		taken[last], taken[len(taken)-1] = taken[len(taken)-1], taken[last]
		for i, c := range taken {
			if err := w.verify(c, i == len(taken)-1); err != nil {
				fail(c.what, err)
				return
			}
			cuts.Add(1)
		}
		w.mem = taken[len(taken)-1].fs
		w.fs = w.mem
	}
}

// A small workload that touches everything, the same each time. It restarts in the middle.
func (w *world) fixed() error {
	if err := w.open(); err != nil {
		return err
	}
	w.courier.gentle.Store(true)
	for i := range 6 {
		batch := []Accepted{w.accepted(w.rng), w.accepted(w.rng)}
		if err := w.put(w.q, batch, fmt.Sprint("key", i)); err != nil {
			return err
		}
		if i == 3 {
			if err := w.q.Close(context.Background()); err != nil {
				return err
			}
			if err := w.open(); err != nil {
				return err
			}
		}
	}
	w.mu.Lock()
	for _, s := range w.signals {
		s.reshaped, s.retried, s.discarded = true, true, true
	}
	w.mu.Unlock()
	if err := w.q.SetPaused("a", true); err != nil {
		return err
	}
	if _, err := w.q.RetryAll(context.Background(), Filter{State: StateDead}, true, reshapeTest, false); err != nil {
		return err
	}
	if _, err := w.q.DiscardAll(context.Background(), Filter{Route: "a"}, false); err != nil {
		return err
	}
	return w.q.Close(context.Background())
}

// TestPowerCutAtEveryWrite cuts the power before each change of the disk that
// a workload makes, from the making of the store to its close.
func TestPowerCutAtEveryWrite(t *testing.T) {
	w := newWorldOf(1, Limits{})
	var mu sync.Mutex
	var cuts []cut
	rng := rand.New(rand.NewPCG(1, 2)) // the hook's own: it runs in any goroutine
	w.fs = &hookFS{FS: w.mem, hook: func(o fsOp, after bool) error {
		if o.read() || after {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		for _, percent := range []int{0, 50, 100} {
			cuts = append(cuts, w.cut(w.mem, percent, rng, fmt.Sprintf("before change %d, %s %s", len(cuts)/3, o.kind, o.name)))
		}
		return nil
	}}
	if err := w.fixed(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d changes of the disk", len(cuts)/3)
	for i, c := range cuts {
		if raceEnabled && i%29 != 0 {
			continue
		}
		if err := w.verify(c, false); err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
	}
}

// TestQuietKillRepeatsNothing: of what was answered longer than 5 ms ago a
// power cut loses nothing, so nothing is sent twice.
func TestQuietKillRepeatsNothing(t *testing.T) {
	bubble(t, "quiet", func(t *testing.T) {
		mem := vfs.NewCrashableMem()
		r := newRigOn(t, mem, Limits{}, route("a"), route("b")).lazily()
		r.set(0, func(s shot) (Outcome, error) {
			if s.Route == "b" && s.attempt == 1 {
				return no404, nil
			}
			return ok200, nil
		})
		r.putMany("a", 50)
		again := r.putMany("b", 50)
		time.Sleep(5*time.Millisecond + time.Microsecond) // what doc.go promises
		r.taken()
		c := powerCut(mem, vfs.CrashCloneCfg{})
		after := newRigOn(t, c, Limits{}, route("a"), route("b"))
		if s := after.status("a"); s.Pending != 0 || s.Delivered != 50 {
			t.Errorf("after the cut: %+v", s)
		}
		if s := after.status("b"); s.Pending != 50 {
			t.Errorf("after the cut: %+v", s)
		}
		time.Sleep(time.Minute)
		shots := after.taken()
		once(t, shots, again)
		for _, s := range shots {
			if s.attempt != 2 {
				t.Errorf("%s: attempt %d, want 2", s.Delivery.ID, s.attempt)
			}
		}
	})
}

// TestBusyKillRepeatsLittle: the same while one attempt ends after the other, and no
// signal comes in whose fsync they could share.
func TestBusyKillRepeatsLittle(t *testing.T) {
	bubble(t, "busy", func(t *testing.T) {
		mem := vfs.NewCrashableMem()
		one := route("a")
		one.Concurrency = 1
		r := newRigOn(t, mem, Limits{}, one).lazily()
		r.set(time.Millisecond, nil)
		r.putMany("a", 100)
		for range 10 {
			time.Sleep(7 * time.Millisecond)
			ended := map[DeliveryID]bool{}
			r.endpoint.mu.Lock()
			for _, s := range r.shots {
				ended[s.Delivery.ID] = time.Since(s.at) > time.Millisecond+5*time.Millisecond
			}
			r.endpoint.mu.Unlock()
			c := newRigOn(t, powerCut(mem, vfs.CrashCloneCfg{}), Limits{})
			for id, ended := range ended {
				if ended {
					c.wantState(id, StateDelivered, "")
				}
			}
		}
	})
}

// TestAcknowledgedChangesSurvive cuts the power after each acknowledgement,
// with nothing kept that was not synced.
func TestAcknowledgedChangesSurvive(t *testing.T) {
	bubble(t, "changes", func(t *testing.T) {
		mem := vfs.NewCrashableMem()
		r := newRigOn(t, mem, Limits{}, route("a"), route("b"))
		r.set(0, always(no410))
		a, b := r.put("a").Delivery(1), r.put("b").Delivery(1)
		time.Sleep(time.Second)
		cut := func(f func(r *rig)) {
			t.Helper()
			c := newRigOn(t, powerCut(mem, vfs.CrashCloneCfg{}), Limits{})
			f(c)
		}
		if err := r.SetPaused("a", true); err != nil {
			t.Fatal(err)
		}
		cut(func(c *rig) {
			c.wantState(a, StateDead, Gone)
			if s := c.status("a"); !s.PausedByAPI {
				t.Error("the pause is lost")
			}
		})
		if err := r.Queue.Retry(a, false, nil); err != nil {
			t.Fatal(err)
		}
		cut(func(c *rig) { c.wantState(a, StateHeld, "") })
		if n, err := r.DiscardAll(t.Context(), Filter{Route: "a"}, false); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		cut(func(c *rig) { c.wantState(a, StateDead, Discarded) })
		if n, err := r.RetryAll(t.Context(), Filter{State: StateDead, Route: "b"}, true, func(Signal, string) ([]Made, error) {
			return bodies("new", "more"), nil
		}, false); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		cut(func(c *rig) {
			if d := c.detail(b); string(d.Body) != "new" {
				t.Errorf("the body is %q", d.Body)
			}
			if _, infos, err := c.Signal(r.detail(b).Signal); len(infos) != 2 || err != nil {
				t.Errorf("%d deliveries, %v", len(infos), err)
			}
		})
		if err := r.SetPaused("a", false); err != nil {
			t.Fatal(err)
		}
		cut(func(c *rig) {
			if s := c.status("a"); s.PausedByAPI {
				t.Error("the route is paused again")
			}
		})
	})
}

// TestNothingWrittenSyncsNothing: an operation that wants an fsync but writes
// nothing, as a reload does, does not stand for the fsync that is due of what
// was written before it.
func TestNothingWrittenSyncsNothing(t *testing.T) {
	bubble(t, "reload", func(t *testing.T) {
		mem := vfs.NewCrashableMem()
		r := newRigOn(t, mem, Limits{}, route("a")).lazily()
		r.putMany("a", 50)
		synctest.Wait() // all are delivered and recorded, and no time has passed
		r.configure(r.routes...)
		time.Sleep(store.LazySync + time.Millisecond)
		after := newRigOn(t, powerCut(mem, vfs.CrashCloneCfg{}), Limits{}, route("a"))
		if s := after.status("a"); s.Delivered != 50 {
			t.Errorf("after a power cut %d of 50 are delivered", s.Delivered)
		}
	})
}
