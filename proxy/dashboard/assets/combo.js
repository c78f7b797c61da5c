// A field with a list under it: of what is offered for the text, the arrow keys pick,
// Enter and the mouse take.

import { el, put } from "./dom.js";

let ids = 0;

// combo makes {field, menu}. offer(text, cursor) lists [words, help, more]; take(offer)
// is told what was taken; loose lets none be picked, so that Enter means the text itself.
export function combo(attributes, { offer, take, loose = false }) {
  const id = `combo-${++ids}`;
  const menu = el("ul", { id, role: "listbox", class: "offers", hidden: true, "aria-label": "Found" });
  const field = el("input", { type: "text", role: "combobox", "aria-expanded": "false", "aria-controls": id, "aria-autocomplete": "list", autocomplete: "off", autocapitalize: "off", spellcheck: "false", ...attributes });
  let found = [], picked = -1;

  function show(list = offer(field.value, field.selectionStart)) {
    found = list;
    picked = loose ? -1 : Math.min(0, found.length - 1);
    draw();
  }

  function draw() {
    menu.hidden = !found.length;
    field.setAttribute("aria-expanded", String(!menu.hidden));
    field.setAttribute("aria-activedescendant", picked < 0 ? "" : `${id}-${picked}`);
    put(menu, found.map(([words, help], i) => el("li", { id: `${id}-${i}`, role: "option", "aria-selected": String(i === picked), onpointerdown: (e) => {
      e.preventDefault();
      take(found[i]);
    } }, el("span", {}, words), help && el("span", { class: "quiet" }, help))));
    menu.children[picked]?.scrollIntoView({ block: "nearest" });
  }

  field.onkeydown = (e) => {
    const low = loose ? -1 : 0, n = found.length - low; // places to be in, none being one of a loose list
    const by = { ArrowDown: 1, ArrowUp: n - 1 }[e.key];
    if (by && n > 0) picked = ((picked - low + by) % n) + low;
    else if ((e.key === "Enter" || e.key === "Tab") && picked >= 0) return e.preventDefault(), take(found[picked]);
    else if (e.key === "Escape" && loose && found.length) show([]);
    else return;
    draw();
    e.preventDefault();
    e.stopPropagation();
  };
  return { field, menu, show };
}
