package api

import (
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Problem is a refusal, as RFC 9457 writes it. Its detail says what happened,
// to what, and what to do, and holds no secret. It is an error on both ends of
// the API, and is not changed once it has been returned.
type Problem struct {
	Type   string `json:"type"` // about:blank: the status says what kind it is
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Index  *int   `json:"index,omitempty"` // of the element of a batch, from 0; nil if it is about the whole request

	header http.Header // goes with it: Allow, Retry-After
}

// Refuse makes a problem. Its detail is a sentence without the full stop.
func Refuse(status int, format string, args ...any) *Problem {
	return &Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: fmt.Sprintf(format, args...)}
}

// With adds a header to the answer and returns p.
func (p *Problem) With(name, value string) *Problem {
	if p.header == nil {
		p.header = http.Header{}
	}
	p.header.Add(name, value)
	return p
}

// RetryAfter is how long the sidecar asks to wait; 0 if it does not say.
func (p *Problem) RetryAfter() time.Duration {
	seconds, _ := strconv.Atoi(p.header.Get("Retry-After"))
	return time.Duration(seconds) * time.Second
}

// At says which element of a batch p is about, and returns p.
func (p *Problem) At(index int) *Problem {
	p.Index = &index
	return p
}

// Error is the detail, and the element it is about.
func (p *Problem) Error() string {
	detail := p.Detail
	if detail == "" {
		detail = fmt.Sprintf("%d %s", p.Status, p.Title)
	}
	if p.Index != nil {
		return fmt.Sprintf("signal %d of the batch (from 0): %s", *p.Index, detail)
	}
	return detail
}

// Write answers with the problem.
func (p *Problem) Write(w http.ResponseWriter) {
	b, _ := Marshal(p) // strings and numbers always can be
	for name, values := range p.header {
		w.Header()[name] = values
	}
	write(w, p.Status, "application/problem+json", b)
}

// MediaType is the media type of a request's body in lower case, if the body is in
// UTF-8 and the type is given once; else "".
func MediaType(h http.Header) string {
	values := h["Content-Type"]
	if len(values) != 1 {
		return ""
	}
	if values[0] == "application/json" { // as nearly all write it
		return values[0]
	}
	media, params, err := mime.ParseMediaType(values[0])
	charset, given := params["charset"]
	// Some write utf8, UTF_8 or 'utf-8'.
	plain := strings.NewReplacer("-", "", "_", "", "'", "").Replace(charset)
	if err != nil || given && !strings.EqualFold(plain, "utf8") {
		return ""
	}
	return media
}

// Clip shortens what a stranger sent, to be quoted in a problem.
func Clip(s string) string {
	const most = 100 // bytes
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
