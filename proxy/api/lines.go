package api

import (
	"net/http"
	"sync"
	"time"
)

const (
	BeatEvery  = 5 * time.Second // a blank line shows who reads Lines that the sidecar lives
	MaxStreams = 64              // answers of Lines at once, at most
)

// Lines is an answer of JSON objects, a line each, that can go on for ever. It is safe
// for concurrent use.
type Lines struct {
	w       http.ResponseWriter
	control *http.ResponseController
	within  time.Duration

	mu    sync.Mutex
	begun bool // guarded by mu while it is written
}

// NewLines sets the headers of such an answer; the client must take each piece within a
// time. Until something is sent, another answer can be given.
func NewLines(w http.ResponseWriter, within time.Duration) *Lines {
	h := w.Header()
	h.Set("Content-Type", "application/x-ndjson")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Accel-Buffering", "no")
	return &Lines{w: w, control: http.NewResponseController(w), within: within}
}

// Begun reports that something was sent, or tried to be. No Send may be under way.
func (l *Lines) Begun() bool { return l.begun }

// begin sends the headers and removes the read deadline, which ends the request's
// context in net/http. Not before: net/http would wait for the rest of the body.
func (l *Lines) begin() error {
	l.begun = true
	l.w.WriteHeader(http.StatusOK)
	if err := l.control.Flush(); err != nil {
		return err
	}
	return l.control.SetReadDeadline(time.Time{})
}

// Send writes a piece, after the headers, and waits until it has gone out.
func (l *Lines) Send(piece []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.control.SetWriteDeadline(time.Now().Add(l.within))
	if !l.begun {
		if err := l.begin(); err != nil {
			return err
		}
	}
	if _, err := l.w.Write(piece); err != nil {
		return err
	}
	if err := l.control.Flush(); err != nil {
		return err
	}
	return l.control.SetWriteDeadline(time.Time{}) // it may be long until the next
}

// SendJSON sends v as a line.
func (l *Lines) SendJSON(v any) error {
	b, err := Marshal(v)
	if err != nil {
		return err
	}
	return l.Send(b)
}
