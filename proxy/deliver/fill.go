package deliver

import (
	"bytes"
	"compress/gzip"
	"net/url"
	"strings"
	"sync"

	"signalpost/proxy/config"
	"signalpost/proxy/shape"
)

// valuesOf returns what looks up the values of params.
func valuesOf(params map[string]config.Secret) shape.Values {
	known := make(map[string]config.Secret, len(params))
	for name, value := range params {
		known[shape.Plain(name)] = value
	}
	return func(plain string) (string, bool) {
		value, ok := known[plain]
		return value.Reveal(), ok
	}
}

// fill sets the content type, path and query of the attempt's request as its delivery's
// shape says, fills in params, and compresses the body, which is signed before that.
func (e *Endpoint) fill(a *attempt) error {
	d := &a.delivery
	s, err := shape.Parse(d.Shape)
	if err != nil {
		return err // of a newer version
	}
	if s, d.Body, err = s.Fill(d.Body, e.params); err != nil {
		return err
	}
	if s.Type != "" {
		a.header["Content-Type"] = []string{s.Type}
	}
	if s.Path != "" || s.Query != "" {
		u := *e.request.URL
		u.RawPath = strings.TrimSuffix(u.EscapedPath(), "/") + s.Path
		if s.Path == "" {
			u.RawPath = e.request.URL.EscapedPath()
		}
		if u.Path, err = url.PathUnescape(u.RawPath); err != nil {
			return err
		}
		u.RawQuery = joined(u.RawQuery, s.Query)
		a.call.URL = &u
	}
	if a.sent = d.Body; e.route.Compression == "gzip" {
		a.sent = compressed(d.Body)
	}
	return nil
}

// unfill undoes fill.
func (e *Endpoint) unfill(a *attempt) {
	a.header["Content-Type"], a.call.URL, a.unfit = e.fixed["Content-Type"], e.request.URL, nil
}

// joined joins two queries.
func joined(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "&" + b
}

var compressors = sync.Pool{New: func() any { return gzip.NewWriter(nil) }}

func compressed(body []byte) []byte {
	var b bytes.Buffer
	w := compressors.Get().(*gzip.Writer)
	defer compressors.Put(w)
	w.Reset(&b)
	w.Write(body) // to memory
	w.Close()
	w.Reset(nil)
	return b.Bytes()
}
