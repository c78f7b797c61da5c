//go:build race

package sign_test

// Under the race detector a sync.Pool forgets at random: allocations mean nothing.
func init() { raceEnabled = true }
