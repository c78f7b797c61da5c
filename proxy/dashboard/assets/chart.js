// A chart of counts or times over time: bars up and down from one line, or
// lines; one gridline with its number, real times, what is not known hatched.
// The mouse, a finger or the arrow keys read a value off; dragging selects.

import { el, put, svg } from "./dom.js";
import { hour, offset, tickLabel } from "./format.js";

const TOP = 16, FOOT = 18; // pixels above and below the plot
const TICKS = [6e4, 3e5, 9e5, 18e5, 36e5, 3 * 36e5, 6 * 36e5, 12 * 36e5, 864e5, 2 * 864e5, 7 * 864e5];
let ids = 0;

// nice is the largest of 1, 2, 5, 10, … that is not above n.
export function nice(n) {
  const ten = 10 ** Math.floor(Math.log10(n));
  return [5, 2, 1].find((k) => k * ten <= n) * ten;
}

// most is the highest and lowest a set of points reaches with these bars.
export const most = (points, bars) => Math.max(0, ...points.map((p) => bars.reduce((n, b) => n + (b.of(p) ?? 0), 0)));

const bars = (points, list, x, width, y, down) => {
  const paths = list.map(() => "");
  for (const p of points) {
    let at = 0;
    list.forEach((b, i) => {
      const n = b.of(p);
      if (!n) return;
      // What there is is seen, however little beside the rest.
      const h = Math.max(1, Math.abs(y(at + n) - y(at)));
      const from = down ? y(at) : y(at) - h;
      paths[i] += `M${x(p).toFixed(1)} ${from.toFixed(1)}h${width(p).toFixed(1)}v${h.toFixed(1)}h${(-width(p)).toFixed(1)}z`;
      at += n;
    });
  }
  return list.map((b, i) => paths[i] && svg("path", { class: b.class, d: paths[i] }));
};

// spark is a chart so small that it has neither numbers nor a readout.
export function spark({ points, from, to, step, up, peak, label }) {
  const W = 120, H = 22, top = peak || most(points, up) || 1;
  const scale = W / (to - from);
  const x = (p) => (p.at - from) * scale, width = () => Math.max(0.8, step * scale * 0.85);
  const known = points.length ? Math.max(0, x(points[0])) : W;
  return svg("svg", { class: "spark", viewBox: `0 0 ${W} ${H}`, preserveAspectRatio: "none", role: "img", "aria-label": label },
    known > 1 && svg("rect", { class: "void", x: 0, y: 0, width: known.toFixed(1), height: H }),
    bars(points, up, x, width, (v) => H - (v / top) * (H - 1)),
    svg("path", { class: "ground", d: `M0 ${H - 0.5}h${W}` }));
}

// chart makes one; its show(data) draws: {from, to, step, points, up, down, lines,
// marks: [{time, label, title}], peak, unit(n), grid(high), readout(point or null), loaded, error}.
export function chart({ label, height = 130, onselect }) {
  const id = `void-${++ids}`;
  const said = el("p", { class: "readout" });
  const plot = svg("svg", { class: "chart", height, tabindex: 0, role: "slider", "aria-label": label, "aria-valuemin": 0 });
  const figure = el("figure", { class: "plot", "data-own": true, "data-key": label }, said, plot);
  let data = null, cursor = -1, anchor = -1, width = 0;

  const scale = () => width / (data.to - data.from);
  const slots = () => Math.max(1, Math.ceil((data.to - data.from) / data.step));
  const slotAt = (clientX) => Math.min(slots() - 1, Math.max(0, Math.floor((clientX - plot.getBoundingClientRect().left) / scale() / data.step)));
  const times = (i) => [data.from + i * data.step, Math.min(data.to, data.from + (i + 1) * data.step)];

  function draw() {
    if (!data || !width) return;
    const { points, from, to, step, up = [], down = [], lines = [] } = data;
    const floor = height - FOOT, x = (t) => (t - from) * scale();
    const high = Math.max(data.peak ?? 0, most(points, up), ...lines.map((l) => most(points, [l]))), low = most(points, down);
    const base = TOP + ((floor - TOP) * (high || 1)) / ((high || 1) + low);
    const y = (v) => base - (v / (high || 1)) * (base - TOP), below = (v) => base + (low ? (v / low) * (floor - base) : 0);
    const bar = (p) => Math.max(1, Math.min(x(p.at + step), width) - x(p.at) - (step * scale() > 4 ? 1 : 0));
    const known = points.length ? Math.max(0, x(points[0].at)) : data.loaded ? width : 0;
    put(plot,
      svg("defs", {}, svg("pattern", { id, width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" }, svg("path", { class: "hatch", d: "M0 0v6" }))),
      known > 0.5 && [svg("rect", { class: "void", x: 0, y: TOP, width: known, height: floor - TOP, fill: `url(#${id})` }),
        known > 90 && svg("text", { class: "axis", x: 6, y: floor - 6 }, "unknown")],
      bars(points, up, (p) => x(p.at), bar, y), bars(points, down, (p) => x(p.at), bar, below, true),
      lines.map((l) => svg("path", { class: l.class, d: line(points, l.of, (p) => x(p.at) + bar(p) / 2, y) })),
      svg("path", { class: "ground", d: `M0 ${Math.round(base) + 0.5}H${width}` }),
      high > 0 && grid(high, y), ticks(x, floor), flags(x, floor), mark(x, floor));
    plot.setAttribute("viewBox", `0 0 ${width} ${height}`);
    speak();
  }

  function grid(high, y) {
    const at = data.grid(high), h = Math.round(y(at)) + 0.5;
    return [svg("path", { class: "grid", d: `M0 ${h}H${width}` }), svg("text", { class: "axis", x: 2, y: h - 4 }, data.unit(at))];
  }

  function ticks(x, floor) {
    const { from, to } = data, gap = TICKS.find((t) => (to - from) / t <= width / 76) ?? 30 * 864e5, shift = offset(to), out = [];
    for (let t = Math.ceil((from + shift) / gap) * gap - shift; t < to; t += gap) {
      if (x(t) < 18 || x(t) > width - 18) continue;
      out.push(svg("path", { class: "tick", d: `M${x(t).toFixed(1)} ${floor}v4` }), svg("text", { class: "axis mid", x: x(t).toFixed(1), y: height - 3 }, tickLabel(t)));
    }
    return out;
  }

  const flags = (x, floor) => (data.marks ?? []).map((m) => ({ ...m, x: x(Date.parse(m.time)) })).filter((m) => m.x >= 0 && m.x <= width).map((m) =>
    svg("g", { class: "flag" }, svg("title", {}, m.title), svg("path", { d: `M${m.x.toFixed(1)} 2V${floor}` }),
      svg("text", { class: m.x > width - 80 ? "axis end" : "axis", x: m.x + (m.x > width - 80 ? -4 : 4), y: 11 }, `⚑ ${m.label}`)));

  function mark(x, floor) {
    if (cursor < 0) return null;
    const [a, b] = [Math.min(cursor, anchor < 0 ? cursor : anchor), Math.max(cursor, anchor)];
    const left = x(times(a)[0]);
    return svg("rect", { class: "cursor", x: left, y: TOP, width: Math.max(1, x(times(b)[1]) - left), height: floor - TOP });
  }

  function speak() {
    const [a, b] = cursor < 0 ? [0, slots() - 1] : [Math.min(cursor, anchor < 0 ? cursor : anchor), Math.max(cursor, anchor)];
    const from = times(a)[0], to = times(b)[1];
    const inside = data.points.filter((p) => p.at >= from && p.at < to);
    const what = data.error ? "could not be read" : !data.loaded ? "reading…" : inside.length ? data.readout(inside, to - from) : "unknown: not counted yet then";
    const text = [`${hour(from)} – ${hour(to)}`, what];
    put(said, el("b", {}, text[0]), " ", text[1]);
    for (const [name, value] of Object.entries({ max: slots() - 1, now: Math.max(0, cursor), text: text.join(": ") })) plot.setAttribute(`aria-value${name}`, value);
  }

  function move(to, extend) {
    if (extend && anchor < 0) anchor = Math.max(0, cursor);
    if (!extend) anchor = -1;
    cursor = to;
    draw();
  }

  const choose = () => onselect && anchor >= 0 && onselect(times(Math.min(anchor, cursor))[0], times(Math.max(anchor, cursor))[1]);
  const clear = () => move(-1, false);
  let pressed = -1;
  plot.onpointerdown = (e) => {
    if (!data) return;
    if (e.pointerType === "mouse" && onselect) {
      pressed = slotAt(e.clientX);
      plot.setPointerCapture(e.pointerId);
    } else move(slotAt(e.clientX), false);
  };
  plot.onpointermove = (e) => {
    if (!data) return;
    const at = slotAt(e.clientX);
    if (pressed >= 0 && at !== pressed) anchor = pressed;
    move(at, pressed >= 0 && anchor >= 0);
  };
  plot.onpointerup = () => {
    if (pressed >= 0) choose();
    pressed = -1;
  };
  plot.onpointerleave = (e) => e.pointerType === "mouse" && pressed < 0 && document.activeElement !== plot && clear();
  plot.onblur = clear;
  plot.onkeydown = (e) => {
    const end = data ? slots() - 1 : -1;
    const to = { ArrowLeft: cursor < 0 ? end : Math.max(0, cursor - 1), ArrowRight: cursor < 0 ? 0 : Math.min(end, cursor + 1), Home: 0, End: end, Escape: -1 }[e.key];
    if (to !== undefined && (e.key !== "Escape" || cursor >= 0)) move(to, e.shiftKey && to >= 0);
    else if (e.key === "Enter") choose();
    else return;
    e.preventDefault();
    e.stopPropagation();
  };
  new ResizeObserver(() => {
    width = plot.clientWidth;
    draw();
  }).observe(plot);
  figure.show = (next) => {
    data = next;
    draw();
  };
  return figure;
}

function line(points, of, x, y) {
  let d = "", on = false;
  for (const p of points) {
    const v = of(p);
    const has = v !== null && v !== undefined;
    if (has) d += `${on ? "L" : "M"}${x(p).toFixed(1)} ${y(v).toFixed(1)}${on ? "" : "h0.01"}`;
    on = has;
  }
  return d;
}
