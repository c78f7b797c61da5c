// Package deliver makes the attempts of deliveries: it builds, signs and POSTs
// a request, judges the answer, and says in words for people what went wrong.
package deliver
