package store

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"signalpost/queue/record"
	"signalpost/queue/store/disk"
)

// afterDamage says what to do with a store that cannot be read. The program
// itself never deletes or resets one.
const afterDamage = "restore the folder from a backup, or move it aside to begin with an empty one"

// Open opens the store in the folder, making it if there is none, and reads
// what there is to know of the routes. If it cannot, it leaves on disk what was
// there; the error is one line that says what to do.
func Open(f *disk.Folder, o Options) (*Store, error) {
	s, err := open(f, o, nil)
	if errors.Is(err, ErrStale) {
		s, err = open(f, o, err)
	}
	if err != nil {
		return nil, &openError{"store " + f.Path + ": " + strings.TrimPrefix(err.Error(), "store "+f.Path+": "), err}
	}
	return s, nil
}

// open opens the store once; stale, unless nil, is why the view of a log is to be made anew.
func open(f *disk.Folder, o Options, stale error) (*Store, error) {
	s := &Store{
		o: o, folder: f, log: o.Log,
		ops: make(chan Operation, 1024), groups: make(chan *group, 1), failed: make(chan struct{}), space: newSpace(), reported: map[string]bool{},
	}
	s.shield = disk.NewShield(f.FS, f.Path, s.Fail, func() bool { return s.Err() != nil })
	return s, s.open(stale)
}

func (s *Store) open(stale error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("cannot be opened: %v; %s", p, afterDamage)
		}
	}()
	f := s.folder
	if err := cmp.Or(f.Moved(), f.Unlocked()); err != nil {
		return err
	}
	fresh, err := s.inspect()
	if err = cmp.Or(err, stale); s.o.Journal != nil && (fresh || err != nil) && !errors.Is(err, os.ErrPermission) {
		fresh, err = s.renew(err)
	}
	if err != nil {
		return err
	}
	compactions := newCompactions()
	po := s.options(compactions)
	defer po.Cache.Unref()
	if err = s.shield.Begin(); err == nil {
		s.db, err = pebble.Open(f.Path, po)
	}
	if broken := s.Err(); broken != nil && err != nil {
		s.shield.DropTables()
		err = errors.Join(broken, err)
	}
	if err != nil {
		return cannotOpen(oneLine(f.Path, err))
	}
	if err = s.begin(fresh); err == nil && s.Err() != nil {
		err = fmt.Errorf("cannot be written: %w", s.Err())
	}
	if err != nil {
		return errors.Join(err, s.closeDB())
	}
	if fresh {
		s.log.Info(fmt.Sprintf("new store begun in %s, where there was none", f.Path))
	}
	compactions.next()
	if s.o.Journal != nil {
		_ = s.folder.Drop()
	}
	return nil
}

// inspect refuses the store it finds before anything is written, if it cannot be
// opened. fresh is whether there is none.
func (s *Store) inspect() (fresh bool, err error) {
	f := s.folder
	found, err := disk.ForeignFiles(f.FS, f.Path)
	if err != nil {
		return false, fmt.Errorf("cannot be read: %w", err)
	}
	if len(found) > 0 {
		return false, fmt.Errorf("the folder has files (%s), but no marker.manifest file that leads to a store: "+
			"if it is no store, name another or an empty folder in queue.path; if it was one, %s", firstFew(found, ", "), afterDamage)
	}
	if err := disk.CheckLogs(f.FS, f.Path); err != nil {
		return false, cannotOpen(err)
	}
	return s.tryOut()
}

// renew begins the view of a log anew, from its snapshot if there is one; what was
// there is kept aside until the new one is there. why is
// what is wrong with the view there is, nil if there is none.
func (s *Store) renew(why error) (fresh bool, err error) {
	if why != nil {
		s.log.Warn(fmt.Sprintf("the view in %s cannot be used and is made again from its log", s.folder.Path), slog.Any("err", why))
	}
	if err := s.folder.SetAside(); err != nil {
		return false, fmt.Errorf("its files cannot be set aside: %w", err)
	}
	if err := s.o.Journal.Restore(s.folder.Write); err != nil {
		return false, fmt.Errorf("its snapshot cannot be read: %w", err)
	}
	return s.inspect()
}

// tryOut reads what there is to know from the store as it is, and writes
// nothing. fresh is whether there is none.
func (s *Store) tryOut() (fresh bool, err error) {
	s.db, err = openToRead(s.folder.Path, s.folder.FS, s.folder.Lock)
	switch {
	case errors.Is(err, pebble.ErrDBDoesNotExist):
		return true, nil
	case isNewerFormat(err):
		return false, fmt.Errorf("a newer version of signalpost wrote it: run that one: %w", oneLine(s.folder.Path, err))
	case err != nil:
		return false, cannotOpen(oneLine(s.folder.Path, err))
	}
	defer func() { _ = s.db.Close() }()
	err = s.load()
	if pebble.IsCorruptionError(err) || errors.Is(err, record.ErrDamaged) {
		err = fmt.Errorf("damaged, and left as it is: %w; %s", oneLine(s.folder.Path, err), afterDamage)
	}
	return false, err
}

// openToRead opens a database that is not changed. Damage it meets is an error of
// whoever reads, and nothing else.
func openToRead(path string, fs FS, lock *pebble.Lock) (*pebble.DB, error) {
	return pebble.Open(path, &pebble.Options{
		FS: fs, Lock: lock, ReadOnly: true, FormatMajorVersion: pebble.FormatNewest, MemTableSize: memTable, Logger: silent{},
		EventListener: &pebble.EventListener{DataCorruption: func(pebble.DataCorruptionInfo) {}},
	})
}

// begin makes the database that has been opened one of this format.
func (s *Store) begin(fresh bool) error {
	if fresh {
		s.clear()
	}
	v, err := s.Get([]byte{record.MetaPrefix})
	if err != nil {
		return err
	}
	if want := binary.AppendUvarint(nil, record.Format); !bytes.Equal(v, want) {
		if err := s.db.Set([]byte{record.MetaPrefix}, want, pebble.Sync); err != nil {
			return err
		}
	}
	if fresh {
		// The first log of a new store is in an old format that tells of no fsyncs: see package disk.
		if err := s.db.Flush(); err != nil {
			return err
		}
	}
	if s.o.Journal == nil {
		return nil
	}
	if err := s.catchUp(); err != nil {
		return err
	}
	return s.load()
}

func (s *Store) clear() {
	s.byName, s.byNum = map[string]*Route{}, map[record.RouteNum]*Route{}
	s.lastNum, s.lastSignal, s.tail = 0, record.SignalID{}, Tail{}
	s.texts.clear()
	s.minute = time.Time{}
	s.chains = map[record.ChainAt]*chain{}
}

var errNoStore = errors.New("this is no store of Signalpost: name another folder in queue.path")

// load reads what is known of the routes: a few keys each, however much of
// them is pending.
func (s *Store) load() error {
	s.clear()
	switch v, err := s.Get([]byte{record.MetaPrefix}); {
	case err != nil:
		return err
	case v == nil:
		empty := true
		err := s.Scan([]byte{0}, []byte{0xff}, func(_, _ []byte) (bool, error) { empty = false; return false, nil })
		if err != nil || empty {
			return err
		}
		return errNoStore
	default:
		if f, n := binary.Uvarint(v); n <= 0 || f > record.Format {
			return fmt.Errorf("its format is %d, this program knows formats up to %d: run the newer version that wrote it", f, record.Format)
		}
	}
	err := s.each(record.RoutePrefix, pairs(record.ParseNumKey, raw, func(n record.RouteNum, name []byte) error {
		s.addRoute(string(name), n)
		s.lastNum = max(s.lastNum, n)
		return nil
	}))
	if err != nil {
		return err
	}
	err = s.each(record.CountsPrefix, pairs(record.ParseNumKey, record.ParseCounts, func(n record.RouteNum, c record.Counts) error {
		r := s.RouteOf(n)
		if r == nil {
			return fmt.Errorf("counts of the unknown route %d: %w", n, record.ErrDamaged)
		}
		r.counts, r.shown = c, c
		return nil
	}))
	if err = cmp.Or(err, s.loadTexts(), s.loadRows(), s.loadCauses()); err != nil {
		return err
	}
	s.tail.Newest, err = firstKey(s.ScanBack, record.LogPrefix, record.ParseLogKey)
	for _, prefix := range []byte{record.SignalPrefix, record.DeliveryPrefix} { // a delivery that a retry added took its id from the same row
		newest, err2 := firstKey(s.ScanBack, prefix, record.ParseID)
		if of := newest.Signal(); bytes.Compare(of[:], s.lastSignal[:]) > 0 {
			s.lastSignal = of
		}
		err = cmp.Or(err, err2)
	}
	return err
}

// cannotOpen says what to do about a store that cannot be opened, be it damaged or not.
func cannotOpen(err error) error {
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("cannot be opened: %w; have its files belong to who runs signalpost", err)
	}
	return fmt.Errorf("cannot be opened, and is left as it is: %w; if files of it are damaged or missing, %s", err, afterDamage)
}

// oneLine is an error of Pebble's in one line, without the store's path, which is told once.
func oneLine(path string, err error) error {
	text := firstFew(strings.Split(err.Error(), "\n"), "; ")
	text = strings.NewReplacer("store "+path+": ", "", path+"/", "", ` for DB "`+path+`"`, "", ` "`+path+`"`, "").Replace(text)
	return &openError{text, err}
}

// An openError says what err does in other words.
type openError struct {
	text string
	err  error
}

func (e *openError) Error() string { return e.text }
func (e *openError) Unwrap() error { return e.err }

// firstFew joins the first of a list.
func firstFew(list []string, between string) string {
	const most = 3
	if n := len(list) - most; n > 0 {
		return strings.Join(list[:most], between) + fmt.Sprintf("%sand %d more", between, n)
	}
	return strings.Join(list, between)
}

// memTable is small: all of it is in memory, up to three times, and is
// replayed at a start. That more tables come of it is made up for by compacting
// twice as many at a time.
const memTable = 8 << 20

func (s *Store) options(compactions *compactions) *pebble.Options {
	var ended atomic.Pointer[error] // how the last flush or compaction ended
	po := &pebble.Options{
		FS:   s.shield,
		Lock: s.folder.Lock, Logger: pebbleLog{s.log, s.Fail},
		FormatMajorVersion:    pebble.FormatNewest,
		Cache:                 pebble.NewCache(8 << 20),
		MemTableSize:          memTable,
		L0CompactionThreshold: 8,
		MaxOpenFiles:          256,
		// Compactions that fail, for want of room or on a damaged file, make
		// reads slower. They must not stop deliveries from being settled.
		L0StopWritesThreshold: 1000,
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) {
				// Flushes and compactions are told below, and here a second time with a
				// lock held. What remains are the statistics of a table that cannot be
				// read: Pebble would try again at once, for ever.
				if last := ended.Load(); last == nil || !errors.Is(*last, err) {
					time.Sleep(backgroundPause)
				}
			},
			FlushEnd: func(i pebble.FlushInfo) {
				ended.Store(&i.Err)
				if i.Err != nil && !isEmptyTable(i.Err) {
					s.Fail(fmt.Errorf("store: flush: %w", i.Err)) // or it would be tried for ever
				}
			},
			CompactionEnd: func(i pebble.CompactionInfo) {
				ended.Store(&i.Err)
				compactions.ended(i.Err)
				if i.Err != nil && !errors.Is(i.Err, disk.ErrShielded) {
					s.ReportOnce("a compaction failed; it is tried again", i.Err)
				}
			},
			DataCorruption: func(i pebble.DataCorruptionInfo) {
				s.ReportOnce("a file of the store is damaged; what is in it cannot be read: stop signalpost and restore the folder from a backup, or discard the deliveries that cannot be read",
					fmt.Errorf("%s: %w", i.Path, i.Details))
			},
		},
	}
	po.Experimental.CompactionScheduler = compactions
	for i := range po.Levels {
		po.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	return po
}

const backgroundPause = 250 * time.Millisecond

// pebbleLog passes Pebble's words on. Fatalf must not end the process: it
// marks the store as failed and returns. Behind a shield nothing is known to call it.
type pebbleLog struct {
	log  *slog.Logger
	fail func(error)
}

func (l pebbleLog) Infof(string, ...any) {}
func (l pebbleLog) Errorf(f string, args ...any) {
	l.log.Warn("store: " + strings.TrimSpace(fmt.Sprintf(f, args...)))
}
func (l pebbleLog) Fatalf(f string, args ...any) { l.fail(fmt.Errorf("store: "+f, args...)) }

// silent is the logger of a database that is only read.
type silent struct{}

func (silent) Infof(string, ...any)         {}
func (silent) Errorf(string, ...any)        {}
func (silent) Fatalf(f string, args ...any) { panic(fmt.Sprintf(f, args...)) }

var _ vfs.FS = (*disk.Shield)(nil)
