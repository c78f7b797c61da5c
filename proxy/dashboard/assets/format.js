// Times, spans, numbers and sizes in the words people read. No element is made here but <time>.

import { el } from "./dom.js";

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });
const number = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export const count = (n) => (n < 100000 ? number.format(n) : short.format(n));

// many writes a number of things: 1 route, 2 routes; deliveries for delivery.
export function many(n, thing) {
  if (n === 1) return `1 ${thing}`;
  return `${count(n)} ${thing.endsWith("y") ? thing.slice(0, -1) + "ies" : thing + "s"}`;
}

// moment is the local time of day, with the date unless it is today.
export function moment(at) {
  const t = new Date(at);
  const time = clock.format(t);
  return t.toDateString() === new Date().toDateString() ? time : `${day.format(t)}, ${time}`;
}

// span is a length of time in its one or two largest units.
export function span(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return two(Math.floor(s / 60), "min", s % 60, "s", s < 600);
  if (s < 86400) return two(Math.floor(s / 3600), "h", Math.floor((s % 3600) / 60), "min", true);
  return two(Math.floor(s / 86400), "d", Math.floor((s % 86400) / 3600), "h", true);
}

function two(a, unit, b, small, both) {
  return both && b > 0 ? `${a} ${unit} ${b} ${small}` : `${a} ${unit}`;
}

// relative is a moment as seen from now.
export function relative(at) {
  const ms = new Date(at) - Date.now();
  if (ms > 0) return `in ${span(ms)}`;
  if (ms > -1500) return "just now";
  return `${span(-ms)} ago`;
}

// ago is a <time> that ticks; when is one that stands.
export function ago(at) {
  return el("time", { datetime: at, "data-ticks": "", title: full(at) }, relative(at));
}

// due is a ticking <time> of what is to come; past it, something else is waited for:
// a route that fails or is paused, its rate, or what is under way.
export function due(at) {
  return el("time", { datetime: at, "data-ticks": "due", title: full(at) }, coming(at));
}

const coming = (at) => (new Date(at) < Date.now() ? "due, waiting" : relative(at));

export function when(at) {
  return el("time", { datetime: at, title: full(at) }, moment(at));
}

const full = (at) => `${new Date(at).toLocaleString()} (${at})`;

// tick brings the times on the page up to date.
export function tick() {
  for (const t of document.querySelectorAll("time[data-ticks]")) {
    const text = t.dataset.ticks === "due" ? coming(t.dateTime) : relative(t.dateTime);
    if (t.textContent !== text) t.textContent = text;
  }
}

// took is the time an attempt took.
export function took(ms) {
  if (ms < 0.95) return "<1 ms";
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

// uptime writes a Go duration (3h4m5s) with spaces, its largest two units.
export function uptime(s) {
  const parts = s.match(/\d+[hms]/g) ?? [s];
  return parts.slice(0, 2).map((p) => p.replace("h", " h").replace("m", " min").replace("s", " s")).join(" ");
}
