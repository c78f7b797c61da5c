// Package e2e builds the binary and drives it from outside: real processes,
// sockets, files and signals. Each script in testdata is one story; the
// commands that scripts have beside testscript's own are in e2e_test.go.
package e2e
