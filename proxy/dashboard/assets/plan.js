// What a route's expressions, as they are written, would have made of the last recorded
// signals: in counts, as the sidecar forecasts them.

import { button, el, problem, put } from "./dom.js";
import { many } from "./format.js";
import { post } from "./api.js";
import { cut } from "./json.js";
import { toSignal } from "./url.js";

const LAST = 1000; // signals

// planned is a panel that asks when its button is pressed. written() is what to plan;
// changed says that it has changed, of another route maybe.
export function planned(written, signal) {
  const result = el("div", { class: "results", "aria-live": "polite", "aria-busy": "false" });
  const ask = button(`Plan on the last ${LAST.toLocaleString("en")} signals`, run);
  const panel = el("section", { class: "panel", "data-own": true, "data-key": "plan", "aria-label": "Plan" }, el("p", { class: "buttons" }, ask), result);

  let asked = null, route = null; // what the result is of

  const changed = () => result.classList.toggle("stale", asked !== JSON.stringify(written()));

  async function run() {
    result.setAttribute("aria-busy", "true");
    ask.disabled = true;
    const wanted = written();
    try {
      put(result, plan(await post("/plan", { ...wanted, limit: LAST }, signal)));
    } catch (err) {
      if (!signal.aborted) put(result, problem("This cannot be planned", err));
    }
    asked = JSON.stringify(wanted);
    changed();
    result.setAttribute("aria-busy", "false");
    ask.disabled = false;
  }

  panel.changed = () => {
    panel.hidden = !written().route;
    if (route !== (route = written().route)) put(result);
    changed();
  };
  return panel;
}

function plan(raw) {
  const { signals, routes: [r] } = JSON.parse(raw), value = (...path) => cut(raw, "routes", 0, ...path);
  const none = r.more + r.fewer + r.errors + r.changes.length === 0;
  return [
    el("p", { role: "status" }, `${many(signals, "signal")}: ${r.before} → ${many(r.after, "delivery")} `, el("b", {}, `+${r.more} −${r.fewer}`), none && ", and nothing differs", "."),
    r.errors > 0 && el("p", { class: "bad" }, `Now fails for ${many(r.errors, "signal")}: ${r.error}`),
    r.changes.length > 0 && el("ul", { class: "tried" }, r.changes.map((c, i) => el("li", {}, el("code", {}, c.path), ": ", side(value("changes", i, "from")), " → ", side(value("changes", i, "to")), `, ${c.count} of ${r.before}`))),
    r.first.length > 0 && el("p", { class: "quiet" }, "Newest that differ: ", r.first.map((id, i) => [i > 0 && ", ", el("a", { href: toSignal(id) }, id)])),
  ];
}

const side = (text) => (text === undefined ? el("span", { class: "quiet" }, "nothing") : el("code", {}, text));
