// The keys, and the palette that finds routes, views and what can be done.

import { dialog, el, put } from "./dom.js";
import { now, routeNamed } from "./live.js";
import { choose, chosen, chooseNone } from "./rows.js";
import { get } from "./api.js";
import { back, go } from "./url.js";
import { pauseRoute, resend, resendAll, resendThese, resumeRoute } from "./actions.js";

const LIST = [["/", "Filter the list"], ["Ctrl K", "Find a route, an id, something to do"], ["j  k", "Next and last row"], ["Enter", "Open the row"], ["x", "Select the row"],
  ["r", "Send again: what is selected, the row, or the delivery shown"], ["space", "Hold the log still, or let it go on"], ["Esc", "Back; out of a field; select nothing"], ["?", "This list"]];

function help() {
  dialog({ title: "Keys", cancel: "Close", body: el("dl", { class: "keys" }, LIST.map(([k, what]) => el("div", {}, el("dt", {}, k.split("  ").map((x) => el("kbd", {}, x))), el("dd", {}, what)))) });
}

// step moves the focus from row to row.
function step(by) {
  const rows = [...document.querySelectorAll("main a[data-row]")].filter((a) => a.offsetParent);
  const at = rows.indexOf(document.activeElement.closest?.("tr")?.querySelector("a[data-row]"));
  const next = rows[at < 0 ? (by > 0 ? firstSeen(rows) : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, at + by))];
  next?.focus();
  next?.closest("tr").scrollIntoView({ block: "nearest" });
}

// firstSeen is the first row of the list the reader looks at: that of the log or
// the deliveries if it is on the screen, else the first there is.
const firstSeen = (rows) => Math.max(0, rows.findIndex((a) => a.dataset.row && a.getBoundingClientRect().top > 0 && a.getBoundingClientRect().top < innerHeight));

const current = () => document.activeElement.closest?.("tr")?.querySelector("a[data-row]")?.dataset.row;

async function again(view) {
  if (chosen.size) return resendThese([...chosen], chooseNone);
  const id = current();
  if (id) return resend(await get(`/deliveries/${id}`));
  view.resend?.();
}

// keys listens; view() is the element that is shown.
export function keys(view, inner) {
  const plain = {
    "/": () => {
      const field = document.querySelector("main [data-slash]");
      if (!field) return palette();
      field.focus();
      field.select();
    },
    j: () => step(1), k: () => step(-1), "?": help,
    x: () => current() && choose(current()),
    r: () => again(view()).catch(() => {}),
    " ": () => view().hold?.(),
    Escape: () => (chosen.size ? chooseNone() : inner() && back(inner())),
  };
  document.addEventListener("keydown", (e) => {
    if (e.defaultPrevented || document.querySelector("dialog[open]")) return;
    if ((e.ctrlKey || e.metaKey) && e.key.toLowerCase() === "k") {
      e.preventDefault();
      return palette();
    }
    if (e.metaKey || e.ctrlKey || e.altKey) return;
    if (e.target.matches("input:not([type=checkbox], [type=radio]), textarea, select")) return e.key === "Escape" ? e.target.blur() : undefined;
    if (!Object.hasOwn(plain, e.key) || (e.key === " " && (!view().hold || e.target.matches("button, summary, input, a, [tabindex='0']")))) return;
    e.preventDefault();
    plain[e.key]();
  });
}

// commands are what the palette offers: [words, what it does].
function commands(text) {
  const list = [];
  if (/^dlv_/.test(text)) list.push([`Open the delivery ${text}`, () => go({ view: "delivery", id: text })]);
  if (/^sig_/.test(text)) list.push([`Open the signal ${text}`, () => go({ view: "signal", id: text })]);
  for (const r of now.status?.routes ?? []) {
    list.push([`${r.name}: open the route`, () => go({ view: "route", name: r.name })]);
    if (r.state !== "gone") list.push([`${r.name}: playground`, () => go({ view: "playground", route: r.name })]);
    list.push([`${r.name}: its log`, () => go({ q: `route:${r.name}` })]);
    if (r.dead) list.push([`${r.name}: send the dead again…`, () => resendAll({ route: r.name, state: "dead" })]);
    if (r.state === "paused") list.push([`${r.name}: resume…`, () => resumeRoute(routeNamed(r.name))]);
    else if (r.state !== "gone") list.push([`${r.name}: pause…`, () => pauseRoute(routeNamed(r.name))]);
  }
  list.unshift(["Overview", () => go({})], ["Deliveries", () => go({ view: "deliveries" })], ["Dead deliveries", () => go({ view: "deliveries", q: "state:dead" })], ["Waiting deliveries", () => go({ view: "deliveries", q: "state:pending" })],
    ["Failed attempts", () => go({ q: "verdict:failed" })], ["Playground", () => go({ view: "playground" })], ["Keys", help]);
  const parts = text.toLowerCase().split(/\s+/);
  const found = list.filter(([words]) => parts.every((p) => words.toLowerCase().includes(p))).slice(0, 12);
  if (text && !/^(dlv|sig)_/.test(text)) found.push([`Attempts whose error or answer holds “${text}”`, () => go({ q: `text:"${text.replace(/["\\]/g, "\\$&")}"` })], [`Deliveries whose signal or body holds “${text}”`, () => go({ view: "deliveries", q: `body:"${text.replace(/["\\]/g, "\\$&")}"` })]);
  return found;
}

export function palette() {
  if (document.querySelector("dialog[open]")) return;
  let found = [], at = 0;
  const list = el("ul", { id: "palette-list", role: "listbox", class: "palette-list", "aria-label": "Found" });
  const field = el("input", { type: "text", role: "combobox", "aria-expanded": "true", "aria-controls": "palette-list", "aria-label": "Find", placeholder: "Route, id, text, or something to do", autocomplete: "off", spellcheck: "false" });
  const d = dialog({ title: "Find", kind: "palette", cancel: null, body: [field, list] });
  const run = (i) => {
    d.close();
    found[i]?.[1]();
  };
  const draw = () => {
    found = commands(field.value.trim());
    at = Math.max(0, Math.min(at, found.length - 1));
    put(list, found.map(([words], i) => el("li", { role: "option", id: `palette-${i}`, "aria-selected": String(i === at), onclick: () => run(i) }, words)));
    field.setAttribute("aria-activedescendant", found.length ? `palette-${at}` : "");
    list.children[at]?.scrollIntoView({ block: "nearest" });
  };
  field.oninput = () => {
    at = 0;
    draw();
  };
  field.onkeydown = (e) => {
    if (e.key === "ArrowDown" || e.key === "ArrowUp") {
      e.preventDefault();
      at += e.key === "ArrowDown" ? 1 : -1;
      draw();
    } else if (e.key === "Enter") {
      e.preventDefault();
      run(at);
    }
  };
  draw();
  field.focus();
}
