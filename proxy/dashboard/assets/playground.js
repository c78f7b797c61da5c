// The playground: what routes would make of a signal, as the signal or the
// expressions are typed. Nothing in here stores or sends anything.

import { button, copy, el, problem, put, select } from "./dom.js";
import { moment, sentence } from "./format.js";
import { get, text } from "./api.js";
import { code, headers } from "./tree.js";
import { cut, pretty } from "./json.js";
import { now, on, routeNamed } from "./live.js";
import { go, params } from "./url.js";
import { trial, trials } from "./trials.js";

const WAIT = 250; // milliseconds after the last key
const EVERY = "*"; // the route parameter for all of them
const DRAFT = "signalpost-draft "; // what was typed, kept for the session: of a route, or the signal
const SAMPLE = `{
  "signal_type": "product_qualified_lead",
  "confidence": 0.92,
  "source": "posthog",
  "account": { "name": "Acme Corp", "domain": "acme.com" },
  "events": ["visited_pricing_page", "invited_team_member"],
  "detected_at": "2026-04-29T14:31:08Z"
}`;

export function playground(_, signal) {
  let trying = null, waiting = 0, picked = null, route = null, recorded = [];
  const area = (id, rows, more) => el("textarea", { id, rows, spellcheck: "false", autocapitalize: "off", ...more });
  const input = area("try-signal", 13, { value: sessionStorage.getItem(DRAFT) ?? SAMPLE });
  const where = area("try-where", 2, { placeholder: "Every signal passes." });
  const shape = area("try-transform", 8, { placeholder: "The body is the signal, byte for byte." });
  const fault = el("p", { class: "field-fault", role: "alert" });
  const choice = el("div", { class: "label-line" }), pick = el("div", { class: "label-line" }), expressions = el("div", { class: "expression" });
  const result = el("div", { class: "results", "aria-live": "polite", "aria-busy": "false" });
  const tried = trials(signal);
  const page = el("div", {}, el("h1", {}, "Playground"),
    el("p", { class: "quiet" }, "What would the routes make of a signal? Nothing here is stored or sent."),
    el("div", { class: "playground" },
      el("section", { class: "panel", "aria-label": "Input" }, choice, expressions, pick, input, fault),
      el("section", { class: "panel", "aria-label": "Result" }, el("h2", {}, "Result"), result)), tried);

  const running = () => {
    const r = routeNamed(route);
    return { where: r?.where ?? "", transform: r?.transform ?? "" };
  };
  const written = () => ({ where: where.value, transform: shape.value });
  const edited = () => JSON.stringify(written()) !== JSON.stringify(running());

  function begin(name) {
    route = name;
    const draft = JSON.parse(sessionStorage.getItem(DRAFT + route) ?? "null") ?? running();
    where.value = draft.where;
    shape.value = draft.transform;
    tools();
  }

  function tools() {
    const names = now.status.routes.filter((r) => r.state !== "gone").map((r) => r.name);
    const s = select("try-route", "Route", [EVERY, ...names], route || EVERY, undefined, () => go({ ...params(), route: s.value }));
    s.id = "try-route";
    s.options[0].textContent = "Every route";
    put(choice, el("label", { for: "try-route" }, "Route"), s);
    put(expressions, route ? [
      el("label", { for: "try-where" }, el("code", {}, "where")), where, el("label", { for: "try-transform" }, el("code", {}, "transform")), shape,
      el("p", { class: "buttons" }, button("Copy as TOML", () => copy(toml(route, written()))), button("Back to what runs", () => {
        sessionStorage.removeItem(DRAFT + route);
        begin(route);
        attempt();
      }, { disabled: !edited() }), el("span", { class: "quiet" }, edited() ? "Changed; kept in this tab." : "This is what runs."))]
      : el("p", { class: "quiet" }, "Choose a route to change its expressions."));
    const recent = el("select", { name: "recorded", "aria-label": "Pick a recorded signal", onchange: (e) => e.target.value && go({ ...params(), view: "playground", signal: e.target.value }) },
      el("option", { value: "" }, recorded.length ? "Recorded signals…" : "No signal recorded yet"), recorded.map((r) => el("option", { value: r.id }, `${moment(r.received_at)}  ${r.signal_type}`)));
    recent.value = recorded.some((r) => r.id === picked) ? picked : "";
    put(pick, el("label", { for: "try-signal" }, "Signal"), recent);
  }

  // named says what is typed instead of a signal; "" if it is one, as far as JSON goes.
  function named(typed) {
    try {
      const v = JSON.parse(typed);
      if (Array.isArray(v)) return `This is a list of ${v.length}; a signal is an object: try one of its elements.`;
      if (v === null || typeof v !== "object") return `This is ${v === null ? "null" : `a ${typeof v}`}; a signal is an object such as {"signal_type": "lead"}.`;
      return typeof v.signal_type === "string" ? "" : `This object has no "signal_type", which is a text.`;
    } catch (err) {
      return typed ? `This is not JSON yet: ${err.message}` : "Paste a signal, or pick a recorded one.";
    }
  }

  async function attempt() {
    trying?.abort();
    const mine = (trying = new AbortController()), typed = input.value.trim();
    if (!now.status) return;
    tried.run(route, written(), running());
    put(fault, named(typed));
    input.toggleAttribute("aria-invalid", fault.textContent !== "");
    result.classList.toggle("stale", fault.textContent !== "");
    if (fault.textContent) return;
    result.setAttribute("aria-busy", "true");
    try {
      show(await trial(typed, route ? { route, ...written() } : {}, AbortSignal.any([mine.signal, signal])));
    } catch (err) {
      if (mine.signal.aborted || signal.aborted) return;
      put(result, problem(err.status ? "This cannot be tried" : "There is no result", err));
    }
    result.setAttribute("aria-busy", "false");
  }

  function show(raw) {
    const { routes } = JSON.parse(raw);
    if (routes.length === 0) return put(result, el("p", { class: "quiet" }, "The config has no route to try."));
    put(result, routes.map((r, i) => el("article", { class: "trial", "data-key": r.route },
      el("header", {}, el("h3", {}, r.route), el("span", { class: `badge ${r.error ? "dead" : r.matches ? "delivered" : "none"}` }, r.error ? "error" : r.matches ? "matches" : "does not match"), r.why !== "passes" && el("span", { class: "quiet" }, r.why)),
      r.error && el("pre", { class: "fault" }, r.error),
      r.matches && !r.error && r.bodies.length === 0 && el("p", { class: "quiet" }, "The transform yields nothing, so there would be no delivery."),
      r.bodies.length > 1 && el("p", { class: "quiet" }, `${r.bodies.length} results: each would be a delivery of its own.`),
      r.bodies.map((_, j) => code(cut(raw, "routes", i, "bodies", j))),
      r.request && el("details", {}, el("summary", {}, `Headers of the request to ${r.request.target}`), headers(r.request.headers)))));
  }

  async function fetchSignal(id) {
    picked = id;
    try {
      input.value = pretty(cut(await text(`/signals/${encodeURIComponent(id)}`, {}, signal), "signal"));
      sessionStorage.setItem(DRAFT, input.value);
    } catch (err) {
      if (!signal.aborted) put(fault, sentence(err.message));
    }
  }

  page.update = async () => {
    if (!now.status) return;
    const p = params();
    const wanted = p.route === EVERY ? "" : p.route ?? now.status.routes.find((r) => r.state !== "gone")?.name ?? "";
    if (wanted !== route) begin(wanted);
    if (p.signal && p.signal !== picked) await fetchSignal(p.signal);
    tools();
    attempt();
  };
  page.addEventListener("input", (e) => {
    if (!e.target.matches("textarea")) return;
    if (e.target === input) sessionStorage.setItem(DRAFT, input.value);
    else if (edited()) sessionStorage.setItem(DRAFT + route, JSON.stringify(written()));
    else sessionStorage.removeItem(DRAFT + route);
    tools();
    clearTimeout(waiting);
    waiting = setTimeout(attempt, WAIT);
  });
  on("status", () => now.status && (route === null ? page.update() : tools()), signal);
  get("/signals", { limit: 50 }, signal).then(({ signals }) => {
    recorded = signals;
    if (route !== null) tools();
  }, () => {}); // picking is a help only: what keeps the list away shows elsewhere
  page.update();
  return page;
}

// toml is the expressions as the config has them.
function toml(route, { where, transform }) {
  const lines = [`# of the [[route]] whose name is "${route}"`];
  if (where.trim()) lines.push(`where = ${literal(where)}`);
  if (transform.trim()) lines.push(`transform = ${literal(transform)}`);
  return lines.join("\n") + "\n";
}

function literal(s) {
  if (!/['\n]/.test(s)) return `'${s}'`;
  if (!s.includes("'''") && !s.endsWith("'")) return `'''${s.includes("\n") ? "\n" : ""}${s}'''`;
  return JSON.stringify(s).replace(/\x7f/g, "\\u007f");
}
