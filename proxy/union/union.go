// Package union answers for a whole fleet: a request that reads or changes deliveries is
// given to all ledgers, those that this sidecar has adopted and those of others (union.go),
// and their answers are merged (merge.go; follow.go and signals.go where they are streams).
// Who does not answer is named in "missing".
package union

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"signalpost/proxy/api"
	"signalpost/proxy/fleet"
)

// Options are what a Union works with.
type Options struct {
	Own   http.Handler          // answers for the sidecar's own ledger, and refuses who may not ask
	Local func() []http.Handler // for each that it has adopted
	Node  *fleet.Node

	Stopping <-chan struct{} // closed when followers are to be disconnected
}

// A Union is the handler of all requests in a fleet. It is safe for concurrent use.
type Union struct {
	Options
	streams atomic.Int32 // answers that are streams, under way
}

const mostBody = 1 << 20

// ServeHTTP answers for the fleet, or with ?here=true for this sidecar alone.
func (u *Union) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	merge := mergerOf(r)
	follows := r.Method == http.MethodGet && r.URL.Path == "/log" && strings.Contains(r.URL.RawQuery, "follow=true")
	all := r.Method == http.MethodGet && r.URL.Path == "/signals" && strings.Contains(r.Header.Get("Accept"), "application/x-ndjson")
	if merge == nil && !follows && !all {
		u.Own.ServeHTTP(w, r)
		return
	}
	c, here, err := callOf(r)
	if err != nil {
		api.Refuse(http.StatusRequestEntityTooLarge, "the body is too large, or broke off").Write(w)
		return
	}
	if follows || all {
		defer u.streams.Add(-1)
		if u.streams.Add(1) > api.MaxStreams {
			api.Refuse(http.StatusServiceUnavailable, "too many requests that follow the log, or list all signals, are under way; ask again in a moment").With("Retry-After", "1").Write(w)
			return
		}
	}
	if follows {
		u.follow(r.Context(), w, c, here)
		return
	}
	if all {
		u.allSignals(r.Context(), w, c, here)
		return
	}
	if r.Method == http.MethodPost {
		until, control := time.Now().Add(fleet.ChangeFor), http.NewResponseController(w)
		control.SetReadDeadline(until) // once it has passed, net/http ends the request's context
		control.SetWriteDeadline(until)
	}
	a := u.answer(r.Context(), c, here, merge)
	if r.Method == http.MethodHead {
		a.Body = nil
	}
	write(w, a)
}

func write(w http.ResponseWriter, a *fleet.Answer) {
	for name, values := range a.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(a.Status)
	w.Write(a.Body)
}

// Answer answers what another sidecar asks of this one.
func (u *Union) Answer(ctx context.Context, c *fleet.Call) *fleet.Answer {
	r, err := c.Request(ctx)
	if err != nil || mergerOf(r) == nil {
		return &fleet.Answer{Status: http.StatusBadRequest}
	}
	return u.answer(ctx, c, true, mergerOf(r))
}

// callOf makes a call of a request, without ?here=true, and returns whether it had that.
func callOf(r *http.Request) (c *fleet.Call, here bool, err error) {
	path, pairs := r.URL.EscapedPath(), strings.Split(r.URL.RawQuery, "&")
	heres := slices.DeleteFunc(slices.Clone(pairs), func(p string) bool { return p != "here=true" && p != "here=false" })
	kept := slices.DeleteFunc(pairs, func(p string) bool { return p == "" || len(heres) == 1 && p == heres[0] }) // else the own ledger refuses them
	here = slices.Contains(heres, "here=true")
	if len(kept) > 0 {
		path += "?" + strings.Join(kept, "&")
	}
	c = &fleet.Call{Method: r.Method, URL: path, Host: r.Host, Header: r.Header.Clone()}
	if c.Body, err = io.ReadAll(io.LimitReader(r.Body, mostBody+1)); len(c.Body) > mostBody {
		err = io.ErrUnexpectedEOF
	}
	return c, here, err
}

// answer has all ledgers answer, and merges.
func (u *Union) answer(ctx context.Context, c *fleet.Call, here bool, merge merger) *fleet.Answer {
	own := serve(ctx, u.Own, c)
	if own.Status >= 400 && own.Status != http.StatusNotFound && own.Status != http.StatusConflict { // it may not be asked so
		return own
	}
	var mu sync.Mutex
	var missing []string
	answers := []*fleet.Answer{own}
	add := func(a *fleet.Answer, who string) {
		mu.Lock()
		defer mu.Unlock()
		if a == nil || a.Status >= 500 || a.Status == http.StatusUnauthorized || a.Status == http.StatusForbidden {
			missing = append(missing, who)
		} else {
			answers = append(answers, a)
		}
	}
	var asking sync.WaitGroup
	for _, h := range u.Local() {
		asking.Go(func() { add(serve(ctx, h, c), "an adopted ledger") })
	}
	if !here {
		for id, host := range u.Node.Others() {
			asking.Go(func() {
				a, _ := u.Node.Ask(ctx, id, c)
				add(a, host+" ("+id.String()+")")
			})
		}
		for _, id := range u.Node.Ownerless() {
			missing = append(missing, "ledger "+id.String()+", which nobody has now")
		}
	}
	asking.Wait()
	slices.Sort(missing)
	return merge(&merging{answers: answers, missing: missing, call: c, fleet: u.status()})
}

// status is the sidecar in its fleet.
func (u *Union) status() *api.FleetStatus {
	n := u.Node.Counters()
	host, _ := os.Hostname()
	s := &api.FleetStatus{
		Node: u.Node.ID.String(), Nodes: map[string]string{u.Node.ID.String(): host},
		Ledgers: n.Ledgers, Adoptions: n.Adoptions, Deposed: n.Deposed, Owners: map[string]api.Owner{}, Ownerless: []string{},
	}
	for id, o := range u.Node.Seen() {
		s.Nodes[o.Node.String()] = o.Host
		s.Owners[id.String()] = api.Owner{Node: o.Node.String(), Own: o.Own}
	}
	for _, id := range u.Node.Ownerless() {
		s.Ownerless = append(s.Ownerless, id.String())
	}
	return s
}

// serve has a handler of this process answer.
func serve(ctx context.Context, h http.Handler, c *fleet.Call) *fleet.Answer {
	r, err := c.Request(ctx)
	if err != nil {
		return &fleet.Answer{Status: http.StatusBadRequest}
	}
	w := &recorder{header: http.Header{}}
	h.ServeHTTP(w, r)
	return &fleet.Answer{Status: cmp.Or(w.status, http.StatusOK), Header: w.header, Body: w.body.Bytes()}
}

// A recorder keeps an answer.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *recorder) Header() http.Header { return w.header }

func (w *recorder) WriteHeader(status int) { w.status = cmp.Or(w.status, status) }

func (w *recorder) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(b)
}

// merging is answers to one call, the own one first.
type merging struct {
	answers []*fleet.Answer
	missing []string
	call    *fleet.Call
	fleet   *api.FleetStatus
}

type merger func(*merging) *fleet.Answer

var mergers = map[string]merger{
	"GET /log": mergeLog, "GET /deliveries": mergeDeliveries, "GET /signals": mergeSignals, "GET /stats": mergeStats,
	"GET /problems": mergeProblems, "GET /status": mergeStatus, "POST /retry": mergeMatched, "POST /discard": mergeMatched,
}

// mergersByPrefix are those of paths that name one thing.
var mergersByPrefix = map[string]merger{
	"GET /deliveries/": fromOwner, "POST /deliveries/": fromOwner, "GET /signals/": fromOwner, "GET /explain/": fromOwner, "POST /routes/": mergeRoute,
}

// mergerOf returns what merges the answers to a request; nil: the sidecar alone answers it.
func mergerOf(r *http.Request) merger {
	if strings.Contains(r.URL.RawQuery, "follow=true") || strings.Contains(r.Header.Get("Accept"), "ndjson") {
		return nil
	}
	what := strings.Replace(r.Method, http.MethodHead, http.MethodGet, 1) + " " + r.URL.Path
	for beginning, m := range mergersByPrefix {
		if strings.HasPrefix(what, beginning) {
			return m
		}
	}
	return mergers[what]
}

// fromOwner is the answer of the ledger that has what was asked for.
func fromOwner(m *merging) *fleet.Answer {
	for _, a := range m.answers {
		if a.Status != http.StatusNotFound {
			return a
		}
	}
	if len(m.missing) > 0 {
		return refusal("it is not here, and may be with those that do not answer", m.missing)
	}
	return m.answers[0]
}

// refusal is the answer if that cannot be answered without those that are missing.
func refusal(why string, missing []string) *fleet.Answer {
	w := &recorder{header: http.Header{}}
	api.Refuse(http.StatusServiceUnavailable, "%s: %s", why, strings.Join(missing, "; ")).With("Retry-After", "5").Write(w)
	return &fleet.Answer{Status: w.status, Header: w.header, Body: w.body.Bytes()}
}

// A partial answer of the shape T is an [api.Partial].
type partial[T any] interface {
	*T
	Lacks() *[]string
}

// each decodes the answers that are of the own one's shape, and notes what they lack.
func each[T any, P partial[T]](m *merging) (all []T) {
	for _, a := range m.answers {
		var v T
		if a.Status < 300 && json.Unmarshal(a.Body, &v) == nil {
			all = append(all, v)
			m.missing = append(m.missing, *P(&v).Lacks()...)
		}
	}
	return all
}

// answerWith is the own answer with another body, which says what is missing.
func (m *merging) answerWith(v interface{ Lacks() *[]string }) *fleet.Answer {
	own := m.answers[0]
	*v.Lacks() = m.missing
	b, err := api.Marshal(v)
	if err != nil {
		return own
	}
	h := own.Header.Clone()
	h.Del("Content-Length")
	h.Set("Content-Type", "application/json")
	return &fleet.Answer{Status: own.Status, Header: h, Body: b}
}

// query is the value of a parameter.
func (m *merging) query(name string) string {
	u, err := url.Parse(m.call.URL)
	if err != nil {
		return ""
	}
	return u.Query().Get(name)
}
