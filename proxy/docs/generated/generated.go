// Package generated is for tests: the part of a page of documentation that is made
// from the code.
package generated

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// Check fails unless a page has want between a line "<!-- made by: COMMAND -->" and a
// line "<!-- end -->". With update, which COMMAND sets, it is written there.
func Check(t testing.TB, path, command, want string, update bool) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	first, last := fmt.Sprintf("<!-- made by: %s -->\n", command), "<!-- end -->\n"
	head, rest, begun := strings.Cut(string(b), first)
	got, tail, ended := strings.Cut(rest, last)
	switch {
	case !begun || !ended:
		t.Fatalf("%s has no lines %q and %q", path, first, last)
	case got == want:
	case update:
		if err := os.WriteFile(path, []byte(head+first+want+last+tail), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("%s is not what the code says; write it anew with: %s\nit has\n%s\nand should have\n%s", path, command, got, want)
	}
}
