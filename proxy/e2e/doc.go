// Package e2e builds the binary and drives it from outside: real processes,
// sockets, files and signals. Each script in testdata is one story; the
// commands that scripts have beside testscript's own are in e2e_test.go.
//
// The README is tested here too: readme_test.go runs what it shows and looks
// for what there is, receivers_test.go runs the receivers that verify,
// homes_test.go reads the files for Compose, Kubernetes, systemd and Prometheus.
package e2e
