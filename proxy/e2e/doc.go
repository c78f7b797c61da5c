// Package e2e builds the binary and drives it from outside: real processes,
// sockets, files and signals.
//
//	e2e_test.go        the stories of testdata, and the commands they have beside testscript's own
//	sidecar_test.go    the binary running in a folder, for all that follows
//	kill_test.go       kill -9 at random moments, and what must be true of all lives together
//	campaign_test.go   faults of all sorts in random order; the same must be true
//	disk_test.go       small file systems that fill
//	outputs_test.go    readers of the log that stall or go away
//	memory_test.go     hostile requests
//	permission_test.go a config that may not be read
//	proxy_test.go      a proxy between it and the receivers
//	bench_test.go      a backlog of a million
//
// The README and the pages of proxy/docs are tested here too: readme_test.go runs what
// they show and looks for what there is, reference_test.go makes what comes from the
// code, sending_test.go runs what sends and receivers_test.go what verifies,
// homes_test.go reads the files for Compose, Kubernetes, systemd and Prometheus,
// and runs the binary as the image does.
//
// Nothing that is asserted depends on how fast anything is: a test waits for
// what is to come about, for as long as patience says.
package e2e
