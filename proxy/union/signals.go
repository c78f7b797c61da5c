package union

import (
	"context"
	"net/http"
	"slices"
	"time"

	"signalpost/proxy/api"
	"signalpost/proxy/fleet"
)

// allSignals sends the signals of all ledgers, oldest first, a line each. Pages are
// newest first: so it goes through them twice, at first only to note where each
// begins. While a ledger is missing it refuses, or breaks off what it has begun.
func (u *Union) allSignals(ctx context.Context, w http.ResponseWriter, c *fleet.Call, here bool) {
	c.Header.Set("Accept", "application/json")
	l := u.newLines(ctx, w, c, here, mergeSignals, "after", "limit")
	if l == nil {
		return
	}
	l.query.Set("limit", "1000")
	begins := []string{""}
	for last := ""; ; {
		p := l.signals(ctx, last)
		if p == nil {
			return
		}
		if last = p.Next; last == "" {
			break
		}
		if begins = append(begins, last); time.Since(l.sent) > api.BeatEvery {
			l.send([]byte("\n"))
		}
	}
	for end := ""; len(begins) > 0; begins = begins[:len(begins)-1] {
		var all []api.StoredSignal
		begin := begins[len(begins)-1]
		for at := begin; ; { // what was one page may be several by now
			p := l.signals(ctx, at)
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

// signals is the page of signals after a cursor. If it cannot be had whole the answer
// is ended: nil, or a panic once something was sent, so that nobody takes that for all.
func (l *lines) signals(ctx context.Context, after string) *api.SignalPage {
	if l.query.Del("after"); after != "" {
		l.query.Set("after", after)
	}
	p := new(api.SignalPage)
	a, ok := l.ask(ctx, p)
	if ok {
		if len(p.Missing) == 0 && ctx.Err() == nil {
			return p
		}
		a = refusal("not all signals can be had without those that do not answer", p.Missing)
	}
	if l.Begun() {
		panic(http.ErrAbortHandler)
	}
	write(l.w, a)
	return nil
}
