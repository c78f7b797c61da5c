// Small drawings of a route's last hours. Colours come from the style sheet;
// each drawing says in words what it shows.

import { svg } from "./dom.js";
import { moment, took } from "./format.js";
import { quantile } from "./live.js";

const WIDTH = 288;

// bars draws the attempts of each part: delivered below, failed on top.
export function bars(parts) {
  const height = 44;
  const most = Math.max(1, ...parts.map((p) => p.good + p.bad));
  const step = WIDTH / parts.length;
  const good = parts.reduce((n, p) => n + p.good, 0);
  const bad = parts.reduce((n, p) => n + p.bad, 0);
  const root = drawing("counts", height, `Attempts over time: ${good} delivered, ${bad} failed`);
  root.append(svg("line", { class: "ground", x1: 0, x2: WIDTH, y1: height - 0.5, y2: height - 0.5 }));
  parts.forEach((p, i) => {
    const n = p.good + p.bad;
    if (n === 0) return;
    // Square roots, so that a few attempts are seen beside many.
    const tall = Math.max(3, (height - 4) * Math.sqrt(n / most));
    const red = p.bad === 0 ? 0 : Math.min(tall, Math.max(2, (tall * p.bad) / n));
    const x = i * step + 0.75, w = step - 1.5;
    const g = svg("g", {}, svg("title", {}, `${moment(p.from)} to ${moment(p.to)}: ${p.good} delivered, ${p.bad} failed`));
    g.append(svg("rect", { class: "target", x: i * step, y: 0, width: step, height }));
    if (tall > red) g.append(svg("rect", { class: "good", x, y: height - 1 - (tall - red), width: w, height: tall - red, rx: 1 }));
    if (red > 0) g.append(svg("rect", { class: "bad", x, y: height - 1 - tall, width: w, height: red, rx: 1 }));
    root.append(g);
  });
  return root;
}

// line draws the median time of each part, and as a shade up to the 95th percentile.
export function line(parts) {
  const height = 30;
  const step = WIDTH / parts.length;
  const points = parts.map((p, i) => ({ x: (i + 0.5) * step, mid: quantile(p.slow, 0.5), high: quantile(p.slow, 0.95), part: p })).filter((p) => p.mid !== null);
  const root = drawing("times", height, points.length ? `Time an attempt took: between ${took(Math.min(...points.map((p) => p.mid)))} and ${took(Math.max(...points.map((p) => p.mid)))} in the middle` : "No attempt to time");
  root.append(svg("line", { class: "ground", x1: 0, x2: WIDTH, y1: height - 0.5, y2: height - 0.5 }));
  if (points.length === 0) return root;
  const most = Math.max(...points.map((p) => p.high));
  const y = (ms) => (height - 3 - (height - 7) * Math.sqrt(ms / most)).toFixed(1);
  const at = (p, ms) => `${p.x.toFixed(1)},${y(ms)}`;
  root.append(svg("polygon", { class: "shade", points: [...points.map((p) => at(p, p.high)), ...points.map((p) => at(p, p.mid)).reverse()].join(" ") }));
  root.append(svg("polyline", { class: "line", points: points.map((p) => at(p, p.mid)).join(" ") }));
  for (const p of points) {
    root.append(svg("g", {},
      svg("title", {}, `${moment(p.part.from)} to ${moment(p.part.to)}: median ${took(p.mid)}, 95 % within ${took(p.high)}`),
      svg("rect", { class: "target", x: p.x - step / 2, y: 0, width: step, height }),
      points.length < 8 && svg("circle", { class: "dot", cx: p.x, cy: y(p.mid), r: 1.8 })));
  }
  return root;
}

function drawing(kind, height, words) {
  return svg("svg", { class: `chart ${kind}`, viewBox: `0 0 ${WIDTH} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": words });
}
