package openapi

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"
)

// A Schema is one of JSON Schema 2020-12.
type Schema map[string]any

// Types are the schemas of Go types that cannot be found by reflection: those that
// marshal themselves, and strings of few values.
type Types map[reflect.Type]Schema

// Enum is the schema of a string that is one of the values.
func Enum[T ~string](values ...T) Schema { return Schema{"type": "string", "enum": values} }

// schemas makes the schemas of Go types; those of structs are named, and referred to.
type schemas struct {
	types Types
	named object
	is    map[string]reflect.Type // that a name stands for
	err   error
}

func (s *schemas) fail(format string, args ...any) {
	s.err = errors.Join(s.err, fmt.Errorf("openapi: "+format, args...))
}

// of is the schema of a value in a [Content].
func (s *schemas) of(v any) Schema {
	switch v := v.(type) {
	case Schema:
		return v
	case lines:
		return Schema{"type": "string", "description": "JSON objects, one on a line; blank lines mean nothing", "x-lines": s.of(v.of)}
	case anyOf:
		if len(v) == 1 {
			return s.of(v[0])
		}
		var all []Schema
		for _, of := range v {
			all = append(all, s.of(of))
		}
		return Schema{"anyOf": all}
	}
	return s.typ(reflect.TypeOf(v))
}

func (s *schemas) typ(t reflect.Type) Schema {
	if known, ok := s.types[t]; ok {
		return known
	}
	switch {
	case t.Kind() == reflect.Pointer:
		return Schema{"anyOf": []Schema{s.typ(t.Elem()), {"type": "null"}}}
	case t == reflect.TypeFor[time.Time]():
		return Schema{"type": "string", "format": "date-time"}
	case t == reflect.TypeFor[json.RawMessage]():
		return Schema{}
	case t.Implements(reflect.TypeFor[json.Marshaler]()):
		s.fail("type %s marshals itself: it needs an entry in Types", t)
		return nil
	case t.Implements(reflect.TypeFor[encoding.TextMarshaler]()):
		return Schema{"type": "string"}
	}
	switch t.Kind() {
	case reflect.Bool:
		return Schema{"type": "boolean"}
	case reflect.Int, reflect.Int64, reflect.Int32, reflect.Uint64, reflect.Uint32:
		return Schema{"type": "integer"}
	case reflect.Float64:
		return Schema{"type": "number"}
	case reflect.String:
		return Schema{"type": "string"}
	case reflect.Interface:
		return Schema{}
	case reflect.Slice:
		return Schema{"type": "array", "items": s.typ(t.Elem())}
	case reflect.Map:
		return Schema{"type": "object", "additionalProperties": s.typ(t.Elem())}
	case reflect.Struct:
		return s.object(t)
	}
	s.fail("type %s has no JSON", t)
	return nil
}

// object is a reference to the schema of a struct: under its name, unless one of
// another package has that, then with the package's before it. One without a name stands where it is used.
func (s *schemas) object(t reflect.Type) Schema {
	name := t.Name()
	if was, taken := s.is[name]; taken && was != t {
		pkg, _, _ := strings.Cut(t.String(), ".")
		name = strings.ToUpper(pkg[:1]) + pkg[1:] + name
	}
	ref := Schema{"$ref": "#/components/schemas/" + name}
	if s.named[name] != nil {
		return ref
	}
	properties, required := object{}, []string{}
	schema := Schema{"type": "object", "properties": properties}
	if name != "" {
		s.named[name], s.is[name] = schema, t
	}
	for _, f := range reflect.VisibleFields(t) {
		tag := f.Tag.Get("json")
		if f.Anonymous && tag == "" || !f.IsExported() || tag == "-" {
			continue // its fields follow
		}
		field, options, _ := strings.Cut(tag, ",")
		if field == "" {
			field = f.Name
		}
		of, optional := f.Type, strings.Contains(options, "omitempty") || strings.Contains(options, "omitzero")
		if optional && of.Kind() == reflect.Pointer {
			of = of.Elem()
		}
		if !optional {
			required = append(required, field)
		}
		properties[field] = s.typ(of)
	}
	if len(required) > 0 {
		schema["required"] = required
	}
	if name == "" {
		return schema
	}
	return ref
}
