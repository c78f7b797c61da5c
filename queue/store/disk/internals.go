package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// What is known here of Pebble beyond its documentation: how it names its
// files, and where a chunk of its log tells of an fsync. TestInternals fails
// when one of these changes.

func isLog(name string) bool      { return strings.HasSuffix(name, ".log") }
func isMarker(name string) bool   { return strings.HasPrefix(name, "marker.") }
func isManifest(name string) bool { return strings.HasPrefix(name, "MANIFEST-") }

// IsTable is whether a file of that name is a table.
func IsTable(name string) bool { return strings.HasSuffix(name, ".sst") }

// isWatched: without such a file the store cannot be opened as it was.
func isWatched(name string) bool {
	return isLog(name) || IsTable(name) || isMarker(name) || isManifest(name)
}

// ForeignFiles are the files of a folder that is not a store, as far as its
// names tell: a folder whose files Pebble does not know, or that has lost the
// marker which leads to all others. Pebble would take such a folder for an
// empty one, make a store in it, and remove what it does not know.
func ForeignFiles(fs vfs.FS, path string) ([]string, error) {
	names, err := fs.List(path)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, n := range names {
		switch {
		case strings.HasPrefix(n, "marker.manifest."):
			return nil, nil
		case n == "LOCK", n == "lost+found", n[0] == '.', strings.HasSuffix(n, ".dbtmp"),
			isMarker(n), strings.HasPrefix(n, "OPTIONS-"), n == "MANIFEST-000001", n == logList: // left by a crash while the store was made
		default:
			found = append(found, n)
		}
	}
	return found, nil
}

// A power cut leaves a log whose end is torn: what follows the last whole
// record was never acknowledged, and Pebble drops it. Where a record in the
// middle is damaged Pebble drops all that follows, too, if it finds no chunk in
// the blocks after it that tells of a later fsync; it does not look in the block
// itself. checkNewest does, so that what was acknowledged does not go without a word.
//
// A chunk is its checksum:4 length:2 type:1 log:4 and, with types from 9 to 12,
// synced:8 (up to where the log was on disk when the chunk was written). The log is
// the low half of the number in the file's name: a log's file may be used again for another.
const (
	chunkType   = 6
	chunkLog    = 7
	chunkSynced = 11
	chunkHeader = 19
	syncFull    = 9
	syncFirst   = 10
	logBlock    = 32 << 10
)

// checkNewest reads the newest log and returns an error if what cannot be
// read in it was on disk once.
func checkNewest(fs vfs.FS, path string, names []string) error {
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
	log, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	bad := whole(log, num)
	for at := bad + 1; at+chunkHeader <= len(log); at++ {
		kind := log[at+chunkType]
		if kind != syncFull && kind != syncFirst || binary.LittleEndian.Uint32(log[at+chunkLog:]) != uint32(num) ||
			binary.LittleEndian.Uint64(log[at+chunkSynced:]) <= uint64(bad) {
			continue
		}
		block := log[at:min(at-at%logBlock+logBlock, len(log))]
		if _, err := reader(record.NewReader, block, num).Next(); err == nil { // its checksum is right
			return fmt.Errorf("%s is damaged at byte %d, in what was written and synced (truncate -s %d %s gives up what is behind that, and keeps the rest)",
				name, bad, bad, fs.PathJoin(path, name))
		}
	}
	return nil
}

// whole is where the first record begins that cannot be read, or the log's end.
func whole(log []byte, num uint64) int {
	r := reader(record.NewReader, log, num)
	for {
		at := int(r.Offset())
		rec, err := r.Next()
		if err == nil {
			_, err = io.Copy(io.Discard, rec)
		}
		if errors.Is(err, io.EOF) {
			return len(log)
		}
		if err != nil {
			return at
		}
	}
}

// reader is a record.Reader: the type of a log's number is internal to Pebble.
func reader[N ~uint64](open func(io.Reader, N) *record.Reader, b []byte, num uint64) *record.Reader {
	return open(bytes.NewReader(b), N(num))
}
