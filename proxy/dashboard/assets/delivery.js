// One delivery whole: where it stands, every attempt, the signal beside the
// body, the request. It keeps itself up to date while attempts are made.

import { el, problem, put, sentence } from "./dom.js";
import { ago, due, many, took, when } from "./format.js";
import { text } from "./api.js";
import { body, headers, id } from "./bodies.js";
import { cut } from "./json.js";
import { back, url } from "./filters.js";
import { now, on } from "./live.js";
import { reasons, story } from "./log.js";
import { discard, resend } from "./actions.js";

export function delivery(params, signal) {
  const page = el("div", { class: "delivery" }, el("p", { class: "quiet" }, "Reading the delivery…"));
  let shown = "", due = 0;

  async function load() {
    let raw;
    try {
      raw = await text(`/deliveries/${encodeURIComponent(params.id ?? "")}`, {}, signal);
    } catch (err) {
      if (err.name !== "AbortError") put(page, backLink(), problem(err.status === 404 ? "There is no such delivery" : "The delivery could not be read", err, load));
      return;
    }
    if (raw === shown) return;
    shown = raw;
    const d = JSON.parse(raw);
    put(page, backLink(), head(d, load), attempts(d),
      el("div", { class: "side-by-side" },
        body("Signal, as received", cut(raw, "signal_body"), "", el("a", { href: url({ view: "playground", signal: d.signal, route: d.route }) }, "Try it in the playground")),
        body("Body, as sent", d.body === null ? null : cut(raw, "body"), "There is none: the expression failed.")),
      sent(d));
  }

  on("entries", (list) => {
    if (list.some((e) => e.delivery === params.id)) load();
  }, signal);
  on("status", () => {
    // What others do to it, such as discarding it, may leave no attempt: look now and then.
    if (++due % 5 === 0 && !document.querySelector("dialog[open]")) load();
  }, signal);
  load();
  return page;
}

export const backLink = () => el("p", { class: "back" }, el("a", { href: "/?view=deliveries", onclick: (e) => {
  if (e.metaKey || e.ctrlKey || e.shiftKey) return;
  e.preventDefault();
  e.stopPropagation();
  back();
} }, "← Back"));

function head(d, load) {
  const held = d.state === "held", over = d.state === "delivered" || d.state === "dead";
  const target = now.status?.routes.find((r) => r.name === d.route)?.target ?? d.request?.target;
  return el("section", { class: "delivery-head", "aria-label": "Delivery" },
    el("h1", {}, `${d.signal_type} `, el("span", { class: "quiet" }, "to "), d.route),
    el("p", { class: "state-line" }, el("span", { class: `badge ${d.state}` }, d.state), " ", standing(d)),
    el("p", { class: "buttons" },
      el("button", { type: "button", class: d.state === "dead" ? "primary" : null, disabled: held, title: held ? "Its route is not in the config: put it back first" : null, onclick: () => resend(d, load) }, "Send again…"),
      el("button", { type: "button", disabled: over, title: over ? `It is ${d.state}: there is nothing left to discard` : null, onclick: () => discard(d, load) }, "Discard…")),
    el("dl", { class: "facts small" },
      fact("Delivery", id(d.id)), fact("Signal", el("span", { class: "whole-id" }, el("a", { href: url({ view: "signal", id: d.signal }) }, el("code", {}, d.signal)))),
      fact("Made", when(d.created)), fact("Attempts", String(d.attempts)), target && fact("Target", target)));
}

const fact = (name, value) => el("div", {}, el("dt", {}, name), el("dd", {}, value));

// standing says where it stands in a sentence.
function standing(d) {
  switch (d.state) {
    case "delivered":
      return el("span", {}, `Delivered after ${many(d.attempts, "attempt")}`, d.last ? [", ", ago(d.last.time)] : "", ".");
    case "pending":
      return d.next_attempt ? el("span", {}, d.attempts ? "Next attempt " : "First attempt ", due(d.next_attempt), ".") : "Waiting.";
    case "held":
      return "Its route is not in the config: it waits until the route is back.";
    default:
      return `${reasons[d.reason] ?? "Dead"}. Nothing further is sent unless you do.`;
  }
}

function attempts(d) {
  const list = d.log.toReversed().map((e) => el("li", { class: e.verdict },
    el("div", { class: "attempt-line" },
      el("b", {}, e.attempt ? `Attempt ${e.attempt}` : "No attempt"), el("span", { class: `mark ${e.verdict}` }, e.status || (e.attempt ? "no answer" : e.verdict)),
      el("span", { class: "quiet" }, when(e.time), e.attempt > 0 && ` · took ${took(e.duration_ms)}`)),
    e.verdict !== "delivered" && el("p", {}, story(e)),
    e.response && el("details", { open: e.response.length < 400 && e.verdict !== "delivered" }, el("summary", {}, "What the receiver answered"), el("pre", { class: "response", tabindex: "0" }, e.response))));
  if (d.state === "pending" && d.next_attempt) {
    list.unshift(el("li", { class: "next" }, el("div", { class: "attempt-line" }, el("b", {}, `Attempt ${d.attempts + 1}`), el("span", { class: "quiet" }, due(d.next_attempt), " · ", when(d.next_attempt)))));
  }
  return el("section", { class: "panel" }, el("h2", {}, "Attempts"), list.length ? el("ol", { class: "attempts-list" }, list) : el("p", { class: "quiet" }, sentence("none yet")));
}

function sent(d) {
  return el("section", { class: "panel" }, el("h2", {}, d.state === "pending" && d.attempts > 0 ? "Request of the next attempt" : "Request"),
    d.request
      ? [el("p", { class: "request-line" }, el("code", {}, `${d.request.method} ${d.request.target}/…`), el("span", { class: "quiet" }, " The path of the URL and secret headers are never shown.")), headers(d.request.headers)]
      : el("p", { class: "quiet" }, d.body === null ? "There is no body, so there is no request." : "Its route is not in the config, so there is no request to show."));
}
