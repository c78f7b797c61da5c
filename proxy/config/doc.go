// Package config reads the TOML file that says what Signalpost does.
//
//	file ──▶ tree ──▶ decode, by the schema ──▶ Config
//	          └───────────────┴────▶ faults and warnings, each with its place
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
// Behind a syntax error reading goes on at the next section.
//
// A fault in [defaults] is reported once, there, and not for each route.
//
// # Secrets
//
// A value of type [Secret] prints as "[secret]", whoever prints it. Faults and
// warnings are written so that they need not know one:
//
//   - of a key that takes a secret value, they never show the value, even one
//     of the wrong type;
//   - of a URL they show scheme and host, and those only when it has both;
//   - of a syntax error they show the place alone, since it cannot be known
//     what the text was meant to be.
//
// Config.Hash is cut short, and of the file's bytes alone: it tells versions of
// a file apart and says nothing of what secrets are read from elsewhere.
//
// # Where things are
//
//	config.go  what a Config is
//	schema.go  every key, its default, where it goes and how it is read
//	fields.go  how each kind of value is read
//	route.go   what holds between the keys of a route, and [defaults]
//	decode.go  reading a table by a schema; how faults speak
//	tree.go    TOML to a tree of values that know their place
//	load.go    files, and the whole from top to bottom
//	secret.go  the type that cannot be printed
package config
