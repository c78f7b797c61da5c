package store

import (
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/pebble/v2"
)

// eager is a database that always has a compaction to run.
type eager struct{ began int }

func (d *eager) GetAllowedWithoutPermission() int { return 1 }

func (d *eager) GetWaitingCompaction() (bool, pebble.WaitingCompaction) {
	return true, pebble.WaitingCompaction{}
}

func (d *eager) Schedule(pebble.CompactionGrantHandle) bool {
	d.began++
	return true
}

// Pebble's Open waits for compactions under way. So that a start is quick none
// may be, however much Pebble asks for them.
func TestNoCompactionBeforeTheStoreIsOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, db := newCompactions(), &eager{}
		s.Register(2, db)
		s.UpdateGetAllowedWithoutPermission()
		if ok, _ := s.TrySchedule(); ok {
			t.Error("a compaction was granted while the store was being opened")
		}
		synctest.Wait()
		if db.began > 0 {
			t.Error("a compaction began while the store was being opened")
		}
		s.next()
		synctest.Wait()
		if db.began != 1 {
			t.Errorf("%d compactions began when the store was open, want 1", db.began)
		}
		s.Unregister()
	})
}
