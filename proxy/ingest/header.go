package ingest

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"signalpost/proxy/api"
)

// maxKey is the longest Idempotency-Key in bytes.
const maxKey = 255

// readType reports whether the body is lines of JSON (NDJSON) or JSON, and refuses all
// other types: a form and text/plain, for two, which any web page can send without a
// preflight request.
func readType(h http.Header) (lines bool, err error) {
	switch api.MediaType(h) {
	case "application/json":
		return false, nil
	case "application/x-ndjson":
		return true, nil
	}
	found := "none"
	switch values := h["Content-Type"]; len(values) {
	case 0:
	case 1:
		found = strconv.Quote(api.Clip(values[0]))
	default:
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
	case strings.ContainsFunc(key, func(c rune) bool { return c < ' ' || c > '~' }):
		return "", api.Refuse(http.StatusBadRequest, "Idempotency-Key must be printable ASCII")
	}
	return key, nil
}

// digest stands for what a key is bound to: the bytes, unpacked, and what else
// decides what becomes of them.
func digest(lines bool, to Offer, body []byte) (sum [32]byte) {
	h := sha256.New()
	fmt.Fprintf(h, "%t %s", lines, to.Only)
	if to.Type != "" { // without one it is as earlier versions made it
		fmt.Fprintf(h, " %s", to.Type)
	}
	h.Write([]byte{'\n'})
	h.Write(body)
	h.Sum(sum[:0])
	return sum
}

// traceContext is a W3C traceparent: its version, two ids, flags, and what a
// version later than 00 may add.
var traceContext = regexp.MustCompile(`^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-[ -~]*)?$`)

// stateMember is a member of a W3C tracestate.
var stateMember = regexp.MustCompile(`^[a-z0-9][a-z0-9_*/@-]{0,255}=[ -+\--<>-~]{0,255}[!-+\--<>-~]$`)

const (
	stateMost  = 32  // members of a tracestate that go on
	stateBytes = 512 // and their length together
)

// trace returns the traceparent that goes on to the receivers, or nothing if there is
// none that is valid, and its tracestate.
func trace(h http.Header) (parent, state string) {
	values := h["Traceparent"]
	if len(values) != 1 || len(values[0]) > 512 {
		return "", ""
	}
	m := traceContext.FindStringSubmatch(values[0])
	if m == nil || m[1] == "ff" || m[1] == "00" && m[4] != "" || strings.Trim(m[2], "0") == "" || strings.Trim(m[3], "0") == "" {
		return "", ""
	}
	var members []string
	for member := range strings.SplitSeq(strings.Join(h["Tracestate"], ","), ",") {
		member = strings.Trim(member, " \t")
		switch {
		case member == "":
		case !stateMember.MatchString(member):
			return strings.Clone(m[0]), ""
		case len(members) < stateMost && len(state)+len(member) < stateBytes:
			members = append(members, member)
			state = strings.Join(members, ",")
		}
	}
	return strings.Clone(m[0]), state // without the rest of the request's head
}
