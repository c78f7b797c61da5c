package proxy

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"signalpost/proxy/api"
	"signalpost/proxy/table"
	"signalpost/queue"
	"signalpost/transform"
)

// maxKey is the longest Idempotency-Key in bytes, maxType the longest signal_type.
const (
	maxKey  = 255
	maxType = 256
)

// ingest answers POST /signals. What can be refused by the headers is refused
// before the body is read; nothing is stored of what is refused.
func (p *Proxy) ingest(w http.ResponseWriter, r *http.Request, only string) error {
	began := time.Now()
	answer, replayed, err := p.accept(r, only)
	if err != nil {
		return err
	}
	h := w.Header()
	if replayed {
		p.metrics.replayed.Add(float64(bytes.Count(answer, []byte(`"id":"sig_`))))
		h["Idempotent-Replayed"] = yes
	} else {
		p.metrics.accept.Observe(time.Since(began).Seconds())
	}
	h["Content-Type"] = jsonType
	h["Content-Length"] = []string{strconv.Itoa(len(answer))}
	w.WriteHeader(http.StatusAccepted)
	w.Write(answer)
	return nil
}

// Header values that many answers share. Nobody changes them.
var (
	yes      = []string{"true"}
	jsonType = []string{"application/json"}
)

// accept takes a request in, and returns the body of its 202 when everything
// in it is safe on disk, or that of an earlier request with the same key.
func (p *Proxy) accept(r *http.Request, only string) (answer []byte, replayed bool, err error) {
	t := p.table.Load()
	if only != "" && t.Route(only) == nil {
		return nil, false, t.NoRoute(only)
	}
	lines, err := contentType(r.Header)
	if err != nil {
		return nil, false, err
	}
	key, err := readKey(r.Header)
	if err != nil {
		return nil, false, err
	}
	if key == "" { // an answer that is known already is given even when the store is full
		if err := p.ready(); err != nil {
			return nil, false, err
		}
	}

	buf := buffers.Get().(*bodyBuffer)
	defer buf.free()
	max := t.Config.Server.MaxBody
	if err := buf.read(r, max, p.timeouts.room); err != nil {
		return nil, false, readProblem(err, "the body is larger than server.max_body, %d bytes unpacked; send less at once, or raise it", max)
	}
	var claim *queue.Claim
	if key != "" {
		claim, answer, err = p.queue.Claim(r.Context(), key, digest(lines, only, buf.b))
		if err != nil {
			return nil, false, err
		}
		if claim == nil {
			return answer, true, nil
		}
		defer claim.Release()
	}
	// Its body may have taken a while to come.
	if err := p.beginSignal(); err != nil {
		return nil, false, err
	}
	defer p.endSignal()

	done, err := beginDecoding(r.Context(), len(buf.b))
	if err != nil {
		return nil, false, err
	}
	defer done()
	var elements []element
	batch := false
	if e, ok := single(t, buf.b, lines); ok {
		elements = []element{e}
	} else if elements, batch, err = split(buf.b, lines); err != nil {
		return nil, false, err
	}
	use := transform.NewSession(r.Context(), transform.ForSignals)
	defer use.Close()
	accepted, matched, refused := p.shapeAll(t, use, elements, only, traceContext(r.Header))
	if refused != nil && !batch {
		refused.Index = nil
	}
	if refused != nil {
		return nil, false, refused
	}
	answer = appendAnswer(accepted, batch)
	if err := p.queue.Put(accepted, claim, answer); err != nil {
		return nil, false, err
	}
	for i := range accepted {
		p.metrics.put(accepted[i].Deliveries, matched[i])
	}
	return answer, false, nil
}

// shapeAll makes signals of the elements and offers each to the routes. Once
// that has taken table.SlowAfter the rest are shaped side by side: a batch that meets
// a runaway expression must not wait for it once a signal.
func (p *Proxy) shapeAll(t *table.Table, use *transform.Session, elements []element, only, traceparent string) (accepted []queue.Accepted, matched []bool, _ *api.Problem) {
	accepted = make([]queue.Accepted, len(elements))
	matched = make([]bool, len(elements))
	failed := make([]*api.Problem, len(elements))
	for i, e := range elements {
		// The queue keeps the bytes, and the request's buffer is used again.
		accepted[i].Signal = queue.Signal{ID: p.queue.NewSignalID(), Type: e.signalType, Traceparent: traceparent, Body: bytes.Clone(e.raw)}
	}
	shape := func(i int) {
		s := &accepted[i].Signal
		doc := elements[i].doc
		if doc == nil && t.Decodes() {
			var err error
			if doc, err = transform.Parse(s.Body); err != nil {
				failed[i] = api.Refuse(http.StatusBadRequest, "the signal cannot be read as JSON: %s", err).At(i)
				return
			}
		}
		var err error
		if accepted[i].Deliveries, matched[i], err = t.Offer(use, s, doc, only); err != nil {
			failed[i] = api.Refuse(http.StatusServiceUnavailable, "%s", err).With("Retry-After", "1").At(i)
		}
	}
	next := 0
	for began := time.Now(); next < len(elements) && (next == 0 || time.Since(began) < table.SlowAfter); next++ {
		shape(next)
	}
	if next < len(elements) {
		var left atomic.Int64
		left.Store(int64(next))
		var all sync.WaitGroup
		for range min(len(elements)-next, shapedAtOnce) {
			all.Go(func() {
				for i := int(left.Add(1)) - 1; i < len(elements); i = int(left.Add(1)) - 1 {
					shape(i)
				}
			})
		}
		all.Wait()
	}
	for _, err := range failed {
		if err != nil {
			return nil, nil, err
		}
	}
	return accepted, matched, nil
}

// shapedAtOnce is how many signals of a slow batch are shaped side by side.
const shapedAtOnce = 64

// Memory does not add up, however many clients send large bodies at once, and
// however slowly: arriving holds the bytes that those being received can come
// to. Decoded, JSON takes many times its size: decoding holds a token, of few,
// for each large body between its last byte and the answer.
var (
	arriving = semaphore.NewWeighted(arrivingBytes)
	decoding = make(chan struct{}, 4)
)

const (
	largeBody     = 64 << 10 // bytes above which a body is large
	arrivingBytes = 64 << 20
)

// beginDecoding waits until a body of so many bytes may be decoded. done must
// be called when nothing of it is needed any more.
func beginDecoding(ctx context.Context, size int) (done func(), err error) {
	if size <= largeBody {
		return func() {}, nil
	}
	select {
	case decoding <- struct{}{}:
		return func() { <-decoding }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// contentType tells a JSON body from lines of JSON (NDJSON), and refuses all
// else. A form or text/plain, which any web page can send without being
// asked for leave, is among what it refuses.
func contentType(h http.Header) (lines bool, err error) {
	values := h["Content-Type"]
	if len(values) == 1 && values[0] == "application/json" {
		return false, nil
	}
	found := "none"
	if len(values) == 1 {
		found = strconv.Quote(api.Clip(values[0]))
		media, params, err := mime.ParseMediaType(values[0])
		charset, given := params["charset"]
		if err == nil && (!given || strings.EqualFold(charset, "utf-8")) {
			switch media {
			case "application/json":
				return false, nil
			case "application/x-ndjson":
				return true, nil
			}
		}
	} else if len(values) > 1 {
		found = "several"
	}
	return false, api.Refuse(http.StatusUnsupportedMediaType,
		"Content-Type must be application/json or application/x-ndjson, in UTF-8; found %s", found).
		With("Accept", "application/json, application/x-ndjson")
}

// readKey returns the request's key, or nothing if it has none.
func readKey(h http.Header) (string, error) {
	values := h["Idempotency-Key"]
	if len(values) == 0 {
		return "", nil
	}
	key := values[0]
	switch {
	case len(values) > 1:
		return "", api.Refuse(http.StatusBadRequest, "Idempotency-Key came %d times; send it once", len(values))
	case key == "":
		return "", api.Refuse(http.StatusBadRequest, "Idempotency-Key is empty; leave it out or give it 1 to %d bytes", maxKey)
	case len(key) > maxKey:
		return "", api.Refuse(http.StatusBadRequest, "Idempotency-Key is %d bytes long; at most %d are allowed", len(key), maxKey)
	case !printable(key):
		return "", api.Refuse(http.StatusBadRequest, "Idempotency-Key must be printable ASCII")
	}
	return key, nil
}

// digest stands for what a key is bound to: the bytes, unpacked, and what else
// decides what becomes of them.
func digest(lines bool, only string, body []byte) (sum [32]byte) {
	h := sha256.New()
	fmt.Fprintf(h, "%t %s\n", lines, only)
	h.Write(body)
	h.Sum(sum[:0])
	return sum
}

// printable tells whether all bytes are ASCII that shows, space among them.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// traceContext returns the W3C traceparent that goes on to the receivers, or
// nothing if it is not one.
func traceContext(h http.Header) string {
	values := h["Traceparent"]
	if len(values) != 1 {
		return ""
	}
	// version-traceid-parentid-flags, in lower-case hex, neither id all zero.
	// Version 00 ends there; a later one may go on after a dash.
	v := values[0]
	const most = 512
	if len(v) < 55 || len(v) > most || v[2] != '-' || v[35] != '-' || v[52] != '-' ||
		!lowerHex(v[:2]) || !lowerHex(v[3:35]) || !lowerHex(v[36:52]) || !lowerHex(v[53:55]) ||
		v[:2] == "ff" || strings.Trim(v[3:35], "0") == "" || strings.Trim(v[36:52], "0") == "" {
		return ""
	}
	if len(v) > 55 && (v[:2] == "00" || v[55] != '-' || !printable(v)) {
		return ""
	}
	return strings.Clone(v) // without the rest of the request's head
}

func lowerHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// appendAnswer is the body of the 202: of one signal, or of a batch.
func appendAnswer(accepted []queue.Accepted, batch bool) []byte {
	n := 32
	for i := range accepted {
		n += 64
		for _, d := range accepted[i].Deliveries {
			n += 64 + len(d.Route)
		}
	}
	b := make([]byte, 0, n)
	if batch {
		b = append(b, `{"signals":[`...)
	}
	for i := range accepted {
		if i > 0 {
			b = append(b, ',')
		}
		id := accepted[i].ID
		b = append(append(b, `{"id":"`...), id.String()...)
		b = append(b, `","deliveries":[`...)
		for j, d := range accepted[i].Deliveries {
			if j > 0 {
				b = append(b, ',')
			}
			b = append(append(b, `{"id":"`...), id.Delivery(j+1).String()...)
			b = append(append(b, `","route":"`...), d.Route...) // a route's name needs no escaping
			b = append(b, `"}`...)
		}
		b = append(b, `]}`...)
	}
	if batch {
		b = append(b, `]}`...)
	}
	return append(b, '\n')
}

// A bodyBuffer holds a request's body while it is read. Buffers are used
// again, so what is kept of one is a copy.
type bodyBuffer struct {
	b      []byte
	unpack gzip.Reader
	room   int64 // bytes of arriving that it holds
}

var buffers = sync.Pool{New: func() any { return &bodyBuffer{b: make([]byte, 0, 4<<10)} }}

func (buf *bodyBuffer) free() {
	if buf.room > 0 {
		arriving.Release(buf.room)
		buf.room = 0
	}
	const keep = 1 << 20 // what one huge body needed is not held for the small ones
	if cap(buf.b) <= keep {
		buffers.Put(buf)
	}
}

// makeRoom has a body that has turned out to be large wait until there is room
// for all that it can come to.
func (buf *bodyBuffer) makeRoom(ctx context.Context, most int64, wait time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	room := min(most, arrivingBytes)
	if err := arriving.Acquire(ctx, room); err != nil {
		return api.Refuse(http.StatusServiceUnavailable, "too many large bodies arrive at once; send it again in a moment").
			With("Retry-After", "5").With("Connection", "close")
	}
	buf.room = room
	return nil
}

// read reads the whole body, unpacked, of at most max bytes; the error of one
// that is larger is an *http.MaxBytesError. It grows with what has arrived,
// not with what is announced, and waits at most so long for room.
func (buf *bodyBuffer) read(r *http.Request, max int64, wait time.Duration) error {
	buf.b = buf.b[:0]
	tooLarge := &http.MaxBytesError{Limit: max}
	most := max
	var from io.Reader = r.Body
	switch encoding := strings.Join(r.Header["Content-Encoding"], ","); {
	case encoding == "", strings.EqualFold(encoding, "identity"):
		if r.ContentLength > max {
			return tooLarge
		}
		if r.ContentLength >= 0 {
			most = r.ContentLength
		}
	case strings.EqualFold(encoding, "gzip"), strings.EqualFold(encoding, "x-gzip"):
		// What does not shrink grows by a few bytes; empty members could go on for ever.
		packed := max + max>>6 + 64<<10
		if r.ContentLength > packed {
			return tooLarge
		}
		from = http.MaxBytesReader(nil, r.Body, packed)
		if err := buf.unpack.Reset(from); err != nil {
			return err
		}
		from = &buf.unpack
	default:
		return api.Refuse(http.StatusUnsupportedMediaType, "Content-Encoding %q is not understood; send gzip or none", api.Clip(encoding)).
			With("Accept-Encoding", "gzip")
	}
	for {
		if len(buf.b) == cap(buf.b) {
			buf.b = append(buf.b, 0)[:len(buf.b)]
		}
		n, err := from.Read(buf.b[len(buf.b):cap(buf.b)])
		buf.b = buf.b[:len(buf.b)+n]
		if int64(len(buf.b)) > max {
			return tooLarge
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if len(buf.b) > largeBody && buf.room == 0 {
			if err := buf.makeRoom(r.Context(), most, wait); err != nil {
				return err
			}
		}
	}
}

// readBody reads the body of a request, of so many bytes at most; done gives
// it back.
func (p *Proxy) readBody(r *http.Request, most int64) (body []byte, done func(), err error) {
	buf := buffers.Get().(*bodyBuffer)
	if err := buf.read(r, most, p.timeouts.room); err != nil {
		buf.free()
		return nil, nil, readProblem(err, "the body is larger than %d bytes", most)
	}
	return buf.b, buf.free, nil
}

// readSignal reads a body that is one signal, to be tried.
func readSignal(ctx context.Context, body []byte) (signalType string, doc any, done func(), err error) {
	elements, batch, err := split(body, false)
	if err != nil {
		return "", nil, nil, err
	}
	if batch {
		return "", nil, nil, api.Refuse(http.StatusUnprocessableEntity, "one signal can be tried at a time; found an array")
	}
	if done, err = beginDecoding(ctx, len(body)); err != nil {
		return "", nil, nil, err
	}
	if doc, err = transform.Parse(body); err != nil {
		done()
		return "", nil, nil, api.Refuse(http.StatusBadRequest, "the signal cannot be read as JSON: %s", err)
	}
	return elements[0].signalType, doc, done, nil
}

// readProblem says what an error in reading a body means; tooLarge, with the
// bound in bytes, what it means that it is too large.
func readProblem(err error, tooLarge string, most int64) error {
	var over *http.MaxBytesError
	var no *api.Problem
	switch {
	case errors.As(err, &no):
		return no
	case errors.As(err, &over):
		return api.Refuse(http.StatusRequestEntityTooLarge, tooLarge, most).With("Connection", "close")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return api.Refuse(http.StatusRequestTimeout, "the body did not arrive in time").With("Connection", "close")
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return api.Refuse(http.StatusBadRequest, "the body ended before it was complete")
	case errors.Is(err, gzip.ErrHeader), errors.Is(err, gzip.ErrChecksum):
		return api.Refuse(http.StatusBadRequest, "Content-Encoding says gzip, but the body is not: %s", err)
	default:
		return api.Refuse(http.StatusBadRequest, "the body could not be read: %s", api.Clip(err.Error()))
	}
}
