package fleet

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/oklog/ulid/v2"

	"signalpost/queue"
)

// A Ledger is one that this process has claimed.
type Ledger struct {
	ID      ulid.ULID
	node    *Node
	stream  string
	subject string
	folder  string // of its view
	began   time.Time
	own     bool                // set before the ledger is held
	heard   map[ulid.ULID]heard // of other ledgers' pauses, by a new one of the node's own; nil: it need not. Guarded by Node.configuring
	queue   *queue.Queue        // of an adopted one, once it is open; guarded by Node.mu

	configured []queue.Route // as the queue has it; guarded by Node.configuring, as limits
	limits     queue.Limits

	key      sync.Mutex // held while the key is changed; before mu
	released bool       // guarded by key

	mu       sync.Mutex
	revision uint64    // of the key; guarded by mu, as all below
	first    uint64    // what that was when the ledger was claimed
	renewed  time.Time // when the key was last renewed
	epoch    uint64    // the newest that this process has begun
	deposed  bool
	log      *journal // of the newest opening
}

// newLedger is a ledger that is not claimed yet.
func (n *Node) newLedger(id ulid.ULID) *Ledger {
	h := fnv.New32a()
	h.Write(id[:])
	i := int(h.Sum32() % streams)
	return &Ledger{
		ID: id, node: n, began: time.Now(), stream: n.o.stream(i), subject: fmt.Sprintf("%s.log.%d.%s", n.o.Name, i, id), folder: filepath.Join(n.o.Folder, id.String()),
	}
}

// lost is whether the ledger is another's by now, as far as is known.
func (l *Ledger) lost() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.deposed
}

func (l *Ledger) lose() {
	l.mu.Lock()
	was := l.deposed
	l.deposed = true
	l.mu.Unlock()
	if !was {
		l.node.mu.Lock()
		l.node.counters.Deposed++
		l.node.mu.Unlock()
	}
}

// owned notes that an epoch of this process's has begun.
func (l *Ledger) owned(epoch uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.epoch = epoch
}

// ownedEpoch is the newest that this process has begun, 0 for none.
func (l *Ledger) ownedEpoch() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.epoch
}

// has is whether the journal is of the newest opening.
func (l *Ledger) has(j *journal) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.log == j
}

// live is whether others know that the ledger is this process's.
func (l *Ledger) live() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.deposed && time.Since(l.renewed) < l.node.o.ttl*4/5
}

var errNotOurs = fmt.Errorf("the ledger may be another sidecar's by now: %w", queue.ErrDeposed)

// courier is one that makes no attempt unless others know that the ledger is this process's.
func (l *Ledger) courier(c queue.Courier) queue.Courier { return gate{c, l.live} }

// Courier is one for the node's own ledger.
func (n *Node) Courier(c queue.Courier) queue.Courier {
	return gate{c, func() bool {
		n.mu.Lock()
		l := n.own
		n.mu.Unlock()
		return l != nil && l.live()
	}}
}

type gate struct {
	queue.Courier
	live func() bool
}

func (g gate) Deliver(ctx context.Context, d queue.Delivery, attempt int) (queue.Outcome, error) {
	if !g.live() {
		return queue.Outcome{}, errNotOurs
	}
	return g.Courier.Deliver(ctx, d, attempt)
}

// ownerValue is the value of the ledger's key. mu is held.
func (l *Ledger) ownerValue(paused []string) []byte {
	o := Owner{Node: l.node.ID, Epoch: l.epoch, Own: l.own, Paused: paused}
	o.Host, _ = os.Hostname()
	if l.log != nil {
		o.Last, o.Snapshot = l.log.asShown()
	}
	b, _ := json.Marshal(o)
	return b
}

// claim makes the ledger's key this process's; revision is that of the key that
// it replaces, 0: there is none.
func (l *Ledger) claim(revision uint64) (err error) {
	ctx, cancel := l.node.soon()
	defer cancel()
	began := time.Now()
	var paused []string
	if q := l.node.queueOf(l); q != nil {
		paused = []string{}
		for _, r := range q.Status().Routes {
			if r.PausedByAPI {
				paused = append(paused, r.Name)
			}
		}
	}
	l.mu.Lock()
	value := l.ownerValue(paused)
	l.mu.Unlock()
	if revision == 0 {
		revision, err = l.node.owners.Create(ctx, l.ID.String(), value)
	} else {
		revision, err = l.node.owners.Update(ctx, l.ID.String(), value, revision)
	}
	if err == nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.revision, l.renewed, l.first = revision, began, cmp.Or(l.first, revision)
	}
	return err
}

// renew renews the key. If that is another's by now, the ledger is lost to this process.
// The error says that NATS has not answered.
func (l *Ledger) renew() error {
	l.key.Lock()
	defer l.key.Unlock()
	if l.released {
		return nil
	}
	l.mu.Lock()
	revision := l.revision
	l.mu.Unlock()
	err := l.claim(revision)
	var api *jetstream.APIError
	if err == nil || !errors.As(err, &api) || !isWrongLast(api) && !errors.Is(err, jetstream.ErrKeyExists) {
		return err
	}
	ctx, cancel := l.node.soon()
	defer cancel()
	e, readErr := l.node.owners.Get(ctx, l.ID.String())
	switch {
	case errors.Is(readErr, jetstream.ErrKeyNotFound): // it has run out, and nobody took it
		return l.claim(0)
	case readErr != nil || e.Revision() <= revision: // or a server that is behind answered
		return err
	case ownerOf(e).Node == l.node.ID: // renewed, and the answer was lost
		return l.claim(e.Revision())
	}
	l.lose()
	return nil
}

// release gives up the ledger's key, if it is still this process's.
func (l *Ledger) release() {
	l.key.Lock()
	defer l.key.Unlock()
	l.released = true
	l.mu.Lock()
	revision, deposed := l.revision, l.deposed
	l.mu.Unlock()
	if deposed {
		return
	}
	ctx, cancel := l.node.soon()
	defer cancel()
	_ = l.node.owners.Delete(ctx, l.ID.String(), jetstream.LastRevision(revision))
}

// journal opens the ledger's log. It is a queue's Options.Journal.
func (l *Ledger) journal() (string, queue.Log, error) {
	if l.lost() {
		return "", nil, fmt.Errorf("ledger %s: %w", l.ID, queue.ErrDeposed)
	}
	ctx, cancel := l.node.soon()
	defer cancel()
	s, err := l.node.js.Stream(ctx, l.stream)
	if err != nil {
		return "", nil, fmt.Errorf("ledger %s: stream %s: %w", l.ID, l.stream, l.node.explain(err))
	}
	j := &journal{l: l, stream: s, session: ulid.Make()}
	l.mu.Lock()
	l.log = j
	l.mu.Unlock()
	return l.folder, j, nil
}

// newest is the sequence of the ledger's newest record, and whether that is its end.
func (l *Ledger) newest() (seq uint64, ended bool, err error) {
	ctx, cancel := l.node.soon()
	defer cancel()
	s, err := l.node.js.Stream(ctx, l.stream)
	if err != nil {
		return 0, false, err
	}
	m, err := s.GetLastMsgForSubject(ctx, l.subject)
	if err != nil {
		return 0, false, err
	}
	r, _, err := decode(m.Data)
	return m.Sequence, err == nil && r.kind == kindEnd, nil
}

// appendEnd appends the ledger's last record, and removes all before it.
func (l *Ledger) appendEnd() error {
	l.mu.Lock()
	j := l.log
	l.mu.Unlock()
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.append(kindEnd, nil); err != nil {
		return err
	}
	j.ended = true
	ctx, cancel := l.node.soon()
	defer cancel()
	err := j.stream.Purge(ctx, jetstream.WithPurgeSubject(l.subject), jetstream.WithPurgeSequence(j.last))
	objects, listErr := l.objects(ctx)
	return errors.Join(err, listErr, l.node.remove(ctx, objects))
}
