// A form whose fields are parameters of the URL: the views that list things
// stand on it. It knows nothing of what is listed.

import { el } from "./dom.js";

// params are those of the URL, but for the view.
export function params() {
  const p = Object.fromEntries(new URLSearchParams(location.search));
  delete p.view;
  return p;
}

// INNER marks an entry of the tab's history that was reached from this page.
export const INNER = { inner: true };

// back goes where the reader came from, but never off the page.
export function back() {
  if (history.state?.inner) history.back();
  else go({ view: "deliveries" });
}

// url is the page with these parameters; empty ones are left out.
export function url(p) {
  const given = Object.entries(p).filter(([, v]) => v !== undefined && v !== null && v !== "");
  return given.length ? "/?" + new URLSearchParams(given) : "/";
}

// go changes the URL as the reader does, without loading anything. The entry
// in the tab's history is replaced while somebody types.
export function go(p, replace = false) {
  const to = url(p);
  if (to === location.pathname + location.search) return;
  if (replace) history.replaceState(history.state, "", to);
  else history.pushState(INNER, "", to);
  dispatchEvent(new Event("signalpost:url"));
}

// field is a labelled text field.
export function field(name, label, { placeholder = "", width = "", list = null, slash = false } = {}) {
  return el("input", { name, type: "search", "aria-label": label, title: label, placeholder, class: width, list, autocomplete: "off", autocapitalize: "off", spellcheck: "false", "data-slash": slash });
}

// bar is the form. fixed are parameters it keeps as they are; clean may turn
// what was typed into other parameters.
export function bar(label, fields, { fixed = {}, clean = (p) => p, extra = [] } = {}) {
  const reset = el("button", { type: "button", class: "plain", onclick: () => {
    for (const f of fields) f.value = "";
    go(fixed);
  } }, "Clear");
  let waiting = 0;
  const apply = (replace) => {
    clearTimeout(waiting);
    go({ ...fixed, ...clean(Object.fromEntries(fields.map((f) => [f.name, f.value.trim()]))) }, replace);
  };
  const form = el("form", { class: "filters", role: "search", "aria-label": label,
    onsubmit: (e) => {
      e.preventDefault();
      apply(false);
    },
    onchange: () => apply(false),
    oninput: (e) => {
      if (!e.target.matches("input")) return;
      clearTimeout(waiting);
      waiting = setTimeout(() => apply(true), 450);
    },
  }, fields, reset, extra);
  // show writes the URL's parameters into the fields, but for the one somebody types in.
  form.show = (p) => {
    let any = false;
    for (const f of fields) {
      const v = p[f.name] ?? "";
      if (v) any = true;
      if (f.value.trim() === v || (f === document.activeElement && f.matches("input"))) continue;
      if (f.matches("select") && v && ![...f.options].some((o) => o.value === v)) f.append(el("option", { value: v }, v));
      f.value = v;
      if (f.matches("input")) f.setCustomValidity("");
    }
    reset.hidden = !any;
  };
  return form;
}

// choices brings the options of a select of routes up to date.
export function choices(select, names, any) {
  const text = [any ?? null, ...names].join("\n");
  if (select.dataset.has === text) return;
  select.dataset.has = text;
  const value = select.value;
  const list = names.includes(value) || !value ? names : [...names, value];
  select.replaceChildren(...(any === undefined ? [] : [el("option", { value: "" }, any)]), ...list.map((n) => el("option", { value: n }, n)));
  select.value = value;
}
