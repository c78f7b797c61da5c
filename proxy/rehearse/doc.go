// Package rehearse says what a config would do, before it does it: it runs tests
// of routes, and forecasts what another config would have made of the signals
// that came. It sends and stores nothing.
//
//	test.go    tests: a signal, and what routes are to make of it
//	record.go  a test made of a real delivery
//	plan.go    two configs on the same signals, and how they differ
//	signals.go the signals that a plan runs on
//	running.go the config that runs, as far as a sidecar shows it
//	diff.go    where two values differ
//
// Package table decides what a route makes of a signal, here as in the sidecar.
package rehearse
