// One signal as it was received, and the deliveries it made.

import { el, problem, put } from "./dom.js";
import { when } from "./format.js";
import { text } from "./api.js";
import { body, id } from "./bodies.js";
import { cut } from "./json.js";
import { url } from "./filters.js";
import { on } from "./live.js";
import { deliveryRow } from "./deliveries.js";
import { backLink } from "./delivery.js";

export function signal(params, ended) {
  const page = el("div", {}, el("p", { class: "quiet" }, "Reading the signal…"));
  let shown = "";
  async function load() {
    let raw;
    try {
      raw = await text(`/signals/${encodeURIComponent(params.id ?? "")}`, {}, ended);
    } catch (err) {
      if (err.name !== "AbortError") put(page, backLink(), problem(err.status === 404 ? "There is no such signal" : "The signal could not be read", err, load));
      return;
    }
    if (raw === shown) return;
    shown = raw;
    const s = JSON.parse(raw);
    put(page, backLink(), el("h1", {}, s.signal_type), el("p", { class: "quiet" }, id(s.id), " received ", when(s.received_at)),
      el("section", { class: "panel" }, el("h2", {}, "Deliveries"), el("table", { class: "rows deliveries" },
        el("thead", {}, el("tr", {}, ["Made", "Route", "Signal", "State", "Attempts", "Last answer", "Next attempt"].map((h) => el("th", { scope: "col" }, h)))),
        el("tbody", {}, s.deliveries.map(deliveryRow)))),
      body("Signal, as received", cut(raw, "signal"), "", el("a", { href: url({ view: "playground", signal: s.id }) }, "Try it in the playground")));
  }
  on("entries", (list) => {
    if (list.some((e) => e.signal === params.id)) load();
  }, ended);
  load();
  return page;
}
