package store

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"signalpost/queue/record"
)

const (
	evictLeast = 32               // deliveries looked at for one batch, at least
	shedLogged = 10 * time.Minute // how often it is logged that history is shed, at most
)

// evict sheds the oldest delivered history until the store is below its
// limit, or only what is pending or dead is left. Ids that a clock which was
// ahead has made count as well.
func (s *Store) evict(ctx context.Context) error {
	var pos record.DeliveryID // all before stays
	for ctx.Err() == nil && s.excess() > 0 {
		until, err := s.beyondAll()
		if err != nil || pos == until {
			return err
		}
		shed, err := s.reap(pos, &reaping{
			until:       until,
			deleteUntil: until,
			expired:     func(r *record.Delivery) bool { return r.State == record.IsDelivered },
			items:       s.evictItems(),
		})
		if err != nil {
			return err
		}
		if pos = shed.end; shed.gone == 0 {
			continue
		}
		s.room.evicted.Add(int64(shed.gone))
		s.room.shedLog.Do(s.logShed)
		// Log entries older than all that goes, go too.
		if err := s.trim(record.LogPrefix, record.LogKey(nil, shed.oldest)); err != nil {
			return err
		}
		// Room comes when what was deleted is compacted, and that alone.
		for _, r := range [][2][]byte{
			{record.BodyKey(nil, shed.first), record.BodyKey(nil, shed.end)},
			{record.DeliveryKey(nil, shed.first), record.DeliveryKey(nil, shed.end)},
			{{record.LogPrefix}, record.LogKey(nil, max(shed.oldest, 1))},
			{record.SignalKey(nil, record.SignalID(shed.first)), record.SignalKey(nil, record.SignalID(shed.end))},
		} {
			err := s.Read(func(db *pebble.DB) error { return db.Compact(ctx, r[0], r[1], false) })
			if err != nil {
				return err
			}
		}
		s.lookAtDisk()
	}
	return nil
}

// evictItems is how many deliveries are to go at once: no more than needed, as
// far as can be told from how many the store has.
func (s *Store) evictItems() int {
	stored := int64(1)
	for _, r := range s.Routes() {
		for _, n := range r.Counts().In {
			stored += n
		}
	}
	some := s.excess() + s.limits.Load().shedAt()/64 // or it would be for the next signal again
	return int(min(max(some*stored/max(s.room.bytes.Load(), 1), evictLeast), sweepItems))
}

// logShed logs that history goes before its time.
func (s *Store) logShed() {
	bytes, free, _ := s.Size()
	why := fmt.Sprintf("the store has %d bytes, queue.max_size is %d", bytes, s.limits.Load().MaxSize)
	if free < s.room.least.Load()/2 {
		why = fmt.Sprintf("the disk has %d bytes free", free)
	}
	s.log.Warn("the oldest delivered history goes before queue.retention is over, to make room", slog.String("err", why))
}

// beyondAll is above all deliveries that are stored, and no id that is made from now on is below it.
func (s *Store) beyondAll() (record.DeliveryID, error) {
	id := record.FirstID(s.o.Now())
	err := s.ScanBack(record.DeliveryKey(nil, id), []byte{record.DeliveryPrefix + 1}, func(k, _ []byte) (bool, error) {
		newest, err := record.ParseID(k)
		id = newest.Signal().After()
		return false, err
	})
	return id, err
}
