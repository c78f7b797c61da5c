package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A Fault is one thing wrong with a config, and where. It discloses no secret:
// of a URL it shows the scheme and host at most.
type Fault struct {
	File string // as given to Load
	// Line and Column are where it begins, from 1. A column is one character.
	// Both are 0 when the file could not be read.
	Line, Column int
	Route        string // the route it is about; "" for none, one without a name, or [defaults]
	Msg          string // what happened, to what, and what to do
}

// Error returns the fault in one line: `config FILE:LINE:COLUMN: route "NAME": MSG`.
func (f Fault) Error() string {
	var b strings.Builder
	b.WriteString("config " + f.File)
	if f.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", f.Line, f.Column)
	}
	b.WriteString(": ")
	if f.Route != "" {
		fmt.Fprintf(&b, "route %q: ", f.Route)
	}
	b.WriteString(f.Msg)
	return b.String()
}

// A LoadError is why a config could not be loaded.
type LoadError struct {
	Faults                   // at least one
	Files  []string          // what Config.Files would be, as far as it can be told: a change of one may mend it
	Held   map[string]string // what Config.Held would be
}

// Unwrap returns the faults, as an error of type Faults.
func (e *LoadError) Unwrap() error { return e.Faults }

// Faults are all faults of a config, sorted by place. As an error it has at
// least one.
type Faults []Fault

// Error returns one line for each fault.
func (fs Faults) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns each fault as an error of type Fault.
func (fs Faults) Unwrap() []error {
	errs := make([]error, len(fs))
	for i, f := range fs {
		errs[i] = f
	}
	return errs
}

// sorted returns the faults by place, each once.
func (fs Faults) sorted() Faults {
	slices.SortStableFunc(fs, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Msg, b.Msg))
	})
	// What [defaults] does to several routes is one fault, of the first.
	return slices.CompactFunc(fs, func(a, b Fault) bool {
		return a.Line == b.Line && a.Column == b.Column && a.Msg == b.Msg
	})
}
