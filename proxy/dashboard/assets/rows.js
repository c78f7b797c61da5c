// What the two lists have in common: rows that can be selected, by the mouse or
// the keys, and the bar that says what can be done with them.

import { button, el, put } from "./dom.js";
import { many } from "./format.js";
import { discardThese, resendThese } from "./actions.js";
import { toDelivery } from "./url.js";

export const chosen = new Set(); // ids of deliveries

const bar = el("div", { class: "chosen", role: "region", "aria-label": "Selected deliveries", hidden: true });
document.body.append(bar);

// choose selects a delivery, or no longer.
export function choose(id, on = !chosen.has(id)) {
  if (on) chosen.add(id);
  else chosen.delete(id);
  show();
}

export function chooseNone() {
  chosen.clear();
  show();
}

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
export function table(kind, columns, rows) {
  const all = el("input", { type: "checkbox", "aria-label": "Select all that are shown", onchange: () => {
    for (const box of rows.querySelectorAll("input[data-delivery]")) choose(box.dataset.delivery, all.checked);
  } });
  return el("table", { class: `${kind} rows` },
    el("thead", {}, el("tr", {}, el("th", { class: "pick" }, all), columns.map((c) => el("th", { scope: "col", class: c === "Took" ? "number" : null }, c)))), rows);
}
