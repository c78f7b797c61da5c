// The playground: what routes would make of a signal, as it is typed. Nothing
// in here stores or sends anything.

import { el, problem, put, select, sentence } from "./dom.js";
import { moment } from "./format.js";
import { get, post, text } from "./api.js";
import { code, headers } from "./bodies.js";
import { cut, pretty } from "./json.js";
import { choices, go, params as current } from "./filters.js";
import { now, on } from "./live.js";

const WAIT = 200; // after the last key
const SAMPLE = `{
  "signal_type": "product_qualified_lead",
  "confidence": 0.92,
  "source": "posthog",
  "account": { "name": "Acme Corp", "domain": "acme.com" },
  "events": ["visited_pricing_page", "invited_team_member"],
  "detected_at": "2026-04-29T14:31:08Z"
}`;

export function playground(_, signal) {
  let trying = null, waiting = 0, picked = null;
  const input = el("textarea", { id: "try-signal", rows: 14, spellcheck: "false", autocapitalize: "off", "data-slash": true, value: SAMPLE });
  const pick = select("recorded", "Pick a recorded signal", [], "", "Recorded signals…");
  const route = select("try-route", "Route", [], "", "Every route");
  const where = expression("where", ".confidence >= 0.8", "Every signal passes.");
  const shape = expression("transform", "{ company: .account.name }", "The body is the signal, byte for byte.");
  const fault = el("p", { class: "field-fault", role: "alert" });
  const result = el("div", { class: "results", "aria-live": "polite", "aria-busy": "false" });
  route.id = "try-route";

  const page = el("div", {}, el("h1", {}, "Playground"),
    el("p", { class: "quiet" }, "What would the routes make of a signal? Nothing here is stored or sent."),
    el("div", { class: "playground" },
      el("section", { class: "panel", "aria-label": "Input" },
        el("div", { class: "label-line" }, el("label", { for: "try-signal" }, "Signal"), pick),
        input, fault,
        el("div", { class: "label-line" }, el("label", { for: "try-route" }, "Route"), route),
        where.box, shape.box),
      el("section", { class: "panel", "aria-label": "Result" }, el("h2", {}, "Result"), result)));

  function expression(name, example, none) {
    const field = el("textarea", { id: `try-${name}`, rows: name === "where" ? 2 : 6, spellcheck: "false", autocapitalize: "off", placeholder: example, hidden: true, "aria-label": name });
    const hint = el("p", { class: "quiet", hidden: true }, `Empty: ${none}`);
    const own = el("input", { type: "checkbox", checked: true, onchange: () => {
      field.hidden = hint.hidden = own.checked;
      if (!own.checked) field.focus();
      soon(0);
    } });
    const box = el("div", { class: "expression" },
      el("div", { class: "label-line" }, el("label", { for: `try-${name}` }, el("code", {}, name)), el("label", { class: "quiet" }, own, " as in the config")), field, hint);
    return { box, value: () => (own.checked ? undefined : field.value) };
  }

  function soon(ms = WAIT) {
    clearTimeout(waiting);
    waiting = setTimeout(attempt, ms);
  }

  async function attempt() {
    trying?.abort();
    const mine = (trying = new AbortController());
    const typed = input.value.trim();
    try {
      JSON.parse(typed);
      put(fault);
      input.removeAttribute("aria-invalid");
    } catch (err) {
      put(fault, typed ? `This is not JSON yet: ${err.message}` : "Paste a signal, or pick a recorded one.");
      input.setAttribute("aria-invalid", "true");
      result.classList.add("stale");
      return;
    }
    // The signal goes as it was typed, so that every digit is the same.
    const rest = JSON.stringify({ route: route.value || undefined, where: where.value(), transform: shape.value() }).slice(1, -1);
    const body = `{"signal":${typed}${rest ? "," + rest : ""}}`;
    result.setAttribute("aria-busy", "true");
    try {
      const raw = await post("/try", body, AbortSignal.any([mine.signal, signal]));
      show(raw);
    } catch (err) {
      if (err.name === "AbortError") return;
      put(result, problem(err.status ? "This cannot be tried" : "There is no result", err));
    }
    result.classList.remove("stale");
    result.setAttribute("aria-busy", "false");
  }

  function show(raw) {
    const { routes } = JSON.parse(raw);
    if (routes.length === 0) return put(result, el("p", { class: "quiet" }, "The config has no route to try."));
    put(result, routes.map((r, i) => el("article", { class: "trial" },
      el("header", {}, el("h3", {}, r.route), el("span", { class: `badge ${r.error ? "dead" : r.matches ? "delivered" : "none"}` }, r.error ? "error" : r.matches ? "matches" : "does not match"), r.why !== "passes" && el("span", { class: "quiet" }, r.why)),
      r.error && el("pre", { class: "fault" }, r.error),
      r.matches && !r.error && r.bodies.length === 0 && el("p", { class: "quiet" }, "The transform yields nothing, so there would be no delivery."),
      r.bodies.length > 1 && el("p", { class: "quiet" }, `${r.bodies.length} results: each would be a delivery of its own.`),
      r.bodies.map((_, j) => code(cut(raw, "routes", i, "bodies", j))),
      r.request && el("details", {}, el("summary", {}, `Headers of the request to ${r.request.target}`), headers(r.request.headers)))));
  }

  // The recorded signals are those of the newest deliveries.
  async function list() {
    try {
      const { deliveries } = await get("/deliveries", { limit: 200 }, signal);
      const have = new Map();
      for (const d of deliveries) if (!have.has(d.signal)) have.set(d.signal, d);
      pick.replaceChildren(el("option", { value: "" }, have.size ? "Recorded signals…" : "No signal recorded yet"),
        ...[...have.values()].slice(0, 50).map((d) => el("option", { value: d.signal }, `${moment(d.created)}  ${d.signal_type}`)));
      pick.value = picked && have.has(picked) ? picked : "";
    } catch {
      // Picking is a help only: what keeps the list away shows elsewhere.
    }
  }

  page.update = async () => {
    const p = current();
    if (now.status) choices(route, now.status.routes.filter((r) => r.state !== "gone").map((r) => r.name), "Every route");
    if (p.route && ![...route.options].some((o) => o.value === p.route)) route.append(el("option", { value: p.route }, p.route));
    route.value = p.route ?? "";
    if (p.signal && p.signal !== picked) {
      picked = p.signal;
      try {
        input.value = pretty(cut(await text(`/signals/${encodeURIComponent(p.signal)}`, {}, signal), "signal"));
        if ([...pick.options].some((o) => o.value === picked)) pick.value = picked;
      } catch (err) {
        if (err.name === "AbortError") return;
        put(fault, sentence(err.message));
        return;
      }
    }
    attempt();
  };
  page.addEventListener("input", (e) => {
    if (e.target.matches("textarea")) soon();
  });
  pick.addEventListener("change", () => pick.value && go({ ...current(), view: "playground", signal: pick.value }));
  route.addEventListener("change", () => go({ ...current(), view: "playground", route: route.value }));
  on("status", () => now.status && choices(route, now.status.routes.filter((r) => r.state !== "gone").map((r) => r.name), "Every route"), signal);
  list();
  page.update();
  return page;
}
