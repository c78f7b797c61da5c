// The field a filter is written in: it suggests words and values, applies what
// was typed after a pause, and makes one step in the tab's history of each edit.

import { el, put } from "./dom.js";
import { add, suggest } from "./filter.js";
import { now } from "./live.js";
import { go, params, url } from "./url.js";

const PAUSE = 450; // milliseconds after the last key

export const known = {
  types: new Set(), // signal types seen
  get routes() {
    return now.status?.routes.map((r) => r.name) ?? [];
  },
};

let bars = 0;

// filterbar is the form for a list, "log" or "deliveries". Its show(fault) brings
// it up to date with the URL.
export function filterbar(list, label) {
  const id = `suggest-${++bars}`;
  const field = el("input", { type: "text", class: "filter", role: "combobox", "aria-label": label, "aria-expanded": "false", "aria-controls": id, "aria-autocomplete": "list",
    placeholder: list === "log" ? "route:crm-* status:5xx -verdict:delivered text:acme" : "route:crm-* state:dead reason:gone body:acme", autocomplete: "off", autocapitalize: "off", spellcheck: "false", "data-slash": true });
  const menu = el("ul", { id, role: "listbox", class: "suggest", hidden: true, "aria-label": "Suggestions" });
  const fault = el("p", { class: "field-fault", role: "alert" });
  const clear = el("button", { type: "button", class: "plain", hidden: true, onclick: () => apply("", false) }, "Clear");
  let found = [], picked = -1, waiting = 0, edited = false;

  function apply(text, more) {
    clearTimeout(waiting);
    if (field.value !== text) field.value = text;
    go({ ...params(), q: text.trim() }, edited);
    edited = more;
    clear.hidden = !text;
    if (!more) show([]);
  }

  function show(suggestions) {
    found = suggestions;
    picked = -1;
    menu.hidden = !found.length;
    field.setAttribute("aria-expanded", String(!menu.hidden));
    field.removeAttribute("aria-activedescendant");
    put(menu, found.map((s, i) => el("li", { id: `${id}-${i}`, role: "option", "aria-selected": "false", onpointerdown: (e) => {
      e.preventDefault();
      take(i);
    } }, el("code", {}, s.text), s.help && el("span", { class: "quiet" }, s.help))));
  }

  function pick(i) {
    picked = (i + found.length + 1) % (found.length + 1); // one place is none
    if (picked === found.length) picked = -1;
    [...menu.children].forEach((c, n) => c.setAttribute("aria-selected", String(n === picked)));
    if (picked < 0) field.removeAttribute("aria-activedescendant");
    else field.setAttribute("aria-activedescendant", `${id}-${picked}`);
  }

  function take(i) {
    const s = found[i], rest = field.value.slice(field.selectionStart);
    const whole = !s.text.endsWith(":");
    const head = field.value.slice(0, s.from) + s.text + (whole ? " " : "");
    field.value = head + rest.trimStart();
    field.setSelectionRange(head.length, head.length);
    if (whole) apply(field.value, false);
    show(suggest(field.value, head.length, list, known).filter(() => !whole));
  }

  field.oninput = () => {
    show(suggest(field.value, field.selectionStart, list, known));
    clear.hidden = !field.value;
    clearTimeout(waiting);
    waiting = setTimeout(() => apply(field.value, true), PAUSE);
  };
  field.onfocus = field.onclick = () => show(suggest(field.value, field.selectionStart, list, known));
  field.onblur = () => {
    edited = false;
    show([]);
  };
  field.onkeydown = (e) => {
    if (e.key === "ArrowDown" || e.key === "ArrowUp") pick(picked + (e.key === "ArrowDown" ? 1 : -1) + (picked < 0 && e.key === "ArrowUp" ? found.length + 1 : 0));
    else if (e.key === "Tab" && picked >= 0) take(picked);
    else if (e.key === "Escape" && found.length) show([]);
    else return;
    e.preventDefault();
    e.stopPropagation();
  };
  const form = el("form", { class: "filters", role: "search", "data-own": true, "data-key": "filters", onsubmit: (e) => {
    e.preventDefault();
    if (picked >= 0) take(picked);
    else apply(field.value, false);
  } }, el("div", { class: "field" }, field, menu), clear, fault);
  form.show = (text) => {
    const q = params().q ?? "";
    if (document.activeElement !== field && field.value !== q) field.value = q;
    else if (!edited && field.value.trim() !== q) field.value = q;
    clear.hidden = !field.value;
    put(fault, text);
  };
  return form;
}

// chip is a value that narrows the list to itself when it is clicked.
export function chip(word, value, text = value, attributes = {}) {
  return el("a", { class: "chip", href: url({ ...params(), q: add(params().q ?? "", word, value) }), title: `Only ${word}:${value}`, "data-add": `${word}\n${value}`, ...attributes }, text);
}

// A chip's link is of the moment it was made: what it adds to is the filter of now.
document.addEventListener("click", (e) => {
  const c = e.target.closest?.("a[data-add]");
  if (c) c.href = url({ ...params(), q: add(params().q ?? "", ...c.dataset.add.split("\n")) });
}, true);
