// Package h1 is plain HTTP/1.1: what is simple about it is done here at a
// fraction of net/http's cost, and all else is net/http's. It imports nothing of ours.
package h1
