package api

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
)

// Marshal is v as JSON and a line end, with < > & as they are. It fails where
// encoding/json does: not for the shapes of this package, unless a
// json.RawMessage in one is no JSON.
func Marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return b.Bytes(), err
}

// OrNull is v for a field that is null in JSON for the zero value.
func OrNull[T comparable](v T) *T {
	if v == *new(T) {
		return nil
	}
	return &v
}

// Write answers with v as JSON. It fails as Marshal does; nothing has been
// written then. Nothing of the answer may be kept by a cache.
func Write(w http.ResponseWriter, status int, v any) error {
	b, err := Marshal(v)
	if err == nil {
		WriteJSON(w, status, b)
	}
	return err
}

// WriteJSON answers with what Marshal made.
func WriteJSON(w http.ResponseWriter, status int, b []byte) { write(w, status, "application/json", b) }

// WriteText answers 200 with a text that is shown as it is.
func WriteText(w http.ResponseWriter, s string) {
	write(w, http.StatusOK, "text/plain; charset=utf-8", []byte(s))
}

func write(w http.ResponseWriter, status int, contentType string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	w.Write(body) // an error means that the client has gone
}
