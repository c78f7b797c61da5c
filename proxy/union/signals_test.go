package union

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"signalpost/proxy/api"
	"signalpost/proxy/fleet"
	"signalpost/queue"
)

// pages serves the signals of one ledger, newest first, at most so many a page; it fails after some.
type pages struct {
	t      *testing.T
	ids    []string // newest first
	most   int
	served int
	fails  int // from which page on; 0: never
}

func (l *pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if l.served++; l.fails > 0 && l.served >= l.fails {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	q := r.URL.Query()
	if q.Get("limit") != "1000" || q.Get("signal_type") != "a*" || strings.Contains(r.Header.Get("Accept"), "ndjson") {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	most := l.most + l.served%3 // pages end elsewhere the second time
	p := api.SignalPage{Signals: []api.StoredSignal{}}
	for _, text := range l.ids {
		id, err := queue.ParseSignalID(text)
		if err != nil {
			l.t.Error(err)
		}
		if after := q.Get("after"); after != "" && text >= after {
			continue
		}
		if len(p.Signals) == most {
			p.Next = p.Signals[most-1].ID.String()
			break
		}
		p.Signals = append(p.Signals, api.StoredSignal{ID: id, Type: "a", Signal: json.RawMessage("{}")})
	}
	b, err := api.Marshal(p)
	if err != nil {
		l.t.Error(err)
	}
	api.WriteJSON(w, http.StatusOK, b)
}

// TestAllSignals: as lines, the signals of all ledgers come oldest first and each
// once; if a ledger is missing nobody takes what came for all.
func TestAllSignals(t *testing.T) {
	ask := func(own, other *pages, query string) (status int, ids []string, err error) {
		s := httptest.NewServer(&Union{Options: Options{Own: own, Local: func() []http.Handler { return []http.Handler{other} }, Node: &fleet.Node{}}})
		defer s.Close()
		r, err := http.NewRequest("GET", s.URL+"/signals"+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept", "application/x-ndjson")
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			return 0, nil, err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return resp.StatusCode, nil, nil
		}
		lines := bufio.NewReader(resp.Body)
		for {
			line, err := lines.ReadBytes('\n')
			if err == io.EOF {
				return resp.StatusCode, ids, nil
			}
			var s api.StoredSignal
			if err == nil {
				err = json.Unmarshal(line, &s)
			}
			if err != nil {
				return resp.StatusCode, ids, err
			}
			ids = append(ids, s.ID.String())
		}
	}
	ledgers := func() (own, other *pages, want []string) {
		own, other = &pages{t: t, most: 4}, &pages{t: t, most: 7}
		for i := range 200 {
			id := fmt.Sprintf("sig_01K%023d", i)
			want = append(want, id)
			l := own
			if i%7 < 3 || i > 150 {
				l = other
			}
			l.ids = append([]string{id}, l.ids...)
		}
		return own, other, want
	}
	own, other, want := ledgers()
	for _, query := range []string{"?signal_type=a*", "?signal_type=a*&here=true"} {
		if status, got, err := ask(own, other, query); status != 200 || err != nil || strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("%s: %d, %v, %d of %d: %v", query, status, err, len(got), len(want), got)
		}
	}
	if status, got, err := ask(&pages{t: t, most: 1}, &pages{t: t, most: 1}, "?signal_type=a*"); status != 200 || len(got) > 0 || err != nil {
		t.Errorf("of none: %d, %v, %v", status, got, err)
	}
	if status, _, _ := ask(own, other, "?signal_type=a*&limit=5"); status != 400 {
		t.Errorf("with a limit: %d", status)
	}
	own, other, _ = ledgers()
	other.fails = 3
	if status, _, _ := ask(own, other, "?signal_type=a*"); status != 503 {
		t.Errorf("one is missing before anything is sent: %d", status)
	}
	own, other, _ = ledgers()
	ask(own, other, "?signal_type=a*")
	own.served, other.served, other.fails = 0, 0, other.served-2
	if status, got, err := ask(own, other, "?signal_type=a*"); status != 200 || len(got) == 0 || err == nil {
		t.Errorf("one comes to be missing: %d, %d signals, %v", status, len(got), err)
	}
}
