package audit

import (
	"fmt"
	"strings"
	"time"

	"signalpost/proxy/deliver"
	"signalpost/queue"
)

// right sends what is right: all else is measured by it.
func (a *auditor) right() error {
	d, err := a.sample(nil)
	if err != nil {
		return err
	}
	o, err := a.send(a.endpoint, d, 1)
	if err != nil {
		return err
	}
	const check = "accepts what is right"
	switch {
	case accepted(o):
		return a.line(check, Passed, "", "%s", answered(o))
	case o.Status == 0:
		a.silent = true
		return a.line(check, Failed, "Make it reachable from here; all below is unknown until then.", "%s", answered(o))
	}
	a.refuses = true
	do := "See in its log why: a secret, path or format that it does not expect. All below is unknown until it accepts."
	if a.route.Signer != nil && (o.Status == 401 || o.Status == 403) {
		do = "Compare the secret, and that it is the raw body that the receiver verifies; signalpost verify checks headers and body from files."
	}
	return a.line(check, Failed, do, "%s", answered(o))
}

// refusal tells whether a sample that has to be refused was.
func (a *auditor) refusal(check, do string, o queue.Outcome) error {
	switch {
	case accepted(o):
		return a.line(check, Failed, do, "Accepted. %s", answered(o))
	case refused(o):
		return a.line(check, Passed, "", "%s", answered(o))
	}
	return a.line(check, Unknown, "Answer 401 to what is not to be trusted: other failures look like faults of the receiver.", "%s", answered(o))
}

// signs reports whether requests are signed, and tells of the check if not.
func (a *auditor) signs(check string) bool {
	if a.route.Signer == nil {
		a.line(check, None, "", "Nothing is signed: there is no secret.")
	}
	return a.route.Signer != nil
}

func (a *auditor) forged() error {
	const check = "refuses a wrong signature"
	if !a.signs(check) || a.moot(check) {
		return nil
	}
	d, err := a.sample(nil)
	if err != nil {
		return err
	}
	o, err := a.altered(a.route, deliver.Alteration{Forged: true}, d)
	if err != nil {
		return err
	}
	return a.refusal(check, fmt.Sprintf("Verify %s: anybody can send to it now.", strings.Join(a.route.Signer.Names(), " or ")), o)
}

func (a *auditor) unsigned() error {
	const check = "refuses a missing signature"
	if !a.signs(check) || a.moot(check) {
		return nil
	}
	d, err := a.sample(nil)
	if err != nil {
		return err
	}
	bare := *a.route
	bare.Signer = nil
	o, err := a.altered(&bare, deliver.Alteration{}, d)
	if err != nil {
		return err
	}
	return a.refusal(check, "Refuse what has no signature as if it were wrong.", o)
}

func (a *auditor) old() error {
	const check = "refuses an old signature"
	if !a.signs(check) || a.moot(check) {
		return nil
	}
	if !a.route.Signer.Timed() {
		return a.line(check, None, "", "%s sign no time, so that whoever has a request can send it again for ever.", strings.Join(a.route.Signer.Names(), " and "))
	}
	d, err := a.sample(nil)
	if err != nil {
		return err
	}
	o, err := a.altered(a.route, deliver.Alteration{Ago: time.Hour}, d)
	if err != nil {
		return err
	}
	return a.refusal(check, "Refuse what was signed more than five minutes ago, by a signature that signs the time: whoever has seen a request can send it again.", o)
}

func (a *auditor) twice() error {
	const check = "takes a repeated webhook-id once"
	if a.moot(check) {
		return nil
	}
	d, err := a.sample(nil)
	if err != nil {
		return err
	}
	first, err := a.send(a.endpoint, d, 1)
	if err != nil {
		return err
	}
	again, err := a.send(a.endpoint, d, 2)
	if err != nil {
		return err
	}
	const do = "Remember each webhook-id for some days, and answer 2xx to one that is known without acting again: deliveries come at least once."
	switch {
	case accepted(first) && refused(again):
		return a.line(check, Failed, do, "The repetition was refused, and would be repeated until it is dead. %s", answered(again))
	case !accepted(first) || !accepted(again):
		return a.line(check, Unknown, do, "%s Then: %s", answered(first), answered(again))
	}
	if a.Ask != nil {
		yes, known := a.Ask(fmt.Sprintf("Two samples with the webhook-id %s were accepted. Did the receiver act once, and not twice?", d.ID))
		switch {
		case known && yes:
			return a.line(check, Passed, "", "Both were accepted, and you say that it acted once.")
		case known:
			return a.line(check, Failed, do, "Both were accepted, and you say that it acted twice.")
		}
	}
	return a.line(check, Unknown, "See at the receiver whether it acted once for "+d.ID.String()+". "+do, "Both were accepted, as they have to be; what it did cannot be seen from here.")
}

// odd tells whether an odd sample was accepted.
func (a *auditor) odd(check, do string, d queue.Delivery) error {
	o, err := a.send(a.endpoint, d, 1)
	switch {
	case err != nil:
		return err
	case accepted(o):
		return a.line(check, Passed, "", "%s", answered(o))
	}
	return a.line(check, Failed, do, "%s", answered(o))
}

// oddText has what programs stumble over: letters of two code points, of four bytes, from right to
// left, line ends of Unicode's own.
const oddText = "Åse\u0301 Ünïcødé 日本語 👩\u200d👩\u200d👧 \u202eשלום\u202c 𝔘𝔫𝔦\u2028x\u2029y\ufeffz \"quoted\" \\ </script>"

func (a *auditor) unicode() error {
	const check = "accepts odd Unicode"
	if a.moot(check) {
		return nil
	}
	d, err := a.sample(func(s map[string]any) {
		s["note"] = oddText
		if account, ok := s["account"].(map[string]any); ok {
			account["name"] = sampleName + " " + oddText
		}
	})
	if err != nil {
		return err
	}
	return a.odd(check, "Read the body as UTF-8, verify the raw bytes, and store text that holds all of Unicode.", d)
}

const million = 1_000_000 // bytes

func (a *auditor) large() error {
	const check = "accepts a body of 1 MB"
	if a.moot(check) {
		return nil
	}
	pad := func(s map[string]any) { s["padding"] = strings.Repeat("a sample's padding. ", million/20) }
	d, err := a.sample(pad)
	if err != nil {
		return err
	}
	if len(d.Body) < million {
		return a.line(check, None, "", "The route's transform leaves %d bytes of a large signal.", len(d.Body))
	}
	return a.odd(check, "Raise its limit of a request's body (nginx: client_max_body_size), or see to it that no signal is so large (server.max_body).", d)
}

func (a *auditor) foreign() error {
	const check = "accepts a type it does not know"
	if a.moot(check) {
		return nil
	}
	d, err := a.sample(func(s map[string]any) { s["signal_type"] = "signalpost.audit.unknown_type" })
	if err != nil {
		return err
	}
	return a.odd(check, "Answer 2xx to types that it has no use for: a refusal is repeated, and makes the route bad. Or list its types in signal_types.", d)
}
