// JSON shown to people: laid out, coloured, folded, searched, compared.

import { button, copy, el } from "./dom.js";
import { leaves, named, tokens } from "./json.js";

const MOST = 60000; // characters laid out; more is shown plain

// body is a titled block of JSON. text is the JSON as it came, or null; notes
// say something of the values at paths: path -> [class, words].
export function body(title, text, none, { extra, notes, about } = {}) {
  return el("section", { class: "body", "data-key": title },
    el("header", {}, el("h3", {}, title), extra, text && button("Copy", () => copy(text), { class: "plain", "aria-label": `Copy: ${title}` })),
    about && el("p", { class: "quiet" }, about),
    text ? code(text, notes) : el("p", { class: "quiet" }, none));
}

// code is a value laid out. One that is shown already stays as it is.
export function code(text, notes = new Map()) {
  const box = el("div", { class: "code", tabindex: "0", role: "group", "aria-label": "JSON", "data-own": true, "data-key": `${text.length}:${hash(text)}:${hash([...notes].join())}` });
  box.append(text.length > MOST ? text : layout(text, notes));
  return box;
}

function hash(s) {
  let h = 0;
  for (let i = 0; i < s.length; i++) h = (Math.imul(h, 31) + s.charCodeAt(i)) | 0;
  return h;
}

// layout builds the lines of a value from its tokens: what opens is a <details>.
function layout(text, notes) {
  const list = tokens(text).filter(([kind, s]) => kind || s.trim());
  const root = document.createDocumentFragment();
  const stack = [{ into: root, path: "", n: 0, array: false }];
  let line = null, path = "";
  const top = () => stack.at(-1);
  const begin = () => {
    if (line) return;
    line = el("div", { class: "ln" });
    top().into.append(line);
    path = top().path;
    if (top().array) path += `[${top().n}]`;
  };
  const note = () => {
    const said = notes.get(path);
    if (!said) return;
    line.classList.add(said[0]);
    if (said[1]) line.append(el("span", { class: "note" }, said[1]));
  };
  for (const [kind, raw] of list) {
    const s = raw.trim();
    if (kind === "key") {
      begin();
      path = top().path + named(JSON.parse(raw));
      line.append(el("span", { class: "key" }, raw));
    } else if (kind) {
      begin();
      line.append(el("span", { class: kind }, raw));
      note();
    } else if (s === ":") line.append(": ");
    else if (s === "{" || s === "[") {
      begin();
      const inner = el("div", { class: "in" }), head = el("summary", { class: "ln" }, [...line.childNodes], s);
      line.replaceWith(el("details", { open: true }, head, inner));
      stack.push({ into: inner, path, n: 0, array: s === "[", head });
      line = null;
    } else if (s === "}" || s === "]") {
      const { head, n, array } = stack.pop();
      head.append(el("span", { class: "folded" }, `… ${s} ${n + 1} ${array ? "items" : "keys"}`));
      line = el("div", { class: "ln" }, s);
      top().into.append(line);
    } else if (s === ",") {
      const last = line.querySelector(".note");
      if (last) last.before(",");
      else line.append(",");
      top().n++;
      line = null;
    } else {
      begin();
      line.append(s); // {} and []
      note();
    }
  }
  return root;
}

// search marks the lines that hold a text, opens what folds them away and shows
// the first; it returns how many there are.
export function search(root, text) {
  let n = 0;
  for (const line of root.querySelectorAll(".ln")) {
    const own = [...line.childNodes].filter((c) => !c.classList?.contains("folded")).map((c) => c.textContent).join("");
    const hit = text !== "" && own.toLowerCase().includes(text.toLowerCase());
    line.classList.toggle("hit", hit);
    if (!hit) continue;
    for (let d = line.closest("details"); d && root.contains(d); d = d.parentElement.closest("details")) d.open = true;
    if (++n === 1) line.scrollIntoView({ block: "nearest" });
  }
  return n;
}

// compare says where the values of a body come from, and what of the signal is not
// in it: two maps of notes.
export function compare(signal, body) {
  const from = leaves(signal), to = leaves(body), before = new Map(from);
  const byValue = new Map();
  for (const [path, v] of from) if (telling(v) && !byValue.has(v)) byValue.set(v, path);
  const after = new Map(to), values = new Set(to.map(([, v]) => v));
  const left = new Map(), right = new Map();
  for (const [path, v] of to) {
    if (before.get(path) === v) continue;
    if (byValue.has(v)) right.set(path, ["moved", `from ${byValue.get(v)}`]);
    else if (before.has(path)) right.set(path, ["changed", `was ${short(before.get(path))}`]);
    else right.set(path, ["made", "new"]);
  }
  for (const [path, v] of from) {
    if (after.get(path) === v || (telling(v) && values.has(v))) continue;
    left.set(path, after.has(path) ? ["changed", ""] : ["dropped", ""]);
  }
  return { left, right };
}

// telling values are those that two places hardly hold by chance.
const telling = (v) => !/^(true|false|null|""|\{\}|\[\]|-?\d)$/.test(v);
const short = (v) => (v.length > 40 ? v.slice(0, 39) + "…" : v);

// headers is a table of a request's headers.
export function headers(h) {
  return el("table", { class: "headers" }, el("tbody", {}, Object.keys(h).sort((a, b) => a.localeCompare(b)).map((name) =>
    el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, h[name])))));
}

// id is an id with a button that copies it.
export function id(text, href) {
  return el("span", { class: "whole-id" }, href ? el("a", { href }, el("code", {}, text)) : el("code", {}, text), button("Copy", () => copy(text), { class: "plain", "aria-label": `Copy ${text}` }));
}
