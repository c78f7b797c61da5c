// JSON shown to people: laid out, coloured, copied.

import { el, notice } from "./dom.js";
import { tokens } from "./json.js";

const MOST = 100000; // characters laid out; more is shown plain

// body is a titled block of JSON. text is the JSON as it came, or null.
export function body(title, text, none, extra) {
  const head = el("header", {}, el("h3", {}, title), extra,
    text && el("button", { type: "button", class: "plain", onclick: () => copy(text) }, "Copy"));
  return el("section", { class: "body" }, head, text ? code(text) : el("p", { class: "quiet" }, none));
}

export function code(text) {
  const pre = el("pre", { class: "code", tabindex: "0" });
  if (text.length > MOST) {
    pre.textContent = text;
    return pre;
  }
  for (const [kind, s] of tokens(text)) pre.append(kind ? el("span", { class: kind }, s) : s);
  return pre;
}

// headers is a table of a request's headers.
export function headers(h) {
  return el("table", { class: "headers" }, el("tbody", {}, Object.keys(h).sort((a, b) => a.localeCompare(b)).map((name) =>
    el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, h[name])))));
}

// id is an id with a button that copies it.
export function id(text) {
  return el("span", { class: "whole-id" }, el("code", {}, text), el("button", { type: "button", class: "plain", "aria-label": `Copy ${text}`, onclick: () => copy(text) }, "Copy"));
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    notice("Copied.");
  } catch {
    notice("The browser does not let this page copy: select the text instead.", true);
  }
}
