// The field a filter is written in: it suggests words and values, applies what
// was typed after a pause, and makes one step in the tab's history of each edit.

import { button, el, put } from "./dom.js";
import { combo } from "./combo.js";
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

// filterbar is the form for a list, "log" or "deliveries". Its show(fault) brings
// it up to date with the URL.
export function filterbar(list, label) {
  let waiting = 0, edited = false; // within one edit, the step in the history is replaced
  const offer = (text, cursor) => suggest(text, cursor, list, known);
  const { field, menu, show } = combo({ class: "filter", "aria-label": label, "data-slash": true, placeholder: `route:crm-* ${list === "log" ? "status:5xx -verdict:delivered text:acme" : "state:dead reason:gone body:acme"}` }, { offer, take, loose: true });
  const clear = button("Clear", () => apply("", false), { class: "plain", hidden: true });
  const fault = el("p", { class: "field-fault", role: "alert" });

  function apply(text, more) {
    clearTimeout(waiting);
    if (field.value !== text) field.value = text;
    go({ ...params(), q: text.trim() }, edited);
    edited = more;
    clear.hidden = !text;
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
    clear.hidden = !field.value;
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
    clear.hidden = !field.value;
    put(fault, text);
  };
  return form;
}

const narrowed = (word, value) => url({ ...params(), q: add(params().q ?? "", word, value) });

// chip is a value that narrows the list to itself when it is clicked.
export const chip = (word, value, text = value, attributes = {}) => el("a", { class: "chip", href: narrowed(word, value), title: `Only ${word}:${value}`, "data-add": `${word}\n${value}`, ...attributes }, text);

// A chip's link is of the moment it was made: what it adds to is the filter of now.
document.addEventListener("click", (e) => {
  const c = e.target.closest?.("a[data-add]");
  if (c) c.href = narrowed(...c.dataset.add.split("\n"));
}, true);
