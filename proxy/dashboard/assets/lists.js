// The delivery log and the deliveries: lists that are asked for page by page, by the
// filter of the URL; rows that can be selected, and the bar that says what can be done
// with those that are.

import { button, el, problem, put, say } from "./dom.js";
import { due, many, sentence, took, when } from "./format.js";
import { get } from "./api.js";
import { compile } from "./filter.js";
import { chip, filterbar, known } from "./filterbar.js";
import { discardAll, discardThese, resendAll, resendThese } from "./actions.js";
import { key, now, on } from "./live.js";
import { params, toDelivery } from "./url.js";

// list keeps the rows of GET /log or GET /deliveries. of is "log" or "deliveries";
// fixed narrows it in any case; key orders its items, newest last; line makes a row;
// empty(filtered) says that there is none; changed is told of each change.
function list(signal, { of, fixed = {}, label, columns, size, key, line, empty, changed = () => {} }) {
  const l = { filter: null, next: undefined, shown: new Map(), form: filterbar(of, label), under: el("div", { class: "under" }) };
  const rows = el("tbody");
  let asked = null, loading = null;
  l.table = table(of, columns, rows);
  l.keys = () => [...l.shown.keys()].sort().reverse();
  l.matches = (e) => l.filter.test(e) && (!fixed.route || e.route === fixed.route);
  l.show = (item, fresh) => l.shown.set(key(item), { item, row: line(item, fresh, key(item)) });

  l.load = async (more) => {
    loading?.abort();
    const mine = (loading = new AbortController()), query = { ...l.filter.params, ...fixed, limit: size };
    if (more && l.next) query.after = l.next;
    else if (more && l.shown.size) query.until = l.shown.get(l.keys().at(-1)).item.time;
    if (!more) put(l.under, el("p", { class: "quiet" }, "Reading…"));
    try {
      const page = await get(`/${of}`, query, AbortSignal.any([mine.signal, signal]));
      if (!more) l.shown.clear();
      const items = page.entries ?? page.deliveries, end = items.at(-1);
      for (const e of items) {
        known.types.add(e.signal_type);
        if (!l.shown.has(key(e)) && l.matches(e)) l.show(e);
      }
      l.next = page.next ?? null;
      l.draw(page.searched_to ?? (items.some((e) => !l.matches(e)) && (end.time ?? end.created))); // what the API cannot leave out, this does
    } catch (err) {
      if (!mine.signal.aborted && !signal.aborted) put(l.under, problem("The list could not be read", err, () => l.load(more)));
    }
  };

  l.draw = (searched) => {
    const older = button(searched ? "Search further back" : "Show older", () => l.load(true)), n = l.shown.size;
    put(rows, l.keys().map((k) => l.shown.get(k).row));
    l.table.hidden = !n;
    if (searched && l.next) put(l.under, el("p", { class: "quiet" }, "Searched back to ", when(searched), n ? ". " : ": nothing so far. "), older);
    else if (!n && l.next === null) put(l.under, empty(l.filter.terms.length > 0));
    else put(l.under, l.next === null ? el("p", { class: "quiet" }, "That is all there is.") : older);
    changed();
  };

  l.update = () => {
    const q = params().q ?? "", wanted = compile(q, of, known);
    l.form.show(wanted.fault);
    if (asked === q + JSON.stringify(wanted.params)) return false;
    asked = q + JSON.stringify(wanted.params);
    l.filter = wanted;
    return l.load(false);
  };
  on("gap", () => l.load(false), signal);
  return l;
}

export const chosen = new Set(); // ids of deliveries
const bar = el("div", { class: "chosen", role: "region", "aria-label": "Selected deliveries", hidden: true });
document.body.append(bar);

// choose selects a delivery, or no longer.
export function choose(id, on = !chosen.has(id)) {
  chosen[on ? "add" : "delete"](id);
  show();
}

export const chooseNone = () => show(chosen.clear());

function show() {
  bar.hidden = !chosen.size;
  document.body.classList.toggle("choosing", chosen.size > 0);
  for (const box of document.querySelectorAll("input[data-delivery]")) box.checked = chosen.has(box.dataset.delivery);
  put(bar, el("b", {}, `${many(chosen.size, "delivery")} selected`), button("Send again…", () => resendThese([...chosen], chooseNone)),
    button("Discard…", () => discardThese([...chosen], chooseNone)), button("Clear", chooseNone, { class: "plain" }));
}

// row is a line of a list about a delivery. The link in its first cell is what j
// and k go to and Enter opens; it covers the row.
function row(id, name, cells, attributes) {
  return el("tr", attributes,
    el("td", { class: "pick" }, el("input", { type: "checkbox", "data-delivery": id, "aria-label": `Select ${name}`, checked: chosen.has(id), onchange: (e) => choose(id, e.target.checked) })),
    cells.map(([kind, ...content], i) => el("td", { class: kind }, i === 0 ? el("a", { class: "open", href: toDelivery(id), "data-row": id }, content, el("span", { class: "unseen" }, ` ${name}`)) : content)));
}

function table(kind, columns, rows) {
  const all = el("input", { type: "checkbox", "aria-label": "Select all that are shown", onchange: () => {
    for (const box of rows.querySelectorAll("input[data-delivery]")) choose(box.dataset.delivery, all.checked);
  } });
  return el("table", { class: `${kind} rows` },
    el("thead", {}, el("tr", {}, el("th", { class: "pick" }, all), columns.map((c) => el("th", { scope: "col", class: c === "Took" ? "number" : null }, c)))), rows);
}

const MOST = 200; // rows that live entries may make
const STATES = { live: "Live", lost: "Connection lost, reconnecting", connecting: "Connecting" };

// log is the section; it has an update() for when the URL has changed, and a hold()
// for the space bar. fixed, such as {route}, narrows it in any case.
export function log(signal, fixed = {}) {
  let held = null; // entries that wait while it is stopped
  const l = list(signal, { of: "log", fixed, label: "Filter the delivery log", size: 50, key, line: attemptRow, empty: noAttempt, columns: ["Time", "Route", "Signal", "Attempt", "Answer", "Took", "What happened"] });
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
    live.title = held ? "Show the new attempts, and go on (space)" : "Pause the list while you read (space)";
    put(live, el("span", { class: "dot" }), held ? (held.length ? `Paused · ${held.length} new` : "Paused") : STATES[now.stream]);
  }

  // add puts new entries, oldest first, on top. Of a flood only as many are made rows as will stay.
  function add(entries) {
    const fresh = entries.filter((e) => !l.shown.has(key(e)) && l.matches({ ...e, live: true }));
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

  section.update = () => l.update() && hold(false); // another list has begun
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

const noAttempt = (narrow) => el("div", { class: "empty" }, el("strong", {}, narrow ? "Nothing in the log matches" : "No attempt has been made yet"),
  el("p", {}, narrow ? "New attempts that match appear here by themselves. Clear the filter to see all." : ["Send a signal, and its deliveries appear here as they happen: ", el("code", {}, "signalpost send")]));

function attemptRow(e, fresh, key) {
  const answer = e.status || (e.attempt ? e.class ?? "no answer" : e.verdict), mark = `mark ${e.verdict}`;
  return row(e.delivery, `delivery to ${e.route}`, [
    ["time", when(e.time)], ["route", chip("route", e.route)], ["type", chip("type", e.signal_type)],
    ["attempt", e.attempt ? `#${e.attempt}` : "none", e.trigger && e.trigger !== "schedule" && ` ${e.trigger}`],
    ["answer", e.status ? chip("status", String(e.status), answer, { class: `chip ${mark}` }) : el("span", { class: mark }, answer)],
    ["took number", e.attempt ? took(e.duration_ms) : ""],
    [e.verdict === "delivered" ? "what fine" : "what", whatHappened(e), e.response && e.verdict !== "delivered" && el("span", { class: "answer-text", title: e.response }, e.response.slice(0, 200))],
  ], { class: fresh ? "fresh" : null, "data-key": key });
}

export function whatHappened(e) {
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

const AFTER = { delivered: "delivered", dead: "dead", retry: "pending" }; // after an attempt

export function deliveries(_, signal) {
  const bulk = el("div", { class: "bulk" });
  const l = list(signal, { of: "deliveries", label: "Filter the deliveries", size: 100, key: (d) => d.id, line: deliveryRow, empty: noDelivery, changed, columns: ["Made", "Route", "Signal", "State", "Attempts", "What happened last", "Next attempt"] });
  const page = el("div", {}, el("h1", {}, "Deliveries"), el("section", { class: "panel", "aria-label": "Deliveries" }, l.form, bulk, l.table, l.under));

  // Many at once are what the sidecar can select: the filter may not be finer.
  function changed() {
    const { body, signal: of, ...p } = l.filter.params, done = () => l.load(false), some = l.shown.size > 0;
    if (body || of || l.filter.terms.some((t) => t.not)) return put(bulk, el("p", { class: "quiet" }, "This filter is too fine to send or discard all that match at once: select deliveries instead."));
    put(bulk, some && p.state && p.state !== "held" && button("Send these again…", () => resendAll(p, done)),
      some && p.state && p.state !== "delivered" && p.reason !== "discarded" && button("Discard these…", () => discardAll(p, done)));
  }

  // An attempt tells where its delivery stands now: nothing has to be asked again.
  on("entries", (entries) => {
    for (const e of entries) {
      const d = l.shown.get(e.delivery)?.item;
      if (d) l.show({ ...d, state: AFTER[e.verdict], reason: e.reason, attempts: Math.max(d.attempts, e.attempt), next_attempt: e.next_attempt, last: e });
    }
    if (l.next !== undefined) l.draw();
  }, signal);
  page.update = l.update;
  l.update();
  return page;
}

const noDelivery = () => el("div", { class: "empty" }, el("strong", {}, "No delivery matches"), el("p", {}, "Finished deliveries are kept for queue.retention."));

function deliveryRow(d, _, key) {
  return row(d.id, `delivery to ${d.route}, ${d.state}`, [
    ["time", when(d.created)], ["route", chip("route", d.route)], ["type", chip("type", d.signal_type)],
    ["state", chip("state", d.state, d.state, { class: `chip badge ${d.state}` })],
    ["attempts", String(d.attempts)], ["what", standing(d)], ["next", d.next_attempt && d.state === "pending" ? due(d.next_attempt) : ""],
  ], { "data-key": key });
}

function standing(d) {
  if (d.state === "dead") return [el("span", { class: "dead" }, reasons[d.reason] ?? "Dead"), d.last?.error && d.reason !== "discarded" ? `: ${sentence(d.last.error)}` : "."];
  if (!d.last) return el("span", { class: "quiet" }, "No attempt yet");
  return d.last.verdict === "delivered" ? "Delivered" : sentence(d.last.error);
}
