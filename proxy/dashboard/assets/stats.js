// Statistics, as the sidecar counted them. Nothing is counted here but sums.

import { get } from "./api.js";
import { count } from "./format.js";
import { time } from "./clock.js";
import { every } from "./live.js";

const STEPS = { "1m": 6e4, "5m": 3e5, "15m": 9e5, "1h": 36e5, "6h": 216e5, "1d": 864e5 };
const MOST = 170; // points of a series
const MINUTES = 47 * 36e5; // how far back minutes are asked for; hours beyond
export const RANGES = { "15m": 9e5, "1h": 36e5, "6h": 216e5, "24h": 864e5, "7d": 7 * 864e5, "30d": 30 * 864e5 };

// range reads what the URL says: {back} until now, or {from, to}.
export function range(p) {
  const from = Date.parse(p.from ?? ""), to = Date.parse(p.to ?? "");
  if (from < to) return { from, to };
  return { back: RANGES[Object.hasOwn(RANGES, p.range ?? "") ? p.range : "1h"] };
}

// A Feed keeps the statistics of a range, of one route or all, up to date: it
// asks again only for the newest, which still grow.
export class Feed {
  series = new Map(); // route -> points, oldest first, with at in milliseconds and the sum of fails
  error = null;
  loaded = 0; // when it was asked for last, of those that were answered

  constructor(span, { route, step = fit(span) } = {}) {
    Object.assign(this, { span, route, name: step, step: STEPS[step] });
  }

  get from() { return Math.floor((this.span.from ?? time() - this.span.back) / this.step) * this.step; }
  get to() { return this.span.to ?? time(); }
  of(route) { return (this.series.get(route) ?? []).filter((p) => p.at >= this.from); }

  // start loads it until signal aborts, and calls f whenever there is news.
  start(f, signal) {
    const load = () => this.load(signal).then(f, () => {});
    load();
    if (this.span.back) every(Math.min(60000, Math.max(5000, this.step / 6)), load, signal);
    return this;
  }

  async load(signal) {
    const began = time(), since = this.loaded ? Math.floor(this.loaded / this.step - 1) * this.step : this.from, until = this.span.to && new Date(this.span.to).toISOString();
    try {
      const { series } = await get("/stats", { route: this.route, step: this.name, since: new Date(since).toISOString(), until }, signal);
      for (const { route, points } of series) {
        const fresh = points.map((p) => ({ ...p, at: Date.parse(p.time), fails: Object.values(p.failed).reduce((a, b) => a + b, 0) }));
        this.series.set(route, [...this.of(route).filter((p) => p.at < (fresh[0]?.at ?? Infinity)), ...fresh]);
      }
      this.loaded = began;
      this.error = null;
    } catch (err) {
      if (signal?.aborted) throw err;
      this.error = err;
    }
  }

  // total is the sum over the routes that pass.
  total(passes = () => true) {
    const points = [...this.series.keys()].filter(passes).flatMap((route) => this.of(route));
    return [...Map.groupBy(points, (p) => p.at)].map(([at, list]) => ({ at, ...sum(list) })).sort((a, b) => a.at - b.at);
  }
}

function fit({ back, from = time() - back, to = time() }) {
  return Object.keys(STEPS).find((s) => (to - from) / STEPS[s] <= MOST && (time() - from <= MINUTES || STEPS[s] >= STEPS["1h"])) ?? "1d";
}

export function sum(points) {
  const t = { accepted: 0, delivered: 0, fails: 0, dead: 0, failed: {} };
  for (const p of points) {
    for (const n of ["accepted", "delivered", "fails", "dead"]) t[n] += p[n];
    for (const [c, n] of Object.entries(p.failed)) t.failed[c] = (t.failed[c] ?? 0) + n;
  }
  return t;
}

// success is {part, whole} of the attempts in some points; null if there was none.
export function success(points) {
  const { delivered, fails } = sum(points);
  return delivered + fails ? { part: delivered, whole: delivered + fails } : null;
}

// lately is the point of the last whole minute in a feed of minutes.
export const lately = (points) => points.findLast((p) => p.at + 6e4 <= time()) ?? null;

// causes says of what a number of attempts failed: 5xx 12, timeout 3.
export const causes = (failed) => Object.entries(failed).filter(([, n]) => n).sort((a, b) => b[1] - a[1]).map(([c, n]) => `${c} ${count(n)}`).join(", ");
