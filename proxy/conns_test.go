package proxy

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// However many connections others open, whatever they do or do not do there, the
// app's signals are taken.
func TestConnectionsHaveABound(t *testing.T) {
	const most = 8
	r := run(t, "[server]\nlisten = '127.0.0.1:0'\ntoken = 'secret'\n"+routesOf("a\npaused = true"), func(p *Proxy) { p.conns = most })
	dial := func(text string) net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		io.WriteString(c, text)
		return c
	}
	const authorized = "Authorization: Bearer secret\r\n"
	get := func(path string) string {
		return "GET " + path + " HTTP/1.1\r\nHost: localhost\r\n" + authorized + "\r\n"
	}
	for what, text := range map[string]string{
		"says nothing":                   "",
		"begins a request":               "POST /signals HTTP/1.1\r\nHost: localhost\r\n",
		"has asked and is kept":          get("/status"),
		"sends no body, without a token": head("/log?follow=1", "Content-Length: 1000", "", ""),
		"sends no body to what is known": head("/retry", authorized+"Content-Length: 1000", "", ""),
		"follows":                        get("/log?follow=true"),
	} {
		t.Run(what, func(t *testing.T) {
			var others []net.Conn
			for i := range 3 * most {
				others = append(others, dial(text))
				if i < most || i%most > 0 {
					continue
				}
				start := time.Now()
				c := dial(plainRequest(sample, "Authorization: Bearer secret"))
				c.SetDeadline(latest())
				resp, err := http.ReadResponse(bufio.NewReader(c), nil)
				if err != nil {
					t.Fatalf("the app's signal has no answer: %v", err)
				}
				if took := time.Since(start); resp.StatusCode != http.StatusAccepted || took > usualTimeouts.header/2 { // it waits for none of the others to run out of time
					t.Errorf("the app's signal is answered %s after %s", resp.Status, took)
				}
			}
			r.until(fmt.Sprintf("%d connections at most are open", most), func() bool {
				open := 0
				for _, c := range others {
					c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
					if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
						open++
					}
				}
				return open <= most
			})
		})
	}
}

// Who follows the log leaves room for who only asks.
func TestFollowersHaveABound(t *testing.T) {
	r := run(t, routesOf("a\npaused = true"), func(p *Proxy) { p.conns = 8 }) // 4 of which ask, and 2 follow
	for i := range 5 {
		resp, err := http.Get("http://" + r.addr + "/log?follow=true")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if i < 2 && resp.StatusCode == http.StatusOK {
			continue
		}
		text, _ := io.ReadAll(resp.Body)
		if i < 2 || resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" || !strings.Contains(string(text), "follow the log") {
			t.Errorf("follower %d: %s %v %s", i, resp.Status, resp.Header, text)
		}
	}
	if resp, err := http.Get("http://" + r.addr + "/status"); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("/status: %v, %v", resp, err)
	}
}

// Clients who ask for much and take nothing hold a bounded amount of memory, and
// signals are taken meanwhile.
func TestAnswersHaveABound(t *testing.T) {
	const size = 8 << 20 // with the signal's it makes an answer that no socket's buffer takes
	r := run(t, "[server]\nlisten = '127.0.0.1:0'\nmax_body = '8MiB'\n"+routesOf("a\npaused = true"))
	body := `{"signal_type":"large","x":"` + strings.Repeat("x", size-100) + `"}`
	resp, err := http.Post("http://"+r.addr+"/signals", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	var sent struct{ Deliveries []struct{ ID string } }
	if err := json.NewDecoder(resp.Body).Decode(&sent); err != nil || len(sent.Deliveries) != 1 {
		t.Fatalf("%s, %v", resp.Status, err)
	}
	resp.Body.Close()
	heap := func() int {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	before := heap()
	const clients, answers = 50, 32 << 20 // all of which one may need at first, and half of which its answer then takes
	small := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<10) })
	}}
	var refused atomic.Int64
	for range clients {
		c, err := small.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "GET /deliveries/%s HTTP/1.1\r\nHost: localhost\r\n\r\n", sent.Deliveries[0].ID)
		go func() {
			line := make([]byte, len("HTTP/1.1 503"))
			if _, err := io.ReadFull(c, line); err == nil && string(line) == "HTTP/1.1 503" {
				refused.Add(1)
			}
		}()
	}
	most := 0
	r.until("those that do not fit are refused", func() bool {
		most = max(most, heap()-before)
		return refused.Load() >= clients-3
	})
	r.send()
	if most > 4*answers {
		t.Errorf("%d MiB of heap", most>>20)
	}
}

// Of many tries at once only so many are under way; the rest is refused, and the sidecar accepts.
func TestTriesHaveABound(t *testing.T) {
	var routes []string
	for i := range 600 { // a try of all of them takes a minute
		routes = append(routes, fmt.Sprintf("r%d\nwhere = 'def f: f; f'\nsignal_types = ['endless']", i))
	}
	r := run(t, routesOf(append(routes, "a")...))
	ctx, leave := context.WithCancel(t.Context())
	const clients, atOnce = 12, 8
	answers := make(chan string, clients)
	for range clients {
		go func() {
			request, _ := http.NewRequestWithContext(ctx, "POST", "http://"+r.addr+"/try", strings.NewReader(`{"signal":{"signal_type":"endless"}}`))
			request.Header.Set("Content-Type", "application/json")
			resp, err := http.DefaultClient.Do(request)
			if err != nil {
				answers <- ""
				return
			}
			defer resp.Body.Close()
			body, _ := io.ReadAll(resp.Body)
			answers <- resp.Status + string(body)
		}()
	}
	for range clients - atOnce {
		if a := <-answers; !strings.HasPrefix(a, "503") || !strings.Contains(a, "the memory for requests is used up") {
			t.Errorf("a try too many got %s", a)
		}
	}
	r.send()
	leave()
	for range atOnce {
		if a := <-answers; a != "" {
			t.Errorf("a try under way got %s when its client left", a)
		}
	}
}

// A try ends when its client has left: it would take a minute.
func TestTryEndsWithItsClient(t *testing.T) {
	var routes []string
	for i := range 600 {
		routes = append(routes, fmt.Sprintf("r%d\nwhere = 'def f: f; f'", i))
	}
	r := run(t, routesOf(routes...))
	under := func() bool {
		stacks := make([]byte, 1<<20)
		return strings.Contains(string(stacks[:runtime.Stack(stacks, true)]), ".postTry(")
	}
	ctx, leave := context.WithCancel(t.Context())
	answered := make(chan error, 1)
	go func() {
		request, _ := http.NewRequestWithContext(ctx, "POST", "http://"+r.addr+"/try", strings.NewReader(`{"signal":{"signal_type":"a"}}`))
		request.Header.Set("Content-Type", "application/json")
		_, err := http.DefaultClient.Do(request)
		answered <- err
	}()
	r.until("the try is under way", under)
	leave()
	if err := <-answered; err == nil {
		t.Error("it has been answered")
	}
	r.until("the try ends", func() bool { return !under() })
}

// What is addressed to no path is answered as what is addressed to a wrong one.
func TestNoPath(t *testing.T) {
	r := run(t, routesOf("a"))
	for _, line := range []string{"GET *", "POST localhost:80", "CONNECT localhost:80", "GET http://localhost/nothing"} {
		c, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(c, "%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", line)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || resp.StatusCode != http.StatusNotFound || resp.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %+v, %v", line, resp, err)
		}
		c.Close()
	}
}

// A follower whose request announces a body that never comes has no more time for
// it than any other request.
func TestFollowerWithoutItsBody(t *testing.T) {
	r := run(t, routesOf("a"), hurry)
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "GET /log?follow=true HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n")
	c.SetDeadline(latest())
	if text, err := io.ReadAll(c); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("it is still there; it was sent %q", text)
	}
}
