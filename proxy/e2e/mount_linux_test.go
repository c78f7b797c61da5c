package e2e

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// limitFiles lets a process have so many files open until restore is called.
func limitFiles(pid, most int) (restore func() error, err error) {
	var before unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &before); err != nil {
		return nil, err
	}
	err = unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(most), Max: before.Max}, nil)
	return func() error { return unix.Prlimit(pid, unix.RLIMIT_NOFILE, &before, nil) }, err
}

func mountTmpfs(dir string, size int64) error {
	return syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size))
}

func unmount(dir string) error { return syscall.Unmount(dir, 0) }
