package front

import (
	"net/http"

	"signalpost/proxy/api"
	"signalpost/queue"
)

// postTry says what the routes of the running config would make of a signal,
// with other expressions if the request brings some.
func (f *Front) postTry(w http.ResponseWriter, r *http.Request, _ query) error {
	var v api.TryRequest
	t := f.Table()
	if _, err := f.readJSON(r, t.Config.Server.MaxBody+maxOrder, &v, "signal", "route", "where", "transform"); err != nil {
		return err
	}
	if v.Signal == nil {
		return api.Refuse(http.StatusUnprocessableEntity, `there is no "signal" to try`)
	}
	if v.Route != "" && t.Route(v.Route) == nil {
		return t.NoRoute(v.Route)
	}
	f.takesLong(w)
	signalType, err := f.SignalType(v.Signal)
	if err != nil {
		return err
	}
	s := &queue.Signal{ID: f.Queue.NewSignalID(), Type: signalType, Body: v.Signal}
	trials, err := t.Try(r.Context(), s, v.Route, v.Where, v.Transform)
	if err != nil {
		return err
	}
	return api.Write(w, http.StatusOK, api.Trials{Routes: trials})
}
