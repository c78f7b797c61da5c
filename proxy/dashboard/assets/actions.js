// What changes something: send again, discard, pause, resume. Each is a dialog that
// says what will happen, with the count the sidecar gives, before it does, then how
// far it is; it can be stopped.

import { button, dialog, el, notice, put } from "./dom.js";
import { count, many, moment, sentence } from "./format.js";
import { get, post, Problem } from "./api.js";
import { look } from "./live.js";

const SLICE = 1000; // deliveries asked for at once

// confirm asks, does, and says what came of it. prepare, if given, runs first and
// fills the body; it returns whether there is anything to do. act gets a progress
// to tell, and a signal that stops it; it returns the words for what was done.
function confirm({ title, body, verb, danger = false, prepare = async () => true, act, done }) {
  const end = new AbortController();
  let stop = null; // while it acts
  const fault = el("p", { class: "bad", role: "alert" }), tally = el("p", { class: "quiet", role: "status" });
  const meter = el("progress", { max: 1, hidden: true, "aria-label": "Progress" });
  const progress = (value, max) => {
    Object.assign(meter, { hidden: max < 2, max, value });
    if (max > 1) put(tally, `${count(value)} of ${count(max)}`);
  };
  const run = async () => {
    stop = new AbortController();
    go.disabled = true;
    put(cancel, "Stop");
    put(fault);
    try {
      notice(await act(progress, stop.signal));
      d.close();
    } catch (err) {
      put(fault, stop.signal.aborted ? `Stopped. ${tally.textContent ? `${tally.textContent} are done.` : ""}` : sentence(err.message));
      put(cancel, "Close");
    }
    stop = null;
    look();
    done?.();
  };
  const go = el("button", { type: "button", class: danger ? "danger" : "primary", disabled: true, onclick: run }, verb);
  const d = dialog({ title, body: [body, meter, tally, fault], actions: go, closed: () => end.abort() });
  const cancel = d.querySelector(".cancel");
  cancel.onclick = () => (stop ? stop.abort() : d.close());
  d.oncancel = (e) => {
    if (stop) e.preventDefault();
    stop?.abort();
  };
  prepare(end.signal, go).then((some) => {
    go.disabled = !some;
    if (some) go.focus();
  }, (err) => end.signal.aborted || put(fault, sentence(err.message)));
}

const AGAIN = { path: "retry", title: (what) => `Send ${what} again?`, verb: (n) => (n ? `Send ${n} again` : "Send again"), would: "sent again", done: "due now" };
const DISCARD = { path: "discard", title: (what) => `Discard ${what}?`, verb: (n) => (n ? `Discard ${n}` : "Discard"), would: "discarded", done: "discarded", danger: true };
const schedule = "Each is due at once, with a new retry schedule and the same webhook-id, so that a receiver can recognise what it has had. ";
const over = "They become dead, reason discarded, and are not sent any more. As long as they are kept you can send them again.";

// shape lets one choose between the body as it was and a new one.
function shape(forced, fresh) {
  const radio = (value, title, text, off) => el("label", { class: "choice" },
    el("input", { type: "radio", name: "shape", value, checked: (forced || fresh) === (value === "new"), disabled: off }), el("span", {}, el("b", {}, title), " ", text));
  return el("fieldset", {}, el("legend", {}, "Body"), radio("old", "As it was.", "The same bytes as before.", forced),
    radio("new", "Reshaped.", "The stored signal goes through today's where and transform. If it does not pass any more, the delivery is dead, reason filtered; further results are new deliveries."));
}

// amend does a kind of thing to some deliveries: {ids}, or {filter} for all that match it.
function amend(kind, { ids, filter }, { text, done, forced = false, fresh = false }) {
  const box = kind === AGAIN && shape(forced, fresh), n = el("p", {}, "Counting…");
  let matched = 0;
  const options = () => (box ? { reshape: box.querySelector(":checked").value === "new" } : {});
  const counted = async (signal, go) => {
    ({ matched } = JSON.parse(await post(`/${kind.path}`, { ...filter, dry_run: true }, signal)));
    put(n, el("b", { class: "big" }, count(matched)), ` ${filter.state || "pending, held or dead"} ${matched === 1 ? "delivery" : "deliveries"}`, words(filter), matched ? ` would be ${kind.would}.` : " match: there is nothing to do.");
    put(go, kind.verb(count(matched)));
    return matched > 0;
  };
  confirm({
    title: kind.title(filter ? `${filter.state || "all unfinished and dead"} deliveries` : ids.length === 1 ? "this delivery" : many(ids.length, "delivery")),
    verb: kind.verb(ids?.length > 1 && count(ids.length)), danger: kind.danger, done, body: [filter && n, text, box], prepare: filter && counted,
    act: async (progress, signal) => {
      if (filter) return `${many(await slices(`/${kind.path}`, { ...filter, ...options() }, matched, progress, signal), "delivery")} ${kind.done}.`;
      const { fine, refused, why } = await each(ids, (id) => post(`/deliveries/${id}/${kind.path}`, options()), progress, signal);
      if (refused === ids.length) throw new Error(why);
      return `${ids.length === 1 ? kind.done[0].toUpperCase() + kind.done.slice(1) : `${many(fine, "delivery")} ${kind.done}`}.${refused ? ` ${count(refused)} refused: ${sentence(why)}` : ""}`;
    },
  });
}

// words says a filter in a sentence's end.
function words(f) {
  const stamp = (s) => (/^\d{4}-/.test(s) ? moment(s) : `${s} ago`);
  const say = { route: "to ", signal_type: "of type ", status: "answered ", reason: "with the reason ", since: "made since ", until: "made before " };
  return Object.entries(say).filter(([name]) => f[name]).flatMap(([name, word]) => [" ", word, el("b", {}, name === "since" || name === "until" ? stamp(f[name]) : f[name])]);
}

export function resend(d, done, fresh = false) {
  const notes = {
    delivered: "It was delivered before: the receiver gets it a second time, with the same webhook-id, so that it can recognise it.",
    pending: "It waits for its next attempt, which becomes due now.",
    dead: "It is dead, and becomes pending again.",
  };
  const forced = d.reason === "transform";
  amend(AGAIN, { ids: [d.id] }, { done, forced, fresh, text: el("p", {}, `One attempt to ${d.route} is due at once, as number ${d.attempts + 1}; if it fails, the retry schedule starts over. `, notes[d.state],
    forced && " Its expression failed, so there is no body yet: it is made by today's expressions.") });
}

export const discard = (d, done) => amend(DISCARD, { ids: [d.id] }, { done, text: el("p", {}, "It becomes dead, reason discarded: nothing further is sent. An attempt that is under way is the last. As long as it is kept you can send it again.") });
export const resendThese = (ids, done) => amend(AGAIN, { ids }, { done, text: el("p", {}, schedule) });
export const discardThese = (ids, done) => amend(DISCARD, { ids }, { done, text: el("p", {}, over) });
export const discardAll = (filter, done) => amend(DISCARD, { filter }, { done, text: el("p", {}, over) });
export const resendAll = (f, done) => amend(AGAIN, { filter: { ...f, state: f.state || "dead" } }, { done, forced: f.reason === "transform",
  text: el("p", {}, schedule, "Those whose expression failed are reshaped in any case. Those of routes that are not in the config are left as they are.") });

// pauseOrResume pauses a route, or resumes one that is paused or failing; pauseButtons are its buttons.
export function pauseOrResume(r, verb = r.state === "paused" ? "Resume" : "Pause") {
  const config = r.state === "paused" && r.paused_by.includes("config"), resume = verb === "Resume", waiting = many(r.pending, "delivery");
  const text = config ? "The config pauses it: remove paused = true from its [[route]], and the route resumes by itself."
    : resume && r.pending ? `${waiting} waiting for ${r.name}: those that are due are sent at once, within the route's limits.`
      : resume ? `Deliveries to ${r.name} are sent again as they come.`
        : `Signals go on being accepted and queued for ${r.name}, and nothing is sent${r.pending ? `: ${waiting} waiting now` : ""}. The pause survives restarts. A delivery that waits longer than queue.max_age becomes dead.`;
  confirm({
    title: `${verb} ${r.name}?`, verb, body: el("p", {}, text), prepare: async () => !config,
    act: async () => (await post(`/routes/${encodeURIComponent(r.name)}/${verb.toLowerCase()}`), resume ? `${r.name} is resumed.` : `${r.name} is paused.`),
  });
}

export const pauseButtons = (r) => [r.state === "failing" && button("Resume…", () => pauseOrResume(r, "Resume")), r.state !== "gone" && button(r.state === "paused" ? "Resume…" : "Pause…", () => pauseOrResume(r))];

// each does f for each id, and says how many were fine and how many refused.
async function each(ids, f, progress, signal) {
  const out = { fine: 0, refused: 0, why: "" };
  for (const id of ids) {
    signal.throwIfAborted();
    try {
      await f(id);
      out.fine++;
    } catch (err) {
      if (!(err instanceof Problem) || !err.status) throw err;
      out.refused++;
      out.why = err.message;
    }
    progress(out.fine + out.refused, ids.length);
  }
  return out;
}

// slices asks for all that match a filter, newest first, about a thousand at a
// time: each slice is what was made between two moments, so that what comes back
// into the filter meanwhile is not met again.
async function slices(path, filter, total, progress, signal) {
  let n = 0, until = filter.until;
  const { reshape, status, ...list } = filter; // which GET /deliveries does not know
  if (total <= SLICE) return JSON.parse(await post(path, filter, signal)).matched;
  progress(0, total);
  for (;;) {
    signal.throwIfAborted();
    const { deliveries, next } = await get("/deliveries", { ...list, until, limit: SLICE }, signal);
    const since = next ? deliveries.at(-1).created : filter.since;
    n += JSON.parse(await post(path, { ...filter, since, until }, signal)).matched;
    progress(Math.min(n, total), total);
    if (!next) return n;
    until = since;
  }
}
