// The field a filter is written in: it suggests words and values, applies what
// was typed after a pause, and makes one step in the tab's history of each edit.

import { button, el, put } from "./dom.js";
import { add, suggest } from "./filter.js";
import { now } from "./live.js";
import { go, params, url } from "./url.js";

const PAUSE = 450; // milliseconds after the last key
let ids = 0;

export const known = {
  types: new Set(), // signal types seen
  get routes() { return now.status?.routes.map((r) => r.name) ?? []; },
};

// combo makes {field, menu}. offer(text, cursor) lists [words, help, more]; take(offer, key)
// is told what was taken, and whether by a key; loose lets none be picked, so that Enter means the text itself.
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
    else if ((e.key === "Enter" || e.key === "Tab") && picked >= 0) return e.preventDefault(), take(found[picked], true);
    else if (e.key === "Escape" && loose && found.length) show([]);
    else return;
    draw();
    e.preventDefault();
    e.stopPropagation();
  };
  return { field, menu, show };
}

// filterbar is the form for a list, "log" or "deliveries". Its show(fault) brings
// it up to date with the URL.
export function filterbar(list, label) {
  let waiting = 0, edited = false; // within one edit, the step in the history is replaced
  const offer = (text, cursor) => suggest(text, cursor, list, known);
  const { field, menu, show } = combo({ class: "filter", "aria-label": label, "data-slash": true, placeholder: `route:crm-* ${list === "log" ? "status:5xx -verdict:delivered text:acme" : "state:dead reason:gone body:acme"}` }, { offer, take, loose: true });
  const clear = button("Clear", () => apply("", false), { class: "plain" });
  const fault = el("p", { class: "field-fault", role: "alert" });

  function apply(text, more) {
    clearTimeout(waiting);
    if (field.value !== text) field.value = text;
    go({ ...params(), q: text.trim() }, edited);
    edited = more;
    if (!more) show([]);
  }

  function take([words, , from]) {
    const whole = !words.endsWith(":"), head = field.value.slice(0, from) + words + (whole ? " " : "");
    field.value = head + field.value.slice(field.selectionStart).trimStart();
    field.setSelectionRange(head.length, head.length);
    if (whole) apply(field.value, false);
    else show();
  }

  field.oninput = () => {
    show();
    clearTimeout(waiting);
    waiting = setTimeout(() => apply(field.value, true), PAUSE);
  };
  field.onfocus = field.onclick = () => show();
  field.onblur = () => {
    edited = false;
    show([]);
  };
  const form = el("form", { class: "filters", role: "search", onsubmit: (e) => {
    e.preventDefault();
    apply(field.value, false);
  } }, el("div", { class: "field" }, field, menu), clear, fault);
  form.show = (text) => {
    const q = params().q ?? "";
    if (field.value.trim() !== q && !(edited && document.activeElement === field)) field.value = q;
    put(fault, text);
  };
  return form;
}

// narrowed is the page with one more word in its filter; chip is a value that leads there.
export const narrowed = (word, value) => ({ ...params(), q: add(params().q ?? "", word, value) });
export const chip = (word, value, text = value, attributes = {}) => el("a", { class: "chip", href: url(narrowed(word, value)), title: `Only ${word}:${value}`, "data-add": `${word}\n${value}`, ...attributes }, text);
