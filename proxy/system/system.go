// Package system has what differs between operating systems: see proxy/docs/homes.md for
// what is missing where. (Package h1 and the store have files of their own.)
package system

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
)

// FreePorts returns n different ports of loopback that nobody listened on just
// now, for processes that are to be started. They are below those that systems
// give to outgoing connections and to listeners that ask for any port, so that
// none of these takes one in the meantime.
func FreePorts(n int) (ports []int, err error) {
	const first, end = 10_000, 32_000
	for tried := 0; len(ports) < n; tried++ {
		port := first + rand.IntN(end-first)
		l, failed := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if failed == nil {
			defer l.Close() // only at the end: the next is another
			ports = append(ports, port)
		} else if err = errors.Join(err, failed); tried > 100+n {
			return nil, fmt.Errorf("no free ports: %w", err)
		}
	}
	return ports, nil
}
