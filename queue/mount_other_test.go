//go:build !linux

package queue

import "errors"

func mountTmpfs(string, int64) error { return errors.ErrUnsupported }

func unmount(string) error { return nil }
