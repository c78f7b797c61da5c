package deliver

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"signalpost/proxy/config"
	"signalpost/queue"
)

// TestHTTP2Refusals: a request that the server says it has not looked at goes
// again within the attempt; one that it may have looked at does not.
func TestHTTP2Refusals(t *testing.T) {
	noLeak(t)
	ca := newAuthority(t, "our CA")
	serving := &tls.Config{Certificates: []tls.Certificate{ca.pair(t, serverCert())}, NextProtos: []string{"h2"}}
	for name, test := range map[string]struct {
		// serve answers the request on a stream of connection n, both counted
		// from 1; false ends the connection.
		serve     func(f *http2.Framer, n, request int, stream uint32) bool
		requests  []int // seen on each connection
		delivered bool
	}{
		"the stream is refused": {
			func(f *http2.Framer, n, request int, stream uint32) bool {
				if request == 1 {
					f.WriteRSTStream(stream, http2.ErrCodeRefusedStream)
					return true
				}
				return accept(f, stream)
			}, []int{2}, true,
		},
		"the server goes away before the request": {
			func(f *http2.Framer, n, request int, stream uint32) bool {
				if n == 1 {
					f.WriteGoAway(stream-1, http2.ErrCodeNo, nil)
					return false
				}
				return accept(f, stream)
			}, []int{1, 1}, true,
		},
		"the server goes away behind the request": {
			func(f *http2.Framer, n, request int, stream uint32) bool {
				f.WriteGoAway(stream, http2.ErrCodeNo, nil)
				return accept(f, stream)
			}, []int{1}, true,
		},
		"the server goes away with the request": {
			func(f *http2.Framer, n, request int, stream uint32) bool {
				f.WriteGoAway(stream, http2.ErrCodeNo, nil)
				return false
			}, []int{1}, false,
		},
		"the stream is reset": {
			func(f *http2.Framer, n, request int, stream uint32) bool {
				f.WriteRSTStream(stream, http2.ErrCodeInternal)
				return true
			}, []int{1}, false,
		},
		"the connection ends": {
			func(f *http2.Framer, n, request int, stream uint32) bool { return false }, []int{1}, false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			var requests []int
			address := wire(t, func(n int, c net.Conn, _ *bufio.Reader) {
				secure := tls.Server(c, serving)
				defer secure.Close()
				preface := make([]byte, len(http2.ClientPreface))
				if _, err := io.ReadFull(secure, preface); err != nil {
					return // that connection was only to find out the protocol
				}
				f := http2.NewFramer(secure, secure)
				f.WriteSettings()
				for request := 0; ; {
					frame, err := f.ReadFrame()
					if err != nil {
						return
					}
					switch frame := frame.(type) {
					case *http2.SettingsFrame:
						if !frame.IsAck() {
							f.WriteSettingsAck()
						}
					case *http2.DataFrame:
						if !frame.StreamEnded() {
							continue
						}
						request++
						mu.Lock()
						requests = append(requests, make([]int, max(0, n-len(requests)))...)
						requests[n-1]++
						mu.Unlock()
						if !test.serve(f, n, request, frame.StreamID) {
							return
						}
					}
				}
			})
			route := testRoute(t, "https://"+address+"/x")
			route.TLS = config.TLS{Config: &tls.Config{RootCAs: ca.pool()}}
			o := testEndpoint(t, route).try(t)
			if test.delivered != (o.Verdict == queue.Delivered) || !test.delivered && !o.Fault {
				t.Errorf("%+v", o)
			}
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(requests, test.requests) {
				t.Errorf("requests of each connection: %v, want %v", requests, test.requests)
			}
		})
	}
}

// TestHTTP2Ping: who answers no ping is gone, and an attempt waits for no answer
// of his, however long its timeout is.
func TestHTTP2Ping(t *testing.T) {
	t.Parallel() // it takes ten seconds
	noLeak(t)
	ca := newAuthority(t, "our CA")
	serving := &tls.Config{Certificates: []tls.Certificate{ca.pair(t, serverCert())}, NextProtos: []string{"h2"}}
	address := wire(t, func(_ int, c net.Conn, _ *bufio.Reader) {
		secure := tls.Server(c, serving)
		if secure.Handshake() == nil {
			http2.NewFramer(secure, secure).WriteSettings()
			io.Copy(io.Discard, secure)
		}
	})
	r := testRoute(t, "https://"+address+"/x")
	r.TLS = config.TLS{Config: &tls.Config{RootCAs: ca.pool()}}
	r.Timeout = time.Hour
	start := time.Now()
	wantFailure(t, testEndpoint(t, r).try(t), "connection closed before an answer")
	if took := time.Since(start); took < 2*pingAfter || took > time.Minute {
		t.Errorf("it took %s", took)
	}
}

// accept answers 202.
func accept(f *http2.Framer, stream uint32) bool {
	var head bytes.Buffer
	hpack.NewEncoder(&head).WriteField(hpack.HeaderField{Name: ":status", Value: "202"})
	f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: head.Bytes(), EndStream: true, EndHeaders: true})
	return true
}
