package proxy

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
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
				c.SetDeadline(start.Add(10 * time.Second))
				resp, err := http.ReadResponse(bufio.NewReader(c), nil)
				if err != nil {
					t.Fatalf("the app's signal has no answer: %v", err)
				}
				if took := time.Since(start); resp.StatusCode != http.StatusAccepted || took > 2*time.Second {
					t.Errorf("the app's signal is answered %s after %s", resp.Status, took)
				}
			}
			open := 0
			for _, c := range others {
				c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
				if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
					open++
				}
			}
			if open > most {
				t.Errorf("%d connections are open", open)
			}
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
