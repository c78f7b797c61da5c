// What needs somebody, as the sidecar's health says, each with what failed and what
// can be done; then what failed lately and needs nobody.

import { button, el, put } from "./dom.js";
import { count, lasting, many, sentence, since, timed, when } from "./format.js";
import { get } from "./api.js";
import { failures } from "./chart.js";
import { every, now, on, routeNamed } from "./live.js";
import { toDeliveries, toDelivery, toRoute } from "./url.js";
import { discardAll, resendAll, pauseButtons } from "./actions.js";

const AGAIN = 10000; // milliseconds between two looks
const SHOWN = 3; // causes of one route shown at first

// problems is the section; its list is GET /problems. chart() gives the feed whose time the
// small charts show; update() says that there is news of it.
export function problems(signal, chart, route) {
  const section = el("section", { class: "problems", "data-key": "problems", "data-own": true, "aria-labelledby": "problems-title" });
  let list = null, asked = 0;

  function load() {
    asked = performance.now();
    get("/problems", {}, signal).then(({ problems: found }) => {
      list = found.filter((p) => !route || p.route === route);
      draw();
    }, () => {}); // health is shown all the same; what keeps this away shows in the header
  }

  function draw() {
    const s = now.status, row = (p, named) => cause(p, named, chart());
    if (!s) return;
    const reasons = route ? routeNamed(route)?.health.reasons ?? [] : s.health.reasons;
    const asking = new Set(reasons.map((r) => r.route));
    const rest = (list ?? []).filter((p) => !asking.has(p.route));
    const dead = rest.filter((p) => p.dead > 0), passed = rest.filter((p) => !p.dead);
    section.hidden = !reasons.length && !rest.length;
    put(section, el("h2", { id: "problems-title" }, reasons.length ? "Needs you" : "Failures of the last 24 hours"),
      el("ul", { class: "needs" }, merged(reasons).map((r) => need(r, s, list ?? [], row))),
      dead.length > 0 && el("div", { class: "causes" }, reasons.length > 0 && el("h3", {}, "Dead earlier"), dead.map((p) => row(p, true))),
      passed.length > 0 && el("details", { "data-key": "passed" }, el("summary", {}, `${many(passed.length, "failure")} of the last 24 hours: no action needed`), el("div", { class: "causes" }, passed.map((p) => row(p, true)))));
  }

  on("status", draw, signal);
  on("entries", (entries) => entries.some((e) => e.verdict !== "delivered") && performance.now() - asked > AGAIN / 2 && load(), signal);
  every(AGAIN, load, signal);
  load();
  draw();
  section.update = draw;
  return section;
}

// merged puts the reasons of one route together, in the order of the first.
export const merged = (reasons) => [...Map.groupBy(reasons, (r) => r.route || `\n${r.code}`).values()];

function need(reasons, s, list, row) {
  const { route } = reasons[0], r = routeNamed(route);
  const causes = list.filter((p) => route && p.route === route);
  return el("li", { class: `level-${r?.health.level ?? (reasons[0].code === "not_accepting" ? "bad" : "warn")}`, "data-key": `${route} ${reasons[0].code}` },
    el("div", { class: "need" },
      el("h3", {}, el("span", { class: "dot" }), route ? el("a", { href: toRoute(route) }, route) : "Signalpost"),
      el("div", { class: "why" }, reasons.map((x) => el("p", {}, el("b", { class: "code-word" }, x.code.replaceAll("_", " ")), " ", timed(sentence(x.text)), el("span", { class: "quiet" }, " Since ", since(x.since), " (", lasting(x.since), ").")))),
      el("p", { class: "buttons" }, acts(reasons, r, causes))),
    reasons.some((x) => x.code === "config_rejected") && s.config.error && el("pre", { class: "fault", tabindex: "0", role: "group", "aria-label": "Fault of the config" }, s.config.error),
    causes.length > 0 && el("div", { class: "causes" }, causes.slice(0, SHOWN).map((p) => row(p)),
      causes.length > SHOWN && el("details", {}, el("summary", {}, `${causes.length - SHOWN} more`), causes.slice(SHOWN).map((p) => row(p)))));
}

function acts(reasons, r, causes) {
  if (!r) return null;
  return [
    causes[0]?.sample && el("a", { class: "button", href: toDelivery(causes[0].sample) }, "Show one"),
    r.dead > 0 && button(`Send ${count(r.dead)} again…`, () => resendAll({ route: r.name, state: "dead" })),
    reasons.some((x) => x.code === "refused") && r.pending > 0 && button(`Send ${count(r.pending)} waiting…`, () => resendAll({ route: r.name, state: "pending" })),
    r.held > 0 && [el("a", { class: "button", href: toDeliveries(`route:${r.name} state:held`) }, `${count(r.held)} held`), button("Discard…", () => discardAll({ route: r.name, state: "held" }))],
    reasons.some((x) => ["failing", "refused", "behind", "paused"].includes(x.code)) && pauseButtons(r),
  ];
}

function cause(p, named, feed) {
  return el("p", { class: "cause", "data-key": `${p.route} ${p.class} ${p.status} ${p.error}` },
    named && el("a", { class: "of", href: toRoute(p.route) }, p.route),
    el("b", { class: "mark dead" }, p.status || p.class), el("span", { class: "said", title: p.error }, p.error),
    failures(feed, p.route, p.class), el("span", { class: "quiet" }, `${count(p.count)} × `, when(p.first), p.first !== p.last && [" – ", when(p.last)]),
    p.pending > 0 && el("a", { href: toDeliveries(`route:${p.route} state:pending`) }, `${count(p.pending)} wait`),
    p.dead > 0 && el("a", { class: "dead", href: toDeliveries(`route:${p.route} state:dead`) }, `${count(p.dead)} dead`),
    p.sample && el("a", { href: toDelivery(p.sample) }, "Show one"));
}
