// Package explain gives the history of a signal and of each of its deliveries: where it
// came from, which routes took it and why the others did not, each attempt, each wait with
// its reason, what comes next, and what the running config would make of it. It reads
// the queue and the routing table, and changes nothing.
//
// Most of it is on disk, with the signal (explain.go) and in the delivery log (steps.go).
// Of the config that a signal met only the hash is kept: if another runs now, the
// explanation says what was decided, and why by today's config, which it says. Why an
// attempt came later than its schedule says (late.go) is on disk only as far as the log of
// the route shows it: how many attempts were under way beside it, and which were probes.
// Since when a route was paused, failing, held, or asked to hold is known for this process
// alone, from its [History]. What all this leaves open is said to be unknown.
//
// A wait has one of these codes; its text says more:
//
//	schedule     the gap between attempts
//	retry_after  the gap, as an answer's Retry-After lengthened it; or that of another, for its whole route
//	rate         the route's rate
//	concurrency  the route had as many attempts under way as it may
//	order        an older delivery of the same order_by
//	failing      only probes were sent
//	paused       by the config, by the API or both
//	held         the config had no such route
//	stopped      the sidecar was not running
//	finished     it was delivered or dead, until somebody sent it again
//	disk         outcomes could not be recorded, or it could not be read
//	unknown
package explain
