// Package audit examines a receiver. It sends samples, which say that they are samples,
// through the route's own endpoint, altered in one way at most, and judges by the answers
// alone. It cannot see what a receiver did with a sample, and asks. It touches no queue,
// and keeps nothing.
//
//	audit.go    the order of the checks, and their lines
//	sample.go   the samples, shaped by the route as signals are
//	checks.go   signatures, repetition, odd payloads
//	wire.go     speed, connections, TLS, redirects, OPTIONS
package audit
