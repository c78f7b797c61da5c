package proxy

import (
	"context"
	"net/http"

	"github.com/oklog/ulid/v2"

	"signalpost/proxy/api"
	"signalpost/proxy/config"
	"signalpost/proxy/table"
	"signalpost/queue"
	"signalpost/transform"
)

// Try tells what the routes of a config would do with the one signal in body.
// only, unless empty, names the one route to ask. Nothing is stored or sent.
// The error says why the body is no signal, or that there is no such route.
func Try(cfg *config.Config, version string, body []byte, only string) ([]api.Trial, error) {
	t, err := table.New(cfg, "signalpost/"+version, nil)
	if err != nil {
		return nil, err
	}
	defer t.Retire(nil)
	var id queue.SignalID
	copy(id[:13], ulid.Make().Bytes()) // of nothing that exists
	return try(context.Background(), t, id, body, only, nil, nil)
}

// postTry answers POST /try: the same under the running config, with other
// expressions if the request brings some.
func (p *Proxy) postTry(w http.ResponseWriter, r *http.Request) error {
	var v api.TryRequest
	t := p.table.Load()
	if _, err := p.readJSON(r, t.Config.Server.MaxBody+maxWish, &v, "signal", "route", "where", "transform"); err != nil {
		return err
	}
	if v.Signal == nil {
		return api.Refuse(http.StatusUnprocessableEntity, `there is no "signal" to try`)
	}
	p.takesLong(w)
	done, err := beginDecoding(r.Context(), len(v.Signal))
	if err != nil {
		return err
	}
	defer done()
	trials, err := try(r.Context(), t, p.queue.NewSignalID(), v.Signal, v.Route, v.Where, v.Transform)
	if err != nil {
		return err
	}
	return api.Write(w, http.StatusOK, api.Trials{Routes: trials})
}

// try offers the one signal in body to the routes of a table: see table.Try.
func try(ctx context.Context, t *table.Table, id queue.SignalID, body []byte, only string, where, shape *string) ([]api.Trial, error) {
	if only != "" && t.Route(only) == nil {
		return nil, t.NoRoute(only)
	}
	elements, batch, err := split(body, false)
	if err != nil {
		return nil, err
	}
	if batch {
		return nil, api.Refuse(http.StatusUnprocessableEntity, "one signal can be tried at a time; found an array")
	}
	doc, err := transform.Parse(body)
	if err != nil {
		return nil, api.Refuse(http.StatusBadRequest, "the signal cannot be read as JSON: %s", err)
	}
	return t.Try(ctx, &queue.Signal{ID: id, Type: elements[0].signalType, Body: body}, doc, only, where, shape)
}
