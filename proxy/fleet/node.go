package fleet

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/oklog/ulid/v2"
	"golang.org/x/sync/errgroup"

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
	keys    jetstream.KeyValue
	fault   fault                     // the last error that NATS reported
	cut     atomic.Pointer[time.Time] // since when there is no connection; nil: there is one

	lock   io.Closer       // of the folder
	ctx    context.Context // ended when nothing is to be asked of NATS any more
	cancel context.CancelFunc
	stop   context.CancelFunc // ends adopting
	open   Opener

	adopting, renewing sync.WaitGroup

	ownQueue      *queue.Queue
	snapshotBytes int64 // set before Start, as all below
	snapshotEvery time.Duration
	tidyEvery     time.Duration

	failing chan string // routes to tell of

	said said // why it was not known what there is to adopt; keepLedgers'

	configuring sync.Mutex
	limits      queue.Limits  // guarded by configuring
	routes      []queue.Route // the same; nil: before the first Configure

	mu       sync.Mutex
	own      *Ledger // guarded by mu, as all below
	before   state   // of the process that had the folder before
	held     map[ulid.ULID]*Ledger
	ended    map[ulid.ULID]bool      // known to have come to an end
	refused  map[ulid.ULID]time.Time // could not be adopted, until then
	seen     map[ulid.ULID]Owner     // the owners as last looked up
	orphaned []ulid.ULID             // ledgers without an owner, likewise
	silent   time.Time               // when NATS last failed to answer; zero: it never did
	counters Counters
}

// Counters count since the start; Ledgers are those that are owned now.
type Counters struct {
	Ledgers, Adoptions, Deposed int64
}

// Counters are those of this moment.
func (n *Node) Counters() Counters {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.counters
	c.Ledgers = int64(len(n.held))
	return c
}

// An Owner is who has a ledger.
type Owner struct {
	Node  ulid.ULID `json:"node"`
	Host  string    `json:"host"`
	Epoch uint64    `json:"epoch"`
	Own   bool      `json:"own"` // it takes the node's new signals

	Last     uint64     `json:"last"`               // sequence of the newest record that it knows
	Snapshot *time.Time `json:"snapshot,omitempty"` // when the newest one was made

	Paused []string `json:"paused"` // routes that the API has paused in it; null: it is not open yet

	revision uint64 // of its key
}

// An Opener opens the queue of an adopted ledger.
type Opener func(courier func(queue.Courier) queue.Courier, journal func() (string, queue.Log, error)) (*queue.Queue, error)

// A state is what is kept in the folder: the process's id, and its own ledger.
type state struct {
	Node   ulid.ULID `json:"node"`
	Ledger ulid.ULID `json:"ledger"`
}

// A said is the error that was told last.
type said string

// once is whether an error is to be told: it is another than the last.
func (s *said) once(err error) bool {
	text := ""
	if err != nil {
		text = err.Error()
	}
	was := *s
	*s = said(text)
	return text != "" && text != string(was)
}

const stateFile = "fleet.json"

func newNode(o Options) *Node {
	o.ttl = cmp.Or(o.ttl, ownerTTL)
	n := &Node{
		ID: ulid.Make(), o: o, log: o.Log, held: map[ulid.ULID]*Ledger{}, ended: map[ulid.ULID]bool{}, failing: make(chan string, 64),
		refused: map[ulid.ULID]time.Time{}, seen: map[ulid.ULID]Owner{}, snapshotBytes: snapshotBytes, snapshotEvery: snapshotEvery, tidyEvery: tidyEvery,
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	return n
}

// Join connects to the fleet. The node adopts nothing before Start; Leave has to be called.
func Join(o Options) (*Node, error) {
	n := newNode(o)
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

// Used is whether a sidecar of a fleet has had the folder.
func Used(folder string) bool {
	_, err := os.Stat(filepath.Join(folder, stateFile))
	return err == nil
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
		l.own, l.heard = true, map[ulid.ULID]heard{}
		if err := l.claim(0); err != nil {
			return "", nil, fmt.Errorf("fleet: a new ledger cannot be begun: %w", n.explain(err))
		}
		n.log.Info("fleet: new ledger begun", slog.String("ledger", l.ID.String()))
	}
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
	l.own = true
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
	_, ended, err := l.newest()
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
	o.revision = e.Revision()
	return o
}

// Start begins to renew what is owned, and to adopt what nobody owns. own is the
// queue of the node's own ledger, open opens that of an adopted one. Both are configured by Configure.
func (n *Node) Start(own *queue.Queue, open Opener) {
	n.ownQueue, n.open = own, open
	ctx, stop := context.WithCancel(n.ctx)
	n.stop = stop
	n.orphans(n.ctx) // so that the first request is not answered as if there were no others; keepLedgers looks again
	n.adopting.Go(func() { n.keepLedgers(ctx) })
	n.renewing.Go(n.serve)
	n.renewing.Go(n.keepRenewing)
}

// Reach is nil unless there has been no connection to NATS for a while. It is a queue's Options.Reach.
func (n *Node) Reach() error {
	if at := n.cut.Load(); at == nil || time.Since(*at) < settleFor {
		return nil
	}
	return errors.New("NATS cannot be reached: see that its servers run; all goes on by itself when they do")
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

// Stop adopts nothing any more, closes the adopted queues until ctx ends, and
// releases each at once for others to adopt. The node's own queue is the caller's to close, before Leave.
func (n *Node) Stop(ctx context.Context) error {
	if n.stop != nil {
		n.stop()
	}
	n.adopting.Wait()
	var closing errgroup.Group
	for _, l := range n.ledgers() {
		if n.queueOf(l) != n.ownQueue {
			closing.Go(func() error { return n.closeAdopted(ctx, l) })
		}
	}
	return closing.Wait()
}

// Leave releases the node's own ledger, whose queue is closed, and disconnects.
func (n *Node) Leave() {
	for _, l := range n.ledgers() {
		l.release()
	}
	n.disconnect()
	n.renewing.Wait()
}

// queueOf is the queue of a ledger; nil: it is not open yet.
func (n *Node) queueOf(l *Ledger) *queue.Queue {
	if l.own {
		return n.ownQueue
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return l.queue
}

// closeAdopted closes an adopted queue until ctx ends, and releases its ledger for others.
func (n *Node) closeAdopted(ctx context.Context, l *Ledger) (err error) {
	if q := n.queueOf(l); q != nil {
		err = q.Close(ctx)
	}
	n.drop(l)
	l.release()
	return errors.Join(err, os.RemoveAll(l.folder))
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
