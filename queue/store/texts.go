package store

import (
	"sync"
	"time"

	"signalpost/queue/record"
)

const (
	textsMost  = 1 << 14 // texts that are known at once
	textsBytes = 8 << 20 // and their length together

	day = 24 * time.Hour
)

// texts are those that many records have in common (a config's hash, a
// request's template, a peer), each stored once, under a number. All are in memory.
// The committer alone adds to them, and takes from them.
type texts struct {
	mu    sync.RWMutex
	byNum map[record.TextNum]record.Text // guarded by mu

	nums  map[string]record.TextNum // the committer's, as all below
	last  record.TextNum
	bytes int
}

func (t *texts) clear() {
	t.byNum, t.nums, t.last, t.bytes = map[record.TextNum]record.Text{}, map[string]record.TextNum{}, 0, 0
}

func (t *texts) add(n record.TextNum, r record.Text) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.nums[r.Text]; !known {
		t.nums[r.Text] = n
		t.bytes += len(r.Text)
	}
	t.byNum[n] = r
	t.last = max(t.last, n)
}

func (t *texts) drop(n record.TextNum) {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := t.byNum[n].Text
	delete(t.byNum, n)
	delete(t.nums, text)
	t.bytes -= len(text)
}

func (t *texts) get(n record.TextNum) record.Text {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.byNum[n]
}

// Text is the text of a number; "" if there is none, or it was too long ago that it was used.
func (s *Store) Text(n record.TextNum) string { return s.texts.get(n).Text }

// Text is the number of a text, which is written in this batch if it is new, or
// for the first time today. It is 0, none, where there is no room for one more.
func (b *Batch) Text(text string) record.TextNum {
	if text == "" {
		return 0
	}
	t := &b.s.texts
	n, known := t.nums[text]
	today := uint32(b.s.o.Now().Unix() / int64(day/time.Second))
	switch {
	case known && t.get(n).Day >= today:
		return n
	case !known && (len(t.nums) >= textsMost || t.bytes+len(text) > textsBytes):
		return 0
	case !known:
		n = t.last + 1
	}
	r := record.Text{Day: today, Text: text}
	t.add(n, r)
	b.put(record.TextKey(b.k, n), r.Append(b.v))
	return n
}

func (s *Store) loadTexts() error {
	return s.each(record.TextPrefix, pairs(record.ParseNumKey, record.ParseText, func(n record.TextNum, r record.Text) error {
		s.texts.add(n, r)
		return nil
	}))
}

// expireTexts forgets the texts that no record names any more: none used before the time is.
func (s *Store) expireTexts(before time.Time) error {
	last := uint32(max(before.Unix(), 0) / int64(day/time.Second))
	var old []record.TextNum
	s.texts.mu.RLock()
	for n, r := range s.texts.byNum {
		if r.Day < last {
			old = append(old, n)
		}
	}
	s.texts.mu.RUnlock()
	if len(old) == 0 {
		return nil
	}
	return s.Do(func(b *Batch) {
		for _, n := range old {
			if s.texts.get(n).Day < last {
				s.texts.drop(n)
				b.Delete(record.TextKey(nil, n))
			}
		}
	})
}
