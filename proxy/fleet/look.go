package fleet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/oklog/ulid/v2"

	"signalpost/queue"
)

// A LedgerStatus is what can be known of a ledger from outside.
type LedgerStatus struct {
	ID      ulid.ULID
	Records uint64 // that the log has
	Owner   *Owner // nil: it has none
	Lag     uint64 // how far its newest record is ahead of what its owner knew when it last renewed its key
	Ended   bool   // only its end is left
	Fault   error  // of a check: what is wrong with it
}

// Look connects to a fleet without joining it, and returns the status of its ledgers, oldest first. With check each
// is read whole, a view made of it in a temporary folder, and that proved.
func Look(ctx context.Context, o Options, check bool) (all []LedgerStatus, err error) {
	n := newNode(o)
	defer n.disconnect()
	defer context.AfterFunc(ctx, n.cancel)()
	if err := n.connect(); err != nil {
		return nil, err
	}
	if err := n.find(); err != nil {
		return nil, err
	}
	owners, err := n.Owners(ctx)
	if err != nil {
		return nil, err
	}
	ledgers, err := n.Ledgers(ctx)
	if err != nil {
		return nil, err
	}
	for _, id := range slices.SortedFunc(maps.Keys(ledgers), ulid.ULID.Compare) {
		l := n.newLedger(id)
		s := LedgerStatus{ID: id, Records: ledgers[id]}
		if o, ok := owners[id]; ok {
			s.Owner = &o
		}
		newest, ended, err := l.newest()
		if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil, fmt.Errorf("ledger %s: %w", id, n.explain(err))
		}
		if s.Ended = ended; s.Owner != nil && newest > s.Owner.Last {
			s.Lag = newest - s.Owner.Last
		}
		if check && !ended {
			s.Fault = l.check()
		}
		all = append(all, s)
	}
	return all, nil
}

// find finds what setUp makes.
func (n *Node) find() (err error) {
	ctx, cancel := n.soon()
	defer cancel()
	for i := range streams {
		s, err := n.js.Stream(ctx, n.o.stream(i))
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return fmt.Errorf("fleet: there is no stream %s: no sidecar has joined a fleet of the name %s, or it was deleted", n.o.stream(i), n.o.Name)
		}
		if err != nil {
			return fmt.Errorf("fleet: stream %s: %w", n.o.stream(i), n.explain(err))
		}
		n.streams = append(n.streams, s)
	}
	if n.owners, err = n.js.KeyValue(ctx, n.o.bucket("OWNERS")); err == nil {
		n.views, err = n.js.ObjectStore(ctx, n.o.bucket("VIEWS"))
	}
	return n.explainAny(err)
}

// check makes a view of the ledger, whoever owns it, and proves it.
func (l *Ledger) check() error {
	folder, err := os.MkdirTemp("", "signalpost-check-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	_, log, err := l.journal()
	if err != nil {
		return err
	}
	l.log.looks = true
	return queue.Rebuild(folder, log)
}

func (n *Node) explainAny(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("fleet: %w", n.explain(err))
}

// Age is how old the newest snapshot is; 0: there is none.
func (s *LedgerStatus) Age() time.Duration {
	if s.Owner == nil || s.Owner.Snapshot == nil {
		return 0
	}
	return time.Since(*s.Owner.Snapshot)
}
