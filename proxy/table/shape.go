package table

import (
	stdjson "encoding/json"
	"errors"
	"fmt"

	"signalpost/proxy/shape"
	"signalpost/queue"
	"signalpost/transform"
	"signalpost/transform/json"
)

// shape makes what of a request is more than JSON for the route's URL: the bodies, in
// place, if they were made of the signal, and in s the rest. An error is as of run.
func (r *Route) shape(use *transform.Session, doc any, vars transform.Vars, s *beside, bodies [][]byte, made bool) (err error) {
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

// Settled is a delivery with the placeholders of params as Try has them.
func Settled(d queue.Detail) *queue.Detail {
	if s, err := shape.Parse(d.Shape); err == nil {
		s, d.Body = s.Settled(d.Body)
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
