package queue

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A power cut leaves a log whose end is torn: what follows the last whole
// record was never acknowledged, and Pebble drops it. Where a record in the
// middle is damaged Pebble drops all that follows, too, if it finds no chunk in
// the blocks after it that tells of a later fsync; it does not look in the block
// itself. checkLog does, so that what was acknowledged does not go without a word.
//
// A log is blocks of 32 KiB of chunks. A chunk is its checksum:4 length:2
// type:1 log:4, with types from 9 to 12 synced:8 (up to where the log was on
// disk when the chunk was written), and its bytes. The log is the low half of
// the number in the file's name: a log's file may be used again for another.
const (
	logBlock   = 32 << 10
	chunkMin   = 7
	chunkLog   = 11
	chunkSync  = 19
	typeLegacy = 4  // types up to this have no log
	typeReused = 8  // types up to this have no synced
	typeLast   = 12 // there are none above
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// chunk takes the chunk at the beginning of b apart. size is 0 if there is none.
func chunk(b []byte, log uint32) (size int, synced uint64) {
	if len(b) < chunkMin {
		return 0, 0
	}
	head, kind := chunkMin, b[6]
	switch {
	case kind == 0 || kind > typeLast:
		return 0, 0
	case kind > typeReused:
		head = chunkSync
	case kind > typeLegacy:
		head = chunkLog
	}
	size = head + int(binary.LittleEndian.Uint16(b[4:]))
	if size > len(b) || head >= chunkLog && binary.LittleEndian.Uint32(b[7:]) != log {
		return 0, 0
	}
	sum := crc32.Checksum(b[6:size], castagnoli)
	if binary.LittleEndian.Uint32(b) != sum>>15|sum<<17+0xa282ead8 {
		return 0, 0
	}
	if head == chunkSync {
		synced = binary.LittleEndian.Uint64(b[11:])
	}
	return size, synced
}

// checkLog reads the newest log of the store and returns an error if what
// cannot be read in it was on disk once.
func checkLog(fs vfs.FS, path string) error {
	names, err := fs.List(path)
	if err != nil {
		return err
	}
	name, num := "", uint64(0)
	for _, n := range names {
		digits, ok := strings.CutSuffix(n, ".log")
		if v, err := strconv.ParseUint(digits, 10, 64); ok && err == nil && v >= num {
			name, num = n, v
		}
	}
	if name == "" {
		return nil
	}
	f, err := fs.Open(fs.PathJoin(path, name))
	if err != nil {
		return err
	}
	defer f.Close()
	block := make([]byte, logBlock)
	bad := int64(-1) // where the first chunk that cannot be read begins
	for start := int64(0); ; start += logBlock {
		n, err := io.ReadFull(f, block)
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
			return err
		}
		b := block[:n]
		for at := 0; at+chunkMin <= n; {
			if kind := b[at+6]; bad >= 0 && (kind <= typeReused || kind > typeLast) {
				at++ // only what tells of an fsync says more; a log used again is full of all else
				continue
			}
			size, synced := chunk(b[at:], uint32(num))
			switch {
			case size > 0 && bad >= 0 && synced > uint64(bad):
				return fmt.Errorf("%s is damaged at byte %d, in what was written and synced (truncate -s %d %s gives up what is behind that, and keeps the rest)",
					name, bad, bad, fs.PathJoin(path, name))
			case size > 0:
				at += size
			case logBlock-at < chunkSync && len(bytes.Trim(b[at:], "\x00")) == 0:
				at = n // no header fits: the rest of the block is left empty
			case bad < 0:
				bad = start + int64(at)
				fallthrough
			default:
				at++ // the length cannot be trusted
			}
		}
		if err != nil {
			return nil
		}
	}
}
