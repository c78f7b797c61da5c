// One delivery whole: where it stands, every attempt, the signal beside the body,
// the request. It is patched while attempts are made, and not asked for again once
// it is over, unless something happens to it.

import { button, copy, el, fact, problem, put, svg } from "./dom.js";
import { ago, due, many, span, took, when } from "./format.js";
import { time } from "./clock.js";
import { ifChanged, text } from "./api.js";
import { body, compare, cut, headers, id, pretty, search } from "./json.js";
import { explain } from "./explain.js";
import { every, now, on, routeNamed } from "./live.js";
import { reasons, whatHappened } from "./lists.js";
import { discard, resend } from "./actions.js";
import { toDelivery, toRoute, toSignal, url } from "./url.js";

const LOOK = 5000; // milliseconds between two looks at one that is not over

// reading makes a page of one thing; read fills it, when load is called. back leads off it.
function reading(what, back, signal, read) {
  const page = el("div", { class: what }, el("p", { class: "quiet" }, `Reading the ${what}…`));
  const load = () => read(page).catch((err) => signal.aborted || page.shown || put(page, back, problem(err.status === 404 ? `There is no such ${what}` : `The ${what} could not be read`, err, load)));
  return { page, load };
}

export function delivery(params, signal) {
  let raw = "", etag = "", d = null, hash;
  const { page, load } = reading("delivery", backLink(params.beside), signal, async () => {
    const got = await ifChanged(`/deliveries/${encodeURIComponent(params.id ?? "")}`, etag, signal);
    if (!got) return;
    ({ text: raw, etag } = got);
    d = JSON.parse(raw);
    draw();
  });

  function draw() {
    hash = now.status?.config.hash;
    page.shown = true;
    const sent = d.body === null ? null : d.format ? d.body : cut(raw, "body"), came = cut(raw, "signal_body");
    put(page, backLink(params.beside), head(d, load, params.beside), attempts(d, hash), bodies(d, came, sent), request(d, sent));
  }

  on("entries", (list) => list.some((e) => e.delivery === params.id) && load(), signal);
  on("status", () => d && hash !== now.status?.config.hash && draw(), signal);
  every(LOOK, () => d && (d.state === "pending" || d.state === "held") && load(), signal);
  page.resend = () => d && d.state !== "held" && resend(d, load);
  load();
  return page;
}

const backLink = (beside) => el("p", { class: "back" }, beside ? el("a", { href: "/", "data-close": true }, "× Close") : el("a", { href: "/?view=deliveries", "data-back": true }, "← Back"));

function head(d, load, beside) {
  const held = d.state === "held", over = d.state === "delivered" || d.state === "dead";
  const target = d.request?.target ?? routeNamed(d.route)?.target;
  return el("section", { class: "delivery-head", "aria-label": "Delivery" },
    el("h1", {}, `${d.signal_type} `, el("span", { class: "quiet" }, "to "), el("a", { href: toRoute(d.route) }, d.route)),
    el("p", { class: "state-line" }, el("span", { class: `badge ${d.state}` }, d.state), " ", el("span", {}, standing(d))),
    el("p", { class: "buttons" },
      button("Send again…", () => resend(d, load), { class: d.state === "dead" ? "primary" : null, disabled: held, title: held ? "Its route is not in the config: put it back first" : null }),
      button("Reshape…", () => resend(d, load, true), { disabled: held, title: "Send it again with a body made by today's expressions" }),
      button("Discard…", () => discard(d, load), { disabled: over, title: over ? `It is ${d.state}: there is nothing left to discard` : null }),
      button("Explain", () => explain(d.id), { title: "What happened, why, and what comes next" }),
      el("a", { class: "button", href: url({ view: "playground", signal: d.signal, route: d.route }) }, "Try in the playground")),
    el("dl", { class: "facts small" },
      fact("Delivery", id(d.id, beside && toDelivery(d.id))), fact("Signal", id(d.signal, toSignal(d.signal))), fact("Made", when(d.created)), fact("Attempts", String(d.attempts)), target && fact("Target", target)));
}

// standing says where it stands in a sentence.
function standing(d) {
  if (d.state === "delivered") return ["Delivered after ", many(d.attempts, "attempt"), d.last && [", ", ago(d.last.time)], "."];
  if (d.state === "pending") return d.next_attempt ? [d.attempts ? "Next attempt " : "First attempt ", due(d.next_attempt), "."] : "Waiting.";
  return d.state === "held" ? "Its route is not in the config: it waits until the route is back." : `${reasons[d.reason] ?? "Dead"}. Nothing further is sent unless you do.`;
}

// The attempts on a line of time: gaps to scale, each attempt's time split, each answer beside the one before.

const PARTS = [["dns_ms", "dns", "DNS"], ["connect_ms", "connect", "connect"], ["tls_ms", "tls", "TLS"], ["first_byte_ms", "first", "first byte"]];
const pct = (n) => `${n.toFixed(2)}%`;

// line draws when the attempts were, and when the next one is due.
function line(d) {
  const made = d.log.map((e) => ({ at: Date.parse(e.time), kind: e.verdict, name: e.attempt ? `attempt ${e.attempt}` : e.verdict }));
  if (d.state === "pending" && d.next_attempt) made.push({ at: Date.parse(d.next_attempt), kind: "next", name: "next" });
  const from = Math.min(Date.parse(d.created), ...made.map((m) => m.at));
  const open = d.state === "pending" || d.state === "held";
  const to = Math.max(from + 1, open ? time() : 0, ...made.map((m) => m.at));
  const x = (t) => 1.5 + (97 * (t - from)) / (to - from);
  return el("div", { class: "time-line" },
    svg("svg", { height: 30, width: "100%", role: "img", "aria-label": `${made.length} moments in ${span(to - from)}` },
      svg("line", { class: "axis-line", x1: "1.5%", x2: "98.5%", y1: 15, y2: 15 }),
      open && svg("line", { class: "now", x1: pct(x(time())), x2: pct(x(time())), y1: 3, y2: 27 }),
      svg("line", { class: "made", x1: "1.5%", x2: "1.5%", y1: 8, y2: 22 }),
      made.map((m) => svg("circle", { class: m.kind, cx: pct(x(m.at)), cy: 15, r: 5 }, svg("title", {}, m.name)))),
    el("p", { class: "ends" }, el("span", {}, "made ", when(d.created)), el("span", {}, `${span(to - from)}, gaps to scale`), el("span", {}, when(new Date(to).toISOString()))));
}

// split shows of what an attempt's time was made, beside the longest of all.
function split(e, longest) {
  const parts = PARTS.map(([name, kind, label]) => [e.timing?.[name] ?? 0, kind, label]).filter(([ms]) => ms > 0);
  const rest = e.duration_ms - parts.reduce((n, [ms]) => n + ms, 0);
  if (parts.length && rest > 0.05) parts.push([rest, "rest", "rest"]);
  const all = parts.length ? parts : [[e.duration_ms, "rest", ""]];
  let at = 0;
  return el("div", { class: "split" },
    svg("svg", { height: 8, width: "100%", role: "img", "aria-label": `Took ${took(e.duration_ms)}` }, all.map(([ms, kind]) => {
      const r = svg("rect", { class: kind, x: pct((100 * at) / longest), width: pct((100 * ms) / longest), y: 0, height: 8 });
      at += ms;
      return r;
    })),
    el("p", {}, el("b", {}, took(e.duration_ms)), parts.map(([ms, kind, label]) => el("span", {}, el("i", { class: kind }), `${label} ${took(ms)}`)),
      e.reused && el("span", {}, "connection reused"), e.peer && el("span", {}, `to ${e.peer}`)));
}

// answer shows what the receiver said; beside the attempt before, what differs.
function answer(e, before) {
  if (!e.response) return null;
  if (before && before.response === e.response) return el("p", { class: "quiet" }, `The same answer as of attempt ${before.attempt}.`);
  const pre = el("pre", { class: "response", tabindex: "0", role: "group", "aria-label": `Answer to attempt ${e.attempt}` });
  if (!before?.response) pre.append(e.response);
  else pre.append(...differing(before.response, e.response));
  return el("details", { open: e.verdict !== "delivered" && e.response.length < 600, "data-key": `answer ${e.time}` },
    el("summary", {}, before?.response ? `Answer, with what differs from attempt ${before.attempt}` : "Answer"), pre);
}

function differing(a, b) {
  let i = 0, j = 0;
  while (i < a.length && i < b.length && a[i] === b[i]) i++;
  while (j < Math.min(a.length, b.length) - i && a.at(-1 - j) === b.at(-1 - j)) j++;
  return [b.slice(0, i), el("mark", {}, b.slice(i, b.length - j)), b.slice(b.length - j)];
}

const triggers = { manual: "sent by hand", probe: "probe of a failing route" };

function attempts(d, current) {
  if (!d.log.length && d.state !== "pending") return el("section", { class: "panel", "data-key": "attempts" }, el("h2", {}, "Attempts"), el("p", { class: "quiet" }, "None yet."));
  const longest = Math.max(1, ...d.log.map((e) => e.duration_ms));
  const list = d.log.map((e, i) => {
    const before = d.log[i - 1];
    return el("li", { class: e.verdict, "data-key": e.time },
      before && el("p", { class: "gap" }, `${span(Date.parse(e.time) - e.duration_ms - Date.parse(before.time))} later`),
      el("div", { class: "attempt-line" },
        el("b", {}, e.attempt ? `Attempt ${e.attempt}` : "No attempt"), el("span", { class: `mark ${e.verdict}` }, e.status || (e.attempt ? e.class ?? "no answer" : e.verdict)), when(e.time),
        triggers[e.trigger] && el("span", { class: "badge" }, triggers[e.trigger]),
        current && e.config && e.config !== current && el("span", { class: "quiet", title: e.config }, `by config ${e.config.slice(0, 8)}, not the running one`)),
      e.verdict !== "delivered" && el("p", {}, whatHappened(e)),
      e.attempt > 0 && split(e, longest), answer(e, before));
  }).reverse();
  if (d.state === "pending" && d.next_attempt) {
    list.unshift(el("li", { class: "next", "data-key": "next" }, el("div", { class: "attempt-line" }, el("b", {}, `Attempt ${d.attempts + 1}`), el("span", { class: "quiet" }, due(d.next_attempt), " · ", when(d.next_attempt)))));
  }
  return el("section", { class: "panel", "data-key": "attempts" }, el("h2", {}, "Attempts"), line(d), el("ol", { class: "attempts-list" }, list));
}

function bodies(d, came, sent) {
  const same = sent !== null && !d.format && (sent === came || pretty(sent) === pretty(came));
  const { left, right } = sent === null || same || d.format ? { left: new Map(), right: new Map() } : compare(came, sent);
  const box = el("div", { class: "side-by-side" },
    body("Signal, as received", came, "", { notes: left, about: left.size ? "Dimmed: not in the body." : null }),
    body("Body, as sent", sent, "There is none: the expression failed.", { notes: right, plain: d.format, about: d.format ? `As ${d.format}.` : same ? "Byte for byte the signal." : right.size ? "Marked: what differs from the signal, and where it comes from." : null }));
  const hits = el("span", { class: "quiet", role: "status", "data-own": true, "data-key": "hits" });
  const field = el("input", { type: "search", class: "find-json", placeholder: "Search in both", "aria-label": "Search in the signal and the body", "data-own": true, "data-key": "find", oninput: (e) => {
    const n = search(e.target.closest("section").querySelector(".side-by-side"), e.target.value);
    e.target.nextElementSibling.textContent = e.target.value ? many(n, "line") : "";
  } });
  return el("section", { class: "bodies", "data-key": "bodies", "aria-label": "Signal and body" }, el("p", { class: "find-line" }, field, hits), box);
}

// signalView is the page of a signal: what came, and what was made of it.
export function signalView(params, end) {
  const { page, load } = reading("signal", backLink(), end, async () => {
    const raw = await text(`/signals/${encodeURIComponent(params.id ?? "")}`, {}, end), s = JSON.parse(raw);
    const made = s.deliveries.map((x) => el("li", {}, el("span", { class: `badge ${x.state}` }, x.state), " ", el("a", { href: toDelivery(x.id) }, x.route), x.last?.error && el("span", { class: "quiet" }, ` ${x.last.error}`)));
    put(page, backLink(), el("h1", {}, s.signal_type), el("p", { class: "buttons" }, button("Explain", () => explain(s.id), { title: "Why each route took it, or did not" })), el("dl", { class: "facts small" }, fact("Signal", id(s.id)), fact("Received", when(s.received_at))),
      el("section", { class: "panel" }, el("h2", {}, "Deliveries"), made.length ? el("ul", { class: "plain-list" }, made) : el("p", { class: "quiet" }, "No route took it.")),
      body("As received", cut(raw, "signal"), "", { extra: el("a", { href: url({ view: "playground", signal: s.id, route: "*" }) }, "Try it in the playground") }));
  });
  on("entries", (list) => list.some((e) => e.signal === params.id) && load(), end);
  load();
  return page;
}

// What the sidecar puts in place of a secret or a signature.
const secret = /\[[a-z ]+\]/;
const variable = (name) => name.toUpperCase().replace(/[^A-Z0-9]+/g, "_");
const quoted = (s) => `'${s.replaceAll("'", `'\\''`)}'`;

// shell writes text for a shell: secrets as $NAME.
const shell = (text, name) => text.split(secret).map((p) => (p ? quoted(p) : "")).join(`"$${name}"`);

// curl is the request as a command. The route's url is a secret, too.
function curl(d, body) {
  const { method, target, path } = d.request, name = `${variable(d.route)}_URL`;
  const lines = [path ? `# $${name} is what the url of the route ${d.route} has itself of path and query` : `# $${name} is the url of the route ${d.route}, on ${target}`,
    `curl -X ${method} ${path ? shell(target + path, name) : `"$${name}"`}`];
  for (const [header, value] of Object.entries(d.request.headers)) if (!/^content-(length|encoding)$/i.test(header)) lines.push(`  -H ${shell(`${header}: ${value}`, variable(header))}`);
  lines.push(`  --data-binary ${quoted(body)}`);
  return lines[0] + "\n" + lines.slice(1).join(" \\\n");
}

// verify is the command that checks the signature of what a receiver got.
function verify(d, body) {
  return [`printf %s ${quoted(body)} > body.json`,
    `# headers.txt: the headers as the receiver got them, a line each; the signature is not kept here`,
    `SIGNALPOST_SECRET="$${variable(d.route)}_SECRET" signalpost verify --headers headers.txt --body body.json`].join("\n");
}

function request(d, body) {
  const r = d.request;
  return el("section", { class: "panel", "data-key": "request" },
    el("div", { class: "panel-head" }, el("h2", {}, r?.sent ? "Request, as it was sent" : "Request"),
      r && body !== null && el("span", { class: "buttons" }, button("Copy as curl", () => copy(curl(d, body))), button("Copy verify command", () => copy(verify(d, body))))),
    r ? [el("p", { class: "request-line" }, el("code", {}, `${r.method} ${r.target}${r.path ?? "/…"}`),
      el("span", { class: "quiet" }, r.sent ? [" Of the last attempt", r.time && [", ", when(r.time)], ". "] : " Nothing was sent yet: this is what the running config would send. ", "The path of the URL, secrets and signatures are never shown.")), headers(r.headers)]
      : el("p", { class: "quiet" }, d.body === null ? "There is no body, so there is no request." : "Its route is not in the config, so there is no request to show."));
}
