// Package fleet has sidecars on several machines keep one promise together, by
// way of NATS JetStream. Everything that happens in a queue is a record of its
// log, a ledger; a ledger is a subject in one of a few replicated streams, and the
// store on the sidecar's disk is but a view of it, which any other sidecar can
// make again.
//
//	join.go      connecting, and the streams that there have to be
//	node.go      the process in its fleet: its own ledger, and the adopted ones
//	ledger.go    owning a ledger: its key is claimed, renewed, released
//	journal.go   its records are appended and read, and other owners fenced; record.go their bytes
//	snapshot.go  snapshots of views, and what goes when there is one
//	adopt.go     who owns what, and whose turn it is to adopt; share.go what all nodes share
//	keys.go      idempotency keys of the whole fleet
//	call.go      what nodes ask one another
//	look.go      a look from outside: status, check
//
// # The ledger
//
// A sidecar begins one at its first start, NAME.log.N.LEDGER in stream
// NAME_LOG_N, and runs those of sidecars that are gone beside it. A record is a
// message (numbers big-endian, a number in brackets is so many bytes):
//
//	version[1] format[1] kind[1] ledger[16] epoch[8] number[8] before[4] content crc[4]
//
// format is that of what a batch changes; number counts records from 1, before is
// the crc of the record before, crc the CRC-32C of all that stands before it. Kinds:
//
//	batch     what a batch of the store changes, or the last piece of it
//	piece     a piece of a batch above 512 KiB; nothing without the rest
//	epoch     a new owner begins; content is the id of its process
//	snapshot  a view up to a record is in the object store: content is its [snapshot]
//	end       nothing is left of the ledger, and nothing may follow
//
// # Fencing
//
// Each append names the sequence of the record that it follows, so it fails if
// anything has come in between. An owner's first record is its epoch: from then
// on nobody else's can succeed, however late they arrive. Of an append whose
// acknowledgement is lost the record behind the expected one tells what became of
// it. A gap, a wrong crc or a broken chain stops the ledger and names the record; nothing is skipped.
//
// The bucket NAME_OWNERS has a key for each ledger that says who is to own it. It expires
// if the owner does not renew it for [ownerTTL], and decides only who tries to own a ledger.
//
// # Locks
//
// In this order: Node.configuring, Ledger.key, journal.mu, Node.mu, Ledger.mu. The last two are
// not held while a request is under way.
package fleet
