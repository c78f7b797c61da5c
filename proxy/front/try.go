package front

import (
	"net/http"

	"signalpost/proxy/api"
	"signalpost/proxy/ingest"
	"signalpost/proxy/units"
	"signalpost/queue"
	"signalpost/transform"
)

// postTry says what the routes of the running config would make of a signal,
// with other expressions if the request brings some.
func (f *Front) postTry(w http.ResponseWriter, r *http.Request, _ *query) error {
	one, err := f.tries.Take(r.Context(), 1)
	if err != nil {
		return err
	}
	defer f.tries.Give(one)
	var v api.TryRequest
	t := f.Table()
	body, done, err := f.Ingest.ReadBody(r, t.Config.Server.MaxBody+maxOrder)
	if err != nil {
		return err
	}
	defer done()
	if _, err := readJSON(r, body, &v, "signal", "route", "where", "transform"); err != nil {
		return err
	}
	if v.Signal == nil {
		return api.Refuse(http.StatusUnprocessableEntity, `there is no "signal" to try`)
	}
	f.takesLong(w)
	signalType, err := ingest.SignalType(v.Signal)
	if err != nil {
		return err
	}
	s := &queue.Signal{ID: f.Queue.NewSignalID(), Type: signalType, Body: v.Signal}
	use := transform.NewSession(r.Context(), transform.ForTries)
	defer use.Close() // when what was made has been shown
	trials, err := t.Try(r.Context(), use, s, v.Route, v.Where, v.Transform)
	if err != nil {
		return err
	}
	var size int64
	for _, trial := range trials {
		for _, b := range trial.Bodies {
			size += int64(len(b))
		}
	}
	if size > answersBytes/2 {
		return api.Refuse(http.StatusUnprocessableEntity, "the routes make %s of it, too much for one answer; name one route", units.FormatSize(size))
	}
	return f.show(w, r, statusBytes+2*size, func() (any, error) { return api.Trials{Routes: trials}, nil })
}
