// The delivery log: what has been, by pages; what comes, live.

import { el, put, say } from "./dom.js";
import { sentence, took, when } from "./format.js";
import { chip, known } from "./filterbar.js";
import { key, now, on } from "./live.js";
import { list, row } from "./list.js";

const MOST = 200; // rows that live entries may make
const STATES = { live: "Live", lost: "Connection lost, trying again", connecting: "Connecting" };

// log is the section; it has an update() for when the URL has changed, and a hold()
// for the space bar. fixed, such as {route}, narrows it in any case.
export function log(signal, fixed = {}) {
  let held = null; // entries that wait while it is stopped
  const l = list(signal, { of: "log", fixed, label: "Filter the delivery log", size: 50, key, line, empty, columns: ["Time", "Route", "Signal", "Attempt", "Answer", "Took", "What happened"] });
  const live = el("button", { type: "button", "aria-pressed": "false", onclick: () => hold() });
  const section = el("section", { class: "panel", "data-own": true, "data-key": `log ${fixed.route ?? ""}`, "aria-labelledby": "log-title" },
    el("div", { class: "panel-head" }, el("h2", { id: "log-title" }, "Delivery log"), live), l.form, l.table, l.under);

  function hold(stop = !held) {
    const waited = held ?? [];
    held = stop ? [] : null;
    add(waited);
    showLive();
  }

  function showLive() {
    live.className = `live ${held ? "held" : now.stream}`;
    live.setAttribute("aria-pressed", String(!!held));
    live.title = held ? "Show what has come, and go on (space)" : "Hold the list still while you read (space)";
    put(live, el("span", { class: "dot" }), held ? (held.length ? `Held still · ${held.length} new` : "Held still") : STATES[now.stream]);
  }

  // add puts new entries, oldest first, on top. Of a flood only as many are made rows as will stay.
  function add(entries) {
    const fresh = entries.filter((e) => !l.shown.has(key(e)) && l.passes({ ...e, live: true }));
    if (held) {
      held = [...held, ...fresh].slice(-MOST);
      return showLive();
    }
    if (!fresh.length) return;
    const most = Math.max(MOST, l.shown.size), newest = fresh.at(-1);
    for (const e of fresh.slice(-MOST)) l.show(e, fresh.length < 30);
    for (const k of l.keys().slice(most)) {
      l.shown.delete(k);
      l.next = undefined; // the cursor is beyond what was cut off
    }
    say(`${fresh.length} new ${fresh.length === 1 ? "attempt" : "attempts"}, the last: ${newest.route}, ${newest.verdict}${newest.status ? `, status ${newest.status}` : ""}`);
    l.draw();
  }

  section.update = () => {
    hold(false);
    l.update();
  };
  section.hold = () => hold();
  l.update();
  on("entries", (entries) => {
    for (const e of entries) known.types.add(e.signal_type);
    add(entries);
  }, signal);
  on("stream", showLive, signal);
  showLive();
  return section;
}

const empty = (narrow) => el("div", { class: "empty" }, el("strong", {}, narrow ? "Nothing in the log matches" : "No attempt has been made yet"),
  el("p", {}, narrow ? "New attempts that match appear here by themselves. Clear the filter to see all." : ["Send a signal, and its deliveries appear here as they happen: ", el("code", {}, "signalpost send")]));

function line(e, fresh) {
  const answer = e.status || (e.attempt ? e.class ?? "no answer" : e.verdict), mark = `mark ${e.verdict}`;
  return row(e.delivery, `delivery to ${e.route}`, [
    ["time", when(e.time)], ["route", chip("route", e.route)], ["type", chip("type", e.signal_type)],
    ["attempt", e.attempt ? `#${e.attempt}` : "none", e.trigger && e.trigger !== "schedule" && ` ${e.trigger}`],
    ["answer", e.status ? chip("status", String(e.status), answer, { class: `chip ${mark}` }) : el("span", { class: mark }, answer)],
    ["took number", e.attempt ? took(e.duration_ms) : ""],
    [e.verdict === "delivered" ? "what fine" : "what", story(e), e.response && e.verdict !== "delivered" && el("span", { class: "answer-text", title: e.response }, e.response.slice(0, 200))],
  ], { class: fresh ? "fresh" : null });
}

// story is one line on what an attempt led to.
export function story(e) {
  const why = sentence(e.error);
  if (e.verdict === "delivered") return "Delivered";
  if (e.verdict === "retry") return [why || "Failed.", e.next_attempt && el("span", { class: "quiet" }, " Next at ", when(e.next_attempt), ".")];
  return [el("span", { class: "dead" }, reasons[e.reason] ?? "Given up"), why ? `: ${why}` : "."];
}

// reasons says why a delivery is dead.
export const reasons = {
  gone: "The answer says not to try again",
  exhausted: "The last attempt failed",
  transform: "The expression failed",
  filtered: "Reshaped, and it does not pass any more",
  too_old: "It waited too long",
  discarded: "Discarded",
};
