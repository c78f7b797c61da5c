// What the sidecar is doing now: its status, polled; the delivery log,
// followed on one connection; the hours before, counted by route and minute.
// The views listen; nothing here touches the page.

import { follow, get } from "./api.js";

const POLL = 2000; // between two looks at the status
const SOON = 700; // the same when there is news
const IDLE = 20000; // the same while the tab is hidden
const LEAVE = 10000; // how long a hidden tab keeps following: connections are few
const REPLAY = 1000; // entries asked for after an interruption
const PAGES = 5; // of 1000 entries, read at most for the charts

const events = new EventTarget();

// on calls f at an event (status, entries, stream, history) until signal aborts.
export function on(event, f, signal) {
  events.addEventListener(event, (e) => f(e.detail), { signal });
}

const emit = (event, detail) => events.dispatchEvent(new CustomEvent(event, { detail }));

export const now = {
  status: null, // GET /status
  error: null, // why there is none
  stream: "connecting", // or live, or lost
};

// Status.

let poll = 0, turn = 0, looked = 0;

// look fetches the status now, and again after a while.
export async function look() {
  clearTimeout(poll);
  const mine = ++turn;
  looked = Date.now();
  try {
    now.status = await get("/status");
    now.error = null;
  } catch (err) {
    now.error = err;
  }
  emit("status");
  if (mine === turn) poll = setTimeout(look, document.hidden ? IDLE : POLL);
}

// The log.

let stream = null; // the AbortController of the connection
let leaving = 0;
let last = ""; // time of the newest entry seen, or of when it was first listened
const seen = new Set(); // keys of the newest entries: an interruption repeats some
let waiting = []; // entries not told yet
let telling = 0;

// key puts entries in order: the time with all nine digits, as text.
export function key(entry) {
  const [whole, fraction = ""] = entry.time.slice(0, -1).split(".");
  return `${whole}.${fraction.padEnd(9, "0")}`;
}

async function connect() {
  if (stream) return;
  const mine = (stream = new AbortController());
  let pause = 500;
  while (!mine.signal.aborted) {
    const before = last;
    let since = 0, missed = 0;
    try {
      await follow(before ? { since: before, limit: REPLAY } : { limit: 0 }, {
        signal: mine.signal,
        started: (response) => {
          pause = 500;
          since = Date.parse(response.headers.get("Date"));
          last ||= new Date(since - 1000).toISOString();
          connection("live");
        },
        entry: (e) => {
          if (before && Date.parse(e.time) < since && ++missed === REPLAY) reload();
          take(e);
        },
      });
    } catch (err) {
      if (mine.signal.aborted) break;
    }
    connection("lost");
    await new Promise((resolve) => setTimeout(resolve, pause));
    pause = Math.min(pause * 2, 15000);
  }
}

function connection(state) {
  if (now.stream === state) return;
  now.stream = state;
  emit("stream");
}

function take(entry) {
  const k = key(entry);
  if (seen.has(k)) return;
  seen.add(k);
  if (seen.size > 2 * REPLAY) seen.delete(seen.values().next().value);
  last = entry.time;
  tally(entry, k);
  waiting.push(entry);
  if (waiting.length > REPLAY) waiting.shift(); // nobody can read so fast
  telling ||= setTimeout(() => {
    const list = waiting;
    waiting = [];
    telling = 0;
    emit("entries", list);
    if (Date.now() - looked > SOON) look();
  }, 200);
}

// The hours before.

const MINUTE = 60000;
export const history = {
  since: 0, // the charts are whole from this moment on
  loading: true,
  hours: 0, // asked for
  error: null,
};
let cells = new Map(); // route -> minute -> cell
let counted = new Set(); // keys of the entries counted last: pages and stream overlap
let loading = 0;

// load counts the last hours, unless they are counted already.
export async function load(hours) {
  if (hours <= history.hours && !history.error) return;
  history.hours = hours;
  const mine = ++loading;
  history.loading = true;
  history.error = null;
  cells = new Map();
  counted = new Set();
  const from = Date.now() - hours * 60 * MINUTE;
  let after, reached = from;
  try {
    for (let page = 0; page < PAGES; page++) {
      const list = await get("/log", { since: `${hours}h`, limit: 1000, after });
      if (mine !== loading) return;
      for (const e of list.entries) tally(e, key(e));
      after = list.next;
      if (!after) break;
      reached = Date.parse(list.entries.at(-1)?.time ?? from);
      emit("history");
    }
    history.since = after ? reached : from;
  } catch (err) {
    if (mine !== loading) return;
    history.error = err;
  }
  history.loading = false;
  emit("history");
}

function reload() {
  const hours = history.hours;
  history.hours = 0;
  if (hours) load(hours);
}

function tally(entry, k) {
  if (counted.has(k)) return;
  counted.add(k);
  if (counted.size > 2000 * PAGES) counted.delete(counted.values().next().value);
  if (entry.reason === "discarded") return; // somebody's wish, not a failure
  let minutes = cells.get(entry.route);
  if (!minutes) cells.set(entry.route, (minutes = new Map()));
  const at = Math.floor(Date.parse(entry.time) / MINUTE);
  let cell = minutes.get(at);
  if (!cell) minutes.set(at, (cell = { good: 0, bad: 0, slow: new Map() }));
  if (entry.verdict === "delivered") cell.good++;
  else cell.bad++;
  if (entry.attempt > 0) {
    const bin = Math.round(8 * Math.log2(entry.duration_ms + 0.1));
    cell.slow.set(bin, (cell.slow.get(bin) ?? 0) + 1);
  }
}

// sum is what became of a route's attempts over the last hours: as a whole,
// and in so many parts, oldest first.
export function sum(route, hours, parts) {
  const end = Math.floor(Date.now() / MINUTE) + 1;
  const width = (hours * 60) / parts;
  const begin = end - hours * 60;
  const list = Array.from({ length: parts }, (_, i) => ({ ...nothing(), from: (begin + i * width) * MINUTE, to: (begin + (i + 1) * width) * MINUTE }));
  const whole = nothing();
  const minutes = cells.get(route) ?? new Map();
  for (const [at, cell] of minutes) {
    if (at < end - 24 * 60) minutes.delete(at);
    if (at < begin) continue;
    for (const into of [whole, list[Math.min(parts - 1, Math.floor((at - begin) / width))]]) {
      into.good += cell.good;
      into.bad += cell.bad;
      for (const [bin, n] of cell.slow) into.slow.set(bin, (into.slow.get(bin) ?? 0) + n);
    }
  }
  return { whole, parts: list };
}

const nothing = () => ({ good: 0, bad: 0, slow: new Map() });

// quantile is the time that a share of the attempts did not go over, to about 5 %.
export function quantile(slow, share) {
  let n = 0;
  for (const v of slow.values()) n += v;
  if (n === 0) return null;
  let left = Math.ceil(n * share);
  for (const bin of [...slow.keys()].sort((a, b) => a - b)) {
    left -= slow.get(bin);
    if (left <= 0) return Math.max(0, 2 ** (bin / 8) - 0.1);
  }
}

// start begins to look and follow, as long as the tab is seen.
export function start() {
  look();
  connect();
  document.addEventListener("visibilitychange", () => {
    clearTimeout(leaving);
    if (!document.hidden) {
      look();
      connect();
      return;
    }
    leaving = setTimeout(() => {
      stream?.abort();
      stream = null;
    }, LEAVE);
  });
}
