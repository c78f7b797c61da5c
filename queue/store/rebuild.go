package store

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"signalpost/queue/record"
	"signalpost/queue/store/disk"
)

// Rebuild makes the view of a log in an empty folder, and proves it as Check does.
func Rebuild(path string, fs FS, l Log) error {
	folder, err := disk.Open(path, fs)
	if err != nil {
		return err
	}
	s, err := Open(folder, Options{
		Log: slog.New(slog.DiscardHandler), Now: time.Now, LowEvery: 1, Journal: l,
		Low:    func(*Route) record.Millis { return 0 },
		TooOld: func(context.Context, []record.DeliveryID, record.Millis) error { return nil },
	})
	if err == nil {
		err = s.closeDB()
	}
	if err = errors.Join(err, folder.Close()); err != nil {
		return err
	}
	return Check(path, fs)
}
