// A list that is asked for page by page, by the filter of the URL.

import { arrange, button, el, problem, put } from "./dom.js";
import { when } from "./format.js";
import { get } from "./api.js";
import { compile } from "./filter.js";
import { filterbar, known } from "./filterbar.js";
import { on } from "./live.js";
import { table } from "./rows.js";
import { params } from "./url.js";

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
