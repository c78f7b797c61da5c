package store

import "strings"

// What is known here of Pebble beyond its documentation. TestInternals fails
// when one of these changes.

// isNewerFormat tells whether a newer version of Pebble wrote the store.
func isNewerFormat(err error) bool {
	return err != nil && strings.Contains(err.Error(), "unknown format major version")
}

// isEmptyTable tells whether a flush ended with nothing to write: all there
// was had been deleted again.
func isEmptyTable(err error) bool { return err.Error() == "pebble: empty table" }
