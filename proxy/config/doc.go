// Package config reads the TOML file that says what Signalpost does.
//
//	file ──▶ tree, judged by go-toml ──▶ values, by the table of keys ──▶ Config
//	          └────────────────────────────┴────▶ faults and warnings, each with its place
//
// [Load] gives all or nothing: a [Config] that is complete, or every fault of
// the file at once. A Config holds no unread file, unset variable or expression
// that was not compiled, so that whoever swaps one for another can do so
// without anything left that fails. It never changes.
//
// # Faults
//
// A fault names file, line, column, the offending text, and what was expected
// in its place. One fault does not hide others: a key that cannot be read keeps
// its default for the rest of the work, and what depends on it is not judged.
// Behind a syntax error reading goes on at the next section. A fault in
// [defaults] is reported once, there, and not for each route.
//
// # Secrets
//
// A value of type [Secret] prints as "[secret]", whoever prints it. Faults and
// warnings are written so that they need not know one: of a key that takes a
// secret value they show nothing, even of one of the wrong type; of a URL scheme
// and host, if it has both; of a syntax error the place alone, since it cannot
// be known what the text was meant to be.
//
// # Where things are
//
//	config.go     what a Config is
//	keys.go       every key: where it goes, its default, how it is read
//	values.go     how each kind of value is read
//	signing.go    secret values, and signing with them
//	route.go      [defaults], URLs, headers, TLS, and what holds between keys
//	decode.go     reading a table by its keys; how faults speak
//	internals.go  TOML to a tree of values that know their place
//	load.go       the whole from top to bottom
//
// To add a key, add a field to a struct of config.go, a line to keys.go and an
// entry to config.example.toml; what it may be is a parser in values.go.
package config
