package config

import (
	"slices"
	"strings"

	"signalpost/queue"
)

// checkAlerts reports a route of alerts that there is not, or that does not take them.
func (d *decoder) checkAlerts(c *Config) {
	if c.Alerts == nil || len(c.Routes) != len(d.named) { // or it may be one whose name is at fault
		return
	}
	at := d.root.keys["alerts"].keys["route"].at
	i := slices.IndexFunc(c.Routes, func(r Route) bool { return r.Name == c.Alerts.Route })
	if i < 0 {
		var names []string
		for _, r := range c.Routes {
			names = append(names, r.Name)
		}
		hint := "expected " + oneOf(names)
		if near := Nearest(c.Alerts.Route, names); near != "" {
			hint = "did you mean " + quote(near) + "?"
		}
		d.fault(at, "route: alerts go to %s, and there is no such route: %s", quote(c.Alerts.Route), hint)
		return
	}
	var missed []string
	for _, kind := range AlertTypes(c.Alerts.On) {
		globs := c.Routes[i].SignalTypes
		if len(globs) > 0 && !slices.ContainsFunc(globs, func(glob string) bool { return queue.Glob(glob, kind) }) {
			missed = append(missed, kind)
		}
	}
	if len(missed) > 0 {
		d.warn(at, `route: the signal_types of %s do not let %s pass: add "signalpost.*" to them`, quote(c.Alerts.Route), strings.Join(missed, ", "))
	}
	on := d.root.keys["alerts"].keys["on"]
	if len(c.Alerts.On) == 0 {
		d.warn(on.at, "on: it is empty, so that nothing is told: leave it out for all kinds")
	}
	if slices.Contains(c.Alerts.On, "recovered") && !slices.Contains(c.Alerts.On, "failing") {
		d.warn(on.at, `on: recovered is told only where failing was: add "failing"`)
	}
}

// alertTypes are the types of the signals that alerts are.
var alertTypes = map[string]string{
	"failing": "signalpost.route_failing", "recovered": "signalpost.route_recovered", "dead": "signalpost.deliveries_dead",
	"config_rejected": "signalpost.config_rejected", "store_low": "signalpost.store_low",
}

// AlertTypes are the signal types of kinds of alerts.
func AlertTypes(kinds []string) (types []string) {
	for _, kind := range kinds {
		types = append(types, alertTypes[kind])
	}
	return types
}
