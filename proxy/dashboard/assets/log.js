// The delivery log: what has been, by pages; what comes, live. The filter is
// the URL's. At most so many rows stand on the page.

import { el, problem, put, say, select, sentence } from "./dom.js";
import { moment, took, when } from "./format.js";
import { get } from "./api.js";
import { bar, choices, field, params, url } from "./filters.js";
import { key, now, on } from "./live.js";

const PAGE = 50;
const MOST = 200; // rows while it is live
const KEEP = 1000; // rows after older ones were asked for
const names = ["route", "signal_type", "signal", "delivery", "verdict", "status", "since"];

export const SINCE = ["15m", "1h", "6h", "24h", "7d"];

// log is the section; it has an update() for when the URL has changed.
export function log(signal) {
  let filter = null;
  let next; // cursor of the page after the last row
  let most = MOST;
  let held = null; // entries that wait while it is stopped
  let loading = null;
  const keys = new Set();

  const route = select("route", "Route", [], "", "Every route");
  const form = bar("Filter the delivery log", [
    field("find", "Signal type, or id of a signal or delivery", { placeholder: "Signal type, sig_… or dlv_…", width: "wide", slash: true }),
    route,
    select("verdict", "Verdict", ["delivered", "retry", "dead"], "", "Every verdict"),
    field("status", "Status of the answer, such as 503", { placeholder: "Status", width: "narrow" }),
    select("since", "Since", SINCE, "", "Any time"),
  ], { clean: ({ find, ...rest }) => ({ ...rest, ...found(find) }) });

  const rows = el("tbody");
  const table = el("table", { class: "log rows" },
    el("thead", {}, el("tr", {}, ["Time", "Route", "Signal", "Attempt", "Answer", "Took", "What happened"].map((h, i) => el("th", { scope: "col", class: i === 5 ? "number" : null }, h)))),
    rows);
  const under = el("div", { class: "under" });
  const live = el("button", { type: "button", class: "live", "aria-pressed": "false", onclick: () => hold(!held) });
  const section = el("section", { class: "panel", "aria-labelledby": "log-title" },
    el("div", { class: "panel-head" }, el("h2", { id: "log-title" }, "Delivery log"), live), form, table, under);

  function hold(stop) {
    if (stop) held = [];
    else {
      const list = held;
      held = null;
      for (const e of list) keys.delete(key(e));
      add(list);
    }
    showLive();
  }

  function showLive() {
    const state = held ? "held" : now.stream;
    live.className = `live ${state}`;
    live.setAttribute("aria-pressed", String(!!held));
    live.title = held ? "Show what has come, and go on" : "Hold the list still while you read";
    put(live, el("span", { class: "dot" }), held ? (held.length ? `Held still · ${held.length} new` : "Held still") : { live: "Live", lost: "Connection lost, trying again", connecting: "Connecting" }[now.stream]);
  }

  // add puts new entries, oldest first, on top.
  function add(list) {
    let n = 0, newest = null;
    const fresh = list.filter((e) => matches(e, filter) && !keys.has(key(e)));
    // Of a flood only as many are made rows as will stay.
    for (const e of fresh.slice(-MOST)) {
      const k = key(e);
      n++;
      newest = e;
      if (held) {
        keys.add(k);
        held.push(e);
        if (held.length > MOST) keys.delete(key(held.shift()));
        continue;
      }
      const r = row(e, k, fresh.length < 30);
      keys.add(k);
      // A page may have brought newer ones before the stream did.
      let before = rows.firstElementChild;
      while (before && before.dataset.key > k) before = before.nextElementSibling;
      rows.insertBefore(r, before);
    }
    while (rows.childElementCount > most) {
      const gone = rows.lastElementChild;
      keys.delete(gone.dataset.key);
      gone.remove();
      next = null; // the cursor is beyond what was cut off
    }
    if (n > 0) {
      say(`${n} new ${n === 1 ? "attempt" : "attempts"}, the last: ${newest.route}, ${newest.verdict}${newest.status ? `, status ${newest.status}` : ""}`);
      foot();
    }
  }

  async function load(more) {
    loading?.abort();
    const mine = (loading = new AbortController());
    const query = { ...filter, limit: PAGE };
    if (more && next) query.after = next;
    else if (more && rows.lastElementChild) query.until = rows.lastElementChild.dataset.time;
    if (!more) {
      keys.clear();
      put(rows);
      put(under, el("p", { class: "quiet" }, "Reading the log…"));
    }
    try {
      const page = await get("/log", query, AbortSignal.any([mine.signal, signal]));
      if (more) most = KEEP;
      for (const e of page.entries) {
        const k = key(e);
        if (keys.has(k)) continue;
        keys.add(k);
        let after = rows.lastElementChild;
        while (after && after.dataset.key < k) after = after.previousElementSibling;
        const r = row(e, k, false);
        if (after) after.after(r);
        else rows.prepend(r);
      }
      next = page.next;
      foot(!page.next);
    } catch (err) {
      if (err.name === "AbortError") return;
      put(under, problem("The log could not be read", err, () => load(more)));
    }
  }

  let ended = false;
  function foot(end = ended) {
    ended = end && next !== null;
    const n = rows.childElementCount;
    table.hidden = n === 0;
    if (n === 0) {
      const filtered = names.some((name) => filter[name]);
      put(under, el("div", { class: "empty" },
        el("strong", {}, filtered ? "Nothing in the log matches" : "No attempt has been made yet"),
        el("p", {}, filtered ? "New attempts that match appear here by themselves. Clear the filter to see all." : ["Send a signal, and its deliveries appear here as they happen: ", el("code", {}, "signalpost send")])));
    } else if (n >= KEEP) {
      put(under, el("p", { class: "quiet" }, `The ${KEEP} newest are shown. Narrow the filter to see further back.`));
    } else if (!ended) {
      put(under, el("button", { type: "button", onclick: () => load(true) }, "Show older"));
    } else {
      put(under, el("p", { class: "quiet" }, "That is all the log holds."));
    }
  }

  section.update = () => {
    const p = params();
    const wanted = Object.fromEntries(names.map((n) => [n, p[n] ?? ""]));
    form.show({ ...wanted, find: wanted.delivery || wanted.signal || wanted.signal_type });
    if (filter && names.every((n) => filter[n] === wanted[n])) return;
    filter = wanted;
    most = MOST;
    if (held) hold(false);
    load(false);
  };
  on("entries", (list) => {
    add(list);
    if (held) showLive();
  }, signal);
  on("stream", showLive, signal);
  on("status", () => now.status && choices(route, now.status.routes.map((r) => r.name), "Every route"), signal);
  if (now.status) choices(route, now.status.routes.map((r) => r.name), "Every route");
  showLive();
  section.update();
  return section;
}

// found tells what was typed into the one field for types and ids.
export function found(text) {
  if (text.startsWith("dlv_")) return { delivery: text };
  if (text.startsWith("sig_")) return { signal: text };
  return { signal_type: text };
}

function matches(e, f) {
  return (!f.route || e.route === f.route) && (!f.signal_type || e.signal_type === f.signal_type) &&
    (!f.signal || e.signal === f.signal) && (!f.delivery || e.delivery === f.delivery) &&
    (!f.verdict || e.verdict === f.verdict) && (!f.status || String(e.status) === f.status);
}

function row(e, k, fresh) {
  const failed = e.verdict !== "delivered";
  return el("tr", { class: fresh ? "fresh" : null, "data-key": k, "data-time": e.time },
    el("td", { class: "time" }, el("a", { href: url({ view: "delivery", id: e.delivery }), "aria-label": `Delivery to ${e.route} at ${moment(e.time)}` }, when(e.time))),
    el("td", { class: "route" }, e.route),
    el("td", { class: "type", title: e.signal }, e.signal_type),
    el("td", { class: "attempt" }, e.attempt ? `#${e.attempt}` : "none"),
    el("td", { class: "answer" }, el("span", { class: `mark ${e.verdict}` }, e.status || (e.attempt ? "no answer" : e.verdict))),
    el("td", { class: "took number" }, e.attempt ? took(e.duration_ms) : ""),
    el("td", { class: "what" }, failed ? story(e) : "Delivered"));
}

// story is one line on what an attempt led to.
export function story(e) {
  const why = e.error ? sentence(e.error) : "";
  if (e.verdict === "delivered") return "Delivered";
  if (e.verdict === "retry") return [why || "Failed.", e.next_attempt ? el("span", { class: "quiet" }, ` Next at ${moment(e.next_attempt)}.`) : null];
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
