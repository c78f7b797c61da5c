// Package h1 is plain HTTP/1.1 in both directions: what is simple about it is
// done here at a fraction of net/http's cost, and everything hard about HTTP is
// net/http's alone.
//
//   - A Listener (listener.go, server.go) answers small requests to one path,
//     and hands the connection to net/http's server with the first request that
//     is anything else, unread.
//   - A Transport (transport.go, generation.go, conn.go) sends small requests to one origin, and
//     gives all others to an http.Transport behind it. It also decides, for
//     both, which connections take no new request.
//
// What is plain is decided narrowly: whatever is unusual, late or malformed is
// net/http's. What a connection brings must mean to both the same, which fuzz
// tests compare; fields.go reads the headers of both. internals.go holds what net/http says in words alone.
//
// The package imports the standard library and x/net's tables, and nothing of ours.
package h1
