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
  localStorage[z === "UTC" ? "setItem" : "removeItem"](ZONE, z);
  zoned();
  tick();
  dispatchEvent(new Event("signalpost:zone"));
}

function zoned() {
  const timeZone = zone() === "UTC" ? "UTC" : undefined, hm = { hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZone };
  [clock, minute, day, whole] = [{ ...hm, second: "2-digit" }, hm, { month: "short", day: "numeric", timeZone }, { dateStyle: "full", timeStyle: "long", timeZone }].map((o) => new Intl.DateTimeFormat("en", o));
}
zoned();

// offset is the zone's distance from UTC at a moment, in milliseconds.
export const offset = (t) => (zone() === "UTC" ? 0 : -60000 * new Date(t).getTimezoneOffset());
const dated = (format) => (at) => (day.format(new Date(at)) === day.format(time()) ? "" : `${day.format(new Date(at))} `) + format().format(new Date(at));
export const moment = dated(() => clock);
export const hour = dated(() => minute);
export const tickLabel = (t) => (minute.format(t) === "00:00" ? day.format(t) : minute.format(t));
const full = (at) => `${whole.format(new Date(at))} (${at})`;

// span is a length of time in its one or two largest units.
export function span(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  const two = (unit, size, small, part, both) => `${Math.floor(s / size)} ${unit}${both && s % size >= part ? ` ${Math.floor((s % size) / part)} ${small}` : ""}`;
  if (s < 60) return `${s} s`;
  if (s < 3600) return two("min", 60, "s", 1, s < 600);
  return s < 86400 ? two("h", 3600, "min", 60, true) : two("d", 86400, "h", 3600, s < 864000);
}

const words = {
  clock: moment,
  hour,
  ago: (at) => (time() - new Date(at) < 1500 ? "just now" : `${span(time() - new Date(at))} ago`),
  for: (at) => span(time() - new Date(at)),
  // Past it something else is waited for: a route that fails or is paused, its rate, or what is under way.
  due: (at) => (new Date(at) < time() ? "due, waiting" : `in ${span(new Date(at) - time())}`),
};

const stamp = (as) => (at) => el("time", { datetime: at, "data-as": as, title: full(at) }, words[as](at));
export const [when, ago, since, lasting, due] = ["clock", "ago", "hour", "for", "due"].map(stamp);

// timed is a text of the sidecar's, its times as the reader has them.
export const timed = (text) => text.split(/(\d{4}-\d\d-\d\dT[\d:.]+Z)/).map((part, i) => (i % 2 ? when(part) : part));

export function tick() {
  for (const t of document.querySelectorAll("time[data-as]")) {
    const text = words[t.dataset.as](t.dateTime);
    if (t.textContent === text) continue;
    t.textContent = text;
    t.title = full(t.dateTime);
  }
}

export const count = (n) => (n < 100000 ? number : short).format(n);

// many writes a number of things: 1 route, 2 routes; deliveries for delivery.
export const many = (n, thing) => `${count(n)} ${n === 1 ? thing : thing.replace(/y$/, "ie") + "s"}`;

// per is so many in so many milliseconds as a rate, in the unit that suits it.
export function per(n, ms) {
  const [unit, long] = [["s", 1e3], ["min", 6e4]].find(([, u]) => n * u >= ms || n === 0) ?? ["h", 36e5], rate = (n * long) / ms;
  return `${rate < 10 && rate % 1 ? rate.toFixed(1) : count(Math.round(rate))}/${unit}`;
}

export function took(ms) {
  if (ms < 0.95) return ms ? "<1 ms" : "0 ms";
  if (ms < 1000) return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
  return ms < 100000 ? `${(ms / 1000).toFixed(ms < 10000 ? 2 : 1)} s` : span(ms);
}

export function size(bytes) {
  const unit = bytes && Math.min(4, Math.floor(Math.log2(bytes) / 10)), n = bytes / 1024 ** unit;
  return `${n >= 100 || !unit ? Math.round(n) : n.toFixed(1)} ${["B", "KiB", "MiB", "GiB", "TiB"][unit]}`;
}

// percent never says 100 % of what is not whole, nor 0 % of what is something.
export function percent(part, whole) {
  const p = (100 * part) / whole;
  if (p === 100 || p === 0) return `${p} %`;
  return p > 99.9 ? ">99.9 %" : p < 0.1 ? "<0.1 %" : `${p.toFixed(1)} %`;
}

// sentence gives a text its capital and full stop.
export const sentence = (s) => (s ? s[0].toUpperCase() + s.slice(1) + (/[.!?…]$/.test(s) ? "" : ".") : "");
