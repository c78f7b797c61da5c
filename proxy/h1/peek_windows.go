package h1

import (
	"syscall"
	"unsafe"
)

var wsaPoll = syscall.NewLazyDLL("ws2_32.dll").NewProc("WSAPoll")

// The errors of a read and of a write after the peer has ended the connection.
const errReset, errEnded = syscall.WSAECONNRESET, syscall.WSAECONNABORTED

// peek looks for a byte that has come. n is 0 and err nil if the peer has closed.
func peek(fd uintptr, _ []byte) (n int, err error) {
	const readable, ended = 0x100, 0x1 | 0x2 | 0x4 // POLLRDNORM; POLLERR, POLLHUP, POLLNVAL
	poll := struct {
		fd              uintptr
		wanted, happens int16
	}{fd: fd, wanted: readable}
	some, _, _ := wsaPoll.Call(uintptr(unsafe.Pointer(&poll)), 1, 0)
	switch {
	case some == 0:
		return 0, syscall.EAGAIN
	case poll.happens&ended == 0:
		n = 1
	}
	return n, nil
}
