// A list of deliveries in the state they are in, and what can be done to all
// that match. The filter is the URL's.

import { el, problem, put, select } from "./dom.js";
import { due, moment, when } from "./format.js";
import { get } from "./api.js";
import { bar, choices, field, params, url } from "./filters.js";
import { now, on } from "./live.js";
import { reasons, SINCE } from "./log.js";
import { discardMany, resendMany } from "./actions.js";

const names = ["state", "route", "signal_type", "signal", "reason", "since"];
const PAGE = 50;
const REFRESH = 4000; // at least between two looks, while things happen

export function deliveries(_, signal) {
  let filter = null, next, loading = null, pages = 0, looked = 0, due = 0;
  const route = select("route", "Route", [], "", "Every route");
  const again = el("button", { type: "button", onclick: () => resendMany(bulk(), () => load(false)) }, "Send these again…");
  const give = el("button", { type: "button", onclick: () => discardMany(bulk(), () => load(false)) }, "Discard these…");
  const form = bar("Filter deliveries", [
    field("find", "Signal type, or id of a signal or delivery", { placeholder: "Signal type, sig_… or dlv_…", width: "wide", slash: true }),
    select("state", "State", ["pending", "held", "delivered", "dead"], "", "Every state"), route,
    select("reason", "Reason", Object.keys(reasons), "", "Every reason"),
    select("since", "Made since", SINCE, "", "Any time"),
  ], {
    fixed: { view: "deliveries" },
    clean: ({ find, ...rest }) => {
      if (find.startsWith("dlv_")) return { view: "delivery", id: find };
      return { ...rest, ...(find.startsWith("sig_") ? { signal: find } : { signal_type: find }) };
    },
  });
  const rows = el("tbody");
  const table = el("table", { class: "rows deliveries" }, el("thead", {}, el("tr", {},
    ["Made", "Route", "Signal", "State", "Attempts", "Last answer", "Next attempt"].map((h, i) => el("th", { scope: "col", class: i === 4 ? "number" : null }, h)))), rows);
  const under = el("div", { class: "under" });
  const page = el("div", {}, el("h1", {}, "Deliveries"),
    el("section", { class: "panel", "aria-label": "Deliveries" }, form, el("div", { class: "bulk" }, again, give), table, under));

  const bulk = () => Object.fromEntries(["state", "route", "signal_type", "reason", "since"].map((n) => [n, filter[n]]));

  async function load(more, silent) {
    loading?.abort();
    const mine = (loading = new AbortController());
    looked = Date.now();
    if (!more && !silent) put(under, el("p", { class: "quiet" }, "Reading…"));
    try {
      const list = await get("/deliveries", { ...filter, limit: PAGE, after: more ? next : "" }, AbortSignal.any([mine.signal, signal]));
      const made = list.deliveries.map(deliveryRow);
      // Rows that are the same stay: a reader's place and focus with them.
      if (more) rows.append(...made);
      else {
        const have = new Map([...rows.children].map((r) => [r.dataset.is, r]));
        rows.replaceChildren(...made.map((r) => have.get(r.dataset.is) ?? r));
      }
      pages = more ? pages + 1 : 1;
      next = list.next;
      foot();
    } catch (err) {
      if (err.name === "AbortError") return;
      put(under, problem("The deliveries could not be read", err, () => load(more)));
    }
  }

  function foot() {
    table.hidden = rows.childElementCount === 0;
    if (table.hidden && !next) {
      const filtered = names.some((n) => filter[n]);
      put(under, el("div", { class: "empty" }, el("strong", {}, filtered ? "No delivery matches" : "There is no delivery yet"),
        el("p", {}, filtered ? "Finished deliveries are kept for queue.retention; older ones are gone." : "A signal that passes a route's filter makes one.")));
    } else put(under, next ? el("button", { type: "button", onclick: () => load(true) }, "Show older") : el("p", { class: "quiet" }, "That is all."));
    // One signal's deliveries cannot be met by a filter of the API's bulk requests.
    const state = filter.state;
    again.hidden = Boolean(filter.signal) || !(state === "dead" || state === "delivered");
    give.hidden = Boolean(filter.signal) || state === "delivered" || !["state", "route", "signal_type", "reason", "since"].some((n) => filter[n]);
  }

  page.update = () => {
    const p = params();
    const wanted = Object.fromEntries(names.map((n) => [n, p[n] ?? ""]));
    form.show({ ...wanted, find: wanted.signal || wanted.signal_type });
    if (filter && names.every((n) => filter[n] === wanted[n])) return;
    filter = wanted;
    load(false);
  };
  const refresh = () => {
    if (pages > 1 || due || document.hidden) return; // a reader further down is left in peace
    due = setTimeout(() => {
      due = 0;
      if (!signal.aborted) load(false, true);
    }, Math.max(300, looked + REFRESH - Date.now()));
  };
  on("entries", refresh, signal);
  on("status", () => now.status && choices(route, now.status.routes.map((r) => r.name), "Every route"), signal);
  if (now.status) choices(route, now.status.routes.map((r) => r.name), "Every route");
  page.update();
  return page;
}

export function deliveryRow(d) {
  const last = d.last;
  return el("tr", { "data-is": JSON.stringify(d) },
    el("td", { class: "time" }, el("a", { href: url({ view: "delivery", id: d.id }), "aria-label": `Delivery to ${d.route} made at ${moment(d.created)}` }, when(d.created))),
    el("td", { class: "route" }, d.route),
    el("td", { class: "type", title: d.signal }, d.signal_type),
    el("td", { class: "state" }, el("span", { class: `badge ${d.state}` }, d.state), d.reason && el("span", { class: "quiet" }, ` ${d.reason}`)),
    el("td", { class: "attempts number", "data-label": "attempts" }, String(d.attempts)),
    el("td", { class: "what" }, last ? [last.status > 0 && el("span", { class: `mark ${last.verdict}` }, last.status), " ", last.error ?? ""] : el("span", { class: "quiet" }, "none yet")),
    el("td", { class: "next" }, d.next_attempt ? due(d.next_attempt) : ""));
}
