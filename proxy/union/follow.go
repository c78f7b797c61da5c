package union

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"signalpost/proxy/api"
	"signalpost/proxy/fleet"
	"signalpost/queue"
)

const (
	followEvery = 500 * time.Millisecond // between looks at what is new
	followBack  = 10 * time.Second       // that an entry may come late, and clocks of machines differ
	beatEvery   = 5 * time.Second        // that who follows knows that the sidecar lives
	mostPages   = 50                     // that are asked for at a time
	takeFor     = 30 * time.Second       // in which who follows must take each piece
)

// follow sends the entries of the log of all ledgers as they come, until ctx ends.
func (u *Union) follow(ctx context.Context, w http.ResponseWriter, c *fleet.Call, here bool) {
	where, err := url.Parse(c.URL)
	q := where.Query()
	if err != nil || q.Has("after") || q.Has("until") { // which the own ledger refuses
		write(w, serve(ctx, u.Own, c))
		return
	}
	f := &following{u: u, call: c, here: here, query: q, none: q.Get("limit") == "0", began: time.Now(), seen: map[string]time.Time{}}
	q.Del("follow")
	if f.none {
		q.Set("limit", "1")
		f.from = f.began
	}
	a, entries, _ := f.look(ctx)
	if a.Status != http.StatusOK {
		write(w, a)
		return
	}
	if len(entries) > 0 && !f.none {
		f.from = entries[len(entries)-1].Time
	}
	h, control := w.Header(), http.NewResponseController(w)
	h.Set("Content-Type", "application/x-ndjson")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Accel-Buffering", "no")
	control.SetReadDeadline(time.Time{})
	q.Set("limit", "1000")
	for sent := f.began; ; entries = f.since(ctx) {
		lines := f.fresh(entries)
		if len(lines) == 0 && time.Since(sent) > beatEvery {
			lines = []byte("\n")
		}
		if len(lines) > 0 || sent == f.began {
			control.SetWriteDeadline(time.Now().Add(takeFor))
			if _, err := w.Write(lines); err != nil || control.Flush() != nil {
				return
			}
			sent = time.Now()
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

// A following is what one who follows has had.
type following struct {
	u     *Union
	call  *fleet.Call
	here  bool
	query url.Values
	none  bool // nothing of before is wanted
	began time.Time
	from  time.Time            // nothing of before is sent
	seen  map[string]time.Time // entries that were sent in the last while
}

// look asks for a page of the log, newest first.
func (f *following) look(ctx context.Context) (*fleet.Answer, []queue.Entry, string) {
	c := *f.call
	c.URL = "/log?" + f.query.Encode()
	a := f.u.answer(ctx, &c, f.here, mergeLog)
	var p api.LogPage
	_ = json.Unmarshal(a.Body, &p)
	return a, p.Entries, p.Next
}

// since asks for the entries of the last while, as far back as there are some that have not been sent.
func (f *following) since(ctx context.Context) (all []queue.Entry) {
	f.query.Set("since", time.Now().Add(-followBack).UTC().Format(time.RFC3339Nano))
	f.query.Del("after")
	for pages := 0; pages < mostPages; pages++ {
		_, entries, next := f.look(ctx)
		all = append(all, entries...)
		if next == "" || !slices.ContainsFunc(entries, func(e queue.Entry) bool { _, had := f.seen[key(e)]; return !had }) {
			break
		}
		f.query.Set("after", next)
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
		f.seen[key(e)] = time.Now()
		if b, err := api.Marshal(e); err == nil {
			lines = append(lines, b...)
		}
	}
	for k, at := range f.seen {
		if time.Since(at) > 3*followBack {
			delete(f.seen, k)
		}
	}
	return lines
}
