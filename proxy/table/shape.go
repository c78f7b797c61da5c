package table

import (
	stdjson "encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"signalpost/proxy/shape"
	"signalpost/queue"
	"signalpost/transform"
	"signalpost/transform/json"
)

// shape makes what a request has beside a JSON body and the route's URL: it brings the
// bodies, if they were made of the signal, into the route's format, in place, and sets s.
// An error is as of run.
func (r *Route) shape(use *transform.Session, doc any, vars transform.Vars, s *extras, bodies [][]byte, made bool) (err error) {
	if r.OrderBy != nil {
		key, failed := r.OrderBy.First(use, doc, vars)
		if err = named("order_by", failed); err == nil {
			s.order, err = orderKey(key)
			err = faultOf("order_by", err)
		}
	}
	if r.Path != nil && err == nil {
		s.Path, err = one("path", r.Path, use, doc, vars, shape.Path)
	}
	if r.Query != nil && err == nil {
		s.Query, err = one("query", r.Query, use, doc, vars, shape.Query)
	}
	if made && r.Format != "json" {
		s.Format, s.Type = r.Format, shape.ContentType(r.Format)
	}
	if r.ContentType != "" {
		s.Type = r.ContentType
	}
	for i := range bodies {
		if err == nil && s.Format != "" {
			bodies[i], err = shape.Body(s.Format, bodies[i])
			err = faultOf("format: "+s.Format, bounded(len(bodies[i]), err))
		}
	}
	return err
}

// one reads the first result of an expression.
func one(key string, p *transform.Program, use *transform.Session, doc any, vars transform.Vars, read func([]byte) (string, error)) (string, error) {
	result, err := p.First(use, doc, vars)
	switch {
	case err != nil:
		return "", named(key, err)
	case result == nil:
		return "", faultOf(key, errors.New("it yields nothing"))
	}
	text, err := read(result)
	return text, faultOf(key, bounded(len(text), err))
}

// named is the error of a run, with the key of its expression.
func named(key string, err error) error {
	if run, failed := errors.AsType[*transform.RunError](err); failed && run != transform.ErrBusy {
		return &transform.RunError{Kind: run.Kind, Msg: key + ": " + run.Msg}
	}
	return err
}

// bounded is err, or that what was made of a result has more bytes than one may have.
func bounded(bytes int, err error) error {
	if err == nil && bytes > transform.MaxOutput {
		return fmt.Errorf("it comes to more than %d MiB", transform.MaxOutput>>20)
	}
	return err
}

// faultOf is err, unless there is none, as the fault of the expression of a key.
func faultOf(key string, err error) error {
	if err == nil {
		return nil
	}
	return &transform.RunError{Kind: "failed", Msg: key + ": " + err.Error()}
}

// Normalized is a delivery with the placeholders of params as Try has them.
func Normalized(d queue.Detail) *queue.Detail {
	if s, err := shape.Parse(d.Shape); err == nil {
		s, d.Body = s.Normalized(d.Body)
		d.Shape = s.String()
	}
	return &d
}

// Readable is the body of a delivery in JSON: a string if it is of another format,
// which is named.
func Readable(body []byte, stored string) (in stdjson.RawMessage, format string) {
	s, err := shape.Parse(stored)
	if body == nil || err == nil && s.Format == "" {
		return body, ""
	}
	body, _ = json.Encode(string(body), 6*len(body)+2) // the most there is
	return body, s.Format
}

// maxOrder is how long an order key may be, in bytes.
const maxOrder = 1 << 10

// orderKey is the order key that a result of order_by stands for, in JSON: a string, or a
// number in the one way of writing it; "" is none.
func orderKey(result []byte) (string, error) {
	switch text := string(result); {
	case text == "" || text == "null":
		return "", nil
	case text[0] == '"':
		var key string
		if err := stdjson.Unmarshal(result, &key); err != nil {
			return "", err
		}
		if len(key) > maxOrder {
			return "", fmt.Errorf("its result has %d bytes, more than the %d of an order key", len(key), maxOrder)
		}
		return text, nil
	case strings.IndexByte("-0123456789", text[0]) >= 0:
		if len(text) > maxOrder {
			return "", fmt.Errorf("its result has %d digits, more than the %d of an order key", len(text), maxOrder)
		}
		return PlainNumber(text)
	}
	return "", errors.New("its result is neither a string nor a number nor null")
}

// PlainNumber writes a number of JSON in one way: its digits without zeros at either
// end, and what power of ten the last of them counts, unless that is the zeroth.
func PlainNumber(text string) (string, error) {
	number, power, _ := strings.Cut(strings.ToLower(text), "e")
	whole, part, _ := strings.Cut(number, ".")
	sign, whole := whole[:len(whole)-len(strings.TrimPrefix(whole, "-"))], strings.TrimPrefix(whole, "-")
	digits := strings.TrimLeft(whole+part, "0")
	if digits == "" {
		return "0", nil
	}
	exponent := new(big.Int)
	if _, ok := exponent.SetString(strings.TrimPrefix(power, "+"), 10); power != "" && !ok {
		return "", fmt.Errorf("the exponent of %.20s is no number", text)
	}
	short := strings.TrimRight(digits, "0")
	exponent.Add(exponent, big.NewInt(int64(len(digits)-len(short)-len(part))))
	if exponent.Sign() == 0 {
		return sign + short, nil
	}
	return sign + short + "e" + exponent.String(), nil
}
