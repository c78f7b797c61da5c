package proxy

import (
	"fmt"
	"strings"
	"time"
)

// routesOf writes routes, each a name and further lines.
func routesOf(routes ...string) string {
	var b strings.Builder
	for _, r := range routes {
		name, lines, _ := strings.Cut(r, "\n")
		fmt.Fprintf(&b, "[[route]]\nname = %q\nurl = \"http://127.0.0.1:9/%s\"\n%s\n", name, name, lines)
	}
	return b.String()
}

const sample = `{"signal_type":"product_qualified_lead","confidence":0.92,"id":12345678901234567890,"account":{"name":"Acme Corp"},"events":["a","b","c"]}`

// latest is when a test gives up waiting for what is to come about, which takes far
// less, also on a machine that does thirty things at once.
func latest() time.Time { return time.Now().Add(3 * time.Minute) }
