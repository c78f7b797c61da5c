// Package proxy is the sidecar whole: it puts its rooms together and keeps them
// alive.
//
//	app ──POST /signals──▶ ingest ──▶ table: routes ──▶ transform: where, shape ──▶ queue: Put ──▶ 202
//	                                                                                  │
//	      log, metrics, GET /log ◀── observe ◀── queue: settle ◀── deliver.Attempt ◀── queue: due
//
// One signal's way, and where each step lives:
//
//   - proxy/h1 answers a POST /signals that is small and plain by itself, and
//     leaves every other request to net/http's server. Either hands it to
//     proxy/front, whose guard stands before all that HTTP reaches.
//   - proxy/ingest reads the request, loads the table of that moment once, and
//     refuses what is no signal: transform/json checks it.
//   - proxy/table is a config compiled. It decodes the signal once and offers it to
//     each route; where decides, transform shapes, and each result is a delivery.
//     What a signal decides of its request beside a JSON body, proxy/shape makes.
//   - The queue stores the signal and all its deliveries in one batch. When
//     that is on disk, ingest answers 202.
//   - When a delivery is due the queue calls Proxy.Deliver in proxy.go, which
//     loads the table of that moment; proxy/deliver signs, POSTs and judges.
//   - The queue stores the verdict and what follows from it, and tells
//     Proxy.observe: metrics.go counts it, logging.go writes a line.
//
// The table is immutable and stands behind one atomic pointer. watch.go sees
// the config's files change; reload.go does all that can fail, then swaps
// the table and tells the queue. A signal or an attempt under way ends with
// the table it began with. The queue knows routes by name alone, so whatever
// else is edited, what is queued stays where it is.
//
// Proxy.look gathers the state of the sidecar, and proxy/health alone judges it.
//
// serve.go listens, and stops in order. A Proxy starts goroutines only in
// Serve, which returns when all have ended, and in the queue, which Serve closes.
// Only a system call on a file system that hangs is left behind: see proxy/files.
package proxy
