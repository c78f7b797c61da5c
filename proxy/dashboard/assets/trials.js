// An expression tried on the last recorded signals: what the running one makes of
// each, and what the one that is being written would.

import { el, link, put } from "./dom.js";
import { count, when } from "./format.js";
import { post, text } from "./api.js";
import { code, compare } from "./tree.js";
import { cut, members } from "./json.js";
import { toSignal } from "./url.js";

const LAST = 50; // signals
const AT_ONCE = 4; // requests under way

// trial asks what a route makes of a signal, with other expressions if there are
// some. The signal goes as it was written, so that every digit is the same.
export async function trial(signal, { route, where, transform }, end) {
  const rest = JSON.stringify({ route: route || undefined, where, transform }).slice(1, -1);
  return post("/try", `{"signal":${signal}${rest ? "," + rest : ""}}`, end);
}

// trials is the section; its run(route, expressions, running) tries them.
export function trials(end) {
  const section = el("section", { class: "panel", "data-own": true, "data-key": "trials", "aria-labelledby": "trials-title" });
  const before = new Map(); // signal id and running expressions -> outcome
  let turn = 0, recorded = null;

  async function load() {
    const raw = await text("/signals", { limit: LAST }, end);
    const { signals } = JSON.parse(raw);
    const texts = members(cut(raw, "signals")).map((m) => cut(m.text, "signal"));
    recorded = signals.map((s, i) => ({ id: s.id, type: s.signal_type, at: s.received_at, text: texts[i] }));
  }

  async function outcome(s, wish) {
    try {
      const raw = await trial(s.text, wish, end), [r] = JSON.parse(raw).routes;
      const bodies = r.bodies.map((_, i) => cut(raw, "routes", 0, "bodies", i));
      return { word: r.error ? "error" : !r.matches ? "no" : bodies.length ? "passes" : "empty", why: r.error ?? r.why, bodies };
    } catch (err) {
      if (end.aborted) throw err;
      return { word: "error", why: err.message, bodies: [] };
    }
  }

  section.run = async (route, written, running) => {
    const mine = ++turn, rows = [];
    section.hidden = !route;
    if (!route) return;
    try {
      if (!recorded) await load();
      const left = [...recorded];
      await Promise.all(Array.from({ length: AT_ONCE }, async () => {
        while (left.length && mine === turn) {
          const s = left.shift(), known = `${s.id} ${route} ${JSON.stringify(running)}`;
          if (!before.has(known)) before.set(known, await outcome(s, { route }));
          const was = before.get(known);
          const is = written.where === running.where && written.transform === running.transform ? was : await outcome(s, { route, ...written });
          rows.push({ s, was, is });
          if (mine === turn) show(rows);
        }
      }));
      if (mine === turn) show(rows);
    } catch (err) {
      if (!end.aborted) put(section, el("h2", {}, "On recorded signals"), el("p", { class: "bad" }, err.message));
    }
  };

  function show(rows) {
    const done = rows.length, n = (f) => rows.filter(f).length;
    const passed = n((r) => r.was.word === "passes"), passes = n((r) => r.is.word === "passes"), errors = n((r) => r.is.word === "error");
    const changed = rows.filter(differs);
    const order = new Map(recorded.map((s, i) => [s.id, i]));
    rows.sort((a, b) => order.get(a.s.id) - order.get(b.s.id));
    put(section, el("h2", { id: "trials-title" }, `On the last ${count(recorded.length)} signals`),
      recorded.length === 0 ? el("p", { class: "quiet" }, "No signal is recorded yet.") :
        el("p", { role: "status" }, done < recorded.length && `${done} of ${recorded.length} tried: `, el("b", {}, `${passes} pass`), passes !== passed && ` (${passed} by what runs)`, ", ", el("b", {}, `${changed.length} would change`), errors > 0 && [", ", el("b", { class: "bad" }, `${errors} fail`)], "."),
      el("ul", { class: "tried" }, rows.filter(notable).map(line)),
      done > n(notable) && el("details", {}, el("summary", {}, `${n(notable) ? "The other " : ""}${done - n(notable)} stay as they are`), el("ul", { class: "tried" }, rows.filter((r) => !notable(r)).map(line))));
  }

  return section;
}

const differs = ({ was, is }) => was.word !== is.word || was.bodies.join("\n") !== is.bodies.join("\n");
const notable = (r) => differs(r) || r.is.word === "error";
const words = { passes: "passes", no: "does not pass", empty: "passes, makes nothing", error: "fails" };

function line({ s, was, is }) {
  const change = was.word !== is.word ? `${words[was.word]} → ${words[is.word]}` : differs({ was, is }) ? "body changes" : words[is.word];
  const notes = was.bodies.length && is.bodies.length ? compare(was.bodies[0], is.bodies[0]) : null;
  const side = (name, o, n) => el("div", {}, el("h4", {}, name), o.bodies.length ? o.bodies.map((b, i) => code(b, i === 0 && n ? n : new Map())) : el("p", { class: o.word === "error" ? "bad" : "quiet" }, o.why));
  return el("li", { "data-key": s.id, class: differs({ was, is }) ? "differs" : null }, el("details", {},
    el("summary", {}, when(s.at), " ", el("b", {}, s.type), " ", el("span", { class: `badge ${is.word === "error" ? "dead" : differs({ was, is }) ? "pending" : is.word === "passes" ? "delivered" : "none"}` }, change)),
    el("div", { class: "side-by-side" }, side("By what runs", was, null), side("By what is written", is, notes?.right)), link(toSignal(s.id), "The signal")));
}
