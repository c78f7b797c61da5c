// The JSON API: requests, the token, problems as errors, the followed log.
// Everything the dashboard knows comes through here.

import { dialog, el } from "./dom.js";

const KEY = "signalpost-token";
let asking = null; // the promise of a token while it is asked for

// A Problem is a refusal; its message is the detail, which says what to do.
export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

// request fetches a path of the API. When the token is missing or wrong it
// asks for one and tries again.
async function request(path, init = {}) {
  for (;;) {
    const token = sessionStorage.getItem(KEY);
    const headers = { ...init.headers };
    if (token) headers.Authorization = `Bearer ${token}`;
    let response;
    try {
      response = await fetch(path, { ...init, headers, cache: "no-store", credentials: "omit" });
    } catch (err) {
      if (err.name === "AbortError") throw err;
      throw new Problem(0, "the sidecar does not answer: it may have stopped, or the connection is gone");
    }
    if (response.status === 401) {
      if (sessionStorage.getItem(KEY) === token) sessionStorage.removeItem(KEY);
      if (!sessionStorage.getItem(KEY)) await (asking ??= ask(token !== null).finally(() => (asking = null)));
      if (init.signal?.aborted) throw init.signal.reason;
      continue;
    }
    if (!response.ok) throw new Problem(response.status, await detail(response));
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

// ask resolves when a token has been typed in.
function ask(wrong) {
  return new Promise((resolve) => {
    let given = false;
    const input = el("input", { type: "password", id: "token", autocomplete: "off", required: true, spellcheck: "false" });
    const open = () => {
      const form = el("form", { onsubmit: (e) => {
        e.preventDefault();
        if (!input.value.trim()) return;
        sessionStorage.setItem(KEY, input.value.trim());
        given = true;
        d.close();
      } },
      wrong && el("p", { class: "bad", role: "alert" }, "That token is not the right one."),
      el("p", {}, "This Signalpost wants a token: the value of ", el("code", {}, "server.token"), " in its config. This tab remembers it until it is closed."),
      el("label", { for: "token" }, "Token"), input,
      el("div", { class: "dialog-actions" }, el("button", { class: "primary" }, "Open the dashboard")));
      // There is nothing behind it to go back to: it stays until there is a token.
      const d = dialog({ title: "Token", body: form, cancel: null, closed: () => (given ? resolve() : open()) });
      input.focus();
    };
    open();
  });
}

// text and get fetch what can be read: as text, or parsed.
export async function text(path, params, signal) {
  return (await request(path + query(params), { signal })).text();
}

export async function get(path, params, signal) {
  return JSON.parse(await text(path, params, signal));
}

// post asks for something; body is an object, or JSON already.
export async function post(path, body = {}, signal) {
  const response = await request(path, {
    method: "POST", signal,
    headers: { "Content-Type": "application/json" },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });
  return response.text();
}

function query(params = {}) {
  const given = Object.entries(params).filter(([, v]) => v !== undefined && v !== null && v !== "");
  return given.length ? "?" + new URLSearchParams(given) : "";
}

// follow reads the followed log until it ends or the signal aborts; started is
// called when it stands, entry with each entry.
export async function follow(params, { signal, started, entry }) {
  const response = await request("/log" + query({ follow: "true", ...params }), { signal });
  started(response);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) if (line) entry(JSON.parse(line));
  }
}
