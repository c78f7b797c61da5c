// Package api is the HTTP API as both ends see it: the JSON of every answer and
// of every request but a signal, and the Problem that a refusal is. The
// sidecar's handlers write what is here, proxy/client and the commands read it.
//
// It knows the words of the queue (states, verdicts, an entry of the delivery
// log) and nothing else of Signalpost, so that any room may import it.
//
// All lists are encoded as [] when they are empty. A text or a time there is
// none of is null where its field is a pointer, and left out where that says so.
package api
