// Package queue is what is owed, durably: signals, their deliveries, and the
// log of every attempt. It drives: it knows when a delivery is due and hands
// it to a [Courier], whose outcome it records. It knows nothing of HTTP,
// configs or expressions.
//
// # The way through
//
// [Queue.Put] writes a signal with its deliveries. A lane a route finds what is
// due, keeps to the route's limits, and has workers call the courier. The
// outcome becomes a change: log entry, new state and next due time. All that
// writes goes through one committer goroutine, which gathers what is waiting
// into one batch; a finisher goroutine waits for the fsync and tells the
// callers. So every batch sees the batches before it, and the counts in the
// store are exact.
//
// # Keys
//
// Numbers are big-endian, ids are the 16 bytes of a ULID.
//
//	m                            the format of the store
//	r route:4                    the route's name
//	c route:4                    made, pending, delivered, dead, expired; paused; low-water mark; newest attempt
//	s signal:16                  signal type, traceparent, the bytes received
//	d delivery:16                route, state, attempts, due, reason, newest log entry, when last sent again
//	b delivery:16                the body, if it is not the signal's bytes
//	x signal:16 delivery:16      a delivery that a reshaped retry added to the signal
//	q route:4 due:8 delivery:16  a pending delivery, at the milliseconds it is due
//	l time:8                     a log entry, at nanoseconds; leads to the delivery's one before
//	k key:16                     digest and answer of a request, by the hash of its Idempotency-Key
//	i time:8 key:16              when that was bound, in milliseconds
//
// Signals, deliveries, bodies and log entries come in the order of their
// keys and go in ranges from the old end. Of a signal accepted and delivered at the
// first attempt, s, b and l are written once, d twice; q is written and
// removed, mostly before it has left memory.
//
// # Invariants
//
// [Check] proves them of a store.
//
//  1. A signal, its deliveries and its idempotency key are one batch, and Put
//     returns after its fsync.
//  2. An attempt's log entry, the state it leads to and the next due time are
//     one batch. It is on disk within 5 ms; what a crash loses of it was under way.
//  3. A delivery has one q key if it is pending, at the due time its d key
//     says, and none otherwise.
//  4. Per route, made = pending + delivered + dead + expired, and the c key
//     of a batch says so with it. Held is pending on a route that the config lacks.
//  5. Nothing pending is due before its route's low-water mark, so that a
//     start need not walk over what was done before.
//  6. Where a delivery is, its signal and its body are.
//  7. Leases are in memory only: a crash leaves due what was under way.
//  8. What Put refused, for a disk that failed in the midst, is not there when
//     the store is open again. Only the end of the process before that leaves it.
//  9. Memory is bounded: a lane holds some thousand ids and all lanes together
//     16 MiB of bodies, whatever waits on disk.
//
// A finished delivery leaves its state only under the amending lock, a
// pending one only by whoever holds its lease.
package queue
