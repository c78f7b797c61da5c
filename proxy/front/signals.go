package front

import (
	"net/http"

	"signalpost/proxy/api"
	"signalpost/queue"
)

func (f *Front) getSignal(w http.ResponseWriter, r *http.Request, _ *query) error {
	id, err := queue.ParseSignalID(r.PathValue("id"))
	if err != nil {
		return api.Refuse(http.StatusNotFound, "there is no such signal: %s", api.Clip(err.Error()))
	}
	return f.show(w, r, f.detailBytes(), func() (any, error) {
		s, deliveries, err := f.Queue.Signal(id)
		return api.Signal{ID: s.ID, Type: s.Type, ReceivedAt: s.ID.Time(), Signal: s.Body, Deliveries: list(deliveries)}, err
	})
}
