package fleet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/oklog/ulid/v2"

	"signalpost/queue"
)

// recordVersion is the layout that the package's documentation draws.
const recordVersion = 1

type kind byte

const (
	kindBatch kind = iota + 1
	kindPiece
	kindEpoch
	kindSnapshot
	kindEnd
)

// headBytes stand before a record's content, 4 of crc behind.
const headBytes = 3 + 16 + 8 + 8 + 4

// A record is one message of a ledger.
type record struct {
	kind    kind
	ledger  ulid.ULID
	epoch   uint64
	number  uint64
	before  uint32
	content []byte
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encode returns the record's bytes and their crc.
func (r *record) encode() ([]byte, uint32) {
	b := make([]byte, 0, headBytes+len(r.content)+4)
	b = append(append(b, recordVersion, queue.Format, byte(r.kind)), r.ledger[:]...)
	b = binary.BigEndian.AppendUint64(b, r.epoch)
	b = binary.BigEndian.AppendUint64(b, r.number)
	b = binary.BigEndian.AppendUint32(b, r.before)
	b = append(b, r.content...)
	crc := crc32.Checksum(b, castagnoli)
	return binary.BigEndian.AppendUint32(b, crc), crc
}

var (
	errRecord = errors.New("damaged")
	errNewer  = errors.New("a newer version of signalpost wrote it: run that one")
)

// decode takes a record's bytes apart. Its content is a part of them.
func decode(b []byte) (r record, crc uint32, err error) {
	if len(b) < headBytes+4 {
		return r, 0, fmt.Errorf("%w: it has %d bytes", errRecord, len(b))
	}
	body := b[:len(b)-4]
	if crc = binary.BigEndian.Uint32(b[len(b)-4:]); crc != crc32.Checksum(body, castagnoli) {
		return r, 0, fmt.Errorf("%w: its checksum is wrong", errRecord)
	}
	if b[0] > recordVersion || b[1] > queue.Format {
		return r, 0, errNewer
	}
	if b[0] != recordVersion || kind(b[2]) < kindBatch || kind(b[2]) > kindEnd {
		return r, 0, fmt.Errorf("%w: version %d, kind %d", errRecord, b[0], b[2])
	}
	r.kind = kind(b[2])
	copy(r.ledger[:], b[3:])
	r.epoch, r.number = binary.BigEndian.Uint64(b[19:]), binary.BigEndian.Uint64(b[27:])
	r.before, r.content = binary.BigEndian.Uint32(b[35:]), body[headBytes:]
	return r, crc, nil
}
