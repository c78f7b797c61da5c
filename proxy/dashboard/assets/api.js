// The JSON API: requests, the token, problems as errors, the followed log.
// Everything the dashboard knows comes through here.

import { button, dialog, el } from "./dom.js";
import { hear } from "./clock.js";

const KEY = "signalpost-token";
const LIMIT = 15000; // milliseconds a request may take
const SILENCE = 12000; // the same between two lines of the followed log
const tabs = new BroadcastChannel("signalpost-token"); // tabs of this session share the token
let asking = null; // the promise of a token while it is asked for
let given = null; // resolves it

// A Problem is a refusal; its message is the detail, which says what to do.
export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

tabs.onmessage = ({ data }) => {
  if (data.asks && sessionStorage.getItem(KEY)) tabs.postMessage({ token: sessionStorage.getItem(KEY) });
  if (data.token && data.token !== refused) {
    sessionStorage.setItem(KEY, data.token);
    given?.();
  }
};

let refused = ""; // the last token that was wrong

// request fetches a path of the API. When the token is missing or wrong it
// asks for one and tries again. limit 0 is none.
async function request(path, { signal, limit = LIMIT, ...init } = {}) {
  for (;;) {
    const token = sessionStorage.getItem(KEY);
    const headers = { ...init.headers };
    if (token) headers.Authorization = `Bearer ${token}`;
    const asked = performance.now();
    let response;
    try {
      response = await fetch(path, { ...init, headers, cache: "no-store", credentials: "omit",
        signal: AbortSignal.any([signal, limit && AbortSignal.timeout(limit)].filter(Boolean)) });
    } catch (err) {
      if (signal?.aborted) throw err;
      throw new Problem(0, err.name === "TimeoutError" ? `the sidecar did not answer within ${limit / 1000} s` : "the sidecar does not answer: it may have stopped, or the connection is gone");
    }
    if (response.status < 500) hear(response.headers.get("Date"), asked); // 502 is a proxy's
    if (response.status === 401) {
      if (token) refused = token;
      if (sessionStorage.getItem(KEY) === token) sessionStorage.removeItem(KEY);
      if (!sessionStorage.getItem(KEY)) await (asking ??= ask(token !== null).finally(() => (asking = given = null)));
      if (signal?.aborted) throw signal.reason;
      continue;
    }
    if (!response.ok && response.status !== 304) throw new Problem(response.status, await detail(response));
    return response;
  }
}

async function detail(response) {
  const text = await response.text();
  try {
    return JSON.parse(text).detail ?? text;
  } catch {
    return text || `the sidecar answered ${response.status}`;
  }
}

// ask resolves when another tab has handed the token over, or it was typed in.
function ask(wrong) {
  return new Promise((resolve) => {
    let over = false, shown = null;
    given = () => {
      over = true;
      shown?.close();
      resolve();
    };
    const input = el("input", { type: "password", id: "token", autocomplete: "off", required: true, spellcheck: "false" });
    const open = () => {
      if (over) return;
      const form = el("form", { onsubmit: (e) => {
        e.preventDefault();
        if (!input.value.trim()) return;
        sessionStorage.setItem(KEY, input.value.trim());
        refused = "";
        tabs.postMessage({ token: input.value.trim() });
        given();
      } },
      wrong && el("p", { class: "bad", role: "alert" }, "That token is not the right one."),
      el("p", {}, "This Signalpost wants a token: the value of ", el("code", {}, "server.token"), " in its config. The tabs of this session remember it until they are closed."),
      el("label", { for: "token" }, "Token"), input,
      el("div", { class: "dialog-actions" }, button("Open the dashboard", null, { type: "submit", class: "primary" })));
      // There is nothing behind it to go back to: it stays until there is a token.
      shown = dialog({ title: "Token", body: form, cancel: null, closed: open });
      input.focus();
    };
    tabs.postMessage({ asks: true });
    setTimeout(open, wrong ? 0 : 150);
  });
}

// get fetches what can be read; text does without parsing it.
export async function text(path, params, signal) {
  return (await request(path + query(params), { signal })).text();
}

export async function get(path, params, signal, limit) {
  return (await request(path + query(params), { signal, limit })).json();
}

// ifChanged fetches a text unless it still has the ETag; null then.
export async function ifChanged(path, etag, signal) {
  const response = await request(path, { signal, headers: etag ? { "If-None-Match": etag } : {} });
  if (response.status === 304) return null;
  return { text: await response.text(), etag: response.headers.get("ETag") };
}

// post asks for something; body is an object, or JSON already.
export async function post(path, body = {}, signal) {
  const response = await request(path, {
    method: "POST", signal, limit: 60000,
    headers: { "Content-Type": "application/json" },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });
  return response.text();
}

function query(params = {}) {
  const some = Object.entries(params).filter(([, v]) => v !== undefined && v !== null && v !== "");
  return some.length ? "?" + new URLSearchParams(some) : "";
}

// follow reads the followed log until it ends, falls silent or the signal
// aborts; started is called when it stands, entry with each entry.
export async function follow(params, { signal, started, entry }) {
  const silent = new AbortController();
  let timer = setTimeout(() => silent.abort(), SILENCE);
  try {
    const response = await request("/log" + query({ follow: "true", ...params }), { signal: AbortSignal.any([signal, silent.signal]), limit: 0 });
    started(response);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      hear(null, 0);
      clearTimeout(timer);
      timer = setTimeout(() => silent.abort(), SILENCE);
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) if (line) entry(JSON.parse(line)); // an empty one is the heartbeat
    }
  } finally {
    clearTimeout(timer);
  }
}
