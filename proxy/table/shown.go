package table

import (
	"time"

	"signalpost/proxy/api"
	"signalpost/proxy/config"
	"signalpost/proxy/units"
)

// Shown is the part of the route's config that people may see.
func (r *Route) Shown() api.RouteConfig {
	s := api.RouteConfig{
		Target: api.OrNull(r.Target), SignalTypes: append([]string{}, r.SignalTypes...), Where: api.OrNull(r.Where.Source()), Transform: api.OrNull(r.Transform.Source()),
		Schedule: &api.Schedule{
			Attempts: r.Retry.Attempts, First: units.FormatDuration(r.Retry.First), Window: units.FormatDuration(r.Retry.Window),
			Jitter: r.Retry.Jitter, Gaps: []string{},
		},
		Limits: &api.Limits{
			Timeout: units.FormatDuration(r.Timeout), Concurrency: r.Concurrency, Rate: api.OrNull(units.FormatRate(r.Rate)), GiveUpOn: []any{},
		},
		Settings: r.Settings,
	}
	for _, status := range r.GiveUpOn {
		if status == config.Any4xx {
			s.Limits.GiveUpOn = append(s.Limits.GiveUpOn, "4xx")
		} else {
			s.Limits.GiveUpOn = append(s.Limits.GiveUpOn, int(status))
		}
	}
	for _, gap := range r.Retry.Gaps() {
		unit := time.Duration(1) // of three digits
		for unit < time.Second && 1000*unit <= gap {
			unit *= 10
		}
		s.Schedule.Gaps = append(s.Schedule.Gaps, units.FormatDuration(gap.Round(unit)))
	}
	return s
}
