// Package deliver makes the attempts of deliveries: it builds, signs and POSTs
// a request, judges the answer, and says in words for people what went wrong.
//
// An Endpoint is the sending half of one route. Every attempt is one Do of its
// one retryablehttp.Client (with oauth2 two, if a token is refused), whatever is spoken underneath:
//
//	Attempt ──▶ retryablehttp.Client.Do ──▶ http.Client ──▶ signing ──▶ h1.Transport ─┬▶ HTTP/1.1, plain
//	  ▲           CheckRetry: the verdict                    headers,                 └▶ http.Transport: HTTP/2,
//	  └── Backoff: the gap to the next                       signature                   proxies, large bodies
//
// The client never waits or repeats (RetryMax is 0): that is the queue's, which
// survives a restart. Verdict and gap go to it in the outcome.
//
//	endpoint.go   New, Attempt: what is the same for all attempts, and one of them
//	request.go    the URL as it is sent, headers, signature
//	fill.go       what of the request a signal decided, params, compression
//	template.go   the same for people, of attempts gone by, too
//	trace.go      how far an attempt has got, over which connection, how long each part took
//	connect.go    how the receiver is reached: addresses, TLS, proxies
//	judge.go      the verdict and the gap; what is read of the answer
//	success.go    the verdict on what a 2xx answer says
//	explain.go    why there was no answer; what is the machine's own lack and no verdict
//	oauth2.go     access tokens: got, kept, renewed
//	mask.go       secrets that a receiver echoes
//	alter.go      requests that are wrong on purpose, for audit
//	addresses.go  which addresses are public
//	internals.go  what dependencies say in words alone
//
// Secrets: no text, error or formatted value that leaves this package holds one,
// nor a signature, nor any part of a URL beyond scheme and host, but what a signal decided of it.
package deliver
