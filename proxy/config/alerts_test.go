package config

import (
	"strings"
	"testing"
	"time"
)

func TestAlerts(t *testing.T) {
	if c := good(t, minimal); c.Alerts != nil {
		t.Errorf("without the table: %+v", c.Alerts)
	}
	c := good(t, "[alerts]\nroute = \"crm\"\n"+minimal)
	check(t, "defaults", *c.Alerts, Alerts{"crm", []string{"failing", "recovered", "dead", "config_rejected", "store_low"}, 15 * time.Minute})
	c = good(t, "[alerts]\nroute = \"crm\"\non = [\"dead\"]\nevery = \"1h\"\n"+minimal)
	check(t, "set", *c.Alerts, Alerts{"crm", []string{"dead"}, time.Hour})

	two := minimal + "[[route]]\nname = \"ops\"\nurl = \"https://x.example.com\"\n"
	for text, want := range map[string]string{
		"[alerts]\n" + two:                                   "x:1:2: route is missing: it names the route",
		"[alerts]\nroute = \"opps\"\n" + two:                 `x:2:9: route: alerts go to "opps", and there is no such route: did you mean "ops"?`,
		"[alerts]\nroute = \"pager\"\n" + two:                `x:2:9: route: alerts go to "pager", and there is no such route: expected crm or ops`,
		"[alerts]\nroute = \"crm\"\non = [\"died\"]\n" + two: `x:3:7: on: expected failing, recovered, dead, config_rejected or store_low (did you mean "dead"?), not "died"`,
		"[alerts]\nroute = \"crm\"\nevry = \"1h\"\n" + two:   `x:3:1: unknown key "evry", did you mean "every"?`,
		"[alerts]\nroute = \"crm\"\nevery = 15\n" + two:      "x:3:9: every: expected a duration",
		"alerts = 5\n" + two:                                 "x:1:10: alerts: expected a table, [alerts], not",
	} {
		_, faults := parse("x", []byte(text), testInputs())
		if len(faults) != 1 || !strings.HasPrefix(faults[0].Error(), "config "+want) {
			t.Errorf("%q: %v, want %s", text, faults, want)
		}
	}

	c = good(t, "[alerts]\nroute = \"ops\"\non = [\"recovered\", \"dead\"]\n"+two+"signal_types = [\"signalpost.route_*\"]\n")
	text := c.Warnings.Error()
	for _, want := range []string{`:2:9: route: the signal_types of "ops" do not let signalpost.deliveries_dead pass: add "signalpost.*"`, `:3:6: on: recovered is told only where failing was`} {
		if !strings.Contains(text, want) {
			t.Errorf("%s\ndoes not warn: %s", text, want)
		}
	}
	if text := good(t, "[alerts]\nroute = \"ops\"\non = []\n"+two).Warnings.Error(); !strings.Contains(text, ":3:6: on: it is empty") {
		t.Error(text)
	}
}
