// Package config reads the TOML file that says what Signalpost does.
//
//	file ──▶ tree of values that know their place ──▶ read by the table of keys ──▶ Config
//	load.go   internals.go    │                        decode.go, config.go
//	                          └──▶ faults and warnings, each with its place (fault.go)
//
// [Load] returns a complete [Config], or every fault of the file at once. All files of
// a Config are read, its variables set, its expressions compiled: to replace one Config
// by another cannot fail. It never changes.
//
// A fault names file, line, column, the offending text, and what was expected
// instead. It does not hide others: a key that cannot be read keeps its default, and
// what depends on it is not judged. After a syntax error reading goes on at the next
// section. A fault in [defaults] is reported once, there, and not for each route.
//
// A value of type [Secret] always prints as "[secret]". Faults and warnings show no part
// of the value of a key that takes a secret, even of the wrong type; of a URL they show
// scheme and host, if it has both; of a syntax error only the place, since nobody knows
// what the text was meant to be. [Nearest] finds the key that an unknown one was meant to be.
//
// To add a key, add a field and a line to config.go and an entry to
// config.example.toml, and write its page anew: go test ./proxy/config -run
// TestReference -update. What it may be is a parser in values.go, what holds between
// it and others is in route.go.
package config
