// Package record is the store's format: ids, keys and values, and how they are
// bytes. It is pure. package queue draws the format in its doc comment.
//
// Keys are appended to a buffer; values parse strictly: what Parse accepts,
// Append writes again, and an error wraps [ErrDamaged]. What earlier formats wrote parses,
// too, with zero for what they lack: see [Format].
package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
)

// Format is the layout that package queue draws. A store of a later format is
// refused, one of an earlier format is brought up to date when it is opened.
// Format 1 has no newest attempt in the c keys, format 2 does not count there
// what was discarded, format 3 has no texts, no statistics and less of each attempt, format 4 has
// of a request only the body, and no order.
const Format = 5

// ErrDamaged is behind the error of every key and value that does not parse.
var ErrDamaged = errors.New("damaged record")

// The first byte of each key.
const (
	MetaPrefix     = 'm'
	RoutePrefix    = 'r'
	CountsPrefix   = 'c'
	SignalPrefix   = 's'
	DeliveryPrefix = 'd'
	BodyPrefix     = 'b'
	ExtraPrefix    = 'x'
	DuePrefix      = 'q'
	ChainPrefix    = 'o'
	BehindPrefix   = 'v'
	LogPrefix      = 'l'
	IdemPrefix     = 'k'
	IdemTimePrefix = 'i'
	NotePrefix     = 'a'
	TextPrefix     = 't'
	MinutePrefix   = 'n'
	HourPrefix     = 'h'
	FailuresPrefix = 'f'
	AffectedPrefix = 'w'
)

// A RouteNum stands for a route's name in keys. It is never given to another name.
type RouteNum uint32

// A TextNum stands for a text in values; 0 for none. It is never given to another text.
type TextNum uint32

// A Millis is a time in whole milliseconds since 1970, as ULIDs have it.
type Millis uint64

// MillisOf cuts t to the millisecond; a time before 1970 is 0.
func MillisOf(t time.Time) Millis { return Millis(max(t.UnixMilli(), 0)) }

// Time is the time in UTC.
func (m Millis) Time() time.Time { return time.UnixMilli(int64(m)).UTC() }

// A Stamp is the time of a log entry, in nanoseconds since 1970. No two
// entries share one: it is the entry's key and its name.
type Stamp uint64

// StampOf is the stamp of t; what nanoseconds cannot count is before or after all entries.
func StampOf(t time.Time) Stamp {
	switch {
	case t.Unix() < 0:
		return 0
	case t.Unix() >= math.MaxInt64/int64(time.Second):
		return math.MaxInt64
	}
	return Stamp(t.UnixNano())
}

// Time is the time in UTC.
func (s Stamp) Time() time.Time { return time.Unix(0, int64(s)).UTC() }

// numKey appends a prefix and a number.
func numKey[N RouteNum | TextNum](b []byte, prefix byte, n N) []byte {
	return binary.BigEndian.AppendUint32(append(b, prefix), uint32(n))
}

// RouteKey leads to a route's name.
func RouteKey(b []byte, n RouteNum) []byte { return numKey(b, RoutePrefix, n) }

// CountsKey leads to a route's [Counts].
func CountsKey(b []byte, n RouteNum) []byte { return numKey(b, CountsPrefix, n) }

// TextKey leads to a [Text].
func TextKey(b []byte, n TextNum) []byte { return numKey(b, TextPrefix, n) }

// ParseNumKey takes a key of RouteKey, CountsKey or TextKey apart.
func ParseNumKey[N RouteNum | TextNum](k []byte) (N, error) {
	if len(k) != 5 {
		return 0, fmt.Errorf("key % x: %w", k, ErrDamaged)
	}
	return N(binary.BigEndian.Uint32(k[1:])), nil
}

// A RowAt names a [Row].
type RowAt struct {
	At    time.Time // when its minute or hour begins
	Route RouteNum
}

// RowKey leads to a route's [Row] of the minute, or hour, that begins then; the prefix says which.
func RowKey(b []byte, prefix byte, at time.Time, n RouteNum) []byte {
	b = binary.BigEndian.AppendUint32(append(b, prefix), uint32(min(max(at.Unix(), 0), math.MaxUint32)))
	return binary.BigEndian.AppendUint32(b, uint32(n))
}

// ParseRowKey takes a key of RowKey apart.
func ParseRowKey(k []byte) (RowAt, error) {
	if len(k) != 9 {
		return RowAt{}, fmt.Errorf("statistics key % x: %w", k, ErrDamaged)
	}
	return RowAt{time.Unix(int64(binary.BigEndian.Uint32(k[1:])), 0).UTC(), RouteNum(binary.BigEndian.Uint32(k[5:]))}, nil
}

// A CauseOf is a cause of one route.
type CauseOf struct {
	Route RouteNum
	Cause CauseID
}

// FailuresKey leads to the [Failures] of a cause in the hour that begins then.
func FailuresKey(b []byte, at time.Time, n RouteNum, cause CauseID) []byte {
	return binary.BigEndian.AppendUint64(RowKey(b, FailuresPrefix, at, n), uint64(cause))
}

// AffectedKey leads to the [Affected] of a cause.
func AffectedKey(b []byte, n RouteNum, cause CauseID) []byte {
	return binary.BigEndian.AppendUint64(numKey(b, AffectedPrefix, n), uint64(cause))
}

// ParseCauseKey takes a key of FailuresKey, but for its time, or AffectedKey apart.
func ParseCauseKey(k []byte) (CauseOf, error) {
	if len(k) != 17 && len(k) != 13 {
		return CauseOf{}, fmt.Errorf("cause key % x: %w", k, ErrDamaged)
	}
	k = k[len(k)-12:]
	return CauseOf{RouteNum(binary.BigEndian.Uint32(k)), CauseID(binary.BigEndian.Uint64(k[4:]))}, nil
}

// SignalKey leads to a [Signal].
func SignalKey(b []byte, id SignalID) []byte { return append(append(b, SignalPrefix), id[:]...) }

// DeliveryKey leads to a [Delivery].
func DeliveryKey(b []byte, id DeliveryID) []byte { return append(append(b, DeliveryPrefix), id[:]...) }

// BodyKey leads to a delivery's [Body], if it has one of its own.
func BodyKey(b []byte, id DeliveryID) []byte { return append(append(b, BodyPrefix), id[:]...) }

// ParseID is the id in a key of SignalKey, DeliveryKey or BodyKey.
func ParseID(k []byte) (id DeliveryID, err error) {
	if len(k) != 17 {
		return id, fmt.Errorf("key % x: %w", k, ErrDamaged)
	}
	return DeliveryID(k[1:]), nil
}

// An Extra is a delivery that a reshaped retry added to the signal.
type Extra struct {
	Signal SignalID
	ID     DeliveryID
}

// ExtraKey says that a reshaped retry added the delivery to the signal.
func ExtraKey(b []byte, s SignalID, id DeliveryID) []byte {
	return append(append(append(b, ExtraPrefix), s[:]...), id[:]...)
}

// ParseExtraKey takes a key of ExtraKey apart.
func ParseExtraKey(k []byte) (Extra, error) {
	if len(k) != 33 {
		return Extra{}, fmt.Errorf("key % x: %w", k, ErrDamaged)
	}
	return Extra{SignalID(k[1:17]), DeliveryID(k[17:])}, nil
}

// A DueAt is when a delivery of the route is due.
type DueAt struct {
	Route RouteNum
	Due   Millis
	ID    DeliveryID
}

// DueKey sorts the deliveries of a route by when they are due.
func DueKey(b []byte, n RouteNum, due Millis, id DeliveryID) []byte {
	return append(binary.BigEndian.AppendUint64(numKey(b, DuePrefix, n), uint64(due)), id[:]...)
}

// ParseDueKey takes a key of DueKey apart.
func ParseDueKey(k []byte) (DueAt, error) {
	if len(k) != 1+4+8+16 || k[0] != DuePrefix {
		return DueAt{}, fmt.Errorf("due key % x: %w", k, ErrDamaged)
	}
	return DueAt{RouteNum(binary.BigEndian.Uint32(k[1:])), Millis(binary.BigEndian.Uint64(k[5:])), DeliveryID(k[13:])}, nil
}

// LogKey leads to an [Entry].
func LogKey(b []byte, s Stamp) []byte {
	return binary.BigEndian.AppendUint64(append(b, LogPrefix), uint64(s))
}

// ParseLogKey takes a key of LogKey apart.
func ParseLogKey(k []byte) (Stamp, error) {
	if len(k) != 9 || k[0] != LogPrefix {
		return 0, fmt.Errorf("log key % x: %w", k, ErrDamaged)
	}
	return Stamp(binary.BigEndian.Uint64(k[1:])), nil
}

// NoteKey leads to what was noted under a name.
func NoteKey(b []byte, name string) []byte { return append(append(b, NotePrefix), name...) }

// An IdemHash is the beginning of the SHA-256 of an idempotency key.
type IdemHash [16]byte

// IdemKey leads to an [Idem].
func IdemKey(b []byte, h IdemHash) []byte { return append(append(b, IdemPrefix), h[:]...) }

// IdemTimeKey sorts idempotency keys by when they were bound.
func IdemTimeKey(b []byte, at Millis, h IdemHash) []byte {
	b = binary.BigEndian.AppendUint64(append(b, IdemTimePrefix), uint64(at))
	return append(b, h[:]...)
}

// ParseIdemTimeKey takes a key of IdemTimeKey apart.
func ParseIdemTimeKey(k []byte) (at Millis, h IdemHash, err error) {
	if len(k) != 25 || k[0] != IdemTimePrefix {
		return 0, h, fmt.Errorf("idempotency key % x: %w", k, ErrDamaged)
	}
	return Millis(binary.BigEndian.Uint64(k[1:])), IdemHash(k[9:]), nil
}
