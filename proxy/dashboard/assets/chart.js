// The charts of the page. A chart is of counts or times over time: bars up and down
// from one line, or lines; one gridline with its number, real times, what is not known
// hatched. The mouse, a finger or the arrow keys read a value off; dragging selects.

import { el, put, svg } from "./dom.js";
import { count, hour, many, offset, per, tickLabel, took } from "./format.js";
import { go, params } from "./url.js";
import { now, on } from "./live.js";
import { causes, Feed, range, RANGES, sum } from "./stats.js";

const TOP = 16, FOOT = 18; // pixels above and below the plot
const TICKS = [6e4, 3e5, 9e5, 18e5, 36e5, 3 * 36e5, 6 * 36e5, 12 * 36e5, 864e5, 2 * 864e5, 7 * 864e5];
let ids = 0;

// nice is the largest of 1, 2, 5, 10, … that is not above n.
function nice(n) {
  const ten = 10 ** Math.floor(Math.log10(n));
  return [5, 2, 1].find((k) => k * ten <= n) * ten;
}

// most is the highest a set of points reaches with these bars.
const most = (points, bars) => Math.max(0, ...points.map((p) => bars.reduce((n, b) => n + (b.of(p) ?? 0), 0)));

// bars draws a list of kinds on top of each other, a path each; y gives the place of a value.
function bars(points, list, x, width, y, down) {
  const paths = list.map(() => "");
  for (const p of points) {
    let at = 0;
    list.forEach(({ of }, i) => {
      const n = of(p), h = Math.max(1, Math.abs(y(at + n) - y(at))); // what there is is seen, however little beside the rest
      if (!n) return;
      paths[i] += `M${x(p).toFixed(1)} ${(down ? y(at) : y(at) - h).toFixed(1)}h${width(p).toFixed(1)}v${h.toFixed(1)}h${(-width(p)).toFixed(1)}z`;
      at += n;
    });
  }
  return list.map((b, i) => paths[i] && svg("path", { class: b.class, d: paths[i] }));
}

// line is a path through what is known; a point that stands alone is a dash.
function line(points, of, x, y) {
  const known = (p) => p && (of(p) ?? null) !== null, to = (p) => `${x(p).toFixed(1)} ${y(of(p)).toFixed(1)}`;
  return points.map((p, i) => (!known(p) ? "" : known(points[i - 1]) ? `L${to(p)}` : known(points[i + 1]) ? `M${to(p)}` : `M${to(p)}m-3 0h6`)).join("");
}

// spark is a chart so small that it has neither numbers nor a readout: of attempts, or what else kinds says.
export function spark({ from, to, step }, points, peak, label, kinds = up) {
  const W = 120, H = 22, top = peak || most(points, kinds) || 1, scale = W / (to - from), x = (p) => (p.at - from) * scale;
  const known = points.length ? Math.max(0, x(points[0])) : W;
  return svg("svg", { class: "spark", viewBox: `0 0 ${W} ${H}`, preserveAspectRatio: "none", role: "img", "aria-label": label },
    known > 1 && svg("rect", { class: "void", x: 0, y: 0, width: known.toFixed(1), height: H }),
    bars(points, kinds, x, () => Math.max(0.8, step * scale * 0.85), (v) => H - (v / top) * (H - 1)), svg("path", { class: "ground", d: `M0 ${H - 0.5}h${W}` }));
}

// failures is a spark of what failed of a route with a class.
export const failures = (feed, route, of) => spark(feed, feed.of(route), 0, `Attempts of ${route} that failed with ${of}`, [{ class: "fails", of: (p) => p.failed[of] ?? 0 }]);

// ticks are the real times under a chart; flags are the loads of the config.
function ticks({ from, to }, x, width, height) {
  const gap = TICKS.find((t) => (to - from) / t <= width / 76) ?? 30 * 864e5, shift = offset(to), out = [];
  for (let t = Math.ceil((from + shift) / gap) * gap - shift; t < to; t += gap) {
    if (x(t) > 18 && x(t) < width - 18) out.push(svg("path", { class: "tick", d: `M${x(t).toFixed(1)} ${height - FOOT}v4` }), svg("text", { class: "axis mid", x: x(t).toFixed(1), y: height - 3 }, tickLabel(t)));
  }
  return out;
}

function flags({ from, to }, x, width, floor) {
  return (now.status?.config.reloads ?? []).filter((r) => Date.parse(r.time) >= from && Date.parse(r.time) <= to).map((r) => {
    const at = x(Date.parse(r.time)), late = at > width - 80;
    return svg("g", { class: "flag" }, svg("title", {}, `The config was loaded: ${r.hash}`), svg("path", { d: `M${at.toFixed(1)} 2V${floor}` }), svg("text", { class: late ? "axis end" : "axis", x: at + (late ? -4 : 4), y: 11 }, `⚑ config ${r.hash.slice(0, 4)}`));
  });
}

// chart makes one of a kind; its draw(feed, points) brings it up to date.
function chart(label, height, { up, down, lines, unit, grid, readout }) {
  const id = `void-${++ids}`, floor = height - FOOT;
  const said = el("p", { class: "readout" });
  const plot = svg("svg", { class: "chart", height, tabindex: 0, role: "slider", "aria-label": label, "aria-valuemin": 0 });
  const figure = el("figure", { class: "plot", "data-own": true, "data-key": label }, said, plot);
  let data = null, width = 0, pressed = false;
  let cursor = -1, anchor = -1; // the steps read off: one, or from one to the other; -1 is none

  const x = (t) => ((t - data.from) / (data.to - data.from)) * width;
  const end = () => Math.max(0, Math.ceil((data.to - data.from) / data.step) - 1);
  const slotAt = (clientX) => Math.min(end(), Math.max(0, Math.floor(((clientX - plot.getBoundingClientRect().left) / width) * (data.to - data.from) / data.step)));

  // chosen is the time read off: all of it if nothing is pointed at.
  function chosen() {
    if (cursor < 0) return [data.from, data.to];
    const [a, b] = anchor < 0 ? [cursor, cursor] : [Math.min(cursor, anchor), Math.max(cursor, anchor)];
    return [data.from + a * data.step, Math.min(data.to, data.from + (b + 1) * data.step)];
  }

  function draw() {
    if (!data || !width) return;
    const { points, step } = data;
    const high = Math.max(most(points, up), ...lines.map((l) => most(points, [l]))), low = most(points, down), whole = high || 1;
    const base = TOP + ((floor - TOP) * whole) / (whole + low), y = (v) => base - (v / whole) * (base - TOP);
    const left = (p) => x(p.at), bar = (p) => Math.max(1, Math.min(x(p.at + step), width) - x(p.at) - (x(data.from + step) > 4 ? 1 : 0));
    const unknown = points.length ? [[0, left(points[0])], [x(points.at(-1).at + 2 * step), width]] : data.loaded || data.error ? [[0, width]] : [];
    const rule = (at) => [svg("path", { class: "grid", d: `M0 ${Math.round(y(at)) + 0.5}H${width}` }), svg("text", { class: "axis", x: 2, y: Math.round(y(at)) - 4 }, unit(at, step))];
    plot.setAttribute("viewBox", `0 0 ${width} ${height}`);
    put(plot,
      svg("defs", {}, svg("pattern", { id, width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" }, svg("path", { class: "hatch", d: "M0 0v6" }))),
      unknown.filter(([a, b]) => b > a + 0.5).map(([a, b]) => [svg("rect", { class: "void", x: a, y: TOP, width: b - a, height: floor - TOP, fill: `url(#${id})` }), b > a + 90 && svg("text", { class: "axis", x: a + 6, y: floor - 6 }, "unknown")]),
      bars(points, up, left, bar, y), bars(points, down, left, bar, (v) => base + (v / (low || 1)) * (floor - base), true),
      lines.map((l) => svg("path", { class: l.class, d: line(points, l.of, (p) => left(p) + bar(p) / 2, y) })),
      svg("path", { class: "ground", d: `M0 ${Math.round(base) + 0.5}H${width}` }), high > 0 && rule(grid(high, step)), ticks(data, x, width, height), flags(data, x, width, floor),
      cursor >= 0 && svg("rect", { class: "cursor", x: x(chosen()[0]), y: TOP, width: Math.max(1, x(chosen()[1]) - x(chosen()[0])), height: floor - TOP }));
    speak();
  }

  function speak() {
    const [from, to] = chosen(), inside = data.points.filter((p) => p.at >= from && p.at < to);
    const what = data.error ? "could not be read" : !data.loaded ? "reading…" : inside.length ? readout(inside, to - from) : "unknown";
    put(said, el("b", {}, `${hour(from)} – ${hour(to)}`), " ", what);
    for (const [name, value] of [["max", end()], ["now", Math.max(0, cursor)], ["text", said.textContent]]) plot.setAttribute(`aria-value${name}`, value);
  }

  function move(to, extend = false) {
    anchor = !extend ? -1 : anchor < 0 ? Math.max(0, cursor) : anchor;
    cursor = to;
    draw();
  }

  function choose() {
    if (anchor < 0) return;
    const stretch = chosen();
    move(-1);
    select(...stretch);
  }

  plot.onpointerdown = (e) => {
    move(slotAt(e.clientX));
    pressed = e.pointerType === "mouse"; // a finger only reads
    if (pressed) plot.setPointerCapture(e.pointerId);
  };
  plot.onpointermove = (e) => data && (slotAt(e.clientX) !== cursor || !pressed) && move(slotAt(e.clientX), pressed);
  plot.onpointerup = () => {
    if (pressed) choose();
    pressed = false;
  };
  plot.onpointerleave = (e) => e.pointerType === "mouse" && !pressed && document.activeElement !== plot && move(-1);
  plot.onblur = () => move(-1);
  plot.onkeydown = (e) => {
    const last = data ? end() : -1;
    const to = { ArrowLeft: cursor < 0 ? last : Math.max(0, cursor - 1), ArrowRight: Math.min(last, cursor + 1), Home: 0, End: last, Escape: cursor < 0 ? undefined : -1 }[e.key];
    if (to !== undefined) move(to, e.shiftKey);
    else if (e.key === "Enter") choose();
    else return;
    e.preventDefault();
    e.stopPropagation();
  };
  new ResizeObserver(() => {
    width = plot.clientWidth;
    draw();
  }).observe(plot);
  figure.draw = ({ from, to, step, loaded, error }, points) => {
    data = { from, to, step, loaded, error, points };
    draw();
  };
  return figure;
}

const up = [{ class: "good", of: (p) => p.delivered }, { class: "fails", of: (p) => p.fails }];
const select = (from, to) => go({ ...params(), range: "", from: new Date(from).toISOString(), to: new Date(to).toISOString() });

// countsOf is the chart of what became of deliveries: how many of a step, written as rates.
export const countsOf = (label) => chart(label, 130, {
  up, down: [{ class: "dead", of: (p) => p.dead }], lines: [], unit: per,
  grid: (high, step) => {
    const of = [1e3, 6e4, 36e5].find((u) => high * u >= step) ?? 36e5;
    return (nice((high * of) / step) * step) / of; // round as it is written
  },
  readout: (points, ms) => {
    const t = sum(points);
    return `${count(t.delivered)} delivered (${per(t.delivered, ms)}) · ${many(t.fails, "failed attempt")}${t.fails ? ` (${causes(t.failed)})` : ""} · ${count(t.dead)} dead · ${count(t.accepted)} accepted`;
  },
});

// latencyOf is the chart of how long attempts took.
export const latencyOf = (label) => chart(label, 110, {
  up: [], down: [], lines: ["p99", "p95", "p50"].map((p) => ({ class: `line ${p}`, of: (point) => point[`${p}_ms`] })), unit: took, grid: nice,
  readout: (points) => {
    const some = points.filter((p) => (p.p50_ms ?? null) !== null), high = (name) => took(Math.max(...some.map((p) => p[name])));
    return some.length ? `${some.length > 1 ? "at most, in any step: " : ""}half within ${high("p50_ms")} · 95 % within ${high("p95_ms")} · 99 % within ${high("p99_ms")}` : "no attempt was answered";
  },
});

export const highest = (points) => most(points, up);

export const legend = (list = [["good", "delivered"], ["fails", "failed attempt"], ["dead", "dead, below the line"], ["void", "unknown"]]) =>
  el("p", { class: "legend" }, list.map(([c, text]) => el("span", {}, el("i", { class: c }), text)));

// history keeps the feed of the time that the URL asks for, of one route or of all, on a
// page with a list, and calls draw with it when there is news.
export function history(signal, draw, page, list, route) {
  let chosen = "", end = null, feed = null, hash;
  const update = () => {
    const wanted = JSON.stringify(range(params()));
    if (wanted !== chosen) {
      chosen = wanted;
      end?.abort();
      end = new AbortController();
      feed = new Feed(range(params()), { route }).start(() => draw(feed), AbortSignal.any([end.signal, signal]));
    }
    draw(feed);
  };
  on("status", () => {
    if (hash !== now.status?.config.hash) draw(feed); // a reload is marked
    hash = now.status?.config.hash;
  }, signal);
  addEventListener("signalpost:zone", () => draw(feed), { signal });
  Object.assign(page, { hold: list.hold, update: () => (update(), list.update()) });
  update();
}

export function ranges() {
  const p = params(), r = range(p);
  const pick = (name) => go({ ...p, from: "", to: "", range: name === "1h" ? "" : name });
  return el("div", { class: "segments", role: "group", "aria-label": "Time shown" },
    Object.entries(RANGES).map(([name, ms]) => el("button", { type: "button", "aria-pressed": String(r.back === ms), onclick: () => pick(name) }, name)),
    r.from && el("button", { type: "button", "aria-pressed": "true", title: "Back to the last hour", onclick: () => pick("1h") }, "selected ×"));
}
