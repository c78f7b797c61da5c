// One route: how it stands and since when, its history, its config as it runs, its log.

import { button, el, fact, put } from "./dom.js";
import { ago, count, due, lasting, length, many, percent, since, when } from "./format.js";
import { counts, history, latency, legend, ranges, timesLegend } from "./charts.js";
import { log } from "./log.js";
import { now, on, routeNamed } from "./live.js";
import { problems } from "./problems.js";
import { badge } from "./routes.js";
import { success } from "./stats.js";
import { toDeliveries, url } from "./url.js";
import { pauseRoute, resendAll, resumeRoute } from "./actions.js";

export function route({ name = "" }, signal) {
  const head = el("section", { class: "delivery-head", "aria-label": "Route" });
  const title = el("div", { class: "panel-head" }), config = el("section", { class: "panel", "aria-label": "Config" });
  const plot = counts(`Attempts of ${name} over time`), times = latency(`Time that attempts of ${name} took`, 110);
  const list = log(signal, { route: name });
  const page = el("div", {}, el("p", { class: "back" }, el("a", { href: "/" }, "← All routes")), head, problems(signal, name),
    el("section", { class: "panel", "aria-label": "History" }, title, plot, legend(), times, timesLegend()), config, list);

  function top() {
    if (!now.status) return;
    const r = routeNamed(name);
    if (!r) return put(head, el("h1", {}, name || "No route"), el("p", { class: "quiet" }, "There is no route of this name, and nothing is kept for one."));
    put(head, el("h1", {}, name, " ", badge(r)), el("p", { class: "quiet" }, r.target ?? "Not in the config any more: what waits is held until it is back"),
      el("p", { class: "buttons" },
        r.state === "paused" ? button("Resume…", () => resumeRoute(r)) : r.state !== "gone" && button("Pause…", () => pauseRoute(r)),
        r.dead > 0 && r.state !== "gone" && button(`Send ${count(r.dead)} dead again…`, () => resendAll({ route: name, state: "dead" })),
        r.state !== "gone" && el("a", { class: "button", href: url({ view: "playground", route: name }) }, "Playground")),
      facts(r));
    put(config, el("h2", {}, "Config, as it runs"), configOf(r));
  }

  function facts(r) {
    const linked = (state) => (r[state] ? toDeliveries(`route:${name} state:${state}`) : null);
    const n = r.recent.delivered + r.recent.retry + r.recent.dead;
    return el("dl", { class: "facts" },
      r.failing_since && fact("Failing for", [lasting(r.failing_since), el("span", { class: "quiet" }, " since ", since(r.failing_since))], null, "bad"),
      r.next_probe && fact("Next probe", due(r.next_probe)),
      r.state === "paused" && fact("Paused by", r.paused_by.map((p) => (p === "api" ? "somebody, by the page, the API or the command" : "the config")).join(" and ")),
      fact("Waiting", count(r.pending), linked("pending")), r.held > 0 && fact("Held", count(r.held), linked("held")),
      fact("Dead", count(r.dead), linked("dead"), r.dead ? "bad" : null), r.discarded > 0 && fact("Discarded", count(r.discarded), toDeliveries(`route:${name} reason:discarded`)),
      r.oldest_due && fact("Oldest due", ago(r.oldest_due)),
      fact("Last success", r.last_success ? ago(r.last_success) : "none yet"),
      fact("Last 15 min", n ? `${percent(r.recent.delivered, n)} of ${many(n, "attempt")}` : "no attempt"),
      r.last_error && fact("Last error", [r.last_error, r.last_error_at && el("span", { class: "quiet" }, " ", when(r.last_error_at))], null, "wide"));
  }

  const h = history(signal, () => {
    const points = h.feed.of(name), s = success(points);
    put(title, el("h2", {}, "History ", s && el("span", { class: "quiet" }, `${percent(s.part, s.whole)} of ${many(s.whole, "attempt")} delivered`)), ranges());
    plot.draw(h.feed, points);
    times.draw(h.feed, points);
  }, name);
  page.update = () => {
    h.update();
    list.update();
  };
  page.hold = list.hold;
  on("status", top, signal);
  h.update();
  top();
  return page;
}

function configOf(r) {
  if (r.state === "gone") return el("p", { class: "quiet" }, "The running config does not have it.");
  const line = (name, ...value) => el("div", {}, el("dt", {}, el("code", {}, name)), el("dd", {}, value));
  const expression = (text, none) => (text ? el("pre", { class: "code jq", tabindex: "0", role: "group", "aria-label": "Expression" }, text) : el("span", { class: "quiet" }, none));
  const { schedule: s, limits: l } = r;
  return el("dl", { class: "config" },
    line("signal_types", r.signal_types.length ? r.signal_types.map((t) => el("code", { class: "type-name" }, t)) : el("span", { class: "quiet" }, "every type")),
    line("where", expression(r.where, "every signal passes")),
    line("transform", expression(r.transform, "none: the bytes are forwarded")),
    line("retry", `${many(s.attempts, "attempt")} within ${length(s.window)}, up to ±${Math.round(100 * s.jitter)} %; gaps `, s.gaps.map(length).join(", ") || "none"),
    line("timeout", length(l.timeout)), line("concurrency", String(l.concurrency)), line("rate", l.rate ?? "no limit"), line("give_up_on", l.give_up_on.join(", ") || "nothing"),
    line("config", el("code", {}, now.status.config.hash.slice(0, 12)), " loaded ", when(now.status.config.loaded_at), ` from ${now.status.config.path}`));
}
