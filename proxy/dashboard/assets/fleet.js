// The fleet, if the sidecar is of one: a row each sidecar, with the ledgers that it
// has, its own and those it adopted; first the ledgers that nobody has at the moment.

import { el, put } from "./dom.js";
import { count } from "./format.js";
import { now, on } from "./live.js";

export function fleet(signal) {
  const title = el("h2", { id: "fleet-title" }), rows = el("tbody");
  const section = el("section", { class: "panel", "data-key": "fleet", "data-own": true, hidden: true, "aria-labelledby": "fleet-title" },
    el("div", { class: "panel-head" }, title),
    el("table", { class: "fleet rows" }, el("thead", {}, el("tr", {}, ["Sidecar", "Its own ledger", "Adopted"].map((text) => el("th", { scope: "col" }, text)))), rows));

  function draw() {
    const f = now.status?.fleet;
    section.hidden = !f;
    if (!f) return;
    const nodes = Object.entries(f.nodes).sort(([a, x], [b, y]) => x.localeCompare(y) || (a < b ? -1 : 1));
    const has = (node, own) => Object.keys(f.owners).filter((id) => f.owners[id].node === node && f.owners[id].own === own).sort();
    const row = (key, name, ...cells) => el("tr", { "data-key": key }, el("td", { class: "name" }, name), cells.map((c) => el("td", {}, c)));
    put(title, "Fleet ", el("span", { class: "quiet" }, count(nodes.length)));
    put(rows,
      f.ownerless.filter((id) => !f.owners[id]).map((id) => row(id, el("b", { class: "bad" }, "nobody"), id, "not yet")),
      (now.status.missing ?? []).filter((who) => !who.startsWith("ledger ")).map((who) => row(who, el("span", { class: "bad" }, "no answer"), who, "is not shown")),
      nodes.map(([id, host]) => row(id, [el("span", { title: id }, host), id === f.node && el("span", { class: "quiet" }, " this one")],
        has(id, true).join(" "), named(has(id, false)))));
  }

  on("status", draw, signal);
  draw();
  return section;
}

// named is a few of the ids, and how many more.
const named = (ids) => el("span", { title: ids.join("\n") || null }, ids.slice(0, 3).join(" "), ids.length > 3 && ` and ${count(ids.length - 3)} more`);
