//go:build unix

package disk

import (
	"os"
	"syscall"
)

const errLocked = syscall.EWOULDBLOCK

// lock locks a folder, where the file system can.
func lock(folder *os.File) error {
	return syscall.Flock(int(folder.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}

// sameFile tells whether two are of one file, as far as the file system
// numbers files. a may be nil: then it is not known.
func sameFile(a, b os.FileInfo) bool {
	if a == nil {
		return true
	}
	x, ok := a.Sys().(*syscall.Stat_t)
	y, also := b.Sys().(*syscall.Stat_t)
	return !ok || !also || x.Ino == y.Ino && x.Dev == y.Dev
}
