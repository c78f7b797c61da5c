// JSON shown to people: laid out, coloured, folded, searched, compared; taken apart as
// text, without being parsed, so that every digit and key stays as it was sent. That may
// not be used to check JSON: it trusts that it is some.

import { button, copy, el } from "./dom.js";
import { many } from "./format.js";

const TOKEN = /\s*("[^"\\]*(?:\\.[^"\\]*)*"|[{}[\],:]|[^\s{}[\],:"]+)/gsy;
const MOST = 60000; // characters laid out; more is shown plain

// skip returns where the value that begins at or after i ends.
function skip(s, i) {
  let depth = 0;
  TOKEN.lastIndex = i;
  do {
    const token = TOKEN.exec(s)?.[1];
    if (!token) return s.length;
    depth += { "{": 1, "[": 1, "}": -1, "]": -1 }[token] ?? 0;
  } while (depth > 0);
  return TOKEN.lastIndex;
}

function space(s, i) {
  while (/\s/.test(s[i] ?? "x")) i++;
  return i;
}

// members lists what an object or array holds, as {key, text}; the key of an element
// is its number. It is null for any other value.
export function members(s) {
  let i = space(s, 0);
  const object = s[i] === "{", out = [];
  if (!object && s[i] !== "[") return null;
  for (i = space(s, i + 1); i < s.length && s[i] !== "]" && s[i] !== "}"; i = space(s, i)) {
    let key = out.length, from = i;
    if (object) {
      i = skip(s, from);
      key = s.slice(from, i);
      from = space(s, space(s, i) + 1); // behind the colon
    }
    i = skip(s, from);
    out.push({ key, text: s.slice(from, i) });
    i = space(s, i);
    if (s[i] === ",") i++;
  }
  return out;
}

// cut returns the text of the value at a path of keys and indexes; undefined if there is none.
export function cut(s, ...path) {
  for (const step of path) {
    s = members(s ?? "")?.find(({ key }) => (typeof key === "string" ? JSON.parse(key) : key) === step)?.text;
  }
  return s;
}

// pretty is a value laid out as text.
export function pretty(s, indent = "") {
  const list = members(s), inner = indent + "  ";
  if (!list?.length) return list ? s.trim()[0] + s.trim().at(-1) : s.trim();
  const [open, close] = s.trim()[0] === "{" ? "{}" : "[]";
  return `${open}\n${list.map(({ key, text }) => inner + (typeof key === "string" ? `${key}: ` : "") + pretty(text, inner)).join(",\n")}\n${indent}${close}`;
}

// leaves lists the values that hold no others, as [path, text].
function leaves(s, path = "") {
  const list = members(s);
  return list?.length ? list.flatMap(({ key, text }) => leaves(text, path + step(key))) : [[path, list ? s.replace(/\s/g, "") : s]];
}

// step is a key or an index as jq writes it in a path.
function step(key) {
  if (typeof key === "number") return `[${key}]`;
  return /^"[A-Za-z_]\w*"$/.test(key) ? `.${key.slice(1, -1)}` : `[${key}]`;
}

// body is a titled block of JSON. text is the JSON as it came, or null; notes
// say something of the values at paths: path -> [class, words].
export function body(title, text, none, { extra, notes, about, plain } = {}) {
  return el("section", { class: "body", "data-key": title },
    el("header", {}, el("h3", {}, title), extra, text && button("Copy", () => copy(text), { class: "plain", "aria-label": `Copy: ${title}` })),
    about && el("p", { class: "quiet" }, about),
    text ? code(text, notes, plain) : el("p", { class: "quiet" }, none));
}

// code is a value laid out, or plain text. One that is shown already stays as it is.
export function code(text, notes = new Map(), plain) {
  const box = el("div", { class: "code", tabindex: "0", role: "group", "aria-label": "JSON", "data-own": true, "data-key": `${text.length}:${hash(text)}:${hash([...notes].join())}` });
  if (plain || text.length > MOST) box.append(text);
  else layOut(box, text.trim(), notes);
  return box;
}

function hash(s) {
  let h = 0;
  for (let i = 0; i < s.length; i++) h = (Math.imul(h, 31) + s.charCodeAt(i)) | 0;
  return h;
}

// layOut adds the lines of a value to an element. What holds others folds.
function layOut(into, text, notes, { key, path = "", last = true } = {}) {
  const list = members(text), head = typeof key === "string" ? [el("span", { class: "key" }, key), ": "] : [], comma = last ? "" : ",";
  const [mark, said] = notes.get(path) ?? [];
  if (!list?.length) {
    const kind = /^"/.test(text) ? "string" : /^[-\d]/.test(text) ? "number" : "word";
    into.append(el("div", { class: `ln ${mark ?? ""}` }, head, el("span", { class: kind }, text), comma, said && el("span", { class: "note" }, said)));
    return;
  }
  const [open, close] = text[0] === "{" ? "{}" : "[]", inner = el("div", { class: "in" });
  list.forEach((m, i) => layOut(inner, m.text, notes, { key: m.key, path: path + step(m.key), last: i === list.length - 1 }));
  into.append(el("details", { open: true }, el("summary", { class: "ln" }, head, open, el("span", { class: "folded" }, `… ${close}${comma} ${many(list.length, open === "{" ? "key" : "item")}`)), inner),
    el("div", { class: "ln" }, close, comma));
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
  for (const [path, v] of from) if (distinctive(v) && !byValue.has(v)) byValue.set(v, path);
  const after = new Map(to), values = new Set(to.map(([, v]) => v));
  const left = new Map(), right = new Map();
  for (const [path, v] of to) {
    if (before.get(path) === v) continue;
    if (byValue.has(v)) right.set(path, ["moved", `from ${byValue.get(v)}`]);
    else if (before.has(path)) right.set(path, ["changed", `was ${short(before.get(path))}`]);
    else right.set(path, ["made", "new"]);
  }
  for (const [path, v] of from) {
    if (after.get(path) === v || (distinctive(v) && values.has(v))) continue;
    left.set(path, after.has(path) ? ["changed", ""] : ["dropped", ""]);
  }
  return { left, right };
}

// distinctive values are those that two places hardly hold by chance.
const distinctive = (v) => !/^(true|false|null|""|\{\}|\[\]|-?\d)$/.test(v);
const short = (v) => (v.length > 40 ? v.slice(0, 39) + "…" : v);

export function headers(h) {
  return el("table", { class: "headers" }, el("tbody", {}, Object.keys(h).sort((a, b) => a.localeCompare(b)).map((name) =>
    el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, h[name])))));
}

export function id(text, href) {
  return el("span", { class: "whole-id" }, href ? el("a", { href }, el("code", {}, text)) : el("code", {}, text), button("Copy", () => copy(text), { class: "plain", "aria-label": `Copy ${text}` }));
}
