// The JSON API: requests, the token, problems as errors, the followed log.
// Everything the dashboard knows comes through here.

import { button, dialog, el } from "./dom.js";
import { noteAnswer } from "./clock.js";

const KEY = "signalpost-token";
const LIMIT = 15000; // milliseconds a request may take
const SILENCE = 12000; // the same between two lines of the followed log
const HAND = 150; // the same for another tab to hand the token over

// A Problem is a refusal; its message is the detail, which says what to do. Its
// status is 0 if there was no answer.
export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

// request fetches a path of the API. When the token is missing or wrong it
// asks for one and tries again. limit 0 is none.
async function request(path, { signal, limit = LIMIT, ...init } = {}) {
  for (;;) {
    const token = sessionStorage.getItem(KEY), headers = { ...init.headers }, asked = performance.now();
    if (token) headers.Authorization = `Bearer ${token}`;
    let response;
    try {
      response = await fetch(path, { ...init, headers, cache: "no-store", credentials: "omit", signal: AbortSignal.any([signal, limit && AbortSignal.timeout(limit)].filter(Boolean)) });
    } catch (err) {
      if (signal?.aborted) throw err;
      throw new Problem(0, err.name === "TimeoutError" ? `the sidecar did not answer within ${limit / 1000} s` : "the sidecar does not answer: it may have stopped, or the connection is gone");
    }
    if (response.status < 500) noteAnswer(response.headers.get("Date"), asked); // 502 is a proxy's
    if (response.status === 401) {
      await newToken(token);
      signal?.throwIfAborted();
    } else if (response.ok || response.status === 304) return response;
    else throw new Problem(response.status, (await response.json().catch(() => ({}))).detail ?? `the sidecar answered ${response.status}`);
  }
}

// The token. The tabs of a session hand it to each other; none writes it down.

const tabs = new BroadcastChannel("signalpost-token");
let asking = null; // the promise of a token while it is asked for
let given = () => {}; // resolves it
let refused = ""; // the last that was wrong

tabs.onmessage = ({ data }) => {
  if (data.asks && sessionStorage.getItem(KEY)) tabs.postMessage({ token: sessionStorage.getItem(KEY) });
  if (data.token && data.token !== refused) {
    sessionStorage.setItem(KEY, data.token);
    given();
  }
};

// newToken resolves when there is another than the one that was refused.
async function newToken(old) {
  if (old) refused = old;
  if (sessionStorage.getItem(KEY) === old) sessionStorage.removeItem(KEY);
  if (sessionStorage.getItem(KEY)) return;
  asking ??= new Promise((resolve) => (given = resolve));
  const mine = asking;
  if (mine.shown) return mine;
  mine.shown = true;
  tabs.postMessage({ asks: true });
  const timer = setTimeout(() => ask(mine, old !== null), old ? 0 : HAND);
  await mine;
  clearTimeout(timer);
  asking = null;
}

// ask shows the form for it. There is nothing behind it to go back to: it stays until there is one.
function ask(answer, wrong) {
  const input = el("input", { type: "password", id: "token", autocomplete: "off", required: true, spellcheck: "false" });
  const form = el("form", { onsubmit: (e) => {
    e.preventDefault();
    refused = "";
    sessionStorage.setItem(KEY, input.value.trim());
    tabs.postMessage({ token: input.value.trim() });
    given();
  } },
  wrong && el("p", { class: "bad", role: "alert" }, "That token is not the right one."),
  el("p", {}, "This Signalpost asks for a token: the value of ", el("code", {}, "server.token"), " in its config. The tabs of this session remember it until they are closed."),
  el("label", { for: "token" }, "Token"), input,
  el("div", { class: "dialog-actions" }, button("Open the dashboard", null, { type: "submit", class: "primary" })));
  const closed = () => asking === answer && ask(answer, wrong);
  const d = dialog({ title: "Token", body: form, cancel: null, closed });
  answer.then(() => d.close());
  input.focus();
}

// get fetches what can be read; text does without parsing it.
export const text = async (path, params, signal) => (await request(path + query(params), { signal })).text();
export const get = async (path, params, signal, limit) => (await request(path + query(params), { signal, limit })).json();

// ifChanged fetches a text unless it still has the ETag; null then.
export async function ifChanged(path, etag, signal) {
  const response = await request(path, { signal, headers: etag ? { "If-None-Match": etag } : {} });
  return response.status === 304 ? null : { text: await response.text(), etag: response.headers.get("ETag") };
}

// post asks for something; body is an object, or JSON already. It returns a text.
export async function post(path, body = {}, signal) {
  const init = { method: "POST", headers: { "Content-Type": "application/json" }, body: typeof body === "string" ? body : JSON.stringify(body) };
  return (await request(path, { ...init, signal, limit: 4 * LIMIT })).text();
}

function query(params = {}) {
  const some = Object.entries(params).filter(([, v]) => v !== undefined && v !== null && v !== "");
  return some.length ? "?" + new URLSearchParams(some) : "";
}

// follow reads the followed log until it ends, falls silent or the signal
// aborts; started is called when it stands, entry with each entry.
export async function follow(params, { signal, started, entry }) {
  const silent = new AbortController();
  let timer, rest = "";
  const alive = () => {
    clearTimeout(timer);
    timer = setTimeout(() => silent.abort(), SILENCE);
  };
  alive();
  try {
    const response = await request("/log" + query({ follow: "true", ...params }), { signal: AbortSignal.any([signal, silent.signal]), limit: 0 });
    started(response);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      noteAnswer();
      alive();
      const lines = (rest + part.value).split("\n");
      rest = lines.pop();
      for (const line of lines) if (line) entry(JSON.parse(line)); // an empty one is the heartbeat
    }
  } finally {
    clearTimeout(timer);
  }
}
