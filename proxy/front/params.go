package front

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"signalpost/proxy/api"
	"signalpost/proxy/units"
	"signalpost/queue"
	signaljson "signalpost/transform/json"
)

// A query is a request's parameters: each known, given once and not empty. The
// functions that read a parameter join what is wrong with it to err.
type query struct {
	values map[string]string
	err    error
}

// readQuery reads parameters. It refuses an unknown, repeated or empty one.
func readQuery(raw string, known []string) (*query, error) {
	q := &query{}
	if raw == "" {
		return q, nil
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, api.Refuse(http.StatusBadRequest, "the query of the URL is malformed: %s", api.Clip(err.Error()))
	}
	q.values = make(map[string]string, len(values))
	for name, v := range values {
		switch {
		case !slices.Contains(known, name):
			return nil, unknown("parameter", name, known)
		case len(v) > 1:
			return nil, api.Refuse(http.StatusBadRequest, "parameter %s came %d times; give it once", name, len(v))
		case v[0] == "":
			return nil, api.Refuse(http.StatusBadRequest, "parameter %s is empty; leave it out or give it a value", name)
		}
		q.values[name] = v[0]
	}
	return q, nil
}

func (q *query) malformed(name, expected string) error {
	return api.Refuse(http.StatusBadRequest, "parameter %s is malformed: expected %s, found %q", name, expected, api.Clip(q.values[name]))
}

func (q *query) fault(name, expected string) { q.err = errors.Join(q.err, q.malformed(name, expected)) }

// cursor returns err, or what is wrong with the parameter after if that is why.
func (q *query) cursor(err error) error {
	if errors.Is(err, queue.ErrCursor) {
		return q.malformed("after", "the next of the page before")
	}
	return err
}

// oneOf reads a parameter that has few values; "" if it is not given.
func oneOf[T ~string](q *query, name string, values ...T) T {
	v, given := q.values[name]
	if given && !slices.Contains(values, T(v)) {
		var names []string
		for _, value := range values {
			names = append(names, string(value))
		}
		q.fault(name, "one of "+strings.Join(names, ", "))
	}
	return T(v)
}

// listOf reads a list with commas. Each of its words stands for one value or several.
// It is nil if the parameter is not given.
func listOf[T any](q *query, name, expected string, read func(word string) []T) (all []T) {
	v, given := q.values[name]
	if !given {
		return nil
	}
	for word := range strings.SplitSeq(v, ",") {
		some := read(word)
		if some == nil {
			q.fault(name, expected)
			return nil
		}
		all = append(all, some...)
	}
	return all
}

// verdicts are those that a word of verdict names.
func verdicts(word string) []queue.Verdict {
	switch v := queue.Verdict(word); v {
	case queue.Delivered, queue.Retry, queue.Dead:
		return []queue.Verdict{v}
	case "failed":
		return []queue.Verdict{queue.Retry, queue.Dead}
	}
	return nil
}

var statusForm = regexp.MustCompile(`^[1-9](\d\d|xx)$`)

// statuses are those that a word of status names: one, or a class.
func statuses(word string) []queue.StatusRange {
	if !statusForm.MatchString(word) {
		return nil
	}
	first, _ := strconv.Atoi(strings.Replace(word, "xx", "00", 1))
	last, _ := strconv.Atoi(strings.Replace(word, "xx", "99", 1))
	return []queue.StatusRange{{From: first, To: last}}
}

// What list parameters expect.
const (
	verdictForm  = "delivered, retry, dead or failed, or a list of them such as retry,dead"
	statusesForm = "a status such as 503, a class such as 5xx, or a list of them such as 500,503"
)

// number reads a whole number between two bounds; otherwise if it is not given.
func (q *query) number(name string, otherwise, least, most int) int {
	v, given := q.values[name]
	if !given {
		return otherwise
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < least || n > most {
		q.fault(name, fmt.Sprintf("a number from %d to %d", least, most))
	}
	return n
}

// time reads a time: RFC 3339, with a small t and z, too, or a duration back
// from now. It is zero if it is not given.
func (q *query) time(name string) time.Time {
	v, given := q.values[name]
	if t, ok := parseTime(v); ok || !given {
		return t
	}
	if _, ok := parseTime(strings.Replace(v, " ", "+", 1)); ok {
		q.fault(name, "a time whose + is written %2B: in a URL it means a space")
	} else if back, ok := units.ParseDuration(v); ok && back >= 0 {
		return time.Now().Add(-back)
	} else {
		q.fault(name, `a time such as 2026-04-29T14:31:08Z, or a duration back such as 15m, 24h or 7d`)
	}
	return time.Time{}
}

// rfc3339 is stricter than time.Parse, which takes a comma in the seconds, and
// hours of one digit.
var rfc3339 = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$`)

func parseTime(s string) (time.Time, bool) {
	s = strings.ToUpper(s)
	t, err := time.Parse(time.RFC3339, s)
	return t, err == nil && rfc3339.MatchString(s)
}

// id reads an id of a signal or delivery into dst, if it is given.
func (q *query) id(name string, dst encoding.TextUnmarshaler) {
	if v, given := q.values[name]; given && dst.UnmarshalText([]byte(v)) != nil {
		q.fault(name, "an id of a "+name)
	}
}

// maxCommand bounds the bodies of requests, in bytes, but those of signals and of POST /try.
const maxCommand = 64 << 10

// readCommand reads a body of maxCommand bytes at most: see readJSON.
func (f *Front) readCommand(r *http.Request, dst any, known ...string) (members map[string]json.RawMessage, err error) {
	body, done, err := f.Ingest.ReadBody(r, maxCommand)
	if err != nil {
		return nil, err
	}
	defer done()
	return readJSON(r, body, dst, known...)
}

// readJSON reads a request's body, a JSON object with no member but the known
// ones, into dst, and returns what each member is. No body leaves dst as it is.
func readJSON(r *http.Request, body []byte, dst any, known ...string) (members map[string]json.RawMessage, err error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, nil
	}
	if api.MediaType(r.Header) != "application/json" {
		return nil, api.Refuse(http.StatusUnsupportedMediaType, "Content-Type must be application/json, in UTF-8; found %q", api.Clip(r.Header.Get("Content-Type"))).
			With("Accept", "application/json")
	}
	kind, err := signaljson.Check(body)
	if err != nil {
		return nil, api.Refuse(http.StatusBadRequest, "the body is %s", err)
	}
	if kind != "an object" {
		return nil, api.Refuse(http.StatusBadRequest, "the body must be a JSON object; found %s", kind)
	}
	err = json.Unmarshal(body, &members)
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if !slices.Contains(known, name) {
			return nil, unknown("member", name, known)
		}
	}
	if err == nil {
		err = json.Unmarshal(body, dst)
	}
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrong):
		return nil, api.Refuse(http.StatusBadRequest, "%q must be a %s; found a %s", wrong.Field, strings.Replace(wrong.Type.String(), "int", "whole number", 1), wrong.Value)
	case err != nil:
		return nil, api.Refuse(http.StatusBadRequest, "the body cannot be understood: %s", api.Clip(err.Error()))
	}
	return members, nil
}

// unknown refuses a parameter or a member that is none of those known.
func unknown(what, name string, known []string) error {
	if len(known) == 0 {
		return api.Refuse(http.StatusBadRequest, "unknown %s %q; there are none here", what, api.Clip(name))
	}
	return api.Refuse(http.StatusBadRequest, "unknown %s %q; known are %s", what, api.Clip(name), strings.Join(known, ", "))
}
