// Times, spans, numbers and sizes in the words people read. A time is a <time>
// element that keeps itself right: tick brings all of them up to date.

import { el } from "./dom.js";
import { time } from "./clock.js";

const ZONE = "signalpost-zone";
const number = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
let clock, minute, day, whole;

// zone is "UTC" or, for the browser's, "local".
export const zone = () => localStorage.getItem(ZONE) ?? "local";

export function setZone(z) {
  if (z === "UTC") localStorage.setItem(ZONE, z);
  else localStorage.removeItem(ZONE);
  zoned();
  tick();
}

function zoned() {
  const timeZone = zone() === "UTC" ? "UTC" : undefined;
  const hm = { hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZone };
  clock = new Intl.DateTimeFormat("en", { ...hm, second: "2-digit" });
  minute = new Intl.DateTimeFormat("en", hm);
  day = new Intl.DateTimeFormat("en", { month: "short", day: "numeric", timeZone });
  whole = new Intl.DateTimeFormat("en", { dateStyle: "full", timeStyle: "long", timeZone });
}
zoned();

// offset is the zone's distance from UTC at a moment, in milliseconds.
export const offset = (t) => (zone() === "UTC" ? 0 : -60000 * new Date(t).getTimezoneOffset());

const dated = (t, text) => (day.format(t) === day.format(time()) ? text : `${day.format(t)} ${text}`);
export const moment = (at) => dated(new Date(at), clock.format(new Date(at)));
export const hour = (at) => dated(new Date(at), minute.format(new Date(at)));
export const tickLabel = (t) => (minute.format(t) === "00:00" ? day.format(t) : minute.format(t));
export const today = (t) => clock.format(t);

// span is a length of time in its one or two largest units.
export function span(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return two(Math.floor(s / 60), "min", s % 60, "s", s < 600);
  if (s < 86400) return two(Math.floor(s / 3600), "h", Math.floor((s % 3600) / 60), "min", true);
  return two(Math.floor(s / 86400), "d", Math.floor((s % 86400) / 3600), "h", s < 10 * 86400);
}

const two = (a, unit, b, small, both) => (both && b > 0 ? `${a} ${unit} ${b} ${small}` : `${a} ${unit}`);

// length writes a span that is given as Go writes durations (16.2s, 1h2m3s).
export function length(go) {
  let ms = 0;
  for (const [, n, unit] of go.matchAll(/([\d.]+)(ms|d|h|m|s)/g)) ms += n * { ms: 1, s: 1e3, m: 6e4, h: 36e5, d: 864e5 }[unit];
  return ms < 1000 ? `${Math.round(ms)} ms` : span(ms);
}

const words = {
  clock: moment,
  hour,
  ago: (at) => (time() - new Date(at) < 1500 ? "just now" : `${span(time() - new Date(at))} ago`),
  for: (at) => span(time() - new Date(at)),
  // Past it something else is waited for: a route that fails or is paused, its rate, or what is under way.
  due: (at) => (new Date(at) < time() ? "due, waiting" : `in ${span(new Date(at) - time())}`),
};

function stamp(at, as) {
  return el("time", { datetime: at, "data-as": as, title: full(at) }, words[as](at));
}

const full = (at) => `${whole.format(new Date(at))} (${at})`;

export const when = (at) => stamp(at, "clock");
export const ago = (at) => stamp(at, "ago");
export const since = (at) => stamp(at, "hour");
export const lasting = (at) => stamp(at, "for");
export const due = (at) => stamp(at, "due");

export function tick() {
  for (const t of document.querySelectorAll("time[data-as]")) {
    const text = words[t.dataset.as](t.dateTime);
    if (t.textContent === text) continue;
    t.textContent = text;
    t.title = full(t.dateTime);
  }
}

export const count = (n) => (n < 100000 ? number.format(n) : short.format(n));

// many writes a number of things: 1 route, 2 routes; deliveries for delivery.
export function many(n, thing) {
  if (n === 1) return `1 ${thing}`;
  return `${count(n)} ${thing.endsWith("y") ? thing.slice(0, -1) + "ies" : thing + "s"}`;
}

// per is so many in so many milliseconds as a rate, in the unit that suits it.
export function per(n, ms) {
  for (const [unit, length] of [["s", 1e3], ["min", 6e4], ["h", 36e5]]) {
    const rate = (n * length) / ms;
    if (rate >= 1 || n === 0 || unit === "h") return `${rate < 10 && rate % 1 ? rate.toFixed(1) : count(Math.round(rate))}/${unit}`;
  }
}

// took is the time an attempt took.
export function took(ms) {
  if (ms < 0.95) return ms ? "<1 ms" : "0 ms";
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return ms < 100000 ? `${(ms / 1000).toFixed(ms < 10000 ? 2 : 1)} s` : span(ms);
}

export function size(bytes) {
  let unit = "B";
  for (const next of ["KiB", "MiB", "GiB", "TiB"]) {
    if (bytes < 1024) break;
    bytes /= 1024;
    unit = next;
  }
  return `${bytes >= 100 || unit === "B" ? Math.round(bytes) : bytes.toFixed(1)} ${unit}`;
}

// percent never says 100 % of what is not whole, nor 0 % of what is something.
export function percent(part, whole) {
  const p = (100 * part) / whole;
  if (p === 100 || p === 0) return `${p} %`;
  if (p > 99.9) return ">99.9 %";
  if (p < 0.1) return "<0.1 %";
  return `${p.toFixed(1)} %`;
}

// sentence gives a text its capital and full stop.
export function sentence(s) {
  if (!s) return "";
  s = s[0].toUpperCase() + s.slice(1);
  return /[.!?…]$/.test(s) ? s : s + ".";
}
