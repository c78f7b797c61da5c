package fleet

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/oklog/ulid/v2"

	"signalpost/queue"
)

// A Node is this process in its fleet: the connection, and the ledgers that it owns.
type Node struct {
	ID  ulid.ULID // of the process
	o   Options
	log *slog.Logger

	nc      *nats.Conn
	js      jetstream.JetStream
	streams []jetstream.Stream
	owners  jetstream.KeyValue
	views   jetstream.ObjectStore
	fault   fault // the last error that NATS reported

	lock   io.Closer       // of the folder
	ctx    context.Context // ended when nothing is to be asked of NATS any more
	cancel context.CancelFunc
	stop   context.CancelFunc // ends the keeper
	wg     sync.WaitGroup
	open   Opener

	ownQueue      *queue.Queue
	snapshotBytes int64 // set before Start
	snapshotEvery time.Duration
	tidyEvery     time.Duration

	mu       sync.Mutex
	own      *Ledger // guarded by mu, as all below
	before   state   // of the process that had the folder before
	held     map[ulid.ULID]*Ledger
	ended    map[ulid.ULID]bool      // known to have come to an end
	refused  map[ulid.ULID]time.Time // could not be adopted, until then
	seen     map[ulid.ULID]Owner     // the owners as last looked up
	shaky    time.Time               // when NATS last failed to answer; zero: it never did
	counters Counters
	took     func(time.Duration)
}

// Counters count since the start.
type Counters struct {
	Adoptions, Deposed int64
}

// An Owner is who has a ledger.
type Owner struct {
	Node  ulid.ULID `json:"node"`
	Host  string    `json:"host"`
	Epoch uint64    `json:"epoch"`
	Own   bool      `json:"own"` // it takes the node's new signals
}

// An Opener opens the queue of an adopted ledger, and configures it.
type Opener func(courier func(queue.Courier) queue.Courier, journal func() (string, queue.Log, error)) (*queue.Queue, error)

// A state is what is kept in the folder: the process's id, and its own ledger.
type state struct {
	Node   ulid.ULID `json:"node"`
	Ledger ulid.ULID `json:"ledger"`
}

const stateFile = "fleet.json"

// Join connects to the fleet. The node adopts nothing before Start; Close has to be called.
func Join(o Options) (*Node, error) {
	o.ttl = cmp.Or(o.ttl, ownerTTL)
	n := &Node{
		ID: ulid.Make(), o: o, log: o.Log, held: map[ulid.ULID]*Ledger{}, ended: map[ulid.ULID]bool{},
		refused: map[ulid.ULID]time.Time{}, seen: map[ulid.ULID]Owner{}, snapshotBytes: snapshotBytes, snapshotEvery: snapshotEvery, tidyEvery: tidyEvery,
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	err := n.readState()
	if err == nil {
		err = n.connect()
	}
	if err == nil {
		err = n.setUp()
	}
	if err != nil {
		n.disconnect()
		return nil, err
	}
	n.log.Info("fleet: joined", slog.String("fleet", o.Name), slog.String("node", n.ID.String()), slog.String("server", n.nc.ConnectedServerName()))
	return n, nil
}

func (n *Node) disconnect() {
	n.cancel()
	if n.nc != nil {
		n.nc.Close()
	}
	if n.lock != nil {
		_ = n.lock.Close()
	}
}

// readState makes the folder, which must not be that of a store of one machine.
func (n *Node) readState() error {
	var err error
	if n.lock, err = queue.Lock(n.o.Folder); err != nil {
		return err
	}
	if found, _ := filepath.Glob(filepath.Join(n.o.Folder, "marker.manifest.*")); len(found) > 0 {
		return fmt.Errorf("fleet: %s holds the store of one machine: run without [fleet] until all in it is delivered, or name another folder in queue.path", n.o.Folder)
	}
	b, err := os.ReadFile(filepath.Join(n.o.Folder, stateFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("fleet: %w", err)
	}
	if err := json.Unmarshal(b, &n.before); err != nil {
		n.log.Warn("fleet: what is known of the last run is damaged; a new ledger is begun", slog.Any("err", err))
	}
	return nil
}

// Journal opens the node's own ledger, a new one if it has none, or that was
// taken over. It is a queue's Options.Journal.
func (n *Node) Journal() (string, queue.Log, error) {
	n.mu.Lock()
	l, before := n.own, n.before
	n.mu.Unlock()
	if l == nil && before.Ledger != (ulid.ULID{}) {
		var err error
		if l, err = n.resume(before); err != nil {
			return "", nil, err
		}
	}
	if l != nil && l.lost() {
		n.drop(l)
		l = nil
	}
	if l == nil {
		l = n.newLedger(ulid.Make())
		if err := l.claim(0); err != nil {
			return "", nil, fmt.Errorf("fleet: a new ledger cannot be begun: %w", n.explain(err))
		}
		n.log.Info("fleet: new ledger begun", slog.String("ledger", l.ID.String()))
	}
	l.own = true
	n.mu.Lock()
	n.own, n.held[l.ID], n.before = l, l, state{}
	n.mu.Unlock()
	b, err := json.Marshal(state{n.ID, l.ID})
	if err == nil {
		err = os.WriteFile(filepath.Join(n.o.Folder, stateFile), b, 0o600)
	}
	if err != nil {
		return "", nil, fmt.Errorf("fleet: %w", err)
	}
	return l.journal()
}

// resume takes up the ledger of the process that had the folder before, if it is
// nobody else's; nil: it is, or has come to an end.
func (n *Node) resume(before state) (*Ledger, error) {
	l := n.newLedger(before.Ledger)
	ctx, cancel := n.soon()
	defer cancel()
	var revision uint64
	e, err := n.owners.Get(ctx, l.ID.String())
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
	case err != nil:
		return nil, fmt.Errorf("ledger %s: %w", l.ID, n.explain(err))
	case ownerOf(e).Node != before.Node:
		return nil, nil
	default:
		revision = e.Revision()
	}
	ended, err := l.hasEnded()
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, fmt.Errorf("ledger %s, which this sidecar had, is not in stream %s: was the stream deleted, or the ledger's end of a month ago forgotten? "+
			"Its view is %s: move that aside, with %s, to begin a new ledger", l.ID, l.stream, l.folder, stateFile)
	}
	if err != nil {
		return nil, fmt.Errorf("ledger %s: %w", l.ID, n.explain(err))
	}
	if ended || l.claim(revision) != nil {
		return nil, nil
	}
	return l, nil
}

func ownerOf(e jetstream.KeyValueEntry) (o Owner) {
	_ = json.Unmarshal(e.Value(), &o)
	return o
}

// Start begins to renew what is owned, and to adopt what nobody owns. own is the
// queue of the node's own ledger.
func (n *Node) Start(own *queue.Queue, open Opener) {
	n.ownQueue, n.open = own, open
	ctx, stop := context.WithCancel(n.ctx)
	n.stop = stop
	n.wg.Go(func() { n.keep(ctx) })
}

// Adopted are the queues of the ledgers that are run beside the node's own.
func (n *Node) Adopted() (queues []*queue.Queue) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.held {
		if l.queue != nil {
			queues = append(queues, l.queue)
		}
	}
	return queues
}

// Stop adopts nothing any more, and closes the adopted queues until ctx ends.
// The node's own queue is the caller's to close, before Leave.
func (n *Node) Stop(ctx context.Context) error {
	if n.stop != nil {
		n.stop()
	}
	n.wg.Wait()
	var closing sync.WaitGroup
	var all [](error)
	for _, q := range n.Adopted() {
		closing.Go(func() {
			err := q.Close(ctx)
			n.mu.Lock()
			defer n.mu.Unlock()
			all = append(all, err)
		})
	}
	closing.Wait()
	return errors.Join(all...)
}

// Leave releases the ledgers, whose queues are closed, so that others adopt them at once.
func (n *Node) Leave() {
	var releasing sync.WaitGroup
	for _, l := range n.ledgers() {
		releasing.Go(l.release)
	}
	releasing.Wait()
	n.disconnect()
}

func (n *Node) ledgers() (all []*Ledger) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.held {
		all = append(all, l)
	}
	return all
}

// drop forgets a ledger that is another's, or over.
func (n *Node) drop(l *Ledger) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.held[l.ID] == l {
		delete(n.held, l.ID)
	}
	if n.own == l {
		n.own = nil
	}
}

func (n *Node) observe(d time.Duration) {
	if n.took != nil {
		n.took(d)
	}
}

const (
	renewShare   = 10              // of the time that a key lives, from one renewal to the next
	lookEvery    = 5 * time.Second // for ledgers without an owner, also when nothing was told of one
	settleFor    = 2 * time.Second // that NATS has to have answered before anything is adopted
	refusedFor   = time.Minute
	turnPause    = 200 * time.Millisecond // between the turns of those who may adopt
	tidyEvery    = time.Minute
	adoptAtOnce  = 2
	snapshotLook = time.Second // between looks whether one is due
)

// keep runs until ctx ends.
func (n *Node) keep(ctx context.Context) {
	woken := make(chan struct{}, 1)
	woken <- struct{}{} // there may be some already
	var tasks sync.WaitGroup
	defer tasks.Wait()
	tasks.Go(func() { n.watch(ctx, woken) })
	tasks.Go(func() { n.snapshots(ctx) })
	slots := make(chan struct{}, adoptAtOnce)
	renew, look, tidy := time.NewTicker(n.o.ttl/renewShare), time.NewTicker(lookEvery), time.NewTicker(n.tidyEvery)
	defer renew.Stop()
	defer look.Stop()
	defer tidy.Stop()
	busy := sync.Mutex{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-renew.C:
			n.renew()
			n.bury(ctx)
			continue
		case <-tidy.C:
			n.tidy(ctx)
			continue
		case <-look.C:
		case <-woken:
		}
		if !busy.TryLock() {
			continue
		}
		tasks.Go(func() {
			defer busy.Unlock()
			for _, id := range n.orphans(ctx) {
				select {
				case slots <- struct{}{}:
				case <-ctx.Done():
					return
				}
				tasks.Go(func() {
					defer func() { <-slots }()
					n.adopt(ctx, id)
				})
			}
		})
	}
}

// watch says when a ledger has lost its owner.
func (n *Node) watch(ctx context.Context, woken chan<- struct{}) {
	for ctx.Err() == nil {
		w, err := n.owners.WatchAll(ctx, jetstream.UpdatesOnly())
		if err != nil {
			pause(ctx, time.Second)
			continue
		}
		for e := range w.Updates() {
			if e != nil && e.Operation() != jetstream.KeyValuePut {
				select {
				case woken <- struct{}{}:
				default:
				}
			}
		}
		_ = w.Stop()
		pause(ctx, 100*time.Millisecond)
	}
}

// snapshots makes them when it is time, one after the other.
func (n *Node) snapshots(ctx context.Context) {
	for ctx.Err() == nil {
		pause(ctx, snapshotLook)
		for _, l := range n.ledgers() {
			q := n.ownQueue
			if !l.own {
				n.mu.Lock()
				q = l.queue
				n.mu.Unlock()
			}
			if q == nil || ctx.Err() != nil {
				continue
			}
			if err := l.snap(ctx, q); err != nil && ctx.Err() == nil && !l.lost() {
				n.log.Warn("fleet: a snapshot cannot be made; it is tried again", slog.String("ledger", l.ID.String()), slog.Any("err", err))
				pause(ctx, snapshotLook)
			}
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// renew renews the keys of all that is held.
func (n *Node) renew() {
	var renewing sync.WaitGroup
	for _, l := range n.ledgers() {
		if l.lost() {
			continue
		}
		renewing.Go(func() {
			if err := l.renew(); err != nil {
				n.mu.Lock()
				defer n.mu.Unlock()
				n.shaky = time.Now()
			}
		})
	}
	renewing.Wait()
}

// calm is whether NATS has answered for a while: after a loss of quorum owners
// may only have failed to renew.
func (n *Node) calm() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.nc.IsConnected() && time.Since(n.shaky) >= settleFor
}

// bury closes the adopted queues that are another's by now.
func (n *Node) bury(ctx context.Context) {
	for _, l := range n.ledgers() {
		if l.lost() && !l.own && l.ready() {
			n.log.Warn("fleet: another sidecar has taken the ledger over", slog.String("ledger", l.ID.String()))
			n.discard(l)
		}
	}
}

// discard closes an adopted queue, at once, and removes its view.
func (n *Node) discard(l *Ledger) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if q := l.queue; q != nil {
		_ = q.Close(ctx)
	}
	n.drop(l)
	_ = os.RemoveAll(l.folder)
}

// orphans are the ledgers that nobody owns, those first that it is this node's turn for.
func (n *Node) orphans(ctx context.Context) (all []ulid.ULID) {
	owners, err := n.Owners(ctx)
	if err != nil || !n.calm() {
		return nil
	}
	ledgers, err := n.Ledgers(ctx)
	if err != nil {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for id := range ledgers {
		if _, owned := owners[id]; !owned && n.held[id] == nil && !n.ended[id] && time.Now().After(n.refused[id]) {
			all = append(all, id)
		}
	}
	slices.SortFunc(all, func(a, b ulid.ULID) int { return cmp.Compare(n.turn(a), n.turn(b)) })
	return all
}

// turn is how many nodes come before this one to adopt a ledger: those with
// fewer of them first. mu is held.
func (n *Node) turn(id ulid.ULID) (before int) {
	load := map[ulid.ULID]int{n.ID: 0}
	for _, o := range n.seen {
		load[o.Node]++
	}
	order := func(node ulid.ULID) uint32 {
		h := fnv.New32a()
		h.Write(append(node[:], id[:]...))
		return h.Sum32()
	}
	for node := range load {
		if node != n.ID && cmp.Or(cmp.Compare(load[node], load[n.ID]), cmp.Compare(order(node), order(n.ID))) < 0 {
			before++
		}
	}
	return before
}

// Owners are who owns what, by ledger.
func (n *Node) Owners(ctx context.Context) (map[ulid.ULID]Owner, error) {
	ctx, cancel := context.WithTimeout(ctx, answerFor)
	defer cancel()
	w, err := n.owners.WatchAll(ctx, jetstream.IgnoreDeletes())
	if err != nil {
		return nil, n.explain(err)
	}
	defer w.Stop()
	all := map[ulid.ULID]Owner{}
	for {
		select {
		case <-ctx.Done():
			return nil, n.explain(ctx.Err())
		case e := <-w.Updates():
			if e == nil { // that was all there is
				n.mu.Lock()
				defer n.mu.Unlock()
				n.seen = all
				return all, nil
			}
			if id, err := ulid.ParseStrict(e.Key()); err == nil {
				all[id] = ownerOf(e)
			}
		}
	}
}

// Ledgers are all that there are, with their numbers of records.
func (n *Node) Ledgers(ctx context.Context) (map[ulid.ULID]uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, answerFor)
	defer cancel()
	all := map[ulid.ULID]uint64{}
	for i, s := range n.streams {
		info, err := s.Info(ctx, jetstream.WithSubjectFilter(n.o.subjects(i)))
		if err != nil {
			return nil, fmt.Errorf("fleet: stream %s: %w", n.o.stream(i), n.explain(err))
		}
		for subject, count := range info.State.Subjects {
			if id, err := ulid.ParseStrict(subject[strings.LastIndexByte(subject, '.')+1:]); err == nil {
				all[id] = count
			}
		}
	}
	return all, nil
}

// adopt tries to own a ledger, and runs it then.
func (n *Node) adopt(ctx context.Context, id ulid.ULID) {
	n.mu.Lock()
	turn := n.turn(id)
	n.mu.Unlock()
	pause(ctx, time.Duration(turn)*turnPause)
	if ctx.Err() != nil || !n.calm() {
		return
	}
	l := n.newLedger(id)
	ended, err := l.hasEnded()
	if ended {
		n.mu.Lock()
		n.ended[id] = true
		n.mu.Unlock()
	}
	if ended || err != nil || l.claim(0) != nil { // it is not there, or another was faster
		return
	}
	n.mu.Lock()
	n.held[id] = l
	n.mu.Unlock()
	began := time.Now()
	n.log.Info("fleet: adopting a ledger", slog.String("ledger", id.String()))
	_ = os.RemoveAll(l.folder)
	q, err := n.open(l.courier, l.journal)
	if err != nil {
		n.log.Error("fleet: a ledger cannot be adopted", slog.String("ledger", id.String()), slog.Any("err", err))
		n.mu.Lock()
		n.refused[id] = time.Now().Add(refusedFor)
		n.mu.Unlock()
		n.drop(l)
		l.release()
		_ = os.RemoveAll(l.folder)
		return
	}
	n.mu.Lock()
	l.queue = q
	n.counters.Adoptions++
	n.mu.Unlock()
	var pending int64
	for _, r := range q.Status().Routes {
		pending += r.Pending + r.Held
	}
	n.log.Info("fleet: adopted a ledger", slog.String("ledger", id.String()), slog.Int64("pending", pending), slog.Float64("duration_ms", float64(time.Since(began).Milliseconds())))
}

// tidy ends the adopted ledgers of which nothing is left, and removes views that are nobody's.
func (n *Node) tidy(ctx context.Context) {
	for _, l := range n.ledgers() {
		if ctx.Err() == nil && !l.lost() && l.ready() && l.queue != nil && l.queue.Empty() {
			n.finish(l)
		}
	}
	entries, _ := os.ReadDir(n.o.Folder)
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, e := range entries {
		if id, err := ulid.ParseStrict(e.Name()); err == nil && n.held[id] == nil {
			_ = os.RemoveAll(filepath.Join(n.o.Folder, e.Name()))
		}
	}
}

// finish ends a ledger of which nothing is left.
func (n *Node) finish(l *Ledger) {
	ctx, cancel := context.WithTimeout(n.ctx, answerFor)
	defer cancel()
	_ = l.queue.Close(ctx)
	if err := l.end(); err != nil {
		n.log.Warn("fleet: a ledger of which nothing is left stays for now", slog.String("ledger", l.ID.String()), slog.Any("err", err))
	} else {
		n.log.Info("fleet: nothing is left of a ledger; it has been ended", slog.String("ledger", l.ID.String()))
		n.mu.Lock()
		n.ended[l.ID] = true
		n.mu.Unlock()
	}
	n.drop(l)
	l.release()
	_ = os.RemoveAll(l.folder)
}
