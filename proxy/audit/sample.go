package audit

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/oklog/ulid/v2"

	"signalpost/proxy/config"
	"signalpost/proxy/ingest"
	"signalpost/proxy/table"
	"signalpost/queue"
	"signalpost/transform"
)

// Mark is the member of a sample that says that it is one.
const Mark = "signalpost_audit"

const sampleName = "Signalpost audit, a sample"

// sample is a delivery that the route makes of the signal, changed by change, which may be nil.
func (a *auditor) sample(change func(signal map[string]any)) (d queue.Delivery) {
	if a.err == nil {
		d, a.err = a.newSample(change)
	}
	return d
}

func (a *auditor) newSample(change func(signal map[string]any)) (queue.Delivery, error) {
	if _, err := ingest.SignalType(a.Signal); err != nil {
		return queue.Delivery{}, fmt.Errorf("the sample signal: %w", err)
	}
	var signal map[string]any
	d := json.NewDecoder(bytes.NewReader(a.Signal))
	d.UseNumber()
	if err := d.Decode(&signal); err != nil {
		return queue.Delivery{}, err
	}
	signal[Mark] = "a sample, sent by hand to see how this receiver answers: nothing happened"
	if account, ok := signal["account"].(map[string]any); ok { // which most transforms keep
		account["name"] = sampleName
	}
	if change != nil {
		change(signal)
	}
	body, err := json.Marshal(signal)
	if err != nil {
		return queue.Delivery{}, err
	}
	kind, err := ingest.SignalType(body)
	if err != nil {
		return queue.Delivery{}, err
	}
	// The sample is made as deliveries of new signals are.
	cfg := *a.Config
	cfg.Routes = []config.Route{*a.route}
	t, err := table.New(&cfg, a.UserAgent)
	if err != nil {
		return queue.Delivery{}, err
	}
	defer t.Close()
	use := transform.NewSession(a.ctx, transform.ForTries)
	defer use.Close()
	s := queue.Signal{ID: queue.SignalID(ulid.Make()), Type: kind, Body: body}
	made, _, err := t.Offer(use, &s, nil, "")
	switch {
	case err != nil:
		return queue.Delivery{}, err
	case len(made) == 0:
		return queue.Delivery{}, errNoSample
	case made[0].Error != "":
		return queue.Delivery{}, fmt.Errorf("%w; now it fails: %s", errNoSample, made[0].Error)
	}
	if made[0].Body == nil {
		made[0].Body = body
	}
	return queue.Delivery{ID: s.ID.Delivery(1), Signal: s.ID, Route: a.route.Name, Type: kind, Body: made[0].Body, Shape: made[0].Shape, Step: 1}, nil
}
