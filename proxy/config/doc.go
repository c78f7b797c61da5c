// Package config reads the TOML file that says what Signalpost does.
//
//	file ──▶ tree of values that know their place ──▶ read by the table of keys ──▶ Config
//	          └──────────────────────────────┴──▶ faults and warnings, each with its place
//
// [Load] gives all or nothing: a [Config] that is complete, or every fault of
// the file at once. A Config holds no unread file, unset variable or expression
// that was not compiled, so that whoever swaps one for another can do so
// without anything left that fails. It never changes.
//
// A fault names file, line, column, the offending text, and what was expected
// in its place. One does not hide others: a key that cannot be read keeps its
// default for the rest of the work, and what depends on it is not judged. Behind
// a syntax error reading goes on at the next section. A fault in [defaults] is
// reported once, there, and not for each route.
//
// A value of type [Secret] prints as "[secret]", whoever prints it. Faults and
// warnings need not know one: of a key that takes a secret value they show
// nothing, even of one of the wrong type; of a URL scheme and host, if it has
// both; of a syntax error the place alone, since it cannot be known what the
// text was meant to be.
//
// To add a key, add a field and a line to config.go and an entry to
// config.example.toml, and write its page anew: go test ./proxy/config -run
// TestReference -update. What it may be is a parser in values.go, what holds between
// it and others is in route.go.
package config
