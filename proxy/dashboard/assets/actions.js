// What changes something: send again, discard, pause, resume. Each is a dialog
// that says what will happen, with the count the sidecar gives, before it does.

import { dialog, el, notice, put, sentence } from "./dom.js";
import { count, many, moment } from "./format.js";
import { post } from "./api.js";
import { look } from "./live.js";

// confirm asks, does, and says what came of it. prepare, unless null, runs
// first and fills the body; it returns whether there is anything to do. act
// returns the words for what was done.
function confirm({ title, body, verb, danger = false, prepare, act, done }) {
  const end = new AbortController();
  const fault = el("p", { class: "bad", role: "alert" });
  const button = el("button", { type: "button", class: danger ? "danger" : "primary", disabled: true, onclick: async () => {
    button.disabled = true;
    put(fault);
    try {
      const said = await act(button);
      d.close();
      notice(said);
      look();
      done?.();
    } catch (err) {
      put(fault, sentence(err.message));
      button.disabled = false;
    }
  } }, verb);
  const d = dialog({ title, body: [body, fault], actions: button, closed: () => end.abort() });
  const ready = async () => {
    button.disabled = true;
    put(fault);
    try {
      const go = prepare ? await prepare(end.signal, button) : true;
      if (end.signal.aborted) return;
      button.disabled = !go;
      if (go && !d.contains(document.activeElement)) button.focus();
    } catch (err) {
      if (!end.signal.aborted) put(fault, sentence(err.message));
    }
  };
  ready();
  return { ready, dialog: d };
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

export function resend(d, done) {
  const s = shape(d.reason === "transform");
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

// words says a filter in a sentence's end.
function words(f) {
  const list = [];
  if (f.route) list.push(["to ", el("b", {}, f.route)]);
  if (f.signal_type) list.push(["of type ", el("b", {}, f.signal_type)]);
  if (f.reason) list.push(["with the reason ", el("b", {}, f.reason)]);
  if (f.since) list.push(["made since ", el("b", {}, stamp(f.since))]);
  if (f.until) list.push(["made before ", el("b", {}, stamp(f.until))]);
  return list.flatMap((x) => [" ", ...x]);
}

const stamp = (s) => (/^\d{4}-/.test(s) ? moment(s) : `${s} ago`);

function wish(f, more) {
  return { ...Object.fromEntries(Object.entries(f).filter(([, v]) => v)), ...more };
}

export function resendMany(f, done) {
  const filter = { ...f, state: f.state || "dead" };
  const s = shape(filter.reason === "transform");
  const n = el("p", {}, "Counting…");
  confirm({
    title: `Send ${filter.state} deliveries again?`, verb: "Send again", done,
    body: [n, el("p", {}, "Each is due at once, with the schedule of retries anew and the same webhook-id. ",
      filter.state === "delivered" ? "Receivers get them a second time. " : "", "Those that died of their expression are reshaped in any case; those of routes that are gone are left as they are."), s.box],
    prepare: async (signal, button) => {
      const { matched } = JSON.parse(await post("/retry", wish(filter, { dry_run: true }), signal));
      put(n, el("b", { class: "big" }, count(matched)), ` ${filter.state} ${matched === 1 ? "delivery" : "deliveries"}`, words(filter), matched ? " would be sent again." : " match: there is nothing to send.");
      put(button, `Send ${count(matched)} again`);
      return matched > 0;
    },
    act: async () => `${many(JSON.parse(await post("/retry", wish(filter, { reshape: s.reshape() }))).matched, "delivery")} due now.`,
  });
}

export function discardMany(f, done) {
  const n = el("p", {}, "Counting…");
  confirm({
    title: `Discard ${f.state || "all unfinished and dead"} deliveries?`, verb: "Discard", danger: true, done,
    body: [n, el("p", {}, "They become dead, reason discarded: nothing further of them is sent. They can be sent again as long as they are kept.")],
    prepare: async (signal, button) => {
      const { matched } = JSON.parse(await post("/discard", wish(f, { dry_run: true }), signal));
      put(n, el("b", { class: "big" }, count(matched)), ` ${f.state || "pending, held or dead"} ${matched === 1 ? "delivery" : "deliveries"}`, words(f), matched ? " would be discarded." : " match: there is nothing to discard.");
      put(button, `Discard ${count(matched)}`);
      return matched > 0;
    },
    act: async () => `${many(JSON.parse(await post("/discard", wish(f))).matched, "delivery")} discarded.`,
  });
}

export function pauseRoute(r) {
  confirm({
    title: `Pause ${r.name}?`, verb: "Pause", body: el("p", {}, `Signals go on being accepted and queued for ${r.name}, and nothing is sent`, r.pending ? `: ${many(r.pending, "delivery")} waiting now. ` : ". ",
      "The pause outlasts restarts. A delivery that waits longer than queue.max_age becomes dead."),
    act: async () => {
      await post(`/routes/${encodeURIComponent(r.name)}/pause`);
      return `${r.name} is paused.`;
    },
  });
}

export function resumeRoute(r) {
  confirm({
    title: `Resume ${r.name}?`, verb: "Resume", body: el("p", {}, r.pending ? `${many(r.pending, "delivery")} waiting for ${r.name}: those that are due are sent at once, within the route's limits.` : `Deliveries to ${r.name} are sent again as they come.`),
    act: async () => {
      await post(`/routes/${encodeURIComponent(r.name)}/resume`);
      return `${r.name} goes on.`;
    },
  });
}
