package proxy

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

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
func (p *Proxy) ingest(w http.ResponseWriter, r *http.Request) error {
	began := time.Now()
	answer, replayed, err := p.accept(r)
	if err != nil {
		p.metrics.refused.Inc()
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
func (p *Proxy) accept(r *http.Request) (answer []byte, replayed bool, err error) {
	t := p.table.Load()
	only, err := onlyRoute(r.URL.RawQuery, t)
	if err != nil {
		return nil, false, err
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
	if err := buf.read(r, t.cfg.Server.MaxBody); err != nil {
		return nil, false, err
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
		if err := p.ready(); err != nil {
			return nil, false, err
		}
	}

	if len(buf.b) > largeBody {
		select {
		case large <- struct{}{}:
			defer func() { <-large }()
		case <-r.Context().Done():
			return nil, false, r.Context().Err()
		}
	}
	elements, batch, err := split(buf.b, lines)
	if err != nil {
		return nil, false, err
	}
	accepted := make([]queue.Accepted, len(elements))
	matched := make([]bool, len(elements))
	traceparent := traceContext(r.Header)
	for i, e := range elements {
		s := &accepted[i].Signal
		// The queue keeps the bytes, and the buffer is used again.
		*s = queue.Signal{ID: p.queue.NewSignalID(), Type: e.signalType, Traceparent: traceparent, Body: bytes.Clone(e.raw)}
		var decoded any
		if t.decodes() {
			if decoded, err = transform.Decode(s.Body); err != nil {
				index := i
				if !batch {
					index = -1
				}
				return nil, false, refuse(http.StatusBadRequest, "the signal cannot be read as JSON: %s", err).at(index)
			}
		}
		accepted[i].Deliveries, matched[i] = t.shape(s, s.ID.Time(), decoded, only)
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

// large holds a token for each large body between its last byte and the fsync.
// Decoded, JSON takes many times its size; there are few tokens, so that
// however many clients send large bodies at once, memory does not add up.
var large = make(chan struct{}, 4)

// largeBody is the size in bytes above which a body is large.
const largeBody = 64 << 10

// onlyRoute reads the query, which may name one route to offer the signal to.
func onlyRoute(query string, t *table) (string, error) {
	if query == "" {
		return "", nil
	}
	q, err := readQuery(query, "route")
	if err != nil {
		return "", err
	}
	name := q["route"]
	if t.route(name) == nil {
		return "", t.noRoute(name)
	}
	return name, nil
}

// decodes tells whether any route looks into a signal.
func (t *table) decodes() bool {
	for _, r := range t.routes {
		if r.Where != nil || r.Transform != nil {
			return true
		}
	}
	return false
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
		found = strconv.Quote(clip(values[0]))
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
	return false, refuse(http.StatusUnsupportedMediaType,
		"Content-Type must be application/json or application/x-ndjson, in UTF-8; found %s", found).
		with("Accept", "application/json, application/x-ndjson")
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
		return "", refuse(http.StatusBadRequest, "Idempotency-Key came %d times; send it once", len(values))
	case key == "":
		return "", refuse(http.StatusBadRequest, "Idempotency-Key is empty; leave it out or give it 1 to %d bytes", maxKey)
	case len(key) > maxKey:
		return "", refuse(http.StatusBadRequest, "Idempotency-Key is %d bytes long; at most %d are allowed", len(key), maxKey)
	case !printable(key):
		return "", refuse(http.StatusBadRequest, "Idempotency-Key must be printable ASCII")
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
	return v
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
}

var buffers = sync.Pool{New: func() any { return &bodyBuffer{b: make([]byte, 0, 4<<10)} }}

func (buf *bodyBuffer) free() {
	const keep = 1 << 20 // what one huge body needed is not held for the small ones
	if cap(buf.b) <= keep {
		buffers.Put(buf)
	}
}

// read reads the whole body, unpacked, of at most max bytes. It grows with
// what has arrived, not with what is announced.
func (buf *bodyBuffer) read(r *http.Request, max int64) error {
	buf.b = buf.b[:0]
	tooLarge := func() error {
		return refuse(http.StatusRequestEntityTooLarge, "the body is larger than server.max_body, %d bytes unpacked; send less at once, or raise it", max).
			with("Connection", "close")
	}
	var from io.Reader = r.Body
	switch encoding := strings.Join(r.Header["Content-Encoding"], ","); {
	case encoding == "", strings.EqualFold(encoding, "identity"):
		if r.ContentLength > max {
			return tooLarge()
		}
	case strings.EqualFold(encoding, "gzip"), strings.EqualFold(encoding, "x-gzip"):
		// What does not shrink grows by a few bytes; empty members could go on for ever.
		packed := max + max>>6 + 64<<10
		if r.ContentLength > packed {
			return tooLarge()
		}
		from = http.MaxBytesReader(nil, r.Body, packed)
		if err := buf.unpack.Reset(from); err != nil {
			return readProblem(err, tooLarge)
		}
		from = &buf.unpack
	default:
		return refuse(http.StatusUnsupportedMediaType, "Content-Encoding %q is not understood; send gzip or none", clip(encoding)).
			with("Accept-Encoding", "gzip")
	}
	for {
		if len(buf.b) == cap(buf.b) {
			buf.b = append(buf.b, 0)[:len(buf.b)]
		}
		n, err := from.Read(buf.b[len(buf.b):cap(buf.b)])
		buf.b = buf.b[:len(buf.b)+n]
		if int64(len(buf.b)) > max {
			return tooLarge()
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return readProblem(err, tooLarge)
		}
	}
}

// readProblem says what an error in reading a body means.
func readProblem(err error, tooLarge func() error) error {
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return tooLarge()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return refuse(http.StatusRequestTimeout, "the body did not arrive in time").with("Connection", "close")
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return refuse(http.StatusBadRequest, "the body ended before it was complete")
	case errors.Is(err, gzip.ErrHeader), errors.Is(err, gzip.ErrChecksum):
		return refuse(http.StatusBadRequest, "Content-Encoding says gzip, but the body is not: %s", err)
	default:
		return refuse(http.StatusBadRequest, "the body could not be read: %s", clip(err.Error()))
	}
}

// An element is one signal of a request, before it has an id.
type element struct {
	raw        []byte // of the request's buffer; without a transform exactly this is delivered
	signalType string
}

// split checks a body and finds the signals in it. One JSON object is one
// signal with all the bytes of the body; of an array or lines, which are a
// batch, each signal is the bytes from its first brace to its last. Whether
// all of it is JSON is judged first, then what each element is.
func split(body []byte, lines bool) (elements []element, batch bool, err error) {
	var values []parsed
	var bad *badJSON
	s := scanner{b: body}
	if lines {
		batch = true
		values, bad = s.lines()
	} else if s.space(); s.peek() == '[' {
		batch = true
		values, bad = s.elements()
	} else {
		values = make([]parsed, 1)
		if values[0], bad = s.value(0); bad == nil {
			bad = s.end()
		}
		values[0].raw = body
	}
	if bad != nil {
		p := refuse(http.StatusBadRequest, "the body is %s", bad)
		if batch && bad.index >= 0 {
			p = p.at(bad.index)
		}
		return nil, batch, p
	}
	if len(values) == 0 {
		return nil, batch, refuse(http.StatusUnprocessableEntity, "the batch is empty; send at least one signal")
	}
	elements = make([]element, len(values))
	for i, v := range values {
		if elements[i], err = v.signal(); err != nil {
			p := refuse(http.StatusUnprocessableEntity, "%s", err)
			if batch {
				p = p.at(i)
			}
			return nil, batch, p
		}
	}
	return elements, batch, nil
}

// parsed is one JSON value that stands where a signal is expected.
type parsed struct {
	raw        []byte
	kind       byte   // its first byte
	signalType []byte // of an object: what its last member signal_type is, as written; nil if it has none
}

// signal is the value as a signal, if it is one.
func (v *parsed) signal() (element, error) {
	switch {
	case v.kind != '{':
		return element{}, fmt.Errorf("a signal is a JSON object; found %s", kindOf(v.kind))
	case v.signalType == nil:
		return element{}, errors.New(`the signal has no signal_type; add "signal_type": "name"`)
	case v.signalType[0] != '"':
		return element{}, fmt.Errorf("signal_type must be a string; found %s", kindOf(v.signalType[0]))
	}
	t := unquote(v.signalType)
	if t == "" || len(t) > maxType || !printable(t) || t[0] == ' ' || t[len(t)-1] == ' ' {
		return element{}, fmt.Errorf("signal_type must be 1 to %d printable ASCII characters without a space at either end; found %s, %d bytes",
			maxType, strconv.QuoteToASCII(clip(t)), len(t))
	}
	return element{raw: v.raw, signalType: t}, nil
}

func kindOf(first byte) string {
	switch first {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}

// unquote is what a JSON string that was checked says.
func unquote(raw []byte) string {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1])
	}
	var s string
	json.Unmarshal(raw, &s)
	return s
}

// badJSON says where and why bytes are not JSON.
type badJSON struct {
	offset int // from 0, in the unpacked body
	index  int // of the element it is in, -1 if there is only one
	notUTF bool
	what   string
}

func (e *badJSON) Error() string {
	kind := "not JSON"
	if e.notUTF {
		kind = "not UTF-8"
	}
	return fmt.Sprintf("%s: %s at offset %d", kind, e.what, e.offset)
}

// A scanner checks JSON (RFC 8259, UTF-8 alone) and finds where values begin
// and end. It builds nothing.
type scanner struct {
	b []byte
	i int
}

// lines reads NDJSON: a value on each line; blank lines are passed over.
func (s *scanner) lines() (values []parsed, err *badJSON) {
	whole := s.b
	for s.i < len(whole) {
		end := len(whole)
		if n := bytes.IndexByte(whole[s.i:], '\n'); n >= 0 {
			end = s.i + n
		}
		s.b = whole[:end] // no value goes on over the end of its line
		s.space()
		if s.i < end {
			v, err := s.value(0)
			if err == nil {
				err = s.end()
			}
			if err != nil {
				err.index = len(values)
				return nil, err
			}
			values = append(values, v)
		}
		s.i = end + 1
	}
	return values, nil
}

// elements reads an array whose elements are the values, and nothing after it.
func (s *scanner) elements() (values []parsed, err *badJSON) {
	s.i++
	s.space()
	if s.peek() == ']' {
		s.i++
	} else {
		for {
			s.space()
			v, err := s.value(0)
			if err == nil {
				values = append(values, v)
				s.space()
				if s.peek() == ',' {
					s.i++
					continue
				}
				if s.peek() == ']' {
					s.i++
					break
				}
				err = s.bad("expected , or ]")
			}
			err.index = len(values)
			return nil, err
		}
	}
	if err := s.end(); err != nil {
		return nil, err
	}
	return values, nil
}

// end passes over white space and demands that nothing else is left.
func (s *scanner) end() *badJSON {
	s.space()
	if s.i < len(s.b) {
		return s.bad("expected nothing more")
	}
	return nil
}

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\r', '\n':
			s.i++
		default:
			return
		}
	}
}

// peek is the next byte, 0 at the end. A byte 0 in JSON is a fault wherever it stands.
func (s *scanner) peek() byte {
	if s.i < len(s.b) {
		return s.b[s.i]
	}
	return 0
}

// bad is the fault that the next byte is.
func (s *scanner) bad(expected string) *badJSON {
	e := &badJSON{offset: s.i, index: -1}
	if s.i >= len(s.b) {
		e.what = expected + ", found the end"
		return e
	}
	c, size := utf8.DecodeRune(s.b[s.i:])
	if c == utf8.RuneError && size == 1 {
		e.notUTF, e.what = true, fmt.Sprintf("found the byte 0x%02x", s.b[s.i])
		return e
	}
	if c == '\ufeff' && s.i == 0 {
		e.what = "found a byte order mark, which has no place in it,"
		return e
	}
	e.what = fmt.Sprintf("%s, found %+q", expected, c)
	return e
}

func (s *scanner) tooDeep() *badJSON {
	return &badJSON{offset: s.i, index: -1, what: fmt.Sprintf("values are nested more than %d deep", transform.MaxDepth)}
}

// value reads the value that begins at the next byte and is nested so deep.
func (s *scanner) value(depth int) (v parsed, err *badJSON) {
	start := s.i
	v.kind = s.peek()
	switch v.kind {
	case '{':
		v.signalType, err = s.object(depth + 1)
	case '[':
		err = s.array(depth + 1)
	case '"':
		err = s.str()
	case 't':
		err = s.word("true")
	case 'f':
		err = s.word("false")
	case 'n':
		err = s.word("null")
	default:
		err = s.number()
	}
	if err == nil {
		v.raw = s.b[start:s.i]
	}
	return v, err
}

// object reads an object, and returns its last member signal_type, as written.
func (s *scanner) object(depth int) (signalType []byte, err *badJSON) {
	if depth > transform.MaxDepth {
		return nil, s.tooDeep()
	}
	s.i++
	s.space()
	if s.peek() == '}' {
		s.i++
		return nil, nil
	}
	for {
		s.space()
		key := s.i
		if s.peek() != '"' {
			return nil, s.bad("expected a member's name in quotes")
		}
		if err := s.str(); err != nil {
			return nil, err
		}
		isType := isSignalType(s.b[key:s.i])
		s.space()
		if s.peek() != ':' {
			return nil, s.bad("expected :")
		}
		s.i++
		s.space()
		v, err := s.value(depth)
		if err != nil {
			return nil, err
		}
		if isType {
			signalType = v.raw
		}
		s.space()
		switch s.peek() {
		case ',':
			s.i++
		case '}':
			s.i++
			return signalType, nil
		default:
			return nil, s.bad("expected , or }")
		}
	}
}

// isSignalType tells whether a member's name, as written, says signal_type.
func isSignalType(raw []byte) bool {
	const name = `"signal_type"`
	return string(raw) == name || len(raw) > len(name) && bytes.IndexByte(raw, '\\') >= 0 && unquote(raw) == name[1:len(name)-1]
}

func (s *scanner) array(depth int) *badJSON {
	if depth > transform.MaxDepth {
		return s.tooDeep()
	}
	s.i++
	s.space()
	if s.peek() == ']' {
		s.i++
		return nil
	}
	for {
		s.space()
		if _, err := s.value(depth); err != nil {
			return err
		}
		s.space()
		switch s.peek() {
		case ',':
			s.i++
		case ']':
			s.i++
			return nil
		default:
			return s.bad("expected , or ]")
		}
	}
}

func (s *scanner) str() *badJSON {
	s.i++
	for s.i < len(s.b) {
		c := s.b[s.i]
		switch {
		case c == '"':
			s.i++
			return nil
		case c == '\\':
			s.i++
			switch s.peek() {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
				s.i++
			case 'u':
				s.i++
				for range 4 {
					if !isHex(s.peek()) {
						return s.bad("expected four hex digits after \\u")
					}
					s.i++
				}
			default:
				return s.bad("expected an escape after \\")
			}
		case c < ' ':
			return s.bad("expected control characters of a string to be escaped")
		case c < utf8.RuneSelf:
			s.i++
		default:
			r, size := utf8.DecodeRune(s.b[s.i:])
			if r == utf8.RuneError && size == 1 {
				return s.bad("")
			}
			s.i += size
		}
	}
	return s.bad("expected the end of the string")
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func (s *scanner) word(word string) *badJSON {
	for i := range len(word) {
		if s.peek() != word[i] {
			return s.bad("expected " + word)
		}
		s.i++
	}
	return nil
}

func (s *scanner) number() *badJSON {
	start := s.i
	if s.peek() == '-' {
		s.i++
	}
	switch c := s.peek(); {
	case c == '0':
		s.i++
	case c >= '1' && c <= '9':
		s.digits()
	case s.i > start:
		return s.bad("expected a digit")
	default:
		return s.bad("expected a value")
	}
	if s.peek() == '.' {
		s.i++
		if !s.digits() {
			return s.bad("expected a digit")
		}
	}
	if s.peek()|0x20 == 'e' {
		s.i++
		if c := s.peek(); c == '+' || c == '-' {
			s.i++
		}
		if !s.digits() {
			return s.bad("expected a digit")
		}
	}
	return nil
}

// digits passes over digits, and reports whether there was one.
func (s *scanner) digits() bool {
	start := s.i
	for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
		s.i++
	}
	return s.i > start
}
