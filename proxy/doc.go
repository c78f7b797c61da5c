// Package proxy is the edges of Signalpost: signals in, deliveries out, people
// looking in.
//
//	app ──POST /signals──▶ ingest ──▶ table: routes ──▶ transform: where, shape ──▶ queue: Put ──▶ 202
//	                                                                                  │
//	      log, metrics, GET /log ◀── observe ◀── queue: settle ◀── deliver ◀── queue: due
//
// One signal's way, and where each step lives:
//
//   - Package h1 answers a POST /signals that is small and plain by itself, and
//     leaves every other request to net/http's server. Either hands it on.
//   - ingest.go reads the request and refuses what is no signal. It loads the
//     table of that moment once and decodes the signal once.
//   - table.go is a config compiled. It offers the signal to each route; where
//     decides, transform shapes, and each result is a delivery.
//   - The queue stores the signal and all its deliveries in one batch. When
//     that is on disk, ingest answers 202.
//   - When a delivery is due the queue calls Proxy.Deliver in proxy.go, which
//     loads the table of that moment; package deliver signs, POSTs and judges.
//   - The queue stores the verdict and what follows from it, and tells
//     Proxy.observe: metrics.go counts it, logging.go writes a line.
//
// The table is immutable and stands behind one atomic pointer. watch.go sees
// the config's files change; Proxy.Reload does all that can fail, then swaps
// the table and tells the queue. A signal or an attempt under way ends with
// the table it began with. The queue knows routes by name alone, so whatever
// else is edited, what is queued stays where it is.
//
// Everything else under HTTP: api.go says which path is whose, and guard.go
// stands before all of it. read.go lists and shows, status.go tells how all
// fares, amend.go sends again and gives up, pause.go holds routes, try.go
// tries expressions. What callers send is read in params.go, what they are
// answered is written in answer.go and problem.go.
//
// A Proxy starts goroutines only in Serve, which returns when all have ended,
// and in the queue, which Serve closes.
package proxy
