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
	File   string `json:"-"`               // as given to Load
	Line   int    `json:"line"`            // where it begins, from 1; 0 when the file could not be read
	Column int    `json:"column"`          // likewise, in characters
	Route  string `json:"route,omitempty"` // the route it is about; "" for none, one without a name, or [defaults]
	Msg    string `json:"message"`         // what happened, to what, and what to do
	Also   Faults `json:"also,omitempty"`  // of a warning: where else the same is, of which place and route are to be read
	what   string // File is; "": a config
	at     int    // the place as an offset, while the file is read
}

// Error returns the fault in one line: `config FILE:LINE:COLUMN: route "NAME": MSG`, or
// `tests FILE:…`.
func (f Fault) Error() string {
	var b strings.Builder
	b.WriteString(cmp.Or(f.what, "config") + " " + f.File)
	if f.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", f.Line, f.Column)
	}
	if f.Route != "" {
		fmt.Fprintf(&b, ": route %q", f.Route)
	}
	b.WriteString(": " + f.Msg)
	for i, also := range f.Also {
		fmt.Fprintf(&b, "%s%d:%d", []string{"; also at ", ", "}[min(i, 1)], also.Line, also.Column)
		if also.Route != "" {
			fmt.Fprintf(&b, " (route %q)", also.Route)
		}
	}
	return b.String()
}

// A LoadError is why a config could not be loaded.
type LoadError struct {
	Faults                   // at least one
	Files  map[string]string // Config.Files as far as it is known: a change of one of the files may mend it
	cause  error             // why the config file itself could not be read; nil if it could
}

// Unwrap returns the faults, as an error of type Faults, and the cause.
func (e *LoadError) Unwrap() []error { return []error{e.Faults, e.cause} }

// Faults are all faults of a config, sorted by place. As an error it has at
// least one.
type Faults []Fault

// Error returns one line for each fault, and for those after the first hundred
// their number: it may become a line of the log.
func (fs Faults) Error() string {
	var lines []string
	for _, f := range fs[:min(len(fs), 100)] {
		lines = append(lines, f.Error())
	}
	if more := len(fs) - len(lines); more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(lines, "\n")
}

// placed gives the faults their line and column, sorts them by place, and
// leaves out what is there twice: what [defaults] does to several routes is one
// fault, of the first.
func (fs Faults) placed(data []byte) Faults {
	slices.SortStableFunc(fs, func(a, b Fault) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.Msg, b.Msg)) })
	fs = slices.CompactFunc(fs, func(a, b Fault) bool { return a.at == b.at && a.Msg == b.Msg })
	line, column, from := 1, 1, 0
	for i := range fs {
		for _, c := range string(data[from:fs[i].at]) {
			if column++; c == '\n' {
				line, column = line+1, 1
			}
		}
		fs[i].Line, fs[i].Column, from = line, column, fs[i].at
	}
	return fs
}

// byCause makes one of those that say the same.
func (fs Faults) byCause() (causes Faults) {
	for _, f := range fs {
		if i := slices.IndexFunc(causes, func(c Fault) bool { return c.Msg == f.Msg }); i >= 0 {
			causes[i].Also = append(causes[i].Also, f)
		} else {
			causes = append(causes, f)
		}
	}
	return causes
}
