package proxy

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/oklog/ulid/v2"

	"signalpost/proxy/api"
	"signalpost/proxy/config"
	"signalpost/queue"
	"signalpost/transform"
)

// Try tells what the routes of a config would do with the one signal in body.
// only, unless empty, names the one route to ask. Nothing is stored or sent.
// The error says why the body is no signal, or that there is no such route.
func Try(cfg *config.Config, version string, body []byte, only string) ([]api.Trial, error) {
	t, err := newTable(cfg, "signalpost/"+version, nil)
	if err != nil {
		return nil, err
	}
	defer t.retire(nil)
	var id queue.SignalID
	copy(id[:13], ulid.Make().Bytes()) // of nothing that exists
	return t.tryAll(id, body, only, nil, nil)
}

// postTry answers POST /try: the same under the running config, with other
// expressions if the request brings some.
func (p *Proxy) postTry(w http.ResponseWriter, r *http.Request) error {
	var v api.TryRequest
	t := p.table.Load()
	if _, err := p.readJSON(r, t.cfg.Server.MaxBody+maxWish, &v, "signal", "route", "where", "transform"); err != nil {
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
	trials, err := t.tryAll(p.queue.NewSignalID(), v.Signal, v.Route, v.Where, v.Transform)
	if err != nil {
		return err
	}
	return api.Write(w, http.StatusOK, api.Trials{Routes: trials})
}

// tryAll offers a signal to all routes, or to the one named. where and shape,
// unless nil, stand in for the routes' own expressions; "" stands for none.
func (t *table) tryAll(id queue.SignalID, body []byte, only string, where, shape *string) ([]api.Trial, error) {
	if only != "" && t.route(only) == nil {
		return nil, t.noRoute(only)
	}
	elements, batch, err := split(body, false)
	if err != nil {
		return nil, err
	}
	if batch {
		return nil, api.Refuse(http.StatusUnprocessableEntity, "one signal can be tried at a time; found an array")
	}
	s := queue.Signal{ID: id, Type: elements[0].signalType, Body: body}
	decoded, err := transform.Parse(body)
	if err != nil {
		return nil, api.Refuse(http.StatusBadRequest, "the signal cannot be read as JSON: %s", err)
	}
	whereErr, shapeErr := error(nil), error(nil)
	var otherWhere, otherShape *transform.Program
	if where != nil && *where != "" {
		otherWhere, whereErr = transform.Compile(*where)
	}
	if shape != nil && *shape != "" {
		otherShape, shapeErr = transform.Compile(*shape)
	}
	trials := []api.Trial{}
	for _, r := range t.routes {
		if only != "" && r.Name != only {
			continue
		}
		if err := errors.Join(named("where", whereErr), named("transform", shapeErr)); err != nil {
			trials = append(trials, api.Trial{
				Route: r.Name, Why: "an expression does not compile", Bodies: []json.RawMessage{}, Error: text(err.Error()),
			})
			continue
		}
		w, s2 := r.Where, r.Transform
		if where != nil {
			w = otherWhere
		}
		if shape != nil {
			s2 = otherShape
		}
		trials = append(trials, t.tell(r.try(w, s2, &s, time.Now().UTC(), decoded), &s))
	}
	return trials, nil
}

// named says which expression an error is about.
func named(what string, err error) error {
	if err == nil {
		return nil
	}
	return errors.New(what + ": " + err.Error())
}

// tell puts a trial into words for the outside.
func (t *table) tell(tried trial, s *queue.Signal) api.Trial {
	out := api.Trial{Route: tried.route.Name, Matches: tried.matches, Why: tried.why, Bodies: make([]json.RawMessage, len(tried.bodies))}
	if tried.err != nil {
		out.Error = text(tried.err.Error())
	}
	for i, b := range tried.bodies {
		out.Bodies[i] = b
	}
	if len(tried.bodies) > 0 {
		out.Request = t.request(&queue.Delivery{
			ID: s.ID.Delivery(1), Signal: s.ID, Route: out.Route, Type: s.Type, Body: tried.bodies[0],
		}, 1)
	}
	return out
}
