package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/oklog/ulid/v2"

	"signalpost/queue"
)

const (
	renewShare   = 10              // of the time that a key lives, from one renewal to the next
	lookEvery    = 5 * time.Second // for ledgers without an owner, also when nothing was told of one
	settleFor    = 2 * time.Second // that NATS has to have answered before anything is adopted
	refusedFor   = time.Minute
	turnPause    = 200 * time.Millisecond // between the turns of those who may adopt
	tidyEvery    = 5 * time.Second
	adoptAtOnce  = 2
	snapshotLook = time.Second // between looks whether one is due
)

// keepRenewing renews the keys until the node leaves.
func (n *Node) keepRenewing() {
	for n.ctx.Err() == nil {
		n.renew()
		pause(n.ctx, n.o.ttl/renewShare)
	}
}

// keepLedgers adopts ledgers that have no owner, and looks after those that the node has,
// until ctx ends.
func (n *Node) keepLedgers(ctx context.Context) {
	woken := make(chan struct{}, 1)
	woken <- struct{}{} // there may be some already
	var tasks sync.WaitGroup
	defer tasks.Wait()
	tasks.Go(func() { n.watchOwners(ctx, woken) })
	tasks.Go(func() { n.makeSnapshots(ctx) })
	tasks.Go(func() { n.shareFailures(ctx) })
	tasks.Go(func() {
		remembered := n.o.Remember
		for ctx.Err() == nil {
			n.tidy(ctx)
			_ = n.share()
			if d := n.dedupWindow(); d > remembered && n.remember(d) == nil {
				remembered = d
			}
			every := n.tidyEvery
			if n.young() {
				every = turnPause
			}
			pause(ctx, every)
		}
	})
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for ctx.Err() == nil {
		var adopting sync.WaitGroup
		slots := make(chan struct{}, adoptAtOnce)
		for _, id := range n.orphans(ctx) {
			slots <- struct{}{}
			adopting.Go(func() {
				defer func() { <-slots }()
				n.adopt(ctx, id)
			})
		}
		adopting.Wait()
		select {
		case <-ctx.Done():
		case <-look.C:
		case <-woken:
		}
	}
}

// watchOwners keeps seen up to date, and says when a ledger has lost its owner.
func (n *Node) watchOwners(ctx context.Context, woken chan<- struct{}) {
	for ctx.Err() == nil {
		w, err := n.owners.WatchAll(ctx, jetstream.UpdatesOnly())
		if err != nil {
			pause(ctx, time.Second)
			continue
		}
		for e := range w.Updates() {
			if e == nil {
				continue
			}
			id, err := ulid.ParseStrict(e.Key())
			if err != nil {
				continue
			}
			n.mu.Lock()
			if e.Operation() == jetstream.KeyValuePut {
				n.seen[id] = ownerOf(e)
			} else {
				delete(n.seen, id)
				n.orphaned = append(n.orphaned, id)
			}
			n.mu.Unlock()
			if e.Operation() != jetstream.KeyValuePut {
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

// makeSnapshots makes snapshots when it is time, one after the other.
func (n *Node) makeSnapshots(ctx context.Context) {
	for ctx.Err() == nil {
		pause(ctx, snapshotLook)
		for _, l := range n.ledgers() {
			q := n.queueOf(l)
			if q == nil || ctx.Err() != nil {
				continue
			}
			if err := l.makeSnapshot(ctx, q); err != nil && ctx.Err() == nil && !l.lost() {
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
				n.silent = time.Now()
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
	return n.nc.IsConnected() && time.Since(n.silent) >= settleFor
}

// orphans are the ledgers that nobody owns, those first that it is this node's turn for.
func (n *Node) orphans(ctx context.Context) (all []ulid.ULID) {
	owners, err := n.Owners(ctx)
	var ledgers map[ulid.ULID]uint64
	if err == nil {
		ledgers, err = n.Ledgers(ctx)
	}
	if n.said.once(err) && ctx.Err() == nil {
		n.log.Warn("fleet: it is not known which ledgers there are and who has them", slog.Any("err", err))
	}
	if err != nil {
		return nil
	}
	calm := n.calm()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.orphaned = nil
	for id := range ledgers {
		if _, owned := owners[id]; owned || n.held[id] != nil || n.ended[id] {
			continue
		}
		if n.orphaned = append(n.orphaned, id); calm && time.Now().After(n.refused[id]) {
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

// Others are the nodes that own a ledger, but this one, with their hosts.
func (n *Node) Others() map[ulid.ULID]string {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := map[ulid.ULID]string{}
	for _, o := range n.seen {
		if o.Node != n.ID {
			all[o.Node] = o.Host
		}
	}
	return all
}

// Seen are the owners of ledgers, as last looked up.
func (n *Node) Seen() map[ulid.ULID]Owner {
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.seen)
}

// Ownerless are the ledgers that nobody runs, as far as is known.
func (n *Node) Ownerless() (all []ulid.ULID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, id := range n.orphaned {
		if _, owned := n.seen[id]; !owned && n.held[id] == nil && !n.ended[id] && !slices.Contains(all, id) {
			all = append(all, id)
		}
	}
	return all
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
	_, ended, err := l.newest()
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
		level, rest := slog.LevelWarn, lookEvery // what NATS could not do now it can soon
		if errors.Is(err, errRecord) || errors.Is(err, errGap) {
			level = slog.LevelError
		}
		if level == slog.LevelError || errors.Is(err, errNewer) {
			rest = refusedFor
		}
		n.log.Log(ctx, level, "fleet: a ledger cannot be adopted", slog.String("ledger", id.String()), slog.Any("err", err))
		n.mu.Lock()
		n.refused[id] = time.Now().Add(rest)
		n.mu.Unlock()
		_ = n.closeAdopted(ctx, l)
		return
	}
	n.mu.Lock()
	l.queue = q
	n.counters.Adoptions++
	n.mu.Unlock()
	_ = n.share()
	var pending int64
	for _, r := range q.Status().Routes {
		pending += r.Pending + r.Held
	}
	n.log.Info("fleet: adopted a ledger", slog.String("ledger", id.String()), slog.Int64("pending", pending), slog.Float64("duration_ms", float64(time.Since(began).Milliseconds())))
}

// tidy closes the adopted queues that are another's by now, or of which nothing
// is left, and removes views that are nobody's.
func (n *Node) tidy(ctx context.Context) {
	for _, l := range n.ledgers() {
		q := n.queueOf(l)
		if l.own || q == nil || ctx.Err() != nil {
			continue
		}
		if l.lost() {
			n.log.Warn("fleet: another sidecar has taken the ledger over", slog.String("ledger", l.ID.String()))
			gone, cancel := context.WithCancel(ctx)
			cancel()
			_ = n.closeAdopted(gone, l)
		} else if q.Empty() {
			n.endLedger(ctx, l, q)
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

// endLedger ends a ledger of which nothing is left.
func (n *Node) endLedger(ctx context.Context, l *Ledger, q *queue.Queue) {
	_ = q.Close(ctx)
	if err := l.appendEnd(); err != nil {
		n.log.Warn("fleet: a ledger of which nothing is left stays for now", slog.String("ledger", l.ID.String()), slog.Any("err", err))
	} else {
		n.log.Info("fleet: nothing is left of a ledger; it has been ended", slog.String("ledger", l.ID.String()))
		n.mu.Lock()
		n.ended[l.ID] = true
		n.mu.Unlock()
	}
	_ = n.closeAdopted(ctx, l)
}
