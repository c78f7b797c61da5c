package proxy

import (
	"net/http"
	"slices"
	"strings"

	"signalpost/proxy/api"
	"signalpost/proxy/dashboard"
)

// A handler answers one method of one path. A problem it returns is the
// answer; any other error becomes one by problemOf.
type handler func(w http.ResponseWriter, r *http.Request) error

// routes is everything Signalpost answers under HTTP, behind the guard.
func (p *Proxy) routes() http.Handler {
	mux := http.NewServeMux()
	handle := func(path string, methods map[string]handler) {
		mux.Handle(path, p.answer(methods))
	}
	handle("/signals", map[string]handler{"POST": p.ingest})
	handle("/signals/{id}", map[string]handler{"GET": bare(p.getSignal)})
	handle("/log", map[string]handler{"GET": p.getLog})
	handle("/deliveries", map[string]handler{"GET": p.getDeliveries})
	handle("/deliveries/{id}", map[string]handler{"GET": bare(p.getDelivery)})
	handle("/deliveries/{id}/retry", map[string]handler{"POST": bare(p.postRetryOne)})
	handle("/deliveries/{id}/discard", map[string]handler{"POST": bare(p.postDiscardOne)})
	handle("/retry", map[string]handler{"POST": bare(p.postRetry)})
	handle("/discard", map[string]handler{"POST": bare(p.postDiscard)})
	handle("/try", map[string]handler{"POST": bare(p.postTry)})
	handle("/status", map[string]handler{"GET": bare(p.getStatus)})
	handle("/routes/{name}/pause", map[string]handler{"POST": bare(p.postPause)})
	handle("/routes/{name}/resume", map[string]handler{"POST": bare(p.postResume)})
	handle("/metrics", map[string]handler{"GET": bare(served(p.metrics.handler()))})
	page := map[string]handler{"": served(dashboard.Handler())}
	handle("/{$}", page)
	handle("/assets/", page)
	handle("/", map[string]handler{"": notFound})

	health := p.answer(map[string]handler{"GET": bare(p.getHealth)})
	ready := p.answer(map[string]handler{"GET": bare(p.getReady)})
	missing := p.answer(map[string]handler{"": notFound})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/healthz":
			health.ServeHTTP(w, r)
			return
		case "/readyz":
			ready.ServeHTTP(w, r)
			return
		}
		if no := guard(r, &p.table.Load().cfg.Server); no != nil {
			if r.Method == http.MethodPost && r.URL.Path == "/signals" {
				p.metrics.refused.Inc()
			}
			no.Write(w)
			return
		}
		if strings.Contains(r.URL.Path, "//") || strings.Contains(r.URL.Path, "/.") {
			missing.ServeHTTP(w, r) // ServeMux would redirect, which for a signal is an answer that few clients follow
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// answer is a path's methods as one handler. HEAD is GET, whose body net/http
// does not send; the method "" answers all.
func (p *Proxy) answer(methods map[string]handler) http.Handler {
	var allowed []string
	for method := range methods {
		allowed = append(allowed, method)
		if method == http.MethodGet {
			allowed = append(allowed, http.MethodHead)
		}
	}
	slices.Sort(allowed)
	allow := strings.Join(allowed, ", ")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		h := methods[method]
		if h == nil {
			h = methods[""]
		}
		if h == nil {
			api.Refuse(http.StatusMethodNotAllowed, "%s does not take %s; it takes %s", api.Clip(r.URL.Path), api.Clip(r.Method), allow).
				With("Allow", allow).Write(w)
			return
		}
		err := h(w, r)
		if err == nil {
			return
		}
		no := problemOf(err)
		if no.Status == http.StatusInternalServerError {
			p.log.Error(r.Method+" "+api.Clip(r.URL.Path)+" failed", "err", err)
		}
		no.Write(w)
	})
}

// bare is h for a path that takes no parameters.
func bare(h handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if _, err := readQuery(r.URL.RawQuery); err != nil {
			return err
		}
		return h(w, r)
	}
}

func served(h http.Handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		h.ServeHTTP(w, r)
		return nil
	}
}

func notFound(_ http.ResponseWriter, r *http.Request) error {
	return api.Refuse(http.StatusNotFound, "there is nothing at %s; signals go to POST /signals", api.Clip(r.URL.Path))
}
