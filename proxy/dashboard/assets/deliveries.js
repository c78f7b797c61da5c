// The deliveries that match a filter, and what can be done with all of them.

import { arrange, button, el, problem, put } from "./dom.js";
import { due, sentence, when } from "./format.js";
import { get } from "./api.js";
import { compile } from "./filter.js";
import { chip, filterbar, known } from "./filterbar.js";
import { on } from "./live.js";
import { row, table } from "./rows.js";
import { params } from "./url.js";
import { discardAll, resendAll } from "./actions.js";
import { reasons } from "./log.js";

const PAGE = 100;

export function deliveries(_, signal) {
  let filter = null, text = null, next, loading = null;
  const shown = new Map(); // id -> {delivery, row}
  const form = filterbar("deliveries", "Filter the deliveries");
  const rows = el("tbody"), under = el("div", { class: "under" }), bulk = el("div", { class: "bulk" });
  const list = table("deliveries", ["Made", "Route", "Signal", "State", "Attempts", "What happened last", "Next attempt"], rows);
  const page = el("div", {}, el("h1", {}, "Deliveries"), el("section", { class: "panel", "aria-label": "Deliveries" }, form, bulk, list, under));

  async function load(more) {
    loading?.abort();
    const mine = (loading = new AbortController());
    if (!more) put(under, el("p", { class: "quiet" }, "Reading the deliveries…"));
    try {
      const { deliveries: found, next: cursor, searched_to: reached } = await get("/deliveries", { ...filter.params, limit: PAGE, after: more ? next : "" }, AbortSignal.any([mine.signal, signal]));
      if (!more) shown.clear();
      for (const d of found) {
        known.types.add(d.signal_type);
        if (filter.test(d)) shown.set(d.id, { d, row: line(d) });
      }
      next = cursor;
      draw(reached);
    } catch (err) {
      if (!mine.signal.aborted && !signal.aborted) put(under, problem("The deliveries could not be read", err, () => load(more)));
    }
  }

  function draw(reached) {
    arrange(rows, [...shown.values()].map((s) => s.row));
    list.hidden = !shown.size;
    put(under, reached && next && el("p", { class: "quiet" }, "Searched back to ", when(reached), ". "),
      next ? button(reached ? "Search further back" : "Show older", () => load(true)) :
        shown.size ? el("p", { class: "quiet" }, "That is all there are.") :
          el("div", { class: "empty" }, el("strong", {}, "No delivery matches"), el("p", {}, "Finished ones are kept for the retention that the config gives.")));
    drawBulk();
  }

  // The filter of the many is the sidecar's: what only this page can say is not in it.
  function drawBulk() {
    const p = filter.params, mine = filter.terms.some((t) => t.not) || p.body || p.signal;
    const usable = Object.fromEntries(["route", "signal_type", "state", "reason", "since", "until"].filter((n) => p[n]).map((n) => [n, p[n]]));
    const done = () => load(false);
    if (mine) return put(bulk, el("p", { class: "quiet" }, "To send many again or discard them, select them: this filter is finer than what the sidecar does at once."));
    put(bulk, p.state && p.state !== "held" && shown.size > 0 && button("Send these again…", () => resendAll(usable, done)),
      p.state && p.state !== "delivered" && p.reason !== "discarded" && shown.size > 0 && button("Discard these…", () => discardAll(usable, done)));
  }

  page.update = () => {
    const q = params().q ?? "", wanted = compile(q, "deliveries", known);
    form.show(wanted.fault);
    if (text === JSON.stringify(wanted.params) + q) return;
    text = JSON.stringify(wanted.params) + q;
    filter = wanted;
    load(false);
  };

  // An attempt tells where its delivery stands now: nothing has to be asked again.
  on("entries", (entries) => {
    for (const e of entries) {
      const s = shown.get(e.delivery);
      if (!s) continue;
      const state = { delivered: "delivered", dead: "dead", retry: "pending" }[e.verdict];
      s.d = { ...s.d, state, reason: e.reason, attempts: Math.max(s.d.attempts, e.attempt), next_attempt: e.next_attempt, last: e };
      put(s.row, ...line(s.d).children);
    }
  }, signal);
  on("gap", () => load(false), signal);
  page.update();
  return page;
}

function line(d) {
  return row(d.id, `Delivery to ${d.route}, ${d.state}`, [
    ["time", when(d.created)],
    ["route", chip("route", d.route)],
    ["type", chip("type", d.signal_type)],
    ["state", chip("state", d.state, d.state, { class: `chip badge ${d.state}` })],
    ["attempts", String(d.attempts)],
    ["what", d.state === "dead" ? [el("span", { class: "dead" }, reasons[d.reason] ?? "Dead"), d.last?.error && d.reason !== "discarded" ? `: ${sentence(d.last.error)}` : "."]
      : d.last ? (d.last.verdict === "delivered" ? "Delivered" : sentence(d.last.error)) : el("span", { class: "quiet" }, "No attempt yet")],
    ["next", d.next_attempt && d.state === "pending" ? due(d.next_attempt) : ""],
  ]);
}
