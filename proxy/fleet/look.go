package fleet

import (
	"bytes"
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
// is read whole, a view made of it in a temporary folder, and that proved, and compared with its owner's.
func Look(ctx context.Context, o Options, check bool) (all []LedgerStatus, err error) {
	n := newNode(o)
	defer n.disconnect()
	defer context.AfterFunc(ctx, n.cancel)()
	if err := n.connect(); err != nil {
		return nil, err
	}
	if err := n.find(false); err != nil {
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
		for tries, done := 0, !check || ended; !done && tries < 3; tries++ { // its owner may make snapshots meanwhile
			done, s.Fault = l.check(ctx, s.Owner)
		}
		all = append(all, s)
	}
	return all, nil
}

// find finds what setUp makes. What was made just now is not known to all of NATS at once.
func (n *Node) find(made bool) (err error) {
	_, err = patiently(n, func(ctx context.Context) (_ any, err error) {
		defer func() {
			if made && notThere(err) {
				err = fmt.Errorf("fleet: %v", err) // which is no end
			}
		}()
		n.streams = nil
		for i := range streams {
			s, err := n.js.Stream(ctx, n.o.stream(i))
			if err != nil {
				return nil, fmt.Errorf("stream %s: %w", n.o.stream(i), err)
			}
			n.streams = append(n.streams, s)
		}
		if n.owners, err = n.js.KeyValue(ctx, n.o.bucket("OWNERS")); err != nil {
			return nil, err
		}
		if n.keys, err = n.js.KeyValue(ctx, n.o.bucket("KEYS")); err != nil {
			return nil, err
		}
		n.views, err = n.js.ObjectStore(ctx, n.o.bucket("VIEWS"))
		return nil, err
	})
	if notThere(err) {
		return fmt.Errorf("fleet: NATS has no fleet of the name %s: no sidecar has joined it yet, or some of its streams were deleted: %w", n.o.Name, err)
	}
	return n.explainAny(err)
}

func notThere(err error) bool {
	return errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrBucketNotFound)
}

// check makes a view of the ledger, whoever owns it, proves it, and compares it with
// its owner's, unless that does not answer. It is done if trying again would tell no more.
func (l *Ledger) check(ctx context.Context, owner *Owner) (done bool, err error) {
	folder, err := os.MkdirTemp("", "signalpost-check-")
	if err != nil {
		return true, err
	}
	defer os.RemoveAll(folder)
	_, log, err := l.journal()
	if err != nil {
		return true, err
	}
	l.log.readOnly = true
	var has reply
	if owner != nil {
		asked, cancel := context.WithTimeout(ctx, digestFor)
		defer cancel()
		has, _ = l.node.ask(asked, owner.Node, &question{Ledger: l.ID, View: true})
		l.log.upTo = has.Position
	}
	position, sum, err := queue.Rebuild(folder, log)
	if err != nil || has.Sum == nil || position != has.Position {
		return err == nil && has.Sum == nil, err
	}
	if !bytes.Equal(sum, has.Sum) {
		return true, fmt.Errorf("ledger %s: the view of the sidecar on %s is not what the log says up to record %d: stop that sidecar, move its folder aside, and start it again", l.ID, owner.Host, position)
	}
	return true, nil
}

// digestFor is how long an owner has to read a view whole.
var digestFor = time.Minute

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
