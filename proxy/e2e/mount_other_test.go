//go:build !linux

package e2e

import "errors"

func mountTmpfs(string, int64) error { return errors.ErrUnsupported }

func unmount(string) error { return nil }

func limitFiles(int, int) (func() error, error) { return nil, errors.ErrUnsupported }
