// The frame: which view the URL asks for, the header with the verdict and the age
// of what is shown. A view is a function of the URL's parameters and an AbortSignal
// that ends with it; it returns an element, which may have an update() of its own.

import { el, put, select } from "./dom.js";
import { moment, setZone, span, tick, zone } from "./format.js";
import { age, last } from "./clock.js";
import { now, on, start } from "./live.js";
import { narrowed } from "./filterbar.js";
import { keys, palette } from "./keys.js";
import { overview, verdict } from "./overview.js";
import { delivery, signalView } from "./delivery.js";
import { deliveries } from "./lists.js";
import { playground } from "./playground.js";
import { route } from "./routes.js";
import { back, go, INNER, params } from "./url.js";

const STALE = 5000; // milliseconds without an answer after which all is grey
const views = { "": overview, deliveries, delivery, signal: signalView, route, playground };
const above = { delivery: "deliveries", signal: "deliveries", route: "" }; // the view of which one is a page
const main = { node: document.getElementById("main") }; // {node, and of what it shows: name, id, element, end}
const side = { node: document.getElementById("side") }; // beside it: a delivery of a list

function show(jump) {
  const p = params();
  const name = Object.hasOwn(views, p.view ?? "") ? p.view ?? "" : "";
  if (mount(main, name, p.id ?? (name === "route" ? p.name : "") ?? "", p) && jump) {
    scrollTo(0, 0);
    main.node.focus({ preventScroll: true });
  }
  side.node.hidden = !p.look;
  if (mount(side, p.look ? "delivery" : "none", p.look, { id: p.look, beside: true })) side.node.scrollTo(0, 0);
  for (const a of document.querySelectorAll(".top nav a")) {
    a.ariaCurrent = (new URLSearchParams(a.search).get("view") ?? "") === (above[name] ?? name) ? "page" : null;
  }
  head();
}

// mount makes an element show a view of something; it returns whether it is another.
function mount(on, name, id, p) {
  if (on.name === name && on.id === id && (on.element?.update || on === side)) return on.element?.update?.();
  on.end?.abort();
  Object.assign(on, { name, id, end: new AbortController(), element: null });
  on.element = views[name]?.(p, on.end.signal);
  on.node.replaceChildren(on.element ?? "");
  return true;
}

// close takes the delivery away that is beside, and goes on from its row.
function close() {
  const row = document.querySelector(`main [data-row="${CSS.escape(side.id)}"]`);
  go({ ...params(), look: "" });
  row?.focus();
}

// The verdict is in the header of every view, and in the tab's title.
function head() {
  const v = verdict(now), pill = document.getElementById("verdict"), s = now.status;
  pill.hidden = v.level === "wait";
  pill.className = `pill ${v.level}`;
  put(pill, el("span", { class: "dot" }), el("span", {}, v.short));
  document.title = `${v.level === "ok" || !v.short ? "" : `(${v.short}) `}${[main.name === "route" ? main.id : main.name.replace(/^./, (c) => c.toUpperCase()), "Signalpost", s?.host].filter(Boolean).join(" · ")}`;
  if (!s) return;
  put(document.getElementById("host"), s.host);
  put(document.getElementById("foot"), `Signalpost ${s.version} · up ${s.uptime} · config ${s.config.path} ${s.config.hash.slice(0, 8)}`);
}

// What is shown has an age. Without an answer it goes grey, and says of when it is.
function showAge() {
  const old = age() > STALE, out = document.getElementById("age");
  document.body.classList.toggle("stale", old);
  out.className = old ? "age stale" : "age";
  const at = last();
  put(out, el("span", { class: "dot" }), !at ? (old ? "No answer" : "…") : old ? `as of ${moment(at)}, no answer for ${span(age())}` : `${span(age())} old`);
  tick();
}

document.addEventListener("click", (e) => {
  const a = e.target.closest("a");
  if (!a || a.origin !== location.origin || a.pathname !== "/" || a.hash || a.target || e.button || e.metaKey || e.ctrlKey || e.shiftKey || e.altKey) return;
  e.preventDefault();
  if ("back" in a.dataset) return back();
  if ("close" in a.dataset) return close();
  if (a.dataset.row && a.dataset.row === params().look) return side.node.focus();
  if (a.dataset.add) return go(narrowed(...a.dataset.add.split("\n"))); // to the filter of now: the link is as old as the row
  if (a.dataset.row && innerWidth > 1000) return go({ ...params(), look: a.dataset.row }); // there is room beside
  if (a.href !== location.href) history.pushState(INNER, "", a.href);
  show(true);
});
addEventListener("popstate", () => show(false));
addEventListener("signalpost:url", () => show(false)); // a view changed it by itself

const zones = select({ name: "zone", "aria-label": "Time zone", onchange: () => setZone(zones.value) }, [["local", "local"], ["UTC", "UTC"]], zone());
addEventListener("signalpost:zone", () => (zones.value = zone()));
document.getElementById("tools").prepend(zones);
document.getElementById("find").onclick = palette;
keys(() => main.element, () => side.element, close, () => Object.hasOwn(above, main.name) && { view: above[main.name] });
on("status", head);
setInterval(showAge, 500);
show(false);
showAge();
start();
