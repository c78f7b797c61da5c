// The routes, a row each: what needs somebody first, then in the order of the config.

import { button, el, put } from "./dom.js";
import { ago, count, many, per, percent, span, took } from "./format.js";
import { time } from "./clock.js";
import { now, on } from "./live.js";
import { Feed, lately, success } from "./stats.js";
import { highest, sparkOf } from "./charts.js";
import { toDeliveries, toRoute } from "./url.js";

const SHOWN = 14; // rows at first
const RANK = { bad: 0, warn: 1, ok: 2 };

// routes is the section; chart() gives the feed whose times the small charts show.
export function routes(signal, chart) {
  const rows = el("tbody"), more = el("div", { class: "under" });
  let all = false, same = false;
  const hour = new Feed({ back: 36e5 }, { step: "1m" }).start(() => draw(), signal);
  const day = new Feed({ back: 864e5 }, { step: "1h" }).start(() => draw(), signal);
  const month = new Feed({ back: 30 * 864e5 }, { step: "1d" }).start(() => draw(), signal);
  const scale = el("input", { type: "checkbox", onchange: () => {
    same = scale.checked;
    draw();
  } });
  const title = el("h2", { id: "routes-title" }, "Routes");
  const heads = [["name", "Route"], ["health", "Health"], ["shape", "Attempts"], ["number ok-1h", "1 h", "Attempts delivered in the last hour"], ["number ok-24h", "24 h", "in the last 24 hours"], ["number ok-30d", "30 d", "in the last 30 days"],
    ["number rate", "Rate", "Delivered in the last whole minute"], ["number p50", "p50", "Half of this hour's attempts took at most this"], ["number p95", "p95", "95 % of this hour's attempts took at most this"], ["number wait", "Waiting"], ["number lost", "Dead"], ["last", "Last"]];
  const section = el("section", { class: "panel", "data-key": "routes", "data-own": true, "aria-labelledby": "routes-title" },
    el("div", { class: "panel-head" }, title, el("label", { class: "quiet" }, scale, " same scale")),
    el("table", { class: "routes rows" }, el("thead", {}, el("tr", {}, heads.map(([c, text, about]) => el("th", { scope: "col", class: c, title: about }, text)))), rows), more);

  function draw() {
    if (!now.status) return;
    const sorted = now.status.routes.toSorted((a, b) => RANK[a.health.level] - RANK[b.health.level]);
    const list = all ? sorted : sorted.slice(0, Math.max(SHOWN, sorted.filter((r) => r.health.level !== "ok").length));
    const feed = chart(), peak = same ? Math.max(1, ...sorted.map((r) => highest(feed.of(r.name)))) : 0;
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
    cell("shape", sparkOf(feed, feed.of(r.name), peak, r.name)),
    cell("number ok-1h", rated(hour)), cell("number ok-24h", rated(day)), cell("number ok-30d", rated(month)),
    cell("number rate", minute ? per(minute.delivered, 6e4) : "–"), cell("number p50", fresh ? took(fresh.p50_ms) : "–"), cell("number p95", fresh ? took(fresh.p95_ms) : "–"),
    cell("number wait", r.held ? link("held", r.held) : link("pending", r.pending), r.oldest_due && time() - Date.parse(r.oldest_due) > 6e4 && el("span", { class: "quiet", title: "The oldest that is due" }, " ", span(time() - Date.parse(r.oldest_due)))),
    cell(r.dead ? "number lost some" : "number lost", link("dead", r.dead)),
    cell("last", lastOf(r)));
}

// badge is the health of a route in a word, with its reasons.
export function badge(r) {
  const [first] = r.health.reasons;
  const word = first ? first.code.replaceAll("_", " ") : r.state;
  return el("span", { class: `badge ${r.health.level === "ok" && r.state !== "ok" ? r.state : r.health.level}`, title: r.health.reasons.map((x) => x.text).join("\n") || null }, word);
}

// lastOf is the last error when it is newer than the last success.
export function lastOf(r) {
  const failed = r.last_error && (!r.last_success || Date.parse(r.last_error_at) > Date.parse(r.last_success));
  if (failed) return [el("span", { class: "bad", title: r.last_error }, r.last_error), " ", r.last_error_at && ago(r.last_error_at)];
  return r.last_success ? [el("span", { class: "good-word" }, "delivered"), " ", ago(r.last_success)] : el("span", { class: "quiet" }, "nothing yet");
}
