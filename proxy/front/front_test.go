package front

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"signalpost/proxy/api"
	"signalpost/proxy/config"
)

func TestHostname(t *testing.T) {
	for host, want := range map[string]string{
		"localhost": "localhost", "LocalHost:80": "localhost", "localhost.:80": "localhost", "[::1]:80": "::1", "[::1]": "::1", "::1": "::1",
		"a.b:1": "a.b", "": "", ":80": "", "[::1]x": "[::1]x", "[": "[",
	} {
		if got := hostname(host); got != want {
			t.Errorf("hostname(%q) is %q, want %q", host, got, want)
		}
	}
}

// Over a Unix socket any Host is ours; browsers do not come that way.
func TestGuardUnixSocket(t *testing.T) {
	r, _ := http.NewRequest("GET", "http://any.example/status", nil)
	if no := guard(r, &config.Server{}); no == nil || no.Status != http.StatusForbidden {
		t.Errorf("over TCP: %v", no)
	}
	r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, &net.UnixAddr{Net: "unix", Name: "sock"}))
	if no := guard(r, &config.Server{}); no != nil {
		t.Errorf("over a socket: %v", no)
	}
	if no := guard(r, &config.Server{Token: config.NewSecret("x")}); no == nil || no.Status != http.StatusUnauthorized {
		t.Errorf("without the token: %v", no)
	}
}

func TestFollowerThatDoesNotRead(t *testing.T) {
	server, client := net.Pipe()
	defer client.Close()
	l := oneConn{make(chan net.Conn, 1)}
	l.conns <- server
	ended := make(chan error, 1)
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		lines := api.NewLines(w, 50*time.Millisecond)
		var err error
		for err == nil {
			err = lines.Send(make([]byte, 64<<10))
		}
		ended <- err
	})}
	go s.Serve(l)
	defer s.Close()
	fmt.Fprint(client, "GET /log?follow=true HTTP/1.1\r\nHost: x\r\n\r\n")
	<-ended // or it holds its request for ever
}

// A oneConn is a listener with what connections it is given.
type oneConn struct{ conns chan net.Conn }

func (l oneConn) Accept() (net.Conn, error) {
	c, ok := <-l.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (l oneConn) Close() error   { close(l.conns); return nil }
func (l oneConn) Addr() net.Addr { return &net.TCPAddr{} }
