package deliver

import (
	"errors"
	"net"
	"strings"
	"syscall"
)

// hides reports whether a DNS look-up failed with errno, which a DNSError has only in
// its text. TestShortage notices a change.
func hides(err *net.DNSError, errno syscall.Errno) bool {
	return strings.HasSuffix(err.Err, ": "+errno.Error())
}

// alertOf returns what a TLS alert of the other side says, "" if err is none.
// crypto/tls exports no type for it; TestTLS notices a change.
func alertOf(err error) string {
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || op.Op != "remote error" {
		return ""
	}
	return strings.TrimPrefix(op.Err.Error(), "tls: ")
}
