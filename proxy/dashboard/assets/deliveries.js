// The deliveries that match a filter, and what can be done with all of them.

import { button, el, put } from "./dom.js";
import { due, sentence, when } from "./format.js";
import { chip } from "./filterbar.js";
import { on } from "./live.js";
import { list, row } from "./list.js";
import { discardAll, resendAll } from "./actions.js";
import { reasons } from "./log.js";

const STATES = { delivered: "delivered", dead: "dead", retry: "pending" }; // after an attempt

export function deliveries(_, signal) {
  const bulk = el("div", { class: "bulk" });
  const l = list(signal, { of: "deliveries", label: "Filter the deliveries", size: 100, key: (d) => d.id, line, empty, changed, columns: ["Made", "Route", "Signal", "State", "Attempts", "What happened last", "Next attempt"] });
  const page = el("div", {}, el("h1", {}, "Deliveries"), el("section", { class: "panel", "aria-label": "Deliveries" }, l.form, bulk, l.table, l.under));

  // Many at once are what the sidecar can select: the filter may not be finer.
  function changed() {
    const { body, signal: of, ...p } = l.filter.params, done = () => l.load(false), some = l.shown.size > 0;
    if (body || of || l.filter.terms.some((t) => t.not)) return put(bulk, el("p", { class: "quiet" }, "To send many again or discard them, select them: this filter is finer than what the sidecar does at once."));
    put(bulk, some && p.state && p.state !== "held" && button("Send these again…", () => resendAll(p, done)),
      some && p.state && p.state !== "delivered" && p.reason !== "discarded" && button("Discard these…", () => discardAll(p, done)));
  }

  // An attempt tells where its delivery stands now: nothing has to be asked again.
  on("entries", (entries) => {
    for (const e of entries) {
      const shown = l.shown.get(e.delivery);
      if (!shown) continue;
      shown.item = { ...shown.item, state: STATES[e.verdict], reason: e.reason, attempts: Math.max(shown.item.attempts, e.attempt), next_attempt: e.next_attempt, last: e };
      put(shown.row, ...line(shown.item).children);
    }
  }, signal);
  page.update = l.update;
  l.update();
  return page;
}

const empty = () => el("div", { class: "empty" }, el("strong", {}, "No delivery matches"), el("p", {}, "Finished ones are kept for the retention that the config gives."));

function line(d) {
  return row(d.id, `delivery to ${d.route}, ${d.state}`, [
    ["time", when(d.created)], ["route", chip("route", d.route)], ["type", chip("type", d.signal_type)],
    ["state", chip("state", d.state, d.state, { class: `chip badge ${d.state}` })],
    ["attempts", String(d.attempts)], ["what", story(d)], ["next", d.next_attempt && d.state === "pending" ? due(d.next_attempt) : ""],
  ]);
}

function story(d) {
  if (d.state === "dead") return [el("span", { class: "dead" }, reasons[d.reason] ?? "Dead"), d.last?.error && d.reason !== "discarded" ? `: ${sentence(d.last.error)}` : "."];
  if (!d.last) return el("span", { class: "quiet" }, "No attempt yet");
  return d.last.verdict === "delivered" ? "Delivered" : sentence(d.last.error);
}
