// The life of a signal or delivery, as the sidecar explains it: nothing is judged here.

import { text } from "./api.js";
import { dialog, el, problem, put } from "./dom.js";
import { lasting, timed, took, when } from "./format.js";
import { cut, headers, id, pretty } from "./json.js";
import { toDelivery } from "./url.js";

// explain shows it in a dialog.
export function explain(what) {
  const box = el("div", { class: "explained" }, el("p", { class: "quiet" }, "Asking the sidecar…")), end = new AbortController();
  dialog({ title: "What happened, and what comes next", body: box, cancel: "Close", kind: "wide", closed: () => end.abort() });
  const load = () => text(`/explain/${encodeURIComponent(what)}`, {}, end.signal).then(
    (raw) => put(box, explanation(JSON.parse(raw), raw)),
    (err) => end.signal.aborted || put(box, problem("It could not be explained", err, load)));
  load();
}

// explanation takes what is JSON out of the text, where every digit is as it was.
function explanation(e, raw) {
  return [
    el("p", {}, el("b", {}, e.signal.signal_type), ", received ", when(e.signal.received_at), ": ", timed(e.signal.text)),
    el("section", {}, el("h3", {}, e.routes.length === 1 ? "Its route" : "Routes"), el("ul", { class: "tried" }, e.routes.map((r, i) => route(r, (j) => cut(raw, "routes", i, "reads", j, "value"))))),
    e.deliveries.map((d, i) => deliverySection(d, cut(raw, "deliveries", i, "today_body"))),
    e.deliveries.length ? null : el("p", { class: "quiet" }, "It made no delivery, so nothing is sent."),
  ];
}

function route(r, value) {
  return el("li", {}, el("span", { class: `badge ${r.taken ? "delivered" : ""}` }, r.taken ? "took it" : "did not take it"), " ", el("b", {}, r.route), " ", r.why,
    r.known ? null : el("span", { class: "quiet" }, " (not certain)"),
    r.today && el("p", {}, "Today: ", r.today),
    r.paused_by.length > 0 && el("p", {}, `It is paused by the ${r.paused_by.join(" and the ").replace("api", "API")}: it takes signals, and sends nothing.`),
    r.reads.length > 0 && el("table", { class: "headers" }, el("caption", {}, "What its where reads"), r.reads.map((x, j) => el("tr", {}, el("th", { scope: "row" }, x.path), el("td", {}, x.large ? "too large to be shown" : x.found ? value(j) : "is not there")))));
}

function deliverySection(d, body) {
  return el("section", {}, el("h3", {}, `${d.route}: `, el("span", { class: `badge ${d.state}` }, d.state), " ", id(d.id, toDelivery(d.id))),
    el("ol", { class: "steps" }, d.steps.map(step)),
    el("p", { class: "next-step" }, el("b", {}, "Next: "), timed(d.next)),
    d.today.map((way) => el("p", {}, el("b", {}, "Today: "), way)),
    body && el("pre", { class: "response", tabindex: "0", role: "group", "aria-label": "Body by today's config" }, d.today_format ? d.today_body : pretty(body)));
}

function step(s) {
  const length = s.to ? s.kind === "wait" && took(Date.parse(s.to) - Date.parse(s.from)) : lasting(s.from);
  return el("li", { class: s.kind }, when(s.from), el("span", {}, el("b", {}, s.kind === "wait" ? s.code.replaceAll("_", " ") : s.kind), " ", length),
    el("div", {}, el("p", {}, timed(s.text)), s.attempt && attempt(s.attempt)));
}

function attempt(a) {
  if (!a.request && !a.response) return null;
  return el("details", {}, el("summary", {}, "What was sent, signed and answered"),
    a.signed.map((x) => el("p", {}, el("code", {}, x.header), ` (${x.preset || "custom"}) signs `, el("code", {}, x.over))),
    a.request && headers(a.request.headers), a.response && el("pre", { class: "response", tabindex: "0", role: "group", "aria-label": `Answer to attempt ${a.attempt}` }, a.response));
}
