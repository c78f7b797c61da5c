// The keys, and the palette that finds routes, views and what can be done.

import { dialog } from "./dom.js";
import { combo } from "./filterbar.js";
import { now, routeNamed } from "./live.js";
import { choose, chosen, chooseNone } from "./lists.js";
import { get } from "./api.js";
import { back, go, params } from "./url.js";
import { resend, resendAll, resendThese, pauseOrResume } from "./actions.js";

const PLACES = [["Overview", {}], ["Deliveries", { view: "deliveries" }], ["Dead deliveries", { view: "deliveries", q: "state:dead" }], ["Waiting deliveries", { view: "deliveries", q: "state:pending" }],
  ["Failed attempts", { q: "verdict:failed" }], ["Playground", { view: "playground" }]];

const help = () => dialog({ title: "Keys", cancel: "Close", body: document.getElementById("keys").content.cloneNode(true) });

// step moves the focus from row to row.
function step(by) {
  const rows = [...document.querySelectorAll("main a[data-row]")].filter((a) => a.offsetParent);
  const first = Math.max(0, rows.findIndex((a) => a.getBoundingClientRect().top > 60)); // below the header
  const at = rows.indexOf(document.activeElement.closest?.("tr")?.querySelector("a[data-row]"));
  const next = rows[at < 0 ? first : Math.min(rows.length - 1, Math.max(0, at + by))];
  next?.focus();
  next?.closest("tr").scrollIntoView({ block: "nearest" });
  if (next?.dataset.row && params().look) go({ ...params(), look: next.dataset.row }, true);
}
const current = () => document.activeElement.closest?.("tr")?.querySelector("a[data-row]")?.dataset.row;

async function again(view) {
  if (chosen.size) return resendThese([...chosen], chooseNone);
  const id = current();
  if (id) return resend(await get(`/deliveries/${id}`));
  view.resend?.();
}

// keys listens; view() is the element that is shown, beside() a delivery beside it, which
// close() takes away, inner() where to go back to.
export function keys(view, beside, close, inner) {
  const plain = {
    "/": () => {
      const field = document.querySelector("main [data-slash]");
      if (!field) return palette();
      field.focus();
      field.select();
    },
    j: () => step(1), k: () => step(-1), "?": help,
    x: () => current() && choose(current()),
    r: () => again(beside() ?? view()).catch(() => {}),
    " ": () => view().hold?.(),
    Escape: () => (chosen.size ? chooseNone() : beside() ? close() : inner() && back(inner())),
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

// commands are what the palette offers: [words, help, what it does].
function commands(text) {
  const list = [], offer = (words, run) => list.push([words, "", run]), quoted = `"${text.replace(/["\\]/g, "\\$&")}"`;
  for (const [words, p] of PLACES) offer(words, () => go(p));
  for (const r of now.status?.routes ?? []) {
    offer(`${r.name}: open the route`, () => go({ view: "route", name: r.name }));
    if (r.dead) offer(`${r.name}: send dead deliveries again…`, () => resendAll({ route: r.name, state: "dead" }));
    if (r.state === "gone") continue;
    offer(`${r.name}: playground`, () => go({ view: "playground", route: r.name }));
    offer(`${r.name}: ${r.state === "paused" ? "resume" : "pause"}…`, () => pauseOrResume(routeNamed(r.name)));
  }
  offer("Keys", help);
  const found = list.filter(([words]) => text.toLowerCase().split(/\s+/).every((p) => words.toLowerCase().includes(p))).slice(0, 12);
  if (/^dlv_/.test(text)) return [[`Open the delivery ${text}`, "", () => go({ view: "delivery", id: text })]];
  if (/^sig_/.test(text)) return [[`Open the signal ${text}`, "", () => go({ view: "signal", id: text })]];
  return !text ? found : [...found, [`Attempts whose error or answer holds ${quoted}`, "", () => go({ q: `text:${quoted}` })], [`Deliveries whose signal or body holds ${quoted}`, "", () => go({ view: "deliveries", q: `body:${quoted}` })]];
}

export function palette() {
  if (document.querySelector("dialog[open]")) return;
  const { field, menu, show } = combo({ "aria-label": "Find", placeholder: "Route, id, text or command" }, { offer: (text) => commands(text.trim()), take: ([, , run], key) => {
    d.close();
    if (key) addEventListener("keyup", run, { once: true }); // held down, it would confirm what is asked next
    else run();
  } });
  const d = dialog({ title: "Find", kind: "palette", cancel: null, body: [field, menu] });
  field.oninput = () => show();
  show();
  field.focus();
}
