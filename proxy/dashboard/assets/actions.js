// What changes something: send again, discard, pause, resume. Each is a dialog
// that says what will happen, with the count the sidecar gives, before it does.

import { dialog, el, notice, put } from "./dom.js";
import { count, many, moment, sentence } from "./format.js";
import { post } from "./api.js";
import { look } from "./live.js";
import { each, slices } from "./bulk.js";

// confirm asks, does, and says what came of it. prepare, if given, runs first and
// fills the body; it returns whether there is anything to do. act gets a progress
// to tell, and a signal that stops it; it returns the words for what was done.
function confirm({ title, body, verb, danger = false, prepare, act, done }) {
  const end = new AbortController();
  let stop = null; // while it acts
  const fault = el("p", { class: "bad", role: "alert" });
  const meter = el("progress", { max: 1, hidden: true, "aria-label": "Progress" }), tally = el("p", { class: "quiet", role: "status" });
  const progress = (n, of) => {
    meter.hidden = of < 2;
    meter.max = of;
    meter.value = n;
    if (of > 1) put(tally, `${count(n)} of ${count(of)}`);
  };
  const run = async () => {
    stop = new AbortController();
    go.disabled = true;
    d.querySelector(".cancel").textContent = "Stop";
    put(fault);
    try {
      const said = await act(progress, stop.signal);
      stop = null;
      d.close();
      notice(said);
    } catch (err) {
      put(fault, stop.signal.aborted ? `Stopped. ${tally.textContent ? sentence(`${tally.textContent} are done`) : ""}` : sentence(err.message));
      d.querySelector(".cancel").textContent = "Close";
      stop = null;
    }
    look();
    done?.();
  };
  const go = el("button", { type: "button", class: danger ? "danger" : "primary", disabled: true, onclick: run }, verb);
  const d = dialog({ title, body: [body, meter, tally, fault], actions: go, closed: () => end.abort() });
  d.querySelector(".cancel").onclick = () => (stop ? stop.abort() : d.close());
  d.oncancel = (e) => {
    if (!stop) return;
    e.preventDefault();
    stop.abort();
  };
  (async () => {
    try {
      const some = prepare ? await prepare(end.signal, go) : true;
      go.disabled = !some;
      if (some) go.focus();
    } catch (err) {
      if (!end.signal.aborted) put(fault, sentence(err.message));
    }
  })();
}

// shape lets one choose between the body as it was and a new one.
function shape(forced) {
  const radio = (value, title, text, off) => el("label", { class: "choice" },
    el("input", { type: "radio", name: "shape", value, checked: forced ? value === "new" : value === "old", disabled: off }),
    el("span", {}, el("b", {}, title), " ", text));
  const box = el("fieldset", {}, el("legend", {}, "Body"),
    radio("old", "As it was.", "The same bytes as before.", forced),
    radio("new", "Reshaped.", "The stored signal goes through today's where and transform. If it does not pass any more, the delivery is dead, reason filtered; further results are new deliveries."));
  return { box, reshape: () => box.querySelector(":checked").value === "new" };
}

export function resend(d, done, reshaped = false) {
  const s = shape(d.reason === "transform");
  if (reshaped) s.box.querySelector("[value=new]").checked = true;
  const notes = {
    delivered: "It was delivered before: the receiver gets it a second time, under the same webhook-id, by which it can tell.",
    pending: "It is waiting for its next attempt: that becomes due now.",
    dead: "It is dead: it comes back to life.",
  };
  confirm({
    title: "Send this delivery again?", verb: "Send again", done,
    body: [el("p", {}, `One attempt to ${d.route} is due at once, as number ${d.attempts + 1}; if it fails, the schedule of retries starts anew. `, notes[d.state] ?? ""),
      d.reason === "transform" && el("p", {}, "Its expression failed, so there is no body yet: it is made by today's expressions."), s.box],
    act: async () => {
      await post(`/deliveries/${d.id}/retry`, { reshape: s.reshape() });
      return "Due now: its attempt appears in the log.";
    },
  });
}

export function discard(d, done) {
  confirm({
    title: "Discard this delivery?", verb: "Discard", danger: true, done,
    body: el("p", {}, "It becomes dead, reason discarded: nothing further is sent. An attempt that is under way is the last. It can be sent again later, as long as it is kept."),
    act: async () => {
      const { state } = JSON.parse(await post(`/deliveries/${d.id}/discard`));
      return state === "dead" ? "Discarded." : "Discarded: the attempt that is under way is the last.";
    },
  });
}

// resendThese and discardThese take ids, one request each.
export function resendThese(ids, done) {
  const s = shape(false);
  confirm({
    title: `Send ${many(ids.length, "delivery")} again?`, verb: `Send ${count(ids.length)} again`, done,
    body: [el("p", {}, "Each is due at once, with the schedule of retries anew and the same webhook-id, by which a receiver can tell what it has had."), s.box],
    act: async (progress, signal) => told(await each(ids, (id) => post(`/deliveries/${id}/retry`, { reshape: s.reshape() }), progress, signal), "due now"),
  });
}

export function discardThese(ids, done) {
  confirm({
    title: `Discard ${many(ids.length, "delivery")}?`, verb: `Discard ${count(ids.length)}`, danger: true, done,
    body: el("p", {}, "They become dead, reason discarded: nothing further of them is sent. They can be sent again as long as they are kept."),
    act: async (progress, signal) => told(await each(ids, (id) => post(`/deliveries/${id}/discard`), progress, signal), "discarded"),
  });
}

const told = ({ fine, refused, why }, verb) => `${many(fine, "delivery")} ${verb}.${refused ? ` ${count(refused)} refused: ${sentence(why)}` : ""}`;

// words says a filter in a sentence's end.
function words(f) {
  const list = [];
  if (f.route) list.push(["to ", el("b", {}, f.route)]);
  if (f.signal_type) list.push(["of type ", el("b", {}, f.signal_type)]);
  if (f.status) list.push(["answered ", el("b", {}, f.status)]);
  if (f.reason) list.push(["with the reason ", el("b", {}, f.reason)]);
  if (f.since) list.push(["made since ", el("b", {}, stamp(f.since))]);
  if (f.until) list.push(["made before ", el("b", {}, stamp(f.until))]);
  return list.flatMap((x) => [" ", ...x]);
}

const stamp = (s) => (/^\d{4}-/.test(s) ? moment(s) : `${s} ago`);

// allOf asks of all deliveries that match a filter: counts, and goes on in slices.
function allOf(path, filter, { title, verb, danger, done, would, text, more = () => ({}), extra }) {
  const n = el("p", {}, "Counting…");
  let matched = 0;
  confirm({
    title, verb, danger, done, body: [n, text, extra],
    prepare: async (signal, go) => {
      ({ matched } = JSON.parse(await post(path, { ...filter, dry_run: true }, signal)));
      put(n, el("b", { class: "big" }, count(matched)), ` ${filter.state || "pending, held or dead"} ${matched === 1 ? "delivery" : "deliveries"}`, words(filter), matched ? ` would be ${would}.` : " match: there is nothing to do.");
      put(go, verb.replace("#", count(matched)));
      return matched > 0;
    },
    act: async (progress, signal) => `${many(await slices(path, { ...filter, ...more() }, matched, progress, signal), "delivery")} ${would === "discarded" ? "discarded" : "due now"}.`,
  });
}

export function resendAll(filter, done) {
  const f = { ...filter, state: filter.state || "dead" };
  const s = shape(f.reason === "transform");
  allOf("/retry", f, {
    title: `Send ${f.state} deliveries again?`, verb: "Send # again", done, would: "sent again", extra: s.box, more: () => ({ reshape: s.reshape() }),
    text: el("p", {}, "Each is due at once, with the schedule of retries anew and the same webhook-id. ",
      f.state === "delivered" ? "Receivers get them a second time. " : "", "Those that died of their expression are reshaped in any case; those of routes that are gone are left as they are."),
  });
}

export function discardAll(filter, done) {
  allOf("/discard", filter, {
    title: `Discard ${filter.state || "all unfinished and dead"} deliveries?`, verb: "Discard #", danger: true, done, would: "discarded",
    text: el("p", {}, "They become dead, reason discarded: nothing further of them is sent. They can be sent again as long as they are kept."),
  });
}

export function pauseRoute(r) {
  confirm({
    title: `Pause ${r.name}?`, verb: "Pause",
    body: el("p", {}, `Signals go on being accepted and queued for ${r.name}, and nothing is sent`, r.pending ? `: ${many(r.pending, "delivery")} waiting now. ` : ". ",
      "The pause outlasts restarts. A delivery that waits longer than queue.max_age becomes dead."),
    act: async () => {
      await post(`/routes/${encodeURIComponent(r.name)}/pause`);
      return `${r.name} is paused.`;
    },
  });
}

export function resumeRoute(r) {
  const config = r.paused_by.includes("config");
  confirm({
    title: `Resume ${r.name}?`, verb: "Resume", prepare: async () => !config,
    body: el("p", {}, config ? "The config pauses it: take paused = true out of its [[route]], and the sidecar resumes it by itself." :
      r.pending ? `${many(r.pending, "delivery")} waiting for ${r.name}: those that are due are sent at once, within the route's limits.` : `Deliveries to ${r.name} are sent again as they come.`),
    act: async () => {
      await post(`/routes/${encodeURIComponent(r.name)}/resume`);
      return `${r.name} goes on.`;
    },
  });
}
