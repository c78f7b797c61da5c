// The playground: what routes would make of a signal, as the signal or the expressions
// are typed, and what of the last recorded signals would change. Nothing in here stores
// or sends anything.

import { button, copy, el, problem, put, select } from "./dom.js";
import { moment, sentence, when } from "./format.js";
import { post, text } from "./api.js";
import { code, compare, cut, headers, members, pretty } from "./json.js";
import { now, on, routeNamed } from "./live.js";
import { planned } from "./plan.js";
import { go, params, toSignal } from "./url.js";

const WAIT = 250; // milliseconds after the last key
const LAST = 50; // recorded signals
const EVERY = "*"; // the route parameter for all of them
const DRAFT = "signalpost-draft "; // what was typed, kept for the session: of a route, or the signal
const SAMPLE = document.getElementById("sample").content.textContent.trim();

export function playground(_, signal) {
  let trying = null, waiting = 0, picked = null, route = null, recorded = [];
  const area = (id, rows, more) => el("textarea", { id, rows, spellcheck: "false", autocapitalize: "off", ...more });
  const input = area("try-signal", 13, { value: sessionStorage.getItem(DRAFT) ?? SAMPLE });
  const where = area("try-where", 2, { placeholder: "Every signal passes." });
  const shape = area("try-transform", 8, { placeholder: "The body is the signal, byte for byte." });
  const fault = el("p", { class: "field-fault", role: "alert" });
  const choice = el("div", { class: "label-line" }), pick = el("div", { class: "label-line" }), expressions = el("div", { class: "expression" });
  const result = el("div", { class: "results", "aria-live": "polite", "aria-busy": "false" });
  const tried = el("section", { class: "panel", "data-own": true, "data-key": "trials", "aria-labelledby": "trials-title" });
  const plan = planned(() => ({ route, ...written() }), signal);
  const page = el("div", {}, el("h1", {}, "Playground"), el("p", { class: "quiet" }, "What would the routes make of a signal? Nothing here is stored or sent."),
    el("div", { class: "playground" }, el("section", { class: "panel", "aria-label": "Input" }, choice, expressions, pick, input, fault),
      el("section", { class: "panel", "aria-label": "Result" }, el("h2", {}, "Result"), result)), plan, tried);

  const running = () => ({ where: routeNamed(route)?.where ?? "", transform: routeNamed(route)?.transform ?? "" });
  const write = (e) => ([where.value, shape.value] = [e.where, e.transform]);
  const written = () => ({ where: where.value, transform: shape.value });
  const edited = () => JSON.stringify(written()) !== JSON.stringify(running());
  const known = trials(signal);

  function begin(name) {
    route = name;
    write(JSON.parse(sessionStorage.getItem(DRAFT + route)) ?? running());
  }

  function typed(e) {
    if (e === input) sessionStorage.setItem(DRAFT, input.value);
    else sessionStorage.setItem(DRAFT + route, JSON.stringify(edited() ? written() : null));
    tools();
    clearTimeout(waiting);
    waiting = setTimeout(attempt, WAIT);
  }

  function tools() {
    if (!now.status) return; // who types before it is there need not wait
    put(choice, el("span", {}, "Route"), routesOf(route));
    put(expressions, !route ? el("p", { class: "quiet" }, "Choose a route to change its expressions.") : [
      el("label", { for: "try-where" }, el("code", {}, "where")), where, el("label", { for: "try-transform" }, el("code", {}, "transform")), shape,
      el("p", { class: "buttons" }, button("Copy as TOML", () => copy(toml(route, written()))), button("Reset to the running config", () => typed(shape, write(running())), { disabled: !edited() }),
        el("span", { class: "quiet" }, edited() ? "Changed; kept in this tab." : "Same as the running config."))]);
    put(pick, el("label", { for: "try-signal" }, "Signal"), signalsOf(recorded, picked));
  }

  async function attempt() {
    trying?.abort();
    const end = AbortSignal.any([(trying = new AbortController()).signal, signal]), body = input.value.trim();
    tried.hidden = !route;
    plan.changed();
    if (route) known.run(route, written(), running(), end, (rows) => show(tried, rows, recorded)).catch((err) => end.aborted || put(tried, problem("The recorded signals could not be tried", err)));
    put(fault, faultOf(body));
    input.toggleAttribute("aria-invalid", fault.textContent !== "");
    result.classList.toggle("stale", fault.textContent !== "");
    if (fault.textContent) return;
    result.setAttribute("aria-busy", "true");
    try {
      put(result, outcomes(await trial(body, route ? { route, ...written() } : {}, end)));
    } catch (err) {
      if (!end.aborted) put(result, problem(err.status ? "This cannot be tried" : "There is no result", err));
    }
    result.setAttribute("aria-busy", "false");
  }

  async function load(id) {
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
    const p = params(), first = now.status.routes.find((r) => r.state !== "gone")?.name ?? "", wanted = p.route === EVERY ? "" : p.route ?? first;
    if (wanted !== route) begin(wanted);
    if (p.signal && p.signal !== picked) await load(p.signal);
    tools();
    attempt();
  };
  page.addEventListener("input", (e) => e.target.matches("textarea") && typed(e.target));
  on("status", () => (route === null ? page.update() : tools()), signal);
  known.list().then((list) => {
    recorded = list;
    tools();
  }, () => {}); // what keeps the list away shows where it is tried
  page.update();
  return page;
}

// routesOf and signalsOf are the choices of a route, and of a recorded signal.
function routesOf(route) {
  const names = now.status.routes.filter((r) => r.state !== "gone").map((r) => r.name);
  return select({ name: "try-route", "aria-label": "Route", onchange: (e) => go({ ...params(), route: e.target.value }) }, [[EVERY, "Every route"], ...names.map((n) => [n, n])], route || EVERY);
}

function signalsOf(recorded, picked) {
  const values = [["", recorded.length ? "Recorded signals…" : "No signal recorded yet"], ...recorded.map((r) => [r.id, `${moment(r.at)}  ${r.type}`])];
  return select({ name: "recorded", "aria-label": "Pick a recorded signal", onchange: (e) => e.target.value && go({ ...params(), view: "playground", signal: e.target.value }) }, values, recorded.some((r) => r.id === picked) ? picked : "");
}

// trial asks what a route makes of a signal, with other expressions if there are
// some. The signal goes as it was written, so that every digit is the same.
function trial(signal, options, end) {
  const rest = JSON.stringify(options).slice(1, -1);
  return post("/try", `{"signal":${signal}${rest ? "," + rest : ""}}`, end);
}

// faultOf says what is typed instead of a signal; "" if it is one, as far as JSON goes.
function faultOf(typed) {
  let v;
  try {
    v = JSON.parse(typed);
  } catch (err) {
    return typed ? `This is not JSON yet: ${err.message}` : "Paste a signal, or pick a recorded one.";
  }
  if (Array.isArray(v)) return `This is a list of ${v.length}; a signal is an object: try one of its elements.`;
  if (v === null || typeof v !== "object") return `This is ${v === null ? "null" : `a ${typeof v}`}; a signal is an object such as {"signal_type": "lead"}.`;
  return typeof v.signal_type === "string" ? "" : `This object has no "signal_type", which is a text.`;
}

function outcomes(raw) {
  const { routes } = JSON.parse(raw);
  if (routes.length === 0) return el("p", { class: "quiet" }, "The config has no route to try.");
  return routes.map((r, i) => el("article", { class: "trial", "data-key": r.route },
    el("header", {}, el("h3", {}, r.route), el("span", { class: `badge ${r.error ? "dead" : r.matches ? "delivered" : "none"}` }, r.error ? "error" : r.matches ? "matches" : "does not match"), r.why !== "passes" && el("span", { class: "quiet" }, r.why)),
    r.error && el("pre", { class: "fault" }, r.error),
    r.matches && !r.error && r.bodies.length === 0 && el("p", { class: "quiet" }, "The transform yields nothing, so there would be no delivery."),
    r.bodies.length > 1 && el("p", { class: "quiet" }, `${r.bodies.length} results: each would be a delivery of its own.`),
    r.bodies.map((b, j) => code(r.format ? b : cut(raw, "routes", i, "bodies", j), undefined, r.format)),
    r.request && el("details", {}, el("summary", {}, `Headers of the request: ${r.request.method} ${r.request.target}${r.request.path ?? ""}`), headers(r.request.headers))));
}

// trials tries expressions on the last recorded signals: run tells rows of what the
// running ones made of each, and what those that are written would.
function trials(signal) {
  const before = new Map(); // signal and running expressions -> outcome
  let recorded = null;

  async function load() {
    const raw = await text("/signals", { limit: LAST }, signal), texts = members(cut(raw, "signals"));
    return JSON.parse(raw).signals.map((s, i) => ({ id: s.id, type: s.signal_type, at: s.received_at, text: cut(texts[i].text, "signal") }));
  }

  const list = () => (recorded ??= load().catch((err) => (recorded = null, Promise.reject(err)))); // once, unless it fails

  async function outcome(s, options, end) {
    try {
      const raw = await trial(s.text, options, end), [r] = JSON.parse(raw).routes;
      return { word: r.error ? "fails" : !r.matches ? "does not pass" : r.bodies.length ? "passes" : "no delivery", why: r.error ?? r.why, bodies: members(cut(raw, "routes", 0, "bodies")).map((m) => m.text) };
    } catch (err) {
      end.throwIfAborted();
      return { word: "fails", why: err.message, bodies: [] };
    }
  }

  async function run(route, written, running, end, tell) {
    const rows = [], same = JSON.stringify(written) === JSON.stringify(running);
    tell(rows);
    for (const s of await list()) {
      const name = JSON.stringify([s.id, route, running]), was = before.get(name) ?? await outcome(s, { route }, end);
      before.set(name, was);
      rows.push({ s, was, is: same ? was : await outcome(s, { route, ...written }, end) });
      end.throwIfAborted();
      tell(rows);
    }
  }

  return { run, list };
}

const differs = ({ was, is }) => was.word !== is.word || was.bodies.join("\n") !== is.bodies.join("\n");

function show(section, rows, all) {
  const n = (f) => rows.filter(f).length, notable = (r) => differs(r) || r.is.word === "fails";
  const passed = n((r) => r.was.word === "passes"), passes = n((r) => r.is.word === "passes"), fail = n((r) => r.is.word === "fails");
  put(section, el("h2", { id: "trials-title" }, `On the last ${all.length} signals`),
    all.length === 0 ? el("p", { class: "quiet" }, "No signal is recorded yet.") :
      el("p", { role: "status" }, rows.length < all.length && `${rows.length} of ${all.length} tried: `, el("b", {}, `${passes} pass`), passes !== passed && ` (${passed} with the running config)`, ", ", el("b", {}, `${n(differs)} would change`), fail > 0 && [", ", el("b", { class: "bad" }, `${fail} fail`)], "."),
    el("ul", { class: "tried" }, rows.filter(notable).map(line)),
    n(notable) < rows.length && el("details", {}, el("summary", {}, `${rows.length - n(notable)} unchanged`), el("ul", { class: "tried" }, rows.filter((r) => !notable(r)).map(line))));
}

function line({ s, was, is }) {
  const change = differs({ was, is }), word = was.word !== is.word ? `${was.word} → ${is.word}` : change ? "body changes" : is.word;
  const notes = was.bodies.length && is.bodies.length ? compare(was.bodies[0], is.bodies[0]).right : undefined;
  const side = (name, o, marks) => el("div", {}, el("h4", {}, name), o.bodies.length ? o.bodies.map((b, i) => code(b, i ? undefined : marks)) : el("p", { class: o.word === "fails" ? "bad" : "quiet" }, o.why));
  return el("li", { "data-key": s.id }, el("details", {},
    el("summary", {}, when(s.at), " ", el("b", {}, s.type), " ", el("span", { class: `badge ${is.word === "fails" ? "dead" : change ? "pending" : is.word === "passes" ? "delivered" : "none"}` }, word)),
    el("div", { class: "side-by-side" }, side("Running config", was), side("Your edit", is, notes)), el("a", { href: toSignal(s.id) }, "The signal")));
}

function toml(route, e) {
  return [`# of the [[route]] whose name is "${route}"`, ...["where", "transform"].filter((n) => e[n].trim()).map((n) => `${n} = ${literal(e[n])}`)].join("\n") + "\n";
}

function literal(s) {
  if (!/['\n]/.test(s)) return `'${s}'`;
  if (!s.includes("'''") && !s.endsWith("'")) return `'''${s.includes("\n") ? "\n" : ""}${s}'''`;
  return JSON.stringify(s).replace(/\x7f/g, "\\u007f");
}
