package cli

import (
	"testing"

	"signalpost/queue"
)

func TestStateOf(t *testing.T) {
	older := queue.DeliveryID{15: 1}
	for want, info := range map[string]queue.Info{
		"delivered":   {State: queue.StateDelivered, OutOfOrder: true},
		"dead (gone)": {State: queue.StateDead, Reason: queue.Gone, OutOfOrder: true},
		"pending":     {State: queue.StatePending},
		"pending (waits for dlv_00000000000000000000000001)": {State: queue.StatePending, WaitsFor: &older},
		"pending (out of order)":                             {State: queue.StatePending, OutOfOrder: true},
	} {
		if got := stateOf(info); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
