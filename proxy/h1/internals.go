package h1

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// What net/http's transport says in words alone. TestClassify makes it say each.

// classify returns the error that a plain request would have failed with.
func classify(err error) error {
	has := func(texts ...string) bool {
		return slices.ContainsFunc(texts, func(t string) bool { return strings.Contains(err.Error(), t) })
	}
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF), has("malformed", "Content-Length", "ransfer encoding", "PROTOCOL_ERROR"):
		return malformed(err)
	case errors.Is(err, io.EOF), has("server closed idle connection", "http2: client conn", "http2: Transport received Server's graceful shutdown GOAWAY"):
		return fmt.Errorf("%w: %w", ErrClosed, err)
	case has("headers exceeded", "message too large", "header list larger"):
		return fmt.Errorf("%w: %w", ErrLongHead, err)
	}
	return err
}

// malformed returns what http.ReadResponse says of bytes that are no answer.
func malformed(err error) error {
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return ErrCut
	case strings.Contains(err.Error(), `malformed HTTP response "\x15\x03`):
		return ErrTLS
	}
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return fmt.Errorf("%w: %w", ErrMalformed, err)
}
