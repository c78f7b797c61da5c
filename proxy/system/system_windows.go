package system

import (
	"errors"
	"math"
	"syscall"

	"golang.org/x/sys/windows"
)

// MostFiles: there is no limit.
func MostFiles() (n uint64, limited bool) { return math.MaxUint64, false }

// Umask does nothing: who may do what with a file is inherited from its folder,
// and a user's own folders are that user's alone.
func Umask(int) (before int) { return 0 }

// The names that Windows has for errors of the network and of its disks.
var names = map[syscall.Errno]syscall.Errno{
	syscall.EADDRINUSE:    windows.WSAEADDRINUSE,
	syscall.EADDRNOTAVAIL: windows.WSAEADDRNOTAVAIL,
	syscall.ECONNREFUSED:  windows.WSAECONNREFUSED,
	syscall.ECONNRESET:    windows.WSAECONNRESET,
	syscall.EHOSTUNREACH:  windows.WSAEHOSTUNREACH,
	syscall.EMFILE:        windows.WSAEMFILE,
	syscall.ENETUNREACH:   windows.WSAENETUNREACH,
	syscall.ENOBUFS:       windows.WSAENOBUFS,
	syscall.EPIPE:         windows.WSAECONNABORTED,
}

// Is is errors.Is, for the system's errors under whichever name.
func Is(err, target error) bool {
	errno, ok := target.(syscall.Errno)
	name, known := names[errno]
	return errors.Is(err, target) || ok && known && errors.Is(err, name)
}
