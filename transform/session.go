package transform

import "context"

// A Class says on whose account expressions run. Those of one class never wait
// for those of the other.
type Class int

// The classes of sessions.
const (
	ForSignals Class = iota // what the app sends, and what is made anew of it
	ForTries                // what somebody tries out
)

// A Session is the use one request makes of expressions. It bounds, together
// with the other sessions, the memory of what they yield: that stays on its
// account until it is closed. It is safe for concurrent use.
type Session struct {
	ctx   context.Context
	class Class
}

// NewSession begins a session, which must be closed. Its runs end when ctx does.
func NewSession(ctx context.Context, class Class) *Session {
	return &Session{ctx: ctx, class: class}
}

// Close ends the session: what its runs have yielded is stored, or needed no more.
func (s *Session) Close() {}
