// The first view: whether anything needs somebody, and what; then how it goes, the
// routes, and the log.

import { el, fact, put } from "./dom.js";
import { count, per, sentence, size, span } from "./format.js";
import { time } from "./clock.js";
import { countsOf, history, legend, ranges } from "./chart.js";
import { compile, glob } from "./filter.js";
import { fleet } from "./fleet.js";
import { log } from "./lists.js";
import { now, on } from "./live.js";
import { merged, problems } from "./problems.js";
import { routes } from "./routes.js";
import { Feed, lately } from "./stats.js";
import { params, toDeliveries } from "./url.js";

// verdict is the sidecar's health in words, for the header and the first line.
export function verdict({ status, error }) {
  if (!status) return error ? { level: "bad", short: "No answer", title: "The sidecar does not answer", detail: sentence(error.message) } : { level: "wait", short: "", title: "Looking…" };
  if (error?.status) return { level: "bad", short: "No status", title: "The status could not be read", detail: sentence(error.message) };
  const { level, reasons } = status.health;
  const n = merged(reasons).length;
  if (level === "ok") return { level, short: "All well", title: "Nothing needs you", detail: "" };
  return { level, short: n === 1 ? "1 needs you" : `${n} need you`, title: n === 1 ? "One thing needs you" : `${n} things need you`, detail: "" };
}

export function overview(_, signal) {
  const hero = el("section", { class: "hero", "data-key": "hero", "aria-label": "Verdict" });
  const plot = countsOf("Attempts of all routes over time");
  const minutes = new Feed({ back: 3 * 6e4 }, { step: "1m" }).start(() => top(), signal);
  let shown = minutes; // the feed of the time that is chosen
  const head = el("div", { class: "panel-head" });
  const table = routes(signal, () => shown), needs = problems(signal, () => shown);
  const list = log(signal);
  const page = el("div", {}, hero, needs,
    el("section", { class: "panel", "aria-labelledby": "chart-title" }, head, plot, legend()), table, fleet(signal), list);

  function top() {
    const v = verdict(now), s = now.status;
    put(hero, el("h1", { class: v.level }, el("span", { class: "dot" }), v.title), v.detail && el("p", { class: "detail" }, v.detail), s && facts(s));
  }

  function facts(s) {
    const total = (name) => s.routes.reduce((n, r) => n + r[name], 0);
    const oldest = s.routes.map((r) => r.oldest_due).filter(Boolean).sort()[0];
    const m = lately(minutes.total()), pending = total("pending"), dead = total("dead"), held = total("held");
    return el("dl", { class: "facts" },
      fact("Accepting", m ? per(m.accepted, 6e4) : "–"), fact("Delivering", m ? per(m.delivered, 6e4) : "–"),
      fact("Waiting", count(pending), pending && toDeliveries("state:pending")),
      oldest && Date.parse(oldest) < time() && fact("Oldest due", span(time() - Date.parse(oldest))),
      held > 0 && fact("Held", count(held), toDeliveries("state:held")),
      fact("Dead", count(dead), dead && toDeliveries("state:dead")),
      fact("Store", size(s.store.bytes)), fact("Disk free", size(s.store.free)));
  }

  function draw(feed) {
    shown = feed;
    const pattern = compile(params().q ?? "", "log").params.route;
    const passes = pattern ? (r) => glob(pattern).test(r) : () => true;
    put(head, el("h2", { id: "chart-title" }, pattern ? `Attempts of ${pattern}` : "Attempts"), ranges());
    plot.draw(feed, feed.total(passes));
    table.update();
    needs.update();
  }

  history(signal, draw, page, list);
  on("status", top, signal);
  top();
  return page;
}
