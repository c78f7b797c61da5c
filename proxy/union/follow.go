package union

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"signalpost/proxy/api"
	"signalpost/proxy/fleet"
	"signalpost/queue"
)

// Tests have other times.
var (
	followEvery = 500 * time.Millisecond // between looks at what is new
	followBack  = 10 * time.Second       // that an entry may come late, and clocks of machines differ
)

const (
	missingFor = 2 * time.Minute // what a ledger has that was missing for longer is not sent
	mostPages  = 50              // that are asked for at a time
)

// follow sends the entries of the log of all ledgers as they come, until ctx ends.
func (u *Union) follow(ctx context.Context, w http.ResponseWriter, c *fleet.Call, here bool) {
	l := u.newLines(ctx, w, c, here, mergeLog, "after", "until")
	if l == nil {
		return
	}
	f := &following{lines: l, whole: l.sent, seen: map[string]time.Time{}}
	none := l.query.Get("limit") == "0"
	l.query.Del("follow")
	if none {
		l.query.Set("limit", "1")
		f.from = l.sent
	}
	var first api.LogPage
	if a, ok := l.ask(ctx, &first); !ok {
		write(w, a)
		return
	}
	entries := first.Entries
	f.late = len(first.Missing) > 0
	if len(entries) > 0 && !none {
		f.from = entries[len(entries)-1].Time
	}
	l.query.Set("limit", "1000")
	for ; ; entries = f.since(ctx) {
		fresh := f.fresh(entries)
		if len(fresh) == 0 && time.Since(l.sent) > api.BeatEvery-followEvery {
			fresh = []byte("\n")
		}
		if len(fresh) > 0 || !l.Begun() {
			l.send(fresh)
		}
		select {
		case <-ctx.Done():
			return
		case <-u.Stopping:
			return
		case <-time.After(followEvery):
		}
	}
}

// A following is what one follower has been sent.
type following struct {
	*lines
	from  time.Time            // nothing of before is sent
	whole time.Time            // when last no ledger was missing
	late  bool                 // one has been missing since
	seen  map[string]time.Time // entries that were sent and may come again, with their times
}

// since asks for the entries of the last while, as far back as there are some that
// have not been sent; once no ledger is missing any more, for all since one was.
func (f *following) since(ctx context.Context) (all []queue.Entry) {
	now := time.Now()
	back := f.whole.Add(-followBack)
	if least := now.Add(-missingFor); back.Before(least) {
		back = least
	}
	maps.DeleteFunc(f.seen, func(_ string, at time.Time) bool { return at.Before(back) })
	f.query.Set("since", back.UTC().Format(time.RFC3339Nano))
	f.query.Del("after")
	missing := false
	for pages := 0; pages < mostPages; pages++ {
		var p api.LogPage
		_, ok := f.ask(ctx, &p)
		missing = missing || !ok || len(p.Missing) > 0
		all = append(all, p.Entries...)
		sent := !slices.ContainsFunc(p.Entries, func(e queue.Entry) bool { _, had := f.seen[key(e)]; return !had })
		if p.Next == "" || sent && (missing || !f.late) {
			break
		}
		f.query.Set("after", p.Next)
	}
	if f.late = missing; !missing {
		f.whole = now
	}
	return all
}

func key(e queue.Entry) string { return fmt.Sprint(e.Delivery, e.Time.UnixNano()) }

// fresh are the lines of entries, newest first, that have not been sent.
func (f *following) fresh(entries []queue.Entry) (lines []byte) {
	for _, e := range slices.Backward(entries) {
		if _, had := f.seen[key(e)]; had || e.Time.Before(f.from) {
			continue
		}
		f.seen[key(e)] = e.Time
		if b, err := api.Marshal(e); err == nil {
			lines = append(lines, b...)
		}
	}
	return lines
}
