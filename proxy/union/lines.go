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

const takeFor = 30 * time.Second // in which who reads must take each piece

// lines are an answer of many lines, made of pages of all ledgers and sent as it is made.
type lines struct {
	*api.Lines
	u     *Union
	w     http.ResponseWriter
	call  fleet.Call // for pages
	here  bool
	merge merger
	path  string
	query url.Values
	sent  time.Time // when the last piece was, or all began
}

// newLines begins lines. It is nil if there is a parameter which only one ledger
// knows, or a fault: the own ledger has answered then.
func (u *Union) newLines(ctx context.Context, w http.ResponseWriter, c *fleet.Call, here bool, merge merger, own ...string) *lines {
	path, raw, _ := strings.Cut(c.URL, "?")
	q, err := url.ParseQuery(raw)
	if err != nil || slices.ContainsFunc(own, q.Has) {
		write(w, serve(ctx, u.Own, c))
		return nil
	}
	http.NewResponseController(w).SetReadDeadline(time.Time{})
	return &lines{Lines: api.NewLines(w, takeFor), u: u, w: w, call: *c, here: here, merge: merge, path: path, query: q, sent: time.Now()}
}

// ask asks for a page, and reports whether there is one.
func (l *lines) ask(ctx context.Context, page any) (a *fleet.Answer, ok bool) {
	l.call.URL = l.path + "?" + l.query.Encode()
	c := l.call
	a = l.u.answer(ctx, &c, l.here, l.merge)
	return a, a.Status == http.StatusOK && json.Unmarshal(a.Body, page) == nil
}

// send sends a piece; it panics as net/http wants it if the client has gone.
func (l *lines) send(b []byte) {
	if l.sent = time.Now(); l.Send(b) != nil {
		panic(http.ErrAbortHandler)
	}
}
