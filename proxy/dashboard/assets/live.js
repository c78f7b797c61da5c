// What the sidecar is doing now: its status, polled; the delivery log, followed
// on one connection that all tabs share, since a browser has six of them. The
// views listen; nothing here touches the page.

import { follow, get } from "./api.js";

const POLL = 2000; // milliseconds between two looks at the status
const SOON = 700; // the same when there is news
const IDLE = 20000; // the same while the tab is hidden
const LEAVE = 10000; // how long a hidden tab keeps following
const REPLAY = 1000; // entries asked for after an interruption
const events = new EventTarget();

// on calls f at an event until signal aborts: status (there is one, or an
// error), entries (a list, oldest first), gap (entries were missed), stream.
export const on = (event, f, signal) => events.addEventListener(event, (e) => f(e.detail), { signal });
const emit = (event, detail) => events.dispatchEvent(new CustomEvent(event, { detail }));

export const now = {
  status: null, // GET /status
  error: null, // why there is none
  stream: "connecting", // or live, or lost
};

export const routeNamed = (name) => now.status?.routes.find((r) => r.name === name);
let poll = 0, looked = 0;

// look fetches the status now, and again after a while.
export async function look() {
  looked = performance.now();
  try {
    now.status = await get("/status", {}, undefined, 4500);
    now.error = null;
  } catch (err) {
    now.error = err;
  }
  emit("status");
  clearTimeout(poll); // another look may have ended meanwhile
  poll = setTimeout(look, document.hidden ? IDLE : POLL);
}

let last = ""; // time of the newest entry seen, or of when it was first listened
const seen = new Set(); // keys of the newest entries: an interruption repeats some
let waiting = []; // entries not emitted yet

// key puts entries in order: the time with all nine digits, as text.
export function key(entry) {
  const [whole, fraction = ""] = entry.time.slice(0, -1).split(".");
  return `${whole}.${fraction.padEnd(9, "0")}`;
}

function receive(entry) {
  const k = key(entry);
  if (seen.has(k)) return;
  seen.add(k);
  if (seen.size > 2 * REPLAY) seen.delete(seen.values().next().value);
  if (entry.time > last) last = entry.time;
  if (!waiting.length) setTimeout(emitWaiting, 200);
  waiting.push(entry);
  if (waiting.length > REPLAY) waiting.shift(); // nobody can read so fast
}

function emitWaiting() {
  const list = waiting;
  waiting = [];
  emit("entries", list);
  if (performance.now() - looked > SOON) look();
}

// The tab that holds the lock follows the log, and hands on to the others what it gets.
// A page that came over plain HTTP from elsewhere knows no locks, and follows by itself.

const tabs = new BroadcastChannel("signalpost-log");
let following = null; // ends this tab's part in it
let leads = false;

tabs.onmessage = ({ data }) => {
  if (data.hello && leads) tabs.postMessage({ stream: now.stream });
  else if (!data.hello) handle(data);
};

// handle deals with what a followed log brought: an entry, a gap, a state of the stream.
function handle({ entry, gap, stream }) {
  if (entry) receive(entry);
  if (gap) emit("gap");
  if (stream && now.stream !== stream) {
    now.stream = stream;
    emit("stream");
  }
}

function broadcast(news) {
  handle(news);
  if (navigator.locks) tabs.postMessage(news);
}

async function connect(signal) {
  let pause = 500;
  leads = true;
  while (!signal.aborted) {
    const before = last;
    let since = 0, missed = 0;
    const started = (response) => {
      pause = 500;
      since = Date.parse(response.headers.get("Date"));
      last ||= new Date(since - 1000).toISOString();
      broadcast({ stream: "live" });
    };
    const entry = (e) => {
      if (before && Date.parse(e.time) < since && ++missed === REPLAY) broadcast({ gap: true });
      broadcast({ entry: e });
    };
    await follow(before ? { since: before, limit: REPLAY } : { limit: 0 }, { signal, started, entry }).catch(() => {});
    if (signal.aborted) break;
    broadcast({ stream: "lost" });
    await new Promise((resolve) => setTimeout(resolve, pause));
    pause = Math.min(pause * 2, 5000);
  }
  leads = false;
}

function startFollowing() {
  if (following) return;
  following = new AbortController();
  const { signal } = following;
  if (!navigator.locks) return connect(signal);
  tabs.postMessage({ hello: true });
  navigator.locks.request("signalpost-log", { signal }, () => connect(signal)).catch(() => {});
}

function stopFollowing() {
  following?.abort();
  following = null;
}

// every calls f each so many milliseconds while the tab is seen, until signal aborts.
export function every(ms, f, signal) {
  const timer = setInterval(() => document.hidden || f(), ms);
  signal.addEventListener("abort", () => clearInterval(timer));
}

// start begins to look and follow, as long as the tab is seen.
export function start() {
  let leaving = 0;
  const turned = () => {
    clearTimeout(leaving);
    look();
    if (document.hidden) leaving = setTimeout(stopFollowing, LEAVE);
    else startFollowing();
  };
  document.addEventListener("visibilitychange", turned);
  addEventListener("pageshow", turned);
  addEventListener("pagehide", stopFollowing); // a page that is kept to go back to would keep the lock
  turned();
}
