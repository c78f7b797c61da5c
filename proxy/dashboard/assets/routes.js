// The routes: a row each, what needs somebody first, then in the order of the config;
// and a page each: how it stands and since when, its history, its config, its log.

import { button, el, fact, put } from "./dom.js";
import { ago, count, due, lasting, many, per, percent, since, span, took, when } from "./format.js";
import { time } from "./clock.js";
import { countsOf, highest, history, latencyOf, legend, ranges, spark } from "./chart.js";
import { log } from "./lists.js";
import { now, on, routeNamed } from "./live.js";
import { problems } from "./problems.js";
import { Feed, lately, success } from "./stats.js";
import { toDeliveries, toRoute, url } from "./url.js";
import { resendAll, pauseButtons } from "./actions.js";

const SHOWN = 14; // rows at first
const RANK = { bad: 0, warn: 1, ok: 2 };

// routes is the section; chart() gives the feed whose times the small charts show.
export function routes(signal, chart) {
  const rows = el("tbody"), more = el("div", { class: "under" });
  let all = false;
  const hour = new Feed({ back: 36e5 }, { step: "1m" }).start(() => draw(), signal);
  const day = new Feed({ back: 864e5 }, { step: "1h" }).start(() => draw(), signal);
  const month = new Feed({ back: 30 * 864e5 }, { step: "1d" }).start(() => draw(), signal);
  const scale = el("input", { type: "checkbox", onchange: () => draw() });
  const title = el("h2", { id: "routes-title" }, "Routes");
  const heads = [["name", "Route"], ["health", "Health"], ["shape", "Attempts"], ["number ok-1h", "Success 1 h", "Attempts that delivered, of the last hour"], ["number ok-24h", "24 h", "Of the last 24 hours"], ["number ok-30d", "30 d", "Of the last 30 days"],
    ["number rate", "Rate", "Delivered in the last whole minute"], ["number p50", "p50", "Half of this hour's attempts took at most this"], ["number p95", "p95", "95 % of this hour's attempts took at most this"], ["number wait", "Waiting"], ["number lost", "Dead"], ["last", "Last"]];
  const section = el("section", { class: "panel", "data-key": "routes", "data-own": true, "aria-labelledby": "routes-title" },
    el("div", { class: "panel-head" }, title, el("label", { class: "quiet" }, scale, " same scale")),
    el("table", { class: "routes rows" }, el("thead", {}, el("tr", {}, heads.map(([c, text, about]) => el("th", { scope: "col", class: c, title: about }, text)))), rows), more);

  function draw() {
    if (!now.status) return;
    const sorted = now.status.routes.toSorted((a, b) => RANK[a.health.level] - RANK[b.health.level]);
    const list = all ? sorted : sorted.slice(0, Math.max(SHOWN, sorted.filter((r) => r.health.level !== "ok").length));
    const feed = chart(), peak = scale.checked ? Math.max(1, ...sorted.map((r) => highest(feed.of(r.name)))) : 0;
    put(title, "Routes ", el("span", { class: "quiet" }, count(sorted.length)));
    put(rows, list.map((r) => row(r, { feed, peak, hour, day, month })));
    put(more, list.length < sorted.length && button(`Show all ${count(sorted.length)} routes`, () => {
      all = true;
      draw();
    }));
  }

  section.update = draw;
  on("status", draw, signal);
  draw();
  return section;
}

function row(r, { feed, peak, hour, day, month }) {
  const minute = lately(hour.of(r.name)), timed = day.of(r.name).findLast((p) => p.p50_ms !== null && p.p50_ms !== undefined);
  const fresh = timed && timed.at > time() - 2 * 36e5 ? timed : null;
  const rated = (f) => {
    const s = f.loaded && success(f.of(r.name));
    return s ? el("span", { class: s.part / s.whole < 0.95 ? "bad" : null, title: `${count(s.part)} of ${many(s.whole, "attempt")}` }, percent(s.part, s.whole)) : "–";
  };
  const link = (state, n) => (n > 0 ? el("a", { href: toDeliveries(`route:${r.name} state:${state}`) }, count(n)) : "0");
  const cell = (kind, ...content) => el("td", { class: kind }, content);
  return el("tr", { class: `level-${r.health.level}`, "data-key": r.name },
    cell("name", el("a", { class: "open", href: toRoute(r.name), "data-row": "", title: r.name }, r.name)),
    cell("health", badge(r)),
    cell("shape", spark(feed, feed.of(r.name), peak, `Attempts of ${r.name}`)),
    cell("number ok-1h", rated(hour)), cell("number ok-24h", rated(day)), cell("number ok-30d", rated(month)),
    cell("number rate", minute ? per(minute.delivered, 6e4) : "–"), cell("number p50", fresh ? took(fresh.p50_ms) : "–"), cell("number p95", fresh ? took(fresh.p95_ms) : "–"),
    cell("number wait", r.held ? link("held", r.held) : link("pending", r.pending), r.oldest_due && time() - Date.parse(r.oldest_due) > 6e4 && el("span", { class: "quiet", title: "The oldest that is due" }, " ", span(time() - Date.parse(r.oldest_due)))),
    cell(r.dead ? "number lost some" : "number lost", link("dead", r.dead)),
    cell("last", lastOf(r)));
}

// badge is the health of a route in a word, with its reasons.
function badge(r) {
  const [first] = r.health.reasons;
  const word = first ? first.code.replaceAll("_", " ") : r.state;
  return el("span", { class: `badge ${r.health.level === "ok" && r.state !== "ok" ? r.state : r.health.level}`, title: r.health.reasons.map((x) => x.text).join("\n") || null }, word);
}

// lastOf is the last error when it is newer than the last success.
function lastOf(r) {
  const failed = r.last_error && (!r.last_success || Date.parse(r.last_error_at) > Date.parse(r.last_success));
  if (failed) return [r.last_error_at && [ago(r.last_error_at), " "], el("span", { class: "bad", title: r.last_error }, r.last_error)];
  return r.last_success ? [el("span", { class: "good-word" }, "delivered"), " ", ago(r.last_success)] : el("span", { class: "quiet" }, "no attempt yet");
}

export function route({ name = "" }, signal) {
  const head = el("section", { class: "delivery-head", "aria-label": "Route" });
  const title = el("div", { class: "panel-head" }), config = el("section", { class: "panel", "aria-label": "Config" });
  const plot = countsOf(`Attempts of ${name} over time`), times = latencyOf(`Time that attempts of ${name} took`);
  const list = log(signal, { route: name });
  let shown = new Feed({ back: 36e5 }, { route: name }); // of the time that is chosen
  const needs = problems(signal, () => shown, name);
  const page = el("div", {}, el("p", { class: "back" }, el("a", { href: "/" }, "← All routes")), head, needs,
    el("section", { class: "panel", "aria-label": "History" }, title, plot, legend(), times, legend([["p50", "half within"], ["p95", "95 % within"], ["p99", "99 % within"]])), config, list);

  function top() {
    if (!now.status) return;
    const r = routeNamed(name);
    if (!r) return put(head, el("h1", {}, name || "No route"), el("p", { class: "quiet" }, "There is no route of this name, and nothing is kept for one."));
    put(head, el("h1", {}, name, " ", badge(r)), el("p", { class: "quiet" }, r.target ?? "Not in the config any more: its deliveries are held until it is back"),
      el("p", { class: "buttons" },
        pauseButtons(r),
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
      r.state === "paused" && fact("Paused by", r.paused_by.map((p) => (p === "api" ? "an operator (dashboard, API or command)" : "the config")).join(" and ")),
      fact("Waiting", count(r.pending), linked("pending")), r.held > 0 && fact("Held", count(r.held), linked("held")),
      fact("Dead", count(r.dead), linked("dead"), r.dead ? "bad" : null), r.discarded > 0 && fact("Discarded", count(r.discarded), toDeliveries(`route:${name} reason:discarded`)),
      r.oldest_due && fact("Oldest due", ago(r.oldest_due)),
      fact("Last success", r.last_success ? ago(r.last_success) : "none yet"),
      fact("Last 15 min", n ? `${percent(r.recent.delivered, n)} of ${many(n, "attempt")}` : "no attempt"),
      r.last_error && fact("Last error", [r.last_error, r.last_error_at && el("span", { class: "quiet" }, " ", when(r.last_error_at))], null, "wide"));
  }

  history(signal, (feed) => {
    shown = feed;
    needs.update();
    const points = feed.of(name), s = success(points);
    put(title, el("h2", {}, "History ", s && el("span", { class: "quiet" }, `${percent(s.part, s.whole)} of ${many(s.whole, "attempt")} delivered`)), ranges());
    plot.draw(feed, points);
    times.draw(feed, points);
  }, page, list, name);
  on("status", top, signal);
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
    line("retry", `${many(s.attempts, "attempt")} within ${s.window}, up to ±${Math.round(100 * s.jitter)} %; gaps `, s.gaps.join(", ") || "none"),
    line("timeout", l.timeout), line("concurrency", String(l.concurrency)), line("rate", l.rate ?? "no limit"), line("give_up_on", l.give_up_on.join(", ") || "nothing"),
    line("config", el("code", {}, now.status.config.hash.slice(0, 12)), " loaded ", when(now.status.config.loaded_at), ` from ${now.status.config.path}`));
}
