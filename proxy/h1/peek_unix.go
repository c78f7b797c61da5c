//go:build unix

package h1

import "syscall"

// The errors of a read and of a write after the peer has ended the connection.
const errReset, errEnded = syscall.ECONNRESET, syscall.EPIPE

// peek looks for a byte that has come. n is 0 and err nil if the peer has closed.
func peek(fd uintptr, b []byte) (n int, err error) {
	n, _, err = syscall.Recvfrom(int(fd), b, syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	return n, err
}
