//go:build unix

package system

import (
	"errors"
	"syscall"
)

// MostFiles is how many files, connections among them, the process may have open.
func MostFiles() (n uint64, limited bool) {
	var files syscall.Rlimit
	err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files)
	return uint64(files.Cur), err == nil
}

// Umask sets what others may not do with what the process makes from now on, and
// returns what was set before.
func Umask(mask int) (before int) { return syscall.Umask(mask) }

// Is is errors.Is, for the system's errors under whichever name.
func Is(err, target error) bool { return errors.Is(err, target) }
