// The charts of the page: what is drawn of a feed, in what colours and words.

import { el } from "./dom.js";
import { count, many, per, took } from "./format.js";
import { chart, most, nice, spark } from "./chart.js";
import { go, params } from "./url.js";
import { now, on } from "./live.js";
import { causes, Feed, range, RANGES } from "./stats.js";

const up = [{ class: "good", of: (p) => p.delivered }, { class: "fails", of: (p) => p.fails }];
const down = [{ class: "dead", of: (p) => p.dead }];
const times = [{ class: "line p99", of: (p) => p.p99_ms }, { class: "line p95", of: (p) => p.p95_ms }, { class: "line p50", of: (p) => p.p50_ms }];

const marks = () => (now.status?.config.reloads ?? []).map((r) => ({ time: r.time, label: `config ${r.hash.slice(0, 4)}`, title: `The config was loaded: ${r.hash}` }));
// scale is for numbers of a step: their rate is written, and round where the gridline is.
const scale = (step) => ({
  unit: (n) => per(n, step),
  grid: (high) => {
    const of = [1e3, 6e4, 36e5].find((u) => (high * u) / step >= 1) ?? 36e5;
    return (nice((high * of) / step) * step) / of;
  },
});
const frame = (feed) => ({ from: feed.from, to: feed.to, step: feed.step, loaded: feed.loaded, error: feed.error });

function readout(points, ms) {
  const t = { accepted: 0, delivered: 0, fails: 0, dead: 0, failed: {} };
  for (const p of points) {
    for (const n of ["accepted", "delivered", "fails", "dead"]) t[n] += p[n];
    for (const [c, n] of Object.entries(p.failed)) t.failed[c] = (t.failed[c] ?? 0) + n;
  }
  return [`${many(t.delivered, "delivery").replace(/(deliver)(y|ies)/, "$1ed")} (${per(t.delivered, ms)})`,
    `${many(t.fails, "failed attempt")}${t.fails ? ` (${causes(t.failed)})` : ""}`, `${count(t.dead)} dead`, `${many(t.accepted, "delivery")} accepted`].join(" · ");
}

const select = (from, to) => go({ ...params(), range: "", from: new Date(from).toISOString(), to: new Date(to).toISOString() });

// counts is the chart of what became of deliveries; show(feed, points, peak).
export function counts(label, height) {
  const c = chart({ label, height, onselect: select });
  return Object.assign(c, { draw: (feed, points, peak) => c.show({ ...frame(feed), points, up, down, peak, marks: marks(), ...scale(feed.step), readout }) });
}

// latency is the chart of how long attempts took.
export function latency(label, height) {
  const c = chart({ label, height, onselect: select });
  const read = (points) => {
    const some = points.filter((p) => p.p50_ms !== null && p.p50_ms !== undefined);
    if (!some.length) return "no attempt was answered";
    const high = (name) => took(Math.max(...some.map((p) => p[name])));
    return some.length === 1 ? `half within ${high("p50_ms")} · 95 % within ${high("p95_ms")} · 99 % within ${high("p99_ms")}`
      : `at most, in any step: half within ${high("p50_ms")} · 95 % within ${high("p95_ms")} · 99 % within ${high("p99_ms")}`;
  };
  return Object.assign(c, { draw: (feed, points) => c.show({ ...frame(feed), points, lines: times, marks: marks(), unit: took, grid: nice, readout: read }) });
}

export const highest = (points) => most(points, up);

export const sparkOf = (feed, points, peak, name) => spark({ ...frame(feed), points, up, peak, label: `Attempts of ${name}` });

// legend says what the colours mean.
export const legend = (list = [["good", "delivered"], ["fails", "failed attempt"], ["dead", "dead, below the line"], ["void", "unknown"]]) =>
  el("p", { class: "legend" }, list.map(([c, text]) => el("span", {}, el("i", { class: c }), text)));

export const timesLegend = () => legend([["p50", "half within"], ["p95", "95 % within"], ["p99", "99 % within"]]);

// history keeps the feed of the time that the URL asks for, of one route or of all,
// and calls draw when there is news of it. Its update is for when the URL has changed.
export function history(signal, draw, route) {
  const h = { feed: null };
  let chosen = "", end = null, hash;
  h.update = () => {
    const wanted = JSON.stringify(range(params()));
    if (wanted !== chosen) {
      chosen = wanted;
      end?.abort();
      end = new AbortController();
      h.feed = new Feed(range(params()), { route }).start(draw, AbortSignal.any([end.signal, signal]));
    }
    draw();
  };
  on("status", () => {
    if (hash !== now.status?.config.hash) draw(); // a reload is marked
    hash = now.status?.config.hash;
  }, signal);
  addEventListener("signalpost:zone", draw, { signal });
  return h;
}

// ranges is the row of buttons that choose how far back one looks.
export function ranges() {
  const p = params(), r = range(p);
  const pick = (name) => go({ ...p, from: "", to: "", range: name === "1h" ? "" : name });
  return el("div", { class: "segments", role: "group", "aria-label": "Time shown" },
    Object.entries(RANGES).map(([name, ms]) => el("button", { type: "button", "aria-pressed": String(r.back === ms), onclick: () => pick(name) }, name)),
    r.from && el("button", { type: "button", "aria-pressed": "true", title: "Back to the last hour", onclick: () => pick("1h") }, "selected ×"));
}
