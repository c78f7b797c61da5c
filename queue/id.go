package queue

import "signalpost/queue/record"

// Ids and what is stored as it is shown have their home in package record.
type (
	// A SignalID names one accepted signal.
	SignalID = record.SignalID
	// A DeliveryID names one delivery.
	DeliveryID = record.DeliveryID
	// A Verdict is what became of an attempt.
	Verdict = record.Verdict
	// A Reason says why a delivery is dead.
	Reason = record.Reason
)

// MaxDeliveries bounds the deliveries of one signal.
const MaxDeliveries = record.MaxDeliveries

// The verdicts.
const (
	Delivered = record.Delivered
	Retry     = record.Retry
	Dead      = record.Dead
)

// The reasons.
const (
	Gone      = record.Gone
	Exhausted = record.Exhausted
	Transform = record.Transform
	Filtered  = record.Filtered
	TooOld    = record.TooOld
	Discarded = record.Discarded
)

// ParseSignalID reads an id as String writes it; the error says what is wrong with it.
func ParseSignalID(s string) (SignalID, error) { return record.ParseSignalID(s) }

// ParseDeliveryID reads an id as String writes it; the error says what is wrong with it.
func ParseDeliveryID(s string) (DeliveryID, error) { return record.ParseDeliveryID(s) }
