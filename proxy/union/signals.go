package union

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"signalpost/proxy/api"
	"signalpost/proxy/fleet"
)

// allSignals sends the signals of all ledgers, oldest first, a line each. Pages are
// newest first: so it goes through them twice, at first only to note where each
// begins. While a ledger is missing it refuses, or breaks off what it has begun.
func (u *Union) allSignals(ctx context.Context, w http.ResponseWriter, c *fleet.Call, here bool) {
	_, raw, _ := strings.Cut(c.URL, "?")
	q, err := url.ParseQuery(raw)
	if err != nil || q.Has("after") || q.Has("limit") { // which the own ledger refuses
		write(w, serve(ctx, u.Own, c))
		return
	}
	c.Header.Set("Accept", "application/json")
	q.Set("limit", "1000")
	l := &lines{u: u, w: w, control: http.NewResponseController(w), call: c, here: here, query: q, sent: time.Now()}
	l.control.SetReadDeadline(time.Time{})
	begins := []string{""}
	for last := ""; ; {
		p := l.page(ctx, last)
		if p == nil {
			return
		}
		if last = p.Next; last == "" {
			break
		}
		if begins = append(begins, last); time.Since(l.sent) > beatEvery {
			l.send([]byte("\n"))
		}
	}
	for end := ""; len(begins) > 0; begins = begins[:len(begins)-1] {
		var all []api.StoredSignal
		begin := begins[len(begins)-1]
		for at := begin; ; { // what was one page may be several by now
			p := l.page(ctx, at)
			if p == nil {
				return
			}
			all = append(all, slices.DeleteFunc(p.Signals, func(s api.StoredSignal) bool { return s.ID.String() < end })...)
			if at = p.Next; at <= end {
				break
			}
		}
		var some []byte
		for _, s := range slices.Backward(all) {
			b, err := api.Marshal(s)
			if err != nil {
				panic(http.ErrAbortHandler)
			}
			some = append(some, b...)
		}
		l.send(some)
		end = begin
	}
}

// lines are an answer of many lines, which is sent as it is made.
type lines struct {
	u       *Union
	w       http.ResponseWriter
	control *http.ResponseController
	call    *fleet.Call
	here    bool
	query   url.Values
	begun   bool
	sent    time.Time // when the last piece was, or all began
}

// send sends a piece; it panics as net/http wants it if the client has gone.
func (l *lines) send(b []byte) {
	if !l.begun {
		h := l.w.Header()
		h.Set("Content-Type", "application/x-ndjson")
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
	}
	l.begun, l.sent = true, time.Now()
	l.control.SetWriteDeadline(l.sent.Add(takeFor))
	if _, err := l.w.Write(b); err != nil || l.control.Flush() != nil {
		panic(http.ErrAbortHandler)
	}
}

// page is the page of signals after a cursor. If it cannot be had whole the answer
// is ended: nil, or a panic once something was sent, so that nobody takes that for all.
func (l *lines) page(ctx context.Context, after string) *api.SignalPage {
	if l.query.Del("after"); after != "" {
		l.query.Set("after", after)
	}
	c := *l.call
	c.URL = "/signals?" + l.query.Encode()
	a, p := l.u.answer(ctx, &c, l.here, mergeSignals), &api.SignalPage{}
	if a.Status == http.StatusOK && json.Unmarshal(a.Body, p) == nil {
		if len(p.Missing) == 0 && ctx.Err() == nil {
			return p
		}
		a = refusal("not all signals can be had without those that do not answer", p.Missing)
	}
	if l.begun {
		panic(http.ErrAbortHandler)
	}
	write(l.w, a)
	return nil
}
