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
	// A Trigger is why an attempt was made when it was.
	Trigger = record.Trigger
	// A Class says how an attempt ended.
	Class = record.Class
	// A Timing is how long the parts of an attempt took.
	Timing = record.Timing
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

// The triggers.
const (
	Scheduled = record.Scheduled
	Manual    = record.Manual
	Probe     = record.Probe
)

// The classes. An attempt that delivered is of Class2xx.
const (
	Class2xx       = record.Class2xx
	Class3xx       = record.Class3xx
	Class4xx       = record.Class4xx
	Class5xx       = record.Class5xx
	ClassTimeout   = record.ClassTimeout
	ClassConnect   = record.ClassConnect
	ClassDNS       = record.ClassDNS
	ClassTLS       = record.ClassTLS
	ClassMalformed = record.ClassMalformed
	ClassAuth      = record.ClassAuth
	ClassSuccess   = record.ClassSuccess
	ClassLocal     = record.ClassLocal
)

// ParseSignalID reads an id as String writes it; the error says what is wrong with it.
func ParseSignalID(s string) (SignalID, error) { return record.ParseSignalID(s) }

// ParseDeliveryID reads an id as String writes it; the error says what is wrong with it.
func ParseDeliveryID(s string) (DeliveryID, error) { return record.ParseDeliveryID(s) }
