package h1

import (
	"net/http"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// Fields are the header lines of a plain request or answer. They are used again.
type fields struct {
	header http.Header
	values []string // of header
	length int64    // of the body; -1: nothing is said of one
}

// parse reads header lines, each ended by CR LF, in place of those before. It
// is false with any that net/http may understand otherwise, or that says how the
// connection or the body goes on, but for a length and keep-alive.
func (f *fields) parse(lines string) bool {
	if f.header == nil {
		f.header = http.Header{}
	}
	clear(f.header)
	f.values, f.length = f.values[:0], -1
	for lines != "" {
		var line string
		line, lines, _ = strings.Cut(lines, "\r\n")
		name, value, found := strings.Cut(line, ":")
		value = strings.Trim(value, " \t")
		if !found || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			return false
		}
		switch name = http.CanonicalHeaderKey(name); name {
		case "Content-Length":
			n, err := strconv.ParseUint(value, 10, 31)
			if err != nil || f.length >= 0 {
				return false
			}
			f.length = int64(n)
		case "Connection":
			if !strings.EqualFold(value, "keep-alive") {
				return false
			}
		case "Transfer-Encoding", "Trailer", "Expect", "Upgrade", "Pragma":
			return false
		}
		if f.header[name] != nil {
			f.header[name] = append(f.header[name], value)
			continue
		}
		f.values = append(f.values, value)
		f.header[name] = f.values[len(f.values)-1 : len(f.values) : len(f.values)]
	}
	return true
}
