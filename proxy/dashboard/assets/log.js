// The delivery log: what has been, by pages; what comes, live. The filter is the
// URL's. At most so many rows stand on the page.

import { arrange, button, el, problem, put, say } from "./dom.js";
import { moment, sentence, took, when } from "./format.js";
import { get } from "./api.js";
import { compile } from "./filter.js";
import { chip, filterbar, known } from "./filterbar.js";
import { key, now, on } from "./live.js";
import { row, table } from "./rows.js";
import { params } from "./url.js";

const PAGE = 50;
const MOST = 200; // rows while it is live
const KEEP = 1000; // rows after older ones were asked for

// log is the section; it has an update() for when the URL has changed, and a hold()
// for the space bar. fixed, such as {route}, narrows it in any case.
export function log(signal, fixed = {}) {
  let filter = null, text = null, next, ended = false, most = MOST;
  let held = null; // entries that wait while it is stopped
  let loading = null;
  const shown = new Map(); // key -> row

  const form = filterbar("log", "Filter the delivery log");
  const rows = el("tbody");
  const list = table("log", ["Time", "Route", "Signal", "Attempt", "Answer", "Took", "What happened"], rows);
  const under = el("div", { class: "under" });
  const live = el("button", { type: "button", class: "live", "aria-pressed": "false", onclick: () => hold() });
  const section = el("section", { class: "panel", "data-own": true, "data-key": `log ${fixed.route ?? ""}`, "aria-labelledby": "log-title" },
    el("div", { class: "panel-head" }, el("h2", { id: "log-title" }, "Delivery log"), live), form, list, under);

  function hold(stop = !held) {
    const waited = held;
    held = stop ? [] : null;
    if (waited) add(waited);
    showLive();
  }

  function showLive() {
    live.className = `live ${held ? "held" : now.stream}`;
    live.setAttribute("aria-pressed", String(!!held));
    live.title = held ? "Show what has come, and go on (space)" : "Hold the list still while you read (space)";
    put(live, el("span", { class: "dot" }), held ? (held.length ? `Held still · ${held.length} new` : "Held still") : { live: "Live", lost: "Connection lost, trying again", connecting: "Connecting" }[now.stream]);
  }

  const order = () => [...shown.keys()].sort().reverse();

  // add puts new entries, oldest first, on top.
  function add(entries) {
    const fresh = entries.filter((e) => !shown.has(key(e)) && passes({ ...e, live: true }));
    if (held) {
      held.push(...fresh);
      held.splice(0, held.length - MOST);
      return showLive();
    }
    // Of a flood only as many are made rows as will stay.
    for (const e of fresh.slice(-MOST)) shown.set(key(e), line(e, fresh.length < 30));
    for (const k of order().slice(most)) {
      shown.delete(k);
      next = null; // the cursor is beyond what was cut off
    }
    if (!fresh.length) return;
    const newest = fresh.at(-1);
    say(`${fresh.length} new ${fresh.length === 1 ? "attempt" : "attempts"}, the last: ${newest.route}, ${newest.verdict}${newest.status ? `, status ${newest.status}` : ""}`);
    draw();
  }

  const passes = (e) => filter.test(e) && (!fixed.route || e.route === fixed.route);

  async function load(more) {
    loading?.abort();
    const mine = (loading = new AbortController());
    const query = { ...filter.params, ...fixed, limit: PAGE };
    if (more && next) query.after = next;
    else if (more && shown.size) query.until = rows.lastElementChild.dataset.time;
    if (!more) put(under, el("p", { class: "quiet" }, "Reading the log…"));
    try {
      const page = await get("/log", query, AbortSignal.any([mine.signal, signal]));
      if (more) most = KEEP;
      else shown.clear();
      for (const e of page.entries) {
        known.types.add(e.signal_type);
        if (!shown.has(key(e)) && passes(e)) shown.set(key(e), line(e, false));
      }
      next = page.next;
      ended = !next;
      draw(page.searched_to);
    } catch (err) {
      if (mine.signal.aborted || signal.aborted) return;
      shown.clear();
      draw();
      put(under, problem("The log could not be read", err, () => load(more)));
    }
  }

  function draw(searched) {
    arrange(rows, order().map((k) => shown.get(k)));
    list.hidden = !shown.size;
    const older = button(searched ? "Search further back" : "Show older", () => load(true));
    if (searched && next) put(under, el("p", { class: "quiet" }, "Searched back to ", when(searched), shown.size ? ". " : ": nothing so far. "), older);
    else if (!shown.size && next) put(under, older);
    else if (!shown.size) {
      const narrow = filter.terms.length > 0;
      put(under, el("div", { class: "empty" }, el("strong", {}, narrow ? "Nothing in the log matches" : "No attempt has been made yet"),
        el("p", {}, narrow ? "New attempts that match appear here by themselves. Clear the filter to see all." : ["Send a signal, and its deliveries appear here as they happen: ", el("code", {}, "signalpost send")])));
    } else if (shown.size >= KEEP) put(under, el("p", { class: "quiet" }, `The ${KEEP} newest are shown. Narrow the filter to see further back.`));
    else if (ended && next !== null) put(under, el("p", { class: "quiet" }, "That is all the log holds."));
    else put(under, older);
  }

  section.update = () => {
    const q = params().q ?? "";
    const wanted = compile(q, "log", known);
    form.show(wanted.fault);
    if (text === JSON.stringify(wanted.params) + q) return;
    text = JSON.stringify(wanted.params) + q;
    filter = wanted;
    most = MOST;
    held = null;
    showLive();
    load(false);
  };
  section.hold = () => hold();
  on("entries", (entries) => {
    for (const e of entries) known.types.add(e.signal_type);
    add(entries);
  }, signal);
  on("gap", () => load(false), signal);
  on("stream", showLive, signal);
  showLive();
  section.update();
  return section;
}

function line(e, fresh) {
  const answer = e.status || (e.attempt ? e.class ?? "no answer" : e.verdict);
  return row(e.delivery, `Delivery to ${e.route} at ${moment(e.time)}`, [
    ["time", when(e.time)],
    ["route", chip("route", e.route)],
    ["type", chip("type", e.signal_type)],
    ["attempt", e.attempt ? `#${e.attempt}` : "none", e.trigger && e.trigger !== "schedule" && el("span", { class: "quiet" }, ` ${e.trigger}`)],
    ["answer", e.status ? chip("status", String(e.status), answer, { class: `chip mark ${e.verdict}` }) : el("span", { class: `mark ${e.verdict}` }, answer)],
    ["took number", e.attempt ? took(e.duration_ms) : ""],
    [e.verdict === "delivered" ? "what fine" : "what", story(e), e.response && e.verdict !== "delivered" && el("span", { class: "answer-text", title: e.response }, e.response.slice(0, 200))],
  ], { class: fresh ? "fresh" : null, "data-time": e.time });
}

// story is one line on what an attempt led to.
export function story(e) {
  const why = e.error ? sentence(e.error) : "";
  if (e.verdict === "delivered") return "Delivered";
  if (e.verdict === "retry") return [why || "Failed.", e.next_attempt ? el("span", { class: "quiet" }, " Next at ", when(e.next_attempt), ".") : null];
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
