// Statistics, as the sidecar counted them. Nothing is counted here but sums.

import { get } from "./api.js";
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
  series = new Map(); // route -> points, oldest first, with at in milliseconds
  error = null;
  loaded = false;

  constructor(span, { route, step } = {}) {
    this.span = span;
    this.route = route;
    this.name = step ?? this.#fit();
    this.step = STEPS[this.name];
  }

  #fit() {
    const long = this.span.back ?? this.span.to - this.span.from;
    const old = time() - (this.span.from ?? time() - this.span.back) > MINUTES;
    return Object.keys(STEPS).find((s) => long / STEPS[s] <= MOST && (!old || STEPS[s] >= STEPS["1h"])) ?? "1d";
  }

  get from() {
    return Math.floor((this.span.from ?? time() - this.span.back) / this.step) * this.step;
  }

  get to() {
    return this.span.to ?? time();
  }

  // start loads it until signal aborts, and calls f whenever there is news.
  start(f, signal) {
    const load = () => this.load(signal).then(f, () => {});
    load();
    if (this.span.back) every(Math.min(60000, Math.max(5000, this.step / 6)), load, signal);
    return this;
  }

  async load(signal) {
    const tail = this.loaded ? Math.floor(time() / this.step - 1) * this.step : this.from;
    try {
      const { series } = await get("/stats", { route: this.route, step: this.name, since: new Date(tail).toISOString(), until: this.span.to && new Date(this.span.to).toISOString() }, signal);
      for (const { route, points } of series) this.#take(route, points);
      this.loaded = true;
      this.error = null;
    } catch (err) {
      if (signal?.aborted) throw err;
      this.error = err;
    }
  }

  #take(route, points) {
    const fresh = points.map((p) => ({ ...p, at: Date.parse(p.time), fails: sum(p.failed) }));
    const first = fresh[0]?.at ?? Infinity;
    const kept = (this.series.get(route) ?? []).filter((p) => p.at < first && p.at >= this.from);
    this.series.set(route, [...kept, ...fresh]);
  }

  of(route) {
    return (this.series.get(route) ?? []).filter((p) => p.at >= this.from);
  }

  // total is the sum over the routes that pass.
  total(passes = () => true) {
    const all = new Map();
    for (const route of this.series.keys()) {
      if (!passes(route)) continue;
      for (const p of this.of(route)) {
        const t = all.get(p.at) ?? { at: p.at, accepted: 0, delivered: 0, fails: 0, dead: 0, failed: {} };
        for (const n of ["accepted", "delivered", "fails", "dead"]) t[n] += p[n];
        for (const [c, n] of Object.entries(p.failed)) t.failed[c] = (t.failed[c] ?? 0) + n;
        all.set(p.at, t);
      }
    }
    return [...all.values()].sort((a, b) => a.at - b.at);
  }
}

export const sum = (o) => Object.values(o ?? {}).reduce((a, b) => a + b, 0);

// success is {part, whole} of the attempts in some points; null if there was none.
export function success(points) {
  let part = 0, whole = 0;
  for (const p of points) {
    part += p.delivered;
    whole += p.delivered + p.fails;
  }
  return whole ? { part, whole } : null;
}

// lately is the point of the last whole minute in a feed of minutes.
export const lately = (points) => points.findLast((p) => p.at + 6e4 <= time()) ?? null;

// causes says of what a number of attempts failed: 5xx 12, timeout 3.
export const causes = (failed) => Object.entries(failed).filter(([, n]) => n).sort((a, b) => b[1] - a[1]).map(([c, n]) => `${c} ${n}`).join(", ");
