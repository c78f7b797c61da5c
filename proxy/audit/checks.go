package audit

import (
	"fmt"
	"strings"
	"time"

	"signalpost/proxy/config"
	"signalpost/proxy/deliver"
)

// right sends what is right: all else is measured by it.
func (a *auditor) right() {
	const check = "accepts what is right"
	o := a.send(a.endpoint, a.sample(nil), 1)
	switch {
	case accepted(o):
		a.line(check, Passed, "", "%s", answered(o))
		return
	case o.Status == 0:
		a.silent = true
		a.line(check, Failed, "Make it reachable from here; all below is unknown until then.", "%s", answered(o))
		return
	}
	a.refuses = true
	do := "See in its log why: a secret, path or format that it does not expect. All below is unknown until it accepts."
	if a.route.Signer != nil && (o.Status == 401 || o.Status == 403) {
		do = "Compare the secret, and that it is the raw body that the receiver verifies; signalpost verify checks headers and body from files."
	}
	a.line(check, Failed, do, "%s", answered(o))
}

// refusal reports whether a sample that has to be refused was: one that an alteration
// made, of a route that may differ.
func (a *auditor) refusal(check, do string, r *config.Route, x deliver.Alteration) {
	switch {
	case a.route.Signer == nil:
		a.line(check, None, "", "Nothing is signed: there is no secret.")
		return
	case a.moot(check):
		return
	case x.Ago > 0 && !a.route.Signer.Timed():
		a.line(check, None, "", "%s sign no time, so that whoever has a request can send it again for ever.", strings.Join(a.route.Signer.Names(), " and "))
		return
	}
	o := a.altered(r, x, a.sample(nil))
	switch {
	case accepted(o):
		a.line(check, Failed, do, "Accepted. %s", answered(o))
	case refused(o):
		a.line(check, Passed, "", "%s", answered(o))
	default:
		a.line(check, Unknown, "Answer 401 to what is not to be trusted: other failures look like faults of the receiver.", "%s", answered(o))
	}
}

func (a *auditor) forged() {
	do := fmt.Sprintf("Verify %s: anybody can send to it now.", strings.Join(a.route.Signer.Names(), " or "))
	a.refusal("refuses a wrong signature", do, a.route, deliver.Alteration{Forged: true})
}

func (a *auditor) unsigned() {
	bare := *a.route
	bare.Signer = nil
	a.refusal("refuses a missing signature", "Refuse what has no signature as if it were wrong.", &bare, deliver.Alteration{})
}

func (a *auditor) old() {
	const do = "Refuse what was signed more than five minutes ago, by a signature that signs the time: whoever has seen a request can send it again."
	a.refusal("refuses an old signature", do, a.route, deliver.Alteration{Ago: time.Hour})
}

func (a *auditor) twice() {
	const check = "takes a repeated webhook-id once"
	if a.moot(check) {
		return
	}
	d := a.sample(nil)
	first := a.send(a.endpoint, d, 1)
	again := a.send(a.endpoint, d, 2)
	const do = "Remember each webhook-id for some days, and answer 2xx to one that is known without acting again: deliveries come at least once."
	switch {
	case accepted(first) && refused(again):
		a.line(check, Failed, do, "The repetition was refused, and would be repeated until it is dead. %s", answered(again))
		return
	case !accepted(first) || !accepted(again):
		a.line(check, Unknown, do, "%s Then: %s", answered(first), answered(again))
		return
	}
	once, known := false, false
	if a.Ask != nil {
		once, known = a.Ask(fmt.Sprintf("Two samples with the webhook-id %s were accepted. Did the receiver act once, and not twice?", d.ID))
	}
	switch {
	case !known:
		a.line(check, Unknown, "See at the receiver whether it acted once for "+d.ID.String()+". "+do, "Both were accepted, as they have to be; what it did cannot be seen from here.")
	case once:
		a.line(check, Passed, "", "Both were accepted, and you say that it acted once.")
	default:
		a.line(check, Failed, do, "Both were accepted, and you say that it acted twice.")
	}
}

// odd reports whether an odd sample, of at least so many bytes, was accepted.
func (a *auditor) odd(check, do string, least int, change func(signal map[string]any)) {
	if a.moot(check) {
		return
	}
	d := a.sample(change)
	if len(d.Body) < least {
		a.line(check, None, "", "The route's transform leaves %d bytes of a large signal.", len(d.Body))
		return
	}
	o, verdict := a.send(a.endpoint, d, 1), Failed
	if accepted(o) {
		verdict = Passed
	}
	a.line(check, verdict, do, "%s", answered(o))
}

// oddText has what programs stumble over: letters of two code points, of four bytes, from right to
// left, line ends of Unicode's own.
const oddText = "Åse\u0301 Ünïcødé 日本語 👩\u200d👩\u200d👧 \u202eשלום\u202c 𝔘𝔫𝔦\u2028x\u2029y\ufeffz \"quoted\" \\ </script>"

func (a *auditor) unicode() {
	a.odd("accepts odd Unicode", "Read the body as UTF-8, verify the raw bytes, and store text that holds all of Unicode.", 0, func(s map[string]any) {
		s["note"] = oddText
		if account, ok := s["account"].(map[string]any); ok {
			account["name"] = sampleName + " " + oddText
		}
	})
}

func (a *auditor) large() {
	const million = 1_000_000 // bytes
	const do = "Raise its limit of a request's body (nginx: client_max_body_size), or see to it that no signal is so large (server.max_body)."
	a.odd("accepts a body of 1 MB", do, million, func(s map[string]any) { s["padding"] = strings.Repeat("a sample's padding. ", million/20) })
}

func (a *auditor) foreign() {
	const do = "Answer 2xx to types that it has no use for: a refusal is repeated, and makes the route bad. Or list its types in signal_types."
	a.odd("accepts a type it does not know", do, 0, func(s map[string]any) { s["signal_type"] = "signalpost.audit.unknown_type" })
}
