package rehearse

import (
	"bufio"
	"bytes"
	stdjson "encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/oklog/ulid/v2"

	"signalpost/proxy/api"
	"signalpost/queue"
	"signalpost/transform/json"
)

// Signals reads signals, one a line: as GET /signals has them, or as an app sends
// them. Blank lines are passed over. An error of a line names its number.
func Signals(r io.Reader, yield func(queue.Signal) error) error {
	lines := bufio.NewReaderSize(r, 256<<10)
	for n := 1; ; n++ {
		line, err := lines.ReadBytes('\n')
		if err != nil && err != io.EOF {
			return err
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			s, fault := signal(line, n)
			if fault != nil {
				return fmt.Errorf("line %d: %w", n, fault)
			}
			if fault := yield(s); fault != nil {
				return fault
			}
		}
		if err != nil {
			return nil
		}
	}
}

// signal reads the nth line. The signal of an app gets an id made of n.
func signal(line []byte, n int) (queue.Signal, error) {
	var stored api.StoredSignal
	if err := stdjson.Unmarshal(line, &stored); err == nil && stored.ID != (queue.SignalID{}) && stored.Signal != nil {
		return queue.Signal{ID: stored.ID, Type: stored.Type, Body: stored.Signal}, nil
	}
	signals, batch, err := json.Signals("", line, false, nil)
	switch {
	case err != nil:
		return queue.Signal{}, err
	case batch:
		return queue.Signal{}, fmt.Errorf("one signal a line is expected, and this is a batch")
	}
	id := testID
	id.SetTime(ulid.Timestamp(testID.Timestamp().Add(time.Duration(n) * time.Millisecond)))
	return queue.Signal{ID: queue.SignalID(id), Type: signals[0].Type, Body: line}, nil
}
