package fleet

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"signalpost/queue"
)

const (
	snapshotBytes = 64 << 20         // of records after which a snapshot is made
	snapshotEvery = 10 * time.Minute // or so long after the last one, if anything came since
	snapshotFor   = 10 * time.Minute // at most
)

// A snapshot says of which objects a view is made that has all records up to one.
type snapshot struct {
	Position uint64         `json:"position"` // of the record
	Time     time.Time      `json:"time"`
	Files    []snapshotFile `json:"files"`
}

type snapshotFile struct {
	Name   string `json:"name"`
	Object string `json:"object"`
}

// noteSnapshot takes a snapshot's record. mu is held.
func (j *journal) noteSnapshot(content []byte) error {
	s := &snapshot{}
	if err := json.Unmarshal(content, s); err != nil {
		return fmt.Errorf("ledger %s: the snapshot at %d of %s: %w", j.l.ID, j.last, j.l.stream, err)
	}
	j.snapshot, j.since = s, 0
	return nil
}

// findSnapshot is the newest snapshot of the ledger, nil if there is none.
func (j *journal) findSnapshot() (found *snapshot, err error) {
	end, err := j.newest()
	if err != nil {
		return nil, err
	}
	err = j.l.consume(0, end, func(m *message) error {
		r, _, err := decode(m.data)
		if err != nil {
			return fmt.Errorf("ledger %s: record at %d of %s: %w", j.l.ID, m.seq, j.l.stream, err)
		}
		if r.kind == kindSnapshot {
			found = &snapshot{}
			err = json.Unmarshal(r.content, found)
		}
		return err
	})
	return found, err
}

// restore hands the files of a snapshot to write. Each object's digest is checked.
func (l *Ledger) restore(s *snapshot, write func(string, io.Reader) error) error {
	ctx, cancel := context.WithTimeout(l.node.ctx, snapshotFor)
	defer cancel()
	for _, f := range s.Files {
		o, err := l.node.views.Get(ctx, f.Object)
		if err == nil {
			err = errors.Join(write(f.Name, o), o.Close())
		}
		if errors.Is(err, jetstream.ErrObjectNotFound) { // its owner may just have made a newer snapshot
			err = fmt.Errorf("%w: %w", err, errGone)
		}
		if err != nil {
			return fmt.Errorf("ledger %s: object %s of its snapshot: %w", l.ID, f.Object, l.node.explain(err))
		}
	}
	return nil
}

// makeSnapshot makes a snapshot of a ledger's queue if it is time, and removes what is
// not needed any more.
func (l *Ledger) makeSnapshot(ctx context.Context, q *queue.Queue) error {
	l.mu.Lock()
	j := l.log
	l.mu.Unlock()
	if l.lost() || j == nil {
		return nil
	}
	last, due := j.due()
	if !due {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, snapshotFor)
	defer cancel()
	began := time.Now()
	s := &snapshot{Time: began.UTC()}
	// Of earlier snapshots, and of some that came to nothing. Looked up before this
	// one is the newest: after that, there may be those of another owner.
	objects, err := l.objects(ctx)
	if err != nil {
		return err
	}
	if err := q.Snapshot(func(position uint64, files []queue.File) error { return l.send(ctx, j, s, last, position, files) }); err != nil {
		return err
	}
	if err := j.appendSnapshot(s); err != nil || s.Position == 0 {
		return err
	}
	// From here on the snapshot stands for all before it. Its own record stays, for the chain.
	if err := j.stream.Purge(ctx, jetstream.WithPurgeSubject(l.subject), jetstream.WithPurgeSequence(s.Position)); err != nil {
		return fmt.Errorf("ledger %s: what a snapshot has cannot be purged: %w", l.ID, l.node.explain(err))
	}
	if err := l.node.remove(ctx, slices.DeleteFunc(objects, s.has)); err != nil {
		return fmt.Errorf("ledger %s: objects of earlier snapshots cannot be removed: %w", l.ID, l.node.explain(err))
	}
	l.node.log.Debug("fleet: snapshot made", slog.String("ledger", l.ID.String()), slog.Int("files", len(s.Files)),
		slog.Float64("duration_ms", float64(time.Since(began).Milliseconds())))
	return nil
}

// due is the newest snapshot, nil if none is known of, and whether it is time for another.
func (j *journal) due() (last *snapshot, due bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	at, n := j.l.began, j.l.node
	if j.snapshot != nil {
		at = j.snapshot.Time
	}
	return j.snapshot, j.last > 0 && !j.ended && (j.since >= n.snapshotBytes || j.since > 0 && time.Since(at) >= n.snapshotEvery)
}

// send sends the files that are not there yet, and has the snapshot name all; none if nothing came since the last.
func (l *Ledger) send(ctx context.Context, j *journal, s, last *snapshot, position uint64, files []queue.File) error {
	if position == 0 || last != nil && position <= last.Position {
		return nil
	}
	s.Position = position
	for _, f := range files {
		object := l.ID.String() + "/" + j.session.String() + "/" + f.Name
		if !f.Table {
			object += fmt.Sprintf(".%d", position)
		}
		if !f.Table || last == nil || !last.has(object) {
			if err := l.put(ctx, object, f); err != nil {
				return err
			}
		}
		s.Files = append(s.Files, snapshotFile{f.Name, object})
	}
	return nil
}

// appendSnapshot makes the snapshot the newest. One of a view that was taken over meanwhile is not made.
func (j *journal) appendSnapshot(s *snapshot) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if s.Position == 0 { // nothing but epochs came since
		j.since = 0
		return nil
	}
	content, err := json.Marshal(s)
	if err == nil {
		err = j.append(kindSnapshot, content)
	}
	if err != nil {
		return err
	}
	j.snapshot, j.since = s, 0
	j.show()
	return nil
}

func (s *snapshot) has(object string) bool {
	return slices.ContainsFunc(s.Files, func(f snapshotFile) bool { return f.Object == object })
}

func (l *Ledger) put(ctx context.Context, object string, f queue.File) error {
	content, err := f.Open()
	if err != nil {
		return err
	}
	defer content.Close()
	var r io.Reader = content
	if f.Size == 0 {
		r = bytes.NewReader(nil)
	}
	if _, err := l.node.views.Put(ctx, jetstream.ObjectMeta{Name: object}, r); err != nil {
		return fmt.Errorf("ledger %s: object %s: %w", l.ID, object, l.node.explain(err))
	}
	return nil
}

// objects are the names of those that snapshots of the ledger are made of.
func (l *Ledger) objects(ctx context.Context) (names []string, err error) {
	all, err := l.node.views.List(ctx)
	if err != nil && !errors.Is(err, jetstream.ErrNoObjectsFound) {
		return nil, fmt.Errorf("ledger %s: its snapshots cannot be listed: %w", l.ID, l.node.explain(err))
	}
	for _, o := range all {
		if strings.HasPrefix(o.Name, l.ID.String()+"/") {
			names = append(names, o.Name)
		}
	}
	return names, nil
}

// remove removes objects, and the messages by which NATS would tell for ever that they were there.
func (n *Node) remove(ctx context.Context, names []string) error {
	bucket := n.o.bucket("VIEWS")
	s, err := n.js.Stream(ctx, "OBJ_"+bucket)
	if err != nil {
		return err
	}
	for _, name := range names {
		gone := n.views.Delete(ctx, name)
		if gone == nil {
			gone = s.Purge(ctx, jetstream.WithPurgeSubject("$O."+bucket+".M."+base64.URLEncoding.EncodeToString([]byte(name))))
		}
		err = errors.Join(err, gone)
	}
	return err
}
