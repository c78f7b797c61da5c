// The frame: which view the URL asks for, the verdict in the header, the keys.
// A view is a function of the URL's parameters and an AbortSignal that ends
// with it; it returns an element, which may have an update(params) of its own.

import { el, put } from "./dom.js";
import { tick } from "./format.js";
import { now, on, start } from "./live.js";
import { back, INNER } from "./filters.js";
import { overview, verdict } from "./overview.js";
import { deliveries } from "./deliveries.js";
import { delivery } from "./delivery.js";
import { signal } from "./signal.js";
import { playground } from "./playground.js";

const views = { "": overview, deliveries, delivery, signal, playground };
const titles = { "": "", deliveries: "Deliveries", delivery: "Delivery", signal: "Signal", playground: "Playground" };
const main = document.getElementById("main");
let shown = null; // {name, id, element, end}

function show(jump) {
  const params = Object.fromEntries(new URLSearchParams(location.search));
  const name = params.view in views ? params.view : "";
  const id = params.id ?? "";
  if (shown && shown.name === name && shown.id === id && shown.element.update) {
    shown.element.update(params);
  } else {
    shown?.end.abort();
    const end = new AbortController();
    const element = views[name](params, end.signal);
    shown = { name, id, element, end };
    put(main, element);
    if (jump) {
      scrollTo(0, 0);
      main.focus({ preventScroll: true });
    }
  }
  for (const a of document.querySelectorAll(".top nav a")) {
    const here = (new URLSearchParams(a.search).get("view") ?? "") === (name === "delivery" || name === "signal" ? "deliveries" : name);
    if (here) a.setAttribute("aria-current", "page");
    else a.removeAttribute("aria-current");
  }
  head();
}

// The verdict is in the header of every view, and in the tab's title.
function head() {
  const v = verdict(now);
  const pill = document.getElementById("verdict");
  pill.hidden = v.level === "wait";
  pill.className = `pill ${v.level}`;
  put(pill, el("span", { class: "dot" }), el("span", {}, v.short));
  document.title = [v.level === "ok" || v.level === "wait" ? "" : `(${v.short})`, titles[shown.name], "Signalpost"].filter(Boolean).join(" · ").replace(") · ", ") ");
  const s = now.status;
  if (s) put(document.getElementById("foot"), `Signalpost ${s.version} · config ${s.config.path}`);
}

document.addEventListener("click", (e) => {
  const a = e.target.closest("a");
  if (!a || a.origin !== location.origin || a.pathname !== "/" || a.hash || a.target || e.button || e.metaKey || e.ctrlKey || e.shiftKey || e.altKey) return;
  e.preventDefault();
  if (a.href !== location.href) history.pushState(INNER, "", a.href);
  show(true);
});
addEventListener("popstate", () => show(false));
addEventListener("signalpost:url", () => show(false)); // a view changed it by itself

document.addEventListener("keydown", (e) => {
  if (e.defaultPrevented || e.metaKey || e.ctrlKey || e.altKey || document.querySelector("dialog[open]")) return;
  const writing = e.target.matches("input, textarea, select");
  if (e.key === "/" && !writing) {
    const field = main.querySelector("[data-slash]");
    if (!field) return;
    e.preventDefault();
    field.focus();
    field.select?.();
  } else if (e.key === "Escape" && writing) {
    e.target.blur();
  } else if (e.key === "Escape" && (shown.name === "delivery" || shown.name === "signal")) {
    back();
  }
});

on("status", head);
setInterval(tick, 1000);
show(false);
start();
