// Package queue stores signals durably and schedules their deliveries, with the
// log of every attempt. It knows when a delivery is due and hands it to a
// [Courier], whose outcome it records. It knows nothing of HTTP, configs or expressions.
//
// # The way through
//
// [Queue.Put] writes a signal with its deliveries (put.go) and its idempotency key
// (claim.go). Each route has a sender (sender.go), which asks its lane (package lane, pure)
// what is due and may begin, and has workers call the courier. The outcome becomes a
// change (change.go): log entry, new state and next due time. What people ask for, a retry
// or a discard, is one too (amend.go). All that writes goes through the store (package
// store, which alone knows Pebble): its committer gathers what waits into one batch, its
// finisher waits for the disk and tells the callers. So every batch sees the batches
// before it, and the counts in the store are exact. If the store fails, engine.go ends
// what runs on it, and queue.go opens it anew. It is read in search.go (lists, and their
// cursors), read.go (one delivery or signal), follow.go, status.go and stats.go.
//
// # Keys and values
//
// Package record has them. Numbers in keys are big-endian, in values varints (a
// number in brackets is so many bytes); ids are the 16 bytes of a ULID; text
// has its length before it, but at the end of a value.
//
//	m                               format
//	r route[4]                      the route's name
//	c route[4]                      made pending delivered dead expired paused[1] low-water-mark newest-attempt discarded
//	                                made-before-statistics refusals last-success last-error-at fault refused paused held last-error
//	n minute[4] route[4]            accepted delivered dead filtered discarded retries n (class[1] failed)*n (bucket attempts)*
//	h hour[4] route[4]              the same, of minutes of more than two days ago; kept for 90 days
//	t text[4]                       day text
//	s signal[16]                    0[1] config type traceparent-and-state bytes-received
//	d delivery[16]                  state[1] flags[1] reason[1] [flags[1]] route [signal[16]] attempts base due newest-entry [since] [cause[8]] [order[16]]
//	b delivery[16]                  [shape] the body, if it is not the signal's bytes
//	x signal[16] delivery[16]       a delivery that a reshaped retry added to the signal
//	q route[4] due[8] delivery[16]  a pending delivery, at the milliseconds it is due, unless it is behind another
//	o route[4] order[16]            first[16] [lowest-behind[16] behind], by the hash of an order key, while something of it is pending
//	v route[4] order[16] delivery[16]  a pending delivery behind the first of its order
//	l time[8]                       flags[1] verdict[1] reason[1] delivery[16] [signal[16]] route attempt status
//	                                microseconds next-due entry-before [sent] type error response
//	f hour[4] route[4] cause[8]     class[1] sample[16] status attempts first last error, kept for 30 days
//	w route[4] cause[8]             pending dead: deliveries that name the cause, while there are any
//	k key[16]                       time[8] digest[32] answer, by the hash of an Idempotency-Key
//	i time[8] key[16]               when that was bound, in milliseconds
//	a name                          what was noted under it, as whoever put the signal has it
//	p                               with a store.Log: up to where the view has it
//
// What many records have in common (the hash of a config, a request's template,
// a peer's address) is a text. It is written with the first record that names its number,
// and again on each day that it is used; it is deleted when it has not been used for so
// long that no record names it (a signal sent again by hand for weeks loses it). sent is
// class-and-trigger[1] parts[1], the microseconds of DNS, connect, TLS and first
// byte, started as milliseconds after the delivery was made, config peer request: some 12 bytes.
//
// A cause is a hash of class, status and error; a delivery whose newest attempt failed
// names it. The committer has all of w, and this hour's f, in memory: a route has at most
// 256 of w and 32 of f, and one more for each class, which gathers the rest.
//
// The pending deliveries of one route and order are a chain, of which the first alone
// has a q key. In the batch in which it ends, or goes to another order, the one behind it
// with the lowest id becomes the first, and is due. A finished delivery that is sent again
// is in no chain. The committer reads chains, and keeps what batches that cannot be read
// yet have changed of them.
//
// Signals, deliveries, bodies and log entries come in the order of their keys and go
// in ranges from the old end. Of a signal accepted and delivered at the first
// attempt, s, b and l are written once, d twice; q is written and removed, mostly
// before it has left memory. Beside Pebble's files the folder has LOGS, a list of
// the write-ahead logs that have to be there (package disk).
//
// # Invariants
//
// Each with the test that holds it; [Check] proves 3, 4, 5, 6, 13 and 16 of a store.
//
//  1. A signal, its deliveries and its idempotency key are one batch, and Put
//     returns after its fsync: TestPowerCuts, TestPowerCutAtEveryWrite.
//  2. An attempt's log entry, the state it leads to and the next due time are one
//     batch. It is on its way to the disk within 5 ms, and where that is slow no
//     attempt begins once an outcome has waited for 50 ms: what a crash repeats was
//     under way, or ended just before. TestQuietKillRepeatsNothing,
//     TestBusyKillRepeatsLittle, TestSlowDiskHoldsAttempts.
//  3. A delivery has one q key if it is pending and behind no other, at the due time
//     its d key says, and none otherwise: TestAmendmentsRaceAttempts, TestFaults.
//  4. Per route, made = pending + delivered + dead + expired, and the c key
//     of a batch says so with it: TestSweepWhileSignalsComeIn, TestStatusCounts.
//     Held is pending on a route that the config lacks.
//  5. Nothing pending is due before its route's low-water mark, so that a
//     start need not walk over what was done before: lane's TestLowWaterMark,
//     TestRestartFindsWhatIsDueBeforeARetry, TestSearchSkipsWhatWasDone.
//  6. Where a delivery is, its signal and its body are: TestFanOutExpiresTogether,
//     TestExtrasOutliveAndExpireWithTheirSignal.
//  7. Leases are in memory only: a crash leaves due what was under way.
//     TestAttemptWithoutVerdictIsNotCharged, TestPowerCuts.
//  8. What Put refused, for a disk that failed in the midst, is not there when
//     the store is open again; only the end of the process before that leaves it:
//     TestRefusedIsTakenBack.
//  9. Memory is bounded: a lane holds some thousand ids and all together
//     16 MiB of bodies, whatever waits on disk: TestBacklog, TestManyRoutes.
//  10. A store that is refused is left as it is: TestDamagedStoreIsRefusedAndLeft,
//     TestManyDamagedTables. A failed one is opened again: TestFaults, TestHungDisk.
//  11. No delivery waits longer than its schedule says because the clock was set:
//     TestClockSetRight.
//  12. Files that go from under an open store, or are cut, are noticed within a second, and
//     what was acknowledged is kept: TestFilesRemoved, TestLogRemovedWhileStopped.
//  13. Statistics and causes are written in the batch that they count. Of each route and
//     hour they have the attempts that the log has, all rows together with what
//     is known to be in none have what was made, and each cause has the deliveries that
//     name it: TestStatistics, TestProblems, TestStatisticsWithinABatch, TestCheckProves, TestPowerCuts.
//  14. What attempts have in common is stored once; texts, causes, searches and pages are
//     bounded: TestAttemptsAsTheyWere, TestTextsAreBounded, TestProblemsAreBounded, TestSearchesAreBounded.
//  15. What is known of a route's past outlives a restart: TestStatusOutlivesRestarts. What
//     waits on a failing route is not shown to come before the probe: TestNextAttemptWaitsForTheProbe.
//  16. Each chain has exactly one first, which is due or under way, and all others of it
//     have a v key; an attempt begins once it is on disk that all before it in its chain have
//     ended. What is behind takes no memory, and costs nobody but its chain:
//     TestOrder, TestOrderAmended, TestOrderRaces, TestOrderBacklog, TestChains, TestCampaign, TestPowerCuts.
//
// TestCampaign meets what can go wrong in random order: nothing acknowledged is lost.
//
// A delivery leaves its state only by whoever holds its lease, a finished one
// also by the sweeper, with the store's Finished lock.
//
// # Locks
//
// They are taken in this order: Queue.mu; engine.putting; Store.Finished;
// Store.submitting; sender.mu; then only one of engine.follow, Store.routesMu, Route.mu, texts.mu, Store.tailMu, Store.readMu,
// Queue.refused, IDs.mu, Shield.mu, which are held for a few lines each.
// The committer and the finisher take sender.mu: nobody may wait for an operation
// with it held.
//
// # Goroutines
//
// The store's runCommitter, runFinisher, runSweeper, watchDisk and watchStalls; the queue's
// watchClock and reopenFailed; workers while there are attempts, at most 64 idle. Close
// waits for all. In a system call of a disk that does not answer it waits as well: an end that
// must come (a second signal) does not call it or does not wait for it. Pebble has
// goroutines of its own, which end with the database.
package queue
