package union

import (
	"bufio"
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"signalpost/proxy/api"
	"signalpost/proxy/fleet"
	"signalpost/queue"
)

// entries serves the log of one ledger, unless that is missing.
type entries struct {
	t       *testing.T
	mu      sync.Mutex
	all     []queue.Entry // newest first
	missing bool
}

func (l *entries) change(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

func (l *entries) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.missing {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	since, _ := time.Parse(time.RFC3339Nano, r.URL.Query().Get("since"))
	p := api.LogPage{Entries: []queue.Entry{}}
	for _, e := range l.all {
		if !e.Time.Before(since) {
			p.Entries = append(p.Entries, e)
		}
	}
	b, err := api.Marshal(p)
	if err != nil {
		l.t.Error(err)
	}
	api.WriteJSON(w, http.StatusOK, b)
}

// TestFollowLate: what a ledger wrote that was then missing for long is sent when it is there again, once.
func TestFollowLate(t *testing.T) {
	defer func(e, b time.Duration) { followEvery, followBack = e, b }(followEvery, followBack)
	followEvery, followBack = 10*time.Millisecond, 50*time.Millisecond
	own, other := &entries{t: t}, &entries{t: t}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	u := &Union{Options: Options{Own: own, Local: func() []http.Handler { return []http.Handler{other} }, Node: &fleet.Node{}, Stopping: ctx.Done()}}
	s := httptest.NewServer(u)
	defer s.Close()
	r, _ := http.NewRequestWithContext(ctx, "GET", s.URL+"/log?follow=true&limit=0", nil)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := make(chan string)
	go func() {
		for scan := bufio.NewScanner(resp.Body); scan.Scan(); {
			lines <- scan.Text()
		}
		close(lines)
	}()
	add := func(l *entries) {
		l.change(func() { l.all = append([]queue.Entry{{Time: time.Now(), Attempt: len(own.all) + 1}}, l.all...) })
	}
	next := func(what string) {
		if _, ok := <-lines; !ok {
			t.Fatalf("%s does not come", what)
		}
	}
	add(own)
	next("the first")
	other.change(func() { other.missing = true })
	add(other)
	for range 5 { // by which each look sees what it has sent already
		time.Sleep(30 * time.Millisecond)
		add(own)
		next("one of its own")
	}
	other.change(func() { other.missing = false })
	next("what was missing")
	add(own)
	next("the last")
	select {
	case line := <-lines:
		t.Errorf("%s comes again", line)
	case <-time.After(100 * time.Millisecond):
	}
}
