package fleet

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/oklog/ulid/v2"

	"signalpost/queue"
)

const (
	pieceBytes = 512 << 10 // of a record's content, at most

	// appendFor is how long an append is tried, a killed leader takes 4 to 7 s;
	// tryFor how long for an answer to one try.
	appendFor = 10 * time.Second
	tryFor    = 2 * time.Second
	tryPause  = 50 * time.Millisecond

	// endTTL is how long the end of a ledger is told to a sidecar that comes back with its disk.
	endTTL = 30 * 24 * time.Hour
)

// errMoved: another record stands where one was to be appended.
var errMoved = errors.New("another record has come in between")

// A journal is the log of a ledger for one opening of its store. It is a [queue.Log].
type journal struct {
	l        *Ledger
	stream   jetstream.Stream
	session  ulid.ULID // names the records of this journal
	shown    atomic.Pointer[shown]
	readOnly bool   // it fences nobody: the ledger stays whose it is
	upTo     uint64 // then, unless 0, no record behind this one is read

	mu       sync.Mutex // held while a record is appended
	tip                 // guarded by mu, as all below
	since    int64      // bytes of records since the newest snapshot
	snapshot *snapshot  // the newest; nil: none is known
	ended    bool
	failed   bool // an append: only what is read tells what there is
}

// A tip is what the next record follows.
type tip struct {
	last   uint64 // sequence of the newest record, 0: there is none
	number uint64
	crc    uint32
	epoch  uint64
	owner  ulid.ULID // whose epoch it is
}

// Append makes a batch durable. After an error it is not known whether it is,
// unless that says so.
func (j *journal) Append(batch []byte) (uint64, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	began := time.Now()
	for len(batch) > pieceBytes {
		if err := j.append(kindPiece, batch[:pieceBytes]); err != nil {
			return 0, err
		}
		batch = batch[pieceBytes:]
	}
	err := j.append(kindBatch, batch)
	if told := j.l.node.o.Appended; err == nil && told != nil {
		told(time.Since(began))
	}
	return j.last, err
}

// append appends a record behind the tip, and makes it the tip. mu is held.
func (j *journal) append(k kind, content []byte) error {
	if j.ended || j.l.lost() {
		return queue.ErrDeposed
	}
	if !j.l.has(j) {
		return errors.New("the ledger has been opened again")
	}
	if j.failed { // nothing may follow a record that may not be there
		return errors.New("an append before has failed")
	}
	err := j.appendAs(k, j.epoch, content)
	j.failed = err != nil
	if errors.Is(err, errMoved) {
		j.l.lose()
		return queue.ErrDeposed
	}
	return err
}

func (j *journal) appendAs(k kind, epoch uint64, content []byte) error {
	r := record{kind: k, ledger: j.l.ID, epoch: epoch, number: j.number + 1, before: j.crc, content: content}
	data, crc := r.encode()
	seq, err := j.publish(k, r.number, data)
	if err != nil {
		return err
	}
	j.last, j.number, j.crc, j.epoch = seq, r.number, crc, epoch
	j.since += int64(len(data))
	j.show()
	return nil
}

// publish has the record stored behind the newest and returns its sequence. It
// tries again until what became of it is known. The error is errMoved if
// something else stands there.
func (j *journal) publish(k kind, number uint64, data []byte) (uint64, error) {
	options := []jetstream.PublishOpt{
		jetstream.WithExpectLastSequencePerSubject(j.last), jetstream.WithRetryAttempts(0),
		jetstream.WithMsgID(j.session.String() + "-" + strconv.FormatUint(number, 10)),
	}
	if k == kindEnd {
		options = append(options, jetstream.WithMsgTTL(endTTL))
	}
	for end := time.Now().Add(appendFor); ; {
		seq, err := j.try(data, options)
		var api *jetstream.APIError
		switch {
		case err == nil || errors.Is(err, errMoved) || errors.Is(err, nats.ErrMaxPayload):
			return seq, err
		case errors.As(err, &api) && api.Code != 503 && api.ErrorCode != duplicateInProcess && !isWrongLast(api):
			return 0, fmt.Errorf("ledger %s: NATS refuses its record %d: %w", j.l.ID, number, err)
		case time.Now().After(end) || j.l.node.ctx.Err() != nil:
			return 0, fmt.Errorf("ledger %s: NATS has not acknowledged record %d in stream %s, outcome unknown: %w", j.l.ID, number, j.l.stream, j.l.node.explain(err))
		}
		time.Sleep(tryPause)
	}
}

const duplicateInProcess = 10158

func isWrongLast(err *jetstream.APIError) bool {
	return err.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || err.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant
}

// try publishes once.
func (j *journal) try(data []byte, options []jetstream.PublishOpt) (uint64, error) {
	ctx, cancel := context.WithTimeout(j.l.node.ctx, tryFor)
	defer cancel()
	ack, err := j.l.node.js.PublishMsg(ctx, &nats.Msg{Subject: j.l.subject, Data: data, Header: nats.Header{}}, options...)
	if err == nil && !ack.Duplicate {
		return ack.Sequence, nil
	}
	var api *jetstream.APIError
	if err != nil && !(errors.As(err, &api) && isWrongLast(api)) {
		return 0, err
	}
	// It was there before, or another is: what stands behind the expected one tells.
	m, readErr := j.stream.GetMsg(ctx, j.last+1, jetstream.WithGetMsgSubject(j.l.subject))
	switch {
	case readErr != nil: // not even that, yet
		return 0, cmp.Or(err, readErr)
	case !bytes.Equal(m.Data, data):
		return 0, errMoved
	}
	return m.Sequence, nil
}

// Read hands over the batches behind a position, and makes the ledger this
// process's: no record but this journal's can follow those it has read.
func (j *journal) Read(after uint64, f func(uint64, []byte) error) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.tip = tip{}
	if after > 0 {
		if err := j.begin(after); err != nil {
			return err
		}
	}
	var piece []byte
	for {
		end, err := j.newest()
		if err != nil {
			return err
		}
		if end < after {
			return fmt.Errorf("ledger %s: its stream ends at record %d, and the view stands at %d: was the stream deleted, or restored from a backup? %w", j.l.ID, end, after, errGone)
		}
		if j.upTo > 0 {
			end = max(after, min(end, j.upTo))
		}
		err = j.consume(end, func(m *message) error {
			r, err := j.follow(m)
			if errors.Is(err, errGap) && after == 0 {
				err = fmt.Errorf("%w: %w", err, errGone) // its owner may just have purged what a snapshot has
			}
			switch {
			case err != nil:
				return err
			case r.kind == kindPiece:
				piece = append(piece, r.content...)
			case r.kind == kindBatch:
				batch := r.content
				if len(piece) > 0 {
					batch = append(piece, batch...)
				}
				piece = nil
				return f(m.seq, batch)
			case r.kind == kindEpoch:
				piece = nil // its owner did not come to an end of it
			}
			return nil
		})
		if err != nil {
			return err
		}
		if j.readOnly {
			return nil
		}
		if err = j.fence(); !errors.Is(err, errMoved) {
			return err
		}
	}
}

// asShown is the newest record, and when the newest snapshot was made, as of the last
// append that has ended. It waits for none.
func (j *journal) asShown() (last uint64, snapshot *time.Time) {
	p := j.shown.Load()
	if p == nil {
		return 0, nil
	}
	return p.last, p.snapshot
}

// show keeps for asShown what is known now. mu is held.
func (j *journal) show() {
	s := &shown{last: j.last}
	if j.snapshot != nil {
		s.snapshot = &j.snapshot.Time
	}
	j.shown.Store(s)
}

type shown struct {
	last     uint64
	snapshot *time.Time
}

var errGap = errors.New("records are missing")

// errGone: there is no such record any more, so the view has to be made anew.
var errGone = queue.ErrStale

// begin takes up the chain at the record that a view stands at.
func (j *journal) begin(at uint64) error {
	ctx, cancel := j.l.node.soon()
	defer cancel()
	m, err := j.stream.GetMsg(ctx, at)
	if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && m.Subject != j.l.subject {
		return fmt.Errorf("ledger %s: the record %d, at which the view stands, is not there: %w", j.l.ID, at, errGone)
	}
	if err != nil {
		return fmt.Errorf("ledger %s: %w", j.l.ID, j.l.node.explain(err))
	}
	r, crc, err := decode(m.Data)
	if err != nil {
		return fmt.Errorf("ledger %s: record at %d of %s: %w", j.l.ID, at, j.l.stream, err)
	}
	j.tip = tip{last: at, number: r.number, crc: crc, epoch: r.epoch}
	return nil
}

// newest is the sequence of the ledger's newest record, as the stream's leader knows it.
func (j *journal) newest() (uint64, error) {
	ctx, cancel := j.l.node.soon()
	defer cancel()
	m, err := j.stream.GetLastMsgForSubject(ctx, j.l.subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("ledger %s: %w", j.l.ID, j.l.node.explain(err))
	}
	return m.Sequence, nil
}

// fence makes the ledger this process's by a record of its epoch: nobody else's append
// can succeed from then on. The error is errMoved if there are records that have not been
// read, and wraps ErrDeposed if the ledger is another's by now.
func (j *journal) fence() error {
	switch owned := j.l.ownedEpoch(); {
	case j.ended || j.l.lost() || j.epoch > owned && owned > 0 && j.owner != j.l.node.ID:
		j.l.lose()
		return queue.ErrDeposed
	case j.epoch < owned:
		return fmt.Errorf("ledger %s: its newest record is of epoch %d, and %d had begun: records are missing; was %s restored from a backup?", j.l.ID, j.epoch, owned, j.l.stream)
	}
	epoch := j.epoch + 1
	if err := j.appendAs(kindEpoch, epoch, j.l.node.ID[:]); err != nil {
		return err
	}
	j.owner = j.l.node.ID
	j.l.owned(epoch)
	return nil
}

// follow takes the next message of the ledger as its tip.
func (j *journal) follow(m *message) (record, error) {
	r, crc, err := decode(m.data)
	switch {
	case err != nil:
	case r.ledger != j.l.ID:
		err = fmt.Errorf("%w: it is of ledger %s", errRecord, r.ledger)
	case r.number != j.number+1:
		err = fmt.Errorf("it has number %d, and %d is expected: %w", r.number, j.number+1, errGap)
	case r.before != j.crc:
		err = fmt.Errorf("%w: it does not follow the record before it", errRecord)
	case r.epoch < j.epoch || r.epoch > j.epoch && r.kind != kindEpoch:
		err = fmt.Errorf("%w: it is of epoch %d, after %d", errRecord, r.epoch, j.epoch)
	case j.ended:
		err = fmt.Errorf("%w: it stands behind the end", errRecord)
	}
	if err != nil {
		return r, fmt.Errorf("ledger %s: record at %d of %s: %w; the ledger is left as it is", j.l.ID, m.seq, j.l.stream, err)
	}
	j.last, j.number, j.crc, j.epoch = m.seq, r.number, crc, r.epoch
	j.since += int64(len(m.data))
	switch r.kind {
	case kindEpoch:
		copy(j.owner[:], r.content)
	case kindSnapshot:
		err = j.noteSnapshot(r.content)
	case kindEnd:
		j.ended = true
	}
	return r, err
}

// A message is a record as the stream has it.
type message struct {
	seq  uint64
	data []byte
}

// consume calls f with the ledger's messages behind the tip up to end, in order.
func (j *journal) consume(end uint64, f func(*message) error) error {
	return j.l.consume(j.last, end, f)
}

// consume calls f with the ledger's messages behind a sequence up to end, in order.
func (l *Ledger) consume(after, end uint64, f func(*message) error) error {
	for tries := 0; after < end; tries++ {
		was := after
		err := l.read(after, func(m *message) (bool, error) {
			if m.seq <= after {
				return true, nil
			}
			if err := f(m); err != nil {
				return false, err
			}
			after = m.seq
			return after < end, nil
		})
		var failed *readError
		if err == nil {
			continue
		} else if !errors.As(err, &failed) {
			return err
		}
		if after > was {
			tries = 0
		}
		if tries >= 5 || l.node.ctx.Err() != nil {
			return fmt.Errorf("ledger %s: cannot be read behind %d of %s: %w", l.ID, after, l.stream, l.node.explain(failed.error))
		}
		time.Sleep(tryPause)
	}
	return nil
}

// A readError is one of NATS, after which it is tried again.
type readError struct{ error }

// read calls f with the ledger's messages behind a sequence until it says stop.
func (l *Ledger) read(after uint64, f func(*message) (more bool, err error)) error {
	ctx, cancel := context.WithCancel(l.node.ctx)
	defer cancel()
	begin, cancelBegin := context.WithTimeout(ctx, appendFor)
	defer cancelBegin()
	consumer, err := l.node.js.OrderedConsumer(begin, l.stream, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{l.subject}, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: after + 1,
		InactiveThreshold: time.Minute, MaxResetAttempts: 5,
	})
	if err != nil {
		return &readError{err}
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessagesWithBytesLimit(1000, 8<<20))
	if err != nil {
		return &readError{err}
	}
	defer messages.Stop()
	for {
		m, err := messages.Next(jetstream.NextMaxWait(tryFor))
		if err != nil {
			return &readError{err}
		}
		meta, err := m.Metadata()
		if err != nil {
			return &readError{err}
		}
		if more, err := f(&message{meta.Sequence.Stream, m.Data()}); err != nil || !more {
			return err
		}
	}
}

// Restore writes the files of the newest snapshot.
func (j *journal) Restore(write func(name string, content io.Reader) error) error {
	s, err := j.findSnapshot()
	if err != nil || s == nil {
		return err
	}
	return j.l.restore(s, write)
}
