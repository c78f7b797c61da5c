package front

import (
	"net/http"
	"strings"

	"signalpost/proxy/api"
	"signalpost/queue"
)

// getExplanation tells the life of a signal, or of a delivery. It counts as a try, for
// it makes one.
func (f *Front) getExplanation(w http.ResponseWriter, r *http.Request, _ *query) error {
	one, err := f.tries.Take(r.Context(), 1)
	if err != nil {
		return err
	}
	defer f.tries.Give(one)
	id := r.PathValue("id")
	delivery, errDelivery := queue.ParseDeliveryID(id)
	signal, errSignal := queue.ParseSignalID(id)
	if errDelivery != nil && errSignal != nil {
		if strings.HasPrefix(id, "sig_") {
			errDelivery = errSignal
		}
		return api.Refuse(http.StatusNotFound, "there is no such signal or delivery: %s", api.Clip(errDelivery.Error()))
	}
	return f.show(w, r, f.detailBytes(), func() (any, error) {
		if errDelivery == nil {
			return f.Explain.Delivery(r.Context(), delivery)
		}
		return f.Explain.Signal(r.Context(), signal)
	})
}
