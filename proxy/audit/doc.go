// Package audit examines a receiver: the other side of the bargain that deliveries are. It
// sends samples, which say that they are some, through the route's own endpoint, and
// altered in one way at a time, and judges by the answers alone: what a receiver did
// with a sample it cannot see, and asks. It touches no queue, and keeps nothing.
//
//	audit.go    the order of the checks, and how one is told
//	sample.go   the samples, shaped by the route as signals are
//	checks.go   signatures, repetition, odd payloads
//	wire.go     speed, connections, TLS, redirects, OPTIONS
package audit
