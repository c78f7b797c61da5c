// Lists that are asked for page by page, by the filter of the URL; rows that can be
// selected, and the bar that says what can be done with those that are.

import { arrange, button, el, problem, put } from "./dom.js";
import { many, when } from "./format.js";
import { discardThese, resendThese } from "./actions.js";
import { get } from "./api.js";
import { compile } from "./filter.js";
import { filterbar, known } from "./filterbar.js";
import { on } from "./live.js";
import { params, toDelivery } from "./url.js";

// list keeps the rows of GET /log or GET /deliveries. of is "log" or "deliveries";
// fixed narrows it in any case; key orders its items, newest last; line makes a row;
// empty(filtered) says that there is none; changed is told of each change.
export function list(signal, { of, fixed = {}, label, columns, size, key, line, empty, changed = () => {} }) {
  const l = { filter: null, next: undefined, shown: new Map(), form: filterbar(of, label), under: el("div", { class: "under" }) };
  const rows = el("tbody");
  let asked = null, loading = null;
  l.table = table(of, columns, rows);
  l.keys = () => [...l.shown.keys()].sort().reverse();
  l.passes = (e) => l.filter.test(e) && (!fixed.route || e.route === fixed.route);
  l.show = (e, fresh) => l.shown.set(key(e), { item: e, row: line(e, fresh) });

  l.load = async (more) => {
    loading?.abort();
    const mine = (loading = new AbortController()), query = { ...l.filter.params, ...fixed, limit: size };
    if (more && l.next) query.after = l.next;
    else if (more && l.shown.size) query.until = l.shown.get(l.keys().at(-1)).item.time;
    if (!more) put(l.under, el("p", { class: "quiet" }, "Reading…"));
    try {
      const page = await get(`/${of}`, query, AbortSignal.any([mine.signal, signal]));
      if (!more) l.shown.clear();
      for (const e of page.entries ?? page.deliveries) {
        known.types.add(e.signal_type);
        if (!l.shown.has(key(e)) && l.passes(e)) l.show(e);
      }
      l.next = page.next ?? null;
      l.draw(page.searched_to);
    } catch (err) {
      if (!mine.signal.aborted && !signal.aborted) put(l.under, problem("The list could not be read", err, () => l.load(more)));
    }
  };

  l.draw = (searched) => {
    const older = button(searched ? "Search further back" : "Show older", () => l.load(true)), n = l.shown.size;
    arrange(rows, l.keys().map((k) => l.shown.get(k).row));
    l.table.hidden = !n;
    if (searched && l.next) put(l.under, el("p", { class: "quiet" }, "Searched back to ", when(searched), n ? ". " : ": nothing so far. "), older);
    else if (!n && l.next === null) put(l.under, empty(l.filter.terms.length > 0));
    else put(l.under, l.next === null ? el("p", { class: "quiet" }, "That is all there is.") : older);
    changed();
  };

  l.update = () => {
    const q = params().q ?? "", wanted = compile(q, of, known);
    l.form.show(wanted.fault);
    if (asked === q + JSON.stringify(wanted.params)) return;
    asked = q + JSON.stringify(wanted.params);
    l.filter = wanted;
    l.load(false);
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
export function row(id, name, cells, attributes = {}) {
  return el("tr", attributes,
    el("td", { class: "pick" }, el("input", { type: "checkbox", "data-delivery": id, "aria-label": `Select ${name}`, checked: chosen.has(id), onchange: (e) => choose(id, e.target.checked) })),
    cells.map(([kind, ...content], i) => el("td", { class: kind }, i === 0 ? el("a", { class: "open", href: toDelivery(id), "data-row": id }, content, el("span", { class: "unseen" }, ` ${name}`)) : content)));
}

// table makes one with these columns; "" is the box to select all that is shown.
function table(kind, columns, rows) {
  const all = el("input", { type: "checkbox", "aria-label": "Select all that are shown", onchange: () => {
    for (const box of rows.querySelectorAll("input[data-delivery]")) choose(box.dataset.delivery, all.checked);
  } });
  return el("table", { class: `${kind} rows` },
    el("thead", {}, el("tr", {}, el("th", { class: "pick" }, all), columns.map((c) => el("th", { scope: "col", class: c === "Took" ? "number" : null }, c)))), rows);
}
