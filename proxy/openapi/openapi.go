// Package openapi writes down an HTTP API as OpenAPI 3.1 has it: from a table of
// its endpoints, which its router reads as well, and from the Go types of what
// they take and give, as encoding/json reads and writes them. So nothing that
// is said of the API in Go is said again.
package openapi

import (
	"encoding/json"
	"net/http"
	"reflect"
	"strconv"
	"strings"
)

// An Endpoint is one method of one path.
type Endpoint struct {
	Pattern  string          // as http.ServeMux reads it, such as GET /deliveries/{id}
	Name     string          // unique, for programs
	Text     string          // what it does, for people
	Params   []string        // of the query, and headers of its own, by their names in API.Params
	Takes    Content         // its body; nil for none
	Optional bool            // the body may be left out
	Gives    map[int]Content // what is no refusal, by status
	Sends    []string        // headers of these answers, by their names in API.Params
	Fails    []int           // statuses of refusals, further to those of every endpoint
	Open     bool            // there is no guard before it: it has only the Fails, and needs no token
}

// Content is what a body may be, by media type: a [Schema], or a value of the
// Go type that it is the JSON of.
type Content map[string]any

// JSON is the content that is the JSON of one Go type, or of several, of which it is any.
func JSON(of ...any) Content { return Content{"application/json": anyOf(of)} }

// Text is plain text.
func Text() Content { return Content{"text/plain; charset=utf-8": Schema{"type": "string"}} }

// Lines are JSON objects of one Go type, one on a line; blank lines mean nothing.
func Lines(of any) Content { return Content{"application/x-ndjson": lines{of}} }

// Or is what either content may be.
func (c Content) Or(other Content) Content {
	for media, of := range other {
		c[media] = of
	}
	return c
}

type (
	anyOf []any
	lines struct{ of any }
)

// A Param is a parameter, a part of a path, or a header of answers, wherever its name stands.
type Param struct {
	In     string // query, path or header; "" for one of answers
	Text   string
	Schema Schema
}

// An API is all of it.
type API struct {
	Title, Version, Text string
	Endpoints            []Endpoint
	Params               map[string]Param
	Types                Types
	Problem              any            // a refusal, of application/problem+json
	Fails                []int          // statuses that every endpoint may refuse with
	Sends                map[int]string // the header that refusals of a status have, by its name in Params
}

type object = map[string]any

// Document is the API in JSON. It is an error if a parameter has no entry in
// Params, or a type no JSON.
func (a *API) Document() ([]byte, error) {
	s := schemas{types: a.Types, named: object{}, is: map[string]reflect.Type{}}
	refusal := Content{"application/problem+json": a.Problem}
	paths := object{}
	for _, e := range a.Endpoints {
		method, path, _ := strings.Cut(e.Pattern, " ")
		answers := object{}
		fails, guarded := e.Fails, []object{{"token": []string{}}, {"password": []string{}}, {}}
		if e.Open {
			guarded = []object{}
		} else {
			fails = append(fails, a.Fails...)
		}
		for _, status := range fails {
			answers[strconv.Itoa(status)] = a.answer(&s, status, refusal, a.Sends[status])
		}
		for status, content := range e.Gives {
			answers[strconv.Itoa(status)] = a.answer(&s, status, content, e.Sends...)
		}
		operation := object{
			"operationId": e.Name, "summary": e.Text, "parameters": a.parameters(&s, path, e.Params),
			"responses": answers, "security": guarded,
		}
		if e.Takes != nil {
			operation["requestBody"] = object{"required": !e.Optional, "content": s.content(e.Takes)}
		}
		if paths[path] == nil {
			paths[path] = object{}
		}
		paths[path].(object)[strings.ToLower(method)] = operation
	}
	if s.err != nil {
		return nil, s.err
	}
	return json.Marshal(object{
		"openapi": "3.1.0",
		"info":    object{"title": a.Title, "version": a.Version, "description": a.Text},
		"paths":   paths,
		"components": object{
			"schemas": s.named,
			"securitySchemes": object{
				"token":    object{"type": "http", "scheme": "bearer"},
				"password": object{"type": "http", "scheme": "basic", "description": "the token as password, any user"},
			},
		},
	})
}

// parameters are those of a path and the named ones.
func (a *API) parameters(s *schemas, path string, names []string) []object {
	for part := range strings.SplitSeq(path, "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			names = append([]string{strings.TrimSuffix(name, "}")}, names...)
		}
	}
	all := []object{}
	for _, name := range names {
		p := a.param(s, name)
		all = append(all, object{"name": name, "in": p.In, "required": p.In == "path", "description": p.Text, "schema": p.Schema})
	}
	return all
}

func (a *API) param(s *schemas, name string) Param {
	p, known := a.Params[name]
	if !known {
		s.fail("parameter %s is not described", name)
	}
	return p
}

func (a *API) answer(s *schemas, status int, content Content, headers ...string) object {
	answer, described := object{"description": http.StatusText(status)}, object{}
	for _, name := range headers {
		if name != "" {
			p := a.param(s, name)
			described[name] = object{"description": p.Text, "schema": p.Schema}
		}
	}
	if len(described) > 0 {
		answer["headers"] = described
	}
	if content != nil {
		answer["content"] = s.content(content)
	}
	return answer
}

func (s *schemas) content(c Content) object {
	content := object{}
	for media, of := range c {
		content[media] = object{"schema": s.of(of)}
	}
	return content
}
