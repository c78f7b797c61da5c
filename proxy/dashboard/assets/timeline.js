// The attempts of a delivery on a line of time: gaps to scale, each attempt's time
// split, each answer beside the one before.

import { el, svg } from "./dom.js";
import { due, span, took, when } from "./format.js";
import { time } from "./clock.js";
import { story } from "./log.js";

const PARTS = [["dns_ms", "dns", "DNS"], ["connect_ms", "connect", "connect"], ["tls_ms", "tls", "TLS"], ["first_byte_ms", "first", "first byte"]];
const pct = (n) => `${n.toFixed(2)}%`;

// line draws when the attempts were, and when the next one is due.
function line(d) {
  const made = d.log.map((e) => ({ at: Date.parse(e.time), kind: e.verdict, name: e.attempt ? `attempt ${e.attempt}` : e.verdict }));
  if (d.state === "pending" && d.next_attempt) made.push({ at: Date.parse(d.next_attempt), kind: "next", name: "next" });
  const from = Math.min(Date.parse(d.created), ...made.map((m) => m.at));
  const open = d.state === "pending" || d.state === "held";
  const to = Math.max(from + 1, open ? time() : 0, ...made.map((m) => m.at));
  const x = (t) => 1.5 + (97 * (t - from)) / (to - from);
  return el("div", { class: "time-line" },
    svg("svg", { height: 30, width: "100%", role: "img", "aria-label": `${made.length} moments in ${span(to - from)}` },
      svg("line", { class: "axis-line", x1: "1.5%", x2: "98.5%", y1: 15, y2: 15 }),
      open && svg("line", { class: "now", x1: pct(x(time())), x2: pct(x(time())), y1: 3, y2: 27 }),
      svg("line", { class: "made", x1: "1.5%", x2: "1.5%", y1: 8, y2: 22 }),
      made.map((m) => svg("circle", { class: m.kind, cx: pct(x(m.at)), cy: 15, r: 5 }, svg("title", {}, m.name)))),
    el("p", { class: "ends" }, el("span", {}, "made ", when(d.created)), el("span", {}, `${span(to - from)}, gaps to scale`), el("span", {}, when(new Date(to).toISOString()))));
}

// split shows of what an attempt's time was made, beside the longest of all.
function split(e, longest) {
  const parts = PARTS.map(([name, kind, label]) => [e.timing?.[name] ?? 0, kind, label]).filter(([ms]) => ms > 0);
  const rest = e.duration_ms - parts.reduce((n, [ms]) => n + ms, 0);
  if (parts.length && rest > 0.05) parts.push([rest, "rest", "rest"]);
  const all = parts.length ? parts : [[e.duration_ms, "rest", ""]];
  let at = 0;
  return el("div", { class: "split" },
    svg("svg", { height: 8, width: "100%", role: "img", "aria-label": `Took ${took(e.duration_ms)}` }, all.map(([ms, kind]) => {
      const r = svg("rect", { class: kind, x: pct((100 * at) / longest), width: pct((100 * ms) / longest), y: 0, height: 8 });
      at += ms;
      return r;
    })),
    el("p", {}, el("b", {}, took(e.duration_ms)), parts.map(([ms, kind, label]) => el("span", {}, el("i", { class: kind }), `${label} ${took(ms)}`)),
      e.reused && el("span", {}, "connection reused"), e.peer && el("span", {}, `to ${e.peer}`)));
}

// answer shows what the receiver said; beside the attempt before, what differs.
function answer(e, before) {
  if (!e.response) return null;
  if (before && before.response === e.response) return el("p", { class: "quiet" }, `The same answer as of attempt ${before.attempt}.`);
  const pre = el("pre", { class: "response", tabindex: "0", role: "group", "aria-label": `Answer to attempt ${e.attempt}` });
  if (!before?.response) pre.append(e.response);
  else pre.append(...differing(before.response, e.response));
  return el("details", { open: e.verdict !== "delivered" && e.response.length < 600, "data-key": `answer ${e.time}` },
    el("summary", {}, before?.response ? `Answer, with what differs from attempt ${before.attempt}` : "Answer"), pre);
}

function differing(a, b) {
  let i = 0, j = 0;
  while (i < a.length && i < b.length && a[i] === b[i]) i++;
  while (j < Math.min(a.length, b.length) - i && a.at(-1 - j) === b.at(-1 - j)) j++;
  return [b.slice(0, i), el("mark", {}, b.slice(i, b.length - j)), b.slice(b.length - j)];
}

const triggers = { manual: "sent by hand", probe: "probe of a failing route" };

export function attempts(d, current) {
  if (!d.log.length && d.state !== "pending") return el("section", { class: "panel", "data-key": "attempts" }, el("h2", {}, "Attempts"), el("p", { class: "quiet" }, "None yet."));
  const longest = Math.max(1, ...d.log.map((e) => e.duration_ms));
  const list = d.log.map((e, i) => {
    const before = d.log[i - 1];
    return el("li", { class: e.verdict, "data-key": e.time },
      before && el("p", { class: "gap" }, `${span(Date.parse(e.time) - e.duration_ms - Date.parse(before.time))} later`),
      el("div", { class: "attempt-line" },
        el("b", {}, e.attempt ? `Attempt ${e.attempt}` : "No attempt"), el("span", { class: `mark ${e.verdict}` }, e.status || (e.attempt ? e.class ?? "no answer" : e.verdict)), when(e.time),
        triggers[e.trigger] && el("span", { class: "badge" }, triggers[e.trigger]),
        current && e.config && e.config !== current && el("span", { class: "quiet", title: e.config }, `by the config ${e.config.slice(0, 8)}, not today's`)),
      e.verdict !== "delivered" && el("p", {}, story(e)),
      e.attempt > 0 && split(e, longest), answer(e, before));
  }).reverse();
  if (d.state === "pending" && d.next_attempt) {
    list.unshift(el("li", { class: "next", "data-key": "next" }, el("div", { class: "attempt-line" }, el("b", {}, `Attempt ${d.attempts + 1}`), el("span", { class: "quiet" }, due(d.next_attempt), " · ", when(d.next_attempt)))));
  }
  return el("section", { class: "panel", "data-key": "attempts" }, el("h2", {}, "Attempts"), line(d), el("ol", { class: "attempts-list" }, list));
}
