// The first view: whether all is well, a card for each route, the log.

import { el, put, sentence } from "./dom.js";
import { ago, count, many, percent, size, took, uptime, when } from "./format.js";
import { bars, line } from "./chart.js";
import { params, go, url } from "./filters.js";
import { history, load, look, now, on, quantile, sum } from "./live.js";
import { log } from "./log.js";
import { pauseRoute, resendMany, resumeRoute } from "./actions.js";

const HOURS = { 1: 30, 6: 36, 24: 48 }; // hours shown: parts of a chart
const CARDS = 24; // shown at first when there are many routes

// verdict sums up the status: level is wait, ok, warn or bad; the rest are words.
export function verdict({ status, error }) {
  if (error) return { level: "bad", short: "No answer", title: "The sidecar does not answer", detail: sentence(error.message) };
  if (!status) return { level: "wait", short: "", title: "Looking…" };
  const failing = status.routes.filter((r) => r.state === "failing").map((r) => r.name);
  if (!status.store.accepting) return { level: "bad", short: "Not accepting", title: "New signals are refused", detail: sentence((status.store.reason ?? "").replace(/^not accepting signals: /, "")) };
  if (failing.length) {
    return { level: "bad", short: `${failing.length} failing`, title: failing.length === 1 ? `${failing[0]} is failing` : `${many(failing.length, "route")} are failing`,
      detail: failing.length === 1 ? "Its deliveries are kept, and tried again on their schedule." : `${some(failing)}. Their deliveries are kept, and tried again on their schedule.` };
  }
  if (status.config.error) return { level: "warn", short: "Config error", title: "The config file has a fault", detail: "The config that ran before it goes on running." };
  const paused = status.routes.filter((r) => r.state === "paused").length;
  const dead = status.routes.reduce((n, r) => n + r.dead, 0);
  return { level: "ok", short: "All well", title: "All is well", detail: [
    paused ? `Signals are accepted; ${many(paused, "route")} paused on purpose.` : "Signals are accepted, and no route is failing.",
    dead ? `${many(dead, "delivery")} dead from before: send ${dead === 1 ? "it" : "them"} again, or discard ${dead === 1 ? "it" : "them"}.` : "",
  ].join(" ") };
}

const some = (names) => (names.length > 6 ? `${names.slice(0, 6).join(", ")} and ${names.length - 6} more` : names.join(", "));

export function overview(_, signal) {
  const hero = el("section", { class: "hero", "aria-label": "Verdict" });
  const hours = el("div", { class: "segments", role: "group", "aria-label": "Hours shown" });
  const note = el("span", { class: "quiet" });
  const cards = el("div", { class: "cards" });
  const more = el("div", { class: "under" });
  const list = log(signal);
  const page = el("div", {}, hero,
    el("section", { "aria-labelledby": "routes-title" }, el("div", { class: "section-head" }, el("h2", { id: "routes-title" }, "Routes"), note, hours), cards, more),
    list);
  const made = new Map(); // route name -> card
  let span = 6, all = false;
  cards.addEventListener("click", (e) => {
    if (e.target.closest("h3 a") && !e.ctrlKey && !e.metaKey && !e.shiftKey) list.scrollIntoView({ block: "start" });
  });

  function showHero() {
    const v = verdict(now), s = now.status;
    put(hero, el("h1", { class: v.level }, el("span", { class: "dot" }), v.title), v.detail && el("p", { class: "detail" }, v.detail));
    if (now.error) hero.append(el("p", {}, el("button", { onclick: look }, "Try again")));
    if (!s || now.error) return;
    if (s.config.error) hero.append(el("details", { open: v.short === "Config error" }, el("summary", {}, "What is wrong with the config file"), el("pre", { class: "fault" }, s.config.error)));
    const total = (name) => s.routes.reduce((n, r) => n + r[name], 0);
    const fact = (name, value, href) => el("div", {}, el("dt", {}, name), el("dd", {}, href ? el("a", { href }, value) : value));
    const dead = total("dead"), held = total("held"), paused = s.routes.filter((r) => r.state === "paused").length;
    hero.append(el("dl", { class: "facts" },
      fact("Waiting", count(total("pending")), total("pending") ? url({ view: "deliveries", state: "pending" }) : null),
      fact("Dead", count(dead), dead ? url({ view: "deliveries", state: "dead" }) : null),
      held > 0 && fact("Held", count(held), url({ view: "deliveries", state: "held" })),
      paused > 0 && fact("Paused", many(paused, "route")),
      fact("Store", size(s.store.bytes)), fact("Disk free", size(s.store.free)), fact("Up", uptime(s.uptime))));
  }

  function showCards() {
    const s = now.status;
    if (!s) return;
    // In the order of the config, but what fails comes first; of very many, those that need somebody.
    let routes = s.routes.toSorted((a, b) => (b.state === "failing") - (a.state === "failing"));
    if (routes.length > CARDS && !all) {
      const rank = { failing: 0, gone: 1, paused: 2, ok: 3 };
      routes = routes.toSorted((a, b) => rank[a.state] - rank[b.state] || b.dead - a.dead || b.pending - a.pending).slice(0, CARDS);
    }
    put(more, routes.length < s.routes.length && el("button", { onclick: () => {
      all = true;
      showCards();
    } }, `Show all ${count(s.routes.length)} routes`));
    const wanted = routes.map((r) => {
      if (!made.has(r.name)) made.set(r.name, card(r.name));
      made.get(r.name).show(r, span);
      return made.get(r.name);
    });
    for (const name of made.keys()) if (!routes.some((r) => r.name === name)) made.delete(name);
    if (wanted.length !== cards.childElementCount || wanted.some((c, i) => cards.children[i] !== c)) cards.replaceChildren(...wanted);
  }

  function showNote() {
    const short = history.since > Date.now() - span * 3600000 + 60000;
    put(note, history.error ? "The charts could not be read" : history.loading ? "Reading the last hours…" : short ? el("span", {}, "Charts of the newest 5,000 attempts, back to ", when(new Date(history.since).toISOString())) : "");
  }

  page.update = () => {
    const asked = Number(params().hours);
    span = asked in HOURS ? asked : 6;
    put(hours, Object.keys(HOURS).map((h) => el("button", { type: "button", "aria-pressed": String(Number(h) === span), onclick: () => go({ ...params(), hours: h === "6" ? "" : h }) }, `${h} h`)));
    load(span);
    showNote();
    showCards();
    list.update();
  };
  const showAll = () => {
    showHero();
    showCards();
  };
  let drawn = 0;
  on("status", showAll, signal);
  on("history", () => {
    showNote();
    showCards();
  }, signal);
  on("entries", () => {
    if (Date.now() - drawn < 1000) return;
    drawn = Date.now();
    showCards();
  }, signal);
  page.update();
  showAll();
  return page;
}

// card is one route; its show brings it up to date.
function card(name) {
  const badge = el("span", { class: "badge" });
  const target = el("p", { class: "target-host" });
  const act = el("button", { type: "button", class: "plain" });
  const charts = el("div", { class: "charts" });
  const waits = el("dl", { class: "facts small" });
  const news = el("div", { class: "news" });
  const root = el("article", { class: "card", "aria-label": `Route ${name}` },
    el("header", {}, el("h3", {}, el("a", { href: url({ route: name }), title: "Show its attempts in the log below" }, name)), badge, act), target, charts, waits, news);
  let drawing = "", words = "";
  const fact = (label, value, attributes = {}) => el("div", attributes, el("dt", {}, label), el("dd", {}, value));
  const link = (state, n) => (n > 0 ? el("a", { href: url({ view: "deliveries", route: name, state }) }, count(n)) : "0");

  root.show = (r, hours) => {
    const { whole, parts } = sum(name, hours, HOURS[hours]);
    const picture = JSON.stringify(parts.map((p) => [p.from, p.good, p.bad]));
    if (picture !== drawing) {
      drawing = picture;
      const n = whole.good + whole.bad;
      const mid = quantile(whole.slow, 0.5), high = quantile(whole.slow, 0.95);
      if (n === 0) put(charts, el("p", {}, `No attempt in the last ${hours === 1 ? "hour" : `${hours} hours`}`));
      else put(charts,
        el("p", {}, el("span", {}, el("b", {}, percent(whole.good, n)), " of attempts delivered"), el("span", {}, many(n, "attempt"))), bars(parts),
        mid !== null && [el("p", {}, el("span", {}, el("b", {}, took(mid)), " median time"), el("span", {}, `95 % within ${took(high)}`)), line(parts)],
        el("p", { class: "axis" }, el("span", {}, `${hours} h ago`), el("span", {}, "now")));
    }
    const said = JSON.stringify(r);
    if (said === words) return;
    words = said;
    root.className = `card ${r.state}`;
    badge.className = `badge ${r.state}`;
    put(badge, r.state);
    put(target, r.target ?? "Not in the config any more: what waits is held until it is back");
    const paused = r.state === "paused";
    act.hidden = r.state === "gone";
    put(act, paused ? "Resume…" : "Pause…");
    act.onclick = () => (paused ? resumeRoute(r) : pauseRoute(r));
    put(waits,
      fact("Waiting", link("pending", r.pending)), r.held > 0 && fact("Held", link("held", r.held)),
      fact("Dead", link("dead", r.dead), { class: r.dead ? "bad" : null }),
      fact("Oldest due", r.oldest_due ? ago(r.oldest_due) : "–"), fact("Last success", r.last_success ? ago(r.last_success) : "–", { title: r.last_success ? null : "None since the sidecar started" }));
    put(news,
      r.last_error && el("p", { class: r.state === "failing" ? "last bad" : "last", title: r.last_error }, el("b", {}, "Last error "), r.last_error),
      r.dead > 0 && r.state !== "gone" && el("button", { type: "button", onclick: () => resendMany({ route: name, state: "dead" }) }, `Send ${count(r.dead)} dead again…`));
  };
  return root;
}
