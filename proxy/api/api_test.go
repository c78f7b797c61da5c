package api

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"
)

// No answer, however hostile what it quotes, is anything but a problem.
func TestProblemQuotes(t *testing.T) {
	w := httptest.NewRecorder()
	Refuse(400, "found %q and %s", "\x00\xff\u2028</script>", "\xff\"\\").At(3).With("Allow", "GET").With("Allow", "HEAD").Write(w)
	var p Problem
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || !utf8.Valid(w.Body.Bytes()) {
		t.Fatalf("%v: %q", err, w.Body.Bytes())
	}
	if p.Status != 400 || p.Title != "Bad Request" || p.Type != "about:blank" || p.Index == nil || *p.Index != 3 ||
		p.Error() != "signal 3 of the batch (from 0): "+p.Detail {
		t.Errorf("%+v", p)
	}
	if w.Code != 400 || len(w.Header()["Allow"]) != 2 || w.Header().Get("Content-Type") != "application/problem+json" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	if p := (&Problem{Status: http.StatusBadGateway, Title: http.StatusText(http.StatusBadGateway)}); p.Error() != "502 Bad Gateway" {
		t.Errorf("without a detail: %q", p.Error())
	}
}

// A quotation is cut between characters, and what is no UTF-8 is cut all the same.
func TestClip(t *testing.T) {
	for n := range 8 {
		for _, unit := range []string{"é", "€", "😀", "\xff", "\x80"} {
			s := strings.Repeat("x", 93+n) + strings.Repeat(unit, 50)
			if got := Clip(s); len(got) > 103 || len(got) < 99 && utf8.ValidString(s) || !strings.HasSuffix(got, "…") || !utf8.ValidString(got) {
				t.Errorf("%q is cut to %q", s, got)
			}
		}
	}
	if s := strings.Repeat("x", 100); Clip(s) != s {
		t.Errorf("%q is cut", s)
	}
}

// Nothing is written of what cannot be encoded, so that a problem can be.
func TestWriteFails(t *testing.T) {
	w := httptest.NewRecorder()
	if err := Write(w, 200, Signal{Signal: json.RawMessage("{")}); err == nil || w.Body.Len() > 0 {
		t.Errorf("%v, wrote %q", err, w.Body)
	}
}

func TestMediaType(t *testing.T) {
	for sent, want := range map[string]string{
		"application/json":                                 "application/json",
		"Application/JSON ; Charset=\"UTF-8\"":             "application/json",
		"application/json;charset=utf8":                    "application/json",
		"application/json; charset=Utf_8":                  "application/json",
		"application/json; charset='utf-8'":                "application/json",
		"application/json; charset=utf-8; profile=\"a;b\"": "application/json",
		"application/x-ndjson;":                            "application/x-ndjson",
		"application/json; charset=utf-16":                 "",
		"application/json; charset=iso-8859-1":             "",
		"application/json; charset=\"\"":                   "",
		"application/json; charset=utf-8; charset=latin1":  "",
		"application/json, text/plain":                     "",
		"application":                                      "application",
		"":                                                 "",
		"text/plain; charset=utf-8":                        "text/plain",
	} {
		if got := MediaType(http.Header{"Content-Type": {sent}}); got != want {
			t.Errorf("%s is %q, want %q", sent, got, want)
		}
	}
	for _, values := range [][]string{nil, {"application/json", "application/json"}} {
		if got := MediaType(http.Header{"Content-Type": values}); got != "" {
			t.Errorf("%q is %q", values, got)
		}
	}
}
