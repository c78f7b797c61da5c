// A filter is one text, the q of the URL: words such as route:crm-* status:5xx
// -verdict:delivered text:"acme corp". It is what lists are asked by, and what
// tells whether a new entry belongs to one.

const VERDICTS = ["delivered", "retry", "dead"];

// The words, what lists know them, and their values as far as they are few.
const words = {
  route: { of: "log deliveries", help: "name of a route; * and ? stand for others" },
  type: { of: "log deliveries", help: "signal type; * and ? stand for others" },
  status: { of: "log", help: "of the answer: 503, 5xx, 500,503", values: ["2xx", "3xx", "4xx", "5xx", "401", "410", "429", "503"] },
  verdict: { of: "log", help: "how an attempt ended", values: ["failed", ...VERDICTS] },
  text: { of: "log", help: "in the error or the answer" },
  state: { of: "deliveries", help: "where a delivery stands", values: ["pending", "held", "dead", "delivered"] },
  reason: { of: "deliveries", help: "why it is dead", values: ["gone", "exhausted", "transform", "filtered", "too_old", "discarded"] },
  body: { of: "deliveries", help: "in the signal or the body" },
  signal: { of: "log deliveries", help: "id of a signal" },
  delivery: { of: "log", help: "id of a delivery" },
  since: { of: "log deliveries", help: "15m, 24h, 7d back, or a time", values: ["15m", "1h", "6h", "24h", "7d", "30d"] },
  until: { of: "log deliveries", help: "a duration back, or a time", values: ["15m", "1h", "24h"] },
};

const alias = { signal_type: "type", "signal-type": "type", id: "delivery" };

// parse takes a text apart: {word, value, not} each; word "" is a bare one.
function parse(text) {
  const terms = [];
  for (const [, not, word, quoted, plain] of text.matchAll(/(-?)(?:([a-z_-]+):)?(?:"((?:[^"\\]|\\.)*)"?|([^\s"]\S*)|(?=\s|$))/g)) {
    const value = quoted?.replace(/\\(.)/g, "$1") ?? plain ?? "";
    if (value || word) terms.push({ word: alias[word] ?? word ?? "", value, not: not === "-" });
  }
  return terms.map((t) => (t.word === "" || t.word in words ? t : { word: "", value: `${t.word}:${t.value}`, not: t.not }));
}

const quote = (v) => (/^[^\s"\\]+$/.test(v) ? v : `"${v.replace(/["\\]/g, "\\$&")}"`);
const format = (terms) => terms.map((t) => `${t.not ? "-" : ""}${t.word ? t.word + ":" : ""}${quote(t.value)}`).join(" ");

// add gives a text one more word; another of the same name makes room for it.
export function add(text, word, value) {
  return format([...parse(text).filter((t) => t.word !== word), { word, value, not: false }]);
}

// compile makes of a text what a list ("log" or "deliveries") needs: params to
// ask by, test for what they cannot say and for new entries, and a fault for people.
export function compile(text, list, known = { routes: [] }) {
  const params = {}, tests = [], terms = parse(text);
  let fault = "";
  for (const t of terms) {
    if (!t.value) continue;
    const { word, value, not } = t.word ? t : bare(t, list, known);
    if (!words[word].of.includes(list)) {
      fault ||= `${word}: filters ${list === "log" ? "deliveries" : "attempts"} only, so it is ignored here.`;
      continue;
    }
    if (not && /^(body|since|until)$/.test(word)) {
      fault ||= `There is no -${word}: write it without the minus.`;
      continue;
    }
    const name = word === "type" ? "signal_type" : word;
    if (params[name] !== undefined && !not) fault ||= `${word}: is given twice; the first one counts.`;
    else if (!not) params[name] = value;
    else if (word === "verdict") params.verdict ??= VERDICTS.filter((v) => !is(v, value)).join(",") || undefined;
    tests.push((e) => says(e, word, value) !== not);
  }
  return { params, fault, terms, test: (e) => tests.every((t) => t(e)) };
}

function bare({ value, not }, list, known) {
  const word = value.startsWith("dlv_") && list === "log" ? "delivery" : value.startsWith("sig_") ? "signal" : known.routes.includes(value) ? "route" : known.types?.has(value) ? "type" : list === "log" ? "text" : "body";
  return { word, value, not };
}

const is = (verdict, list) => list.split(",").some((v) => v === verdict || (v === "failed" && verdict !== "delivered"));

// says tells whether an entry of the log, or a delivery, is one of these. What only the
// sidecar can know (times, bodies) is taken as said.
function says(e, word, value) {
  switch (word) {
    case "route": return glob(value).test(e.route);
    case "type": return glob(value).test(e.signal_type);
    case "status": return value.split(",").some((v) => (/^\dxx$/.test(v) ? String(e.status ?? "")[0] === v[0] : String(e.status ?? "") === v));
    case "verdict": return is(e.verdict, value);
    case "state": case "reason": case "signal": return e[word] === value;
    case "delivery": return e.delivery === value;
    case "text": return `${e.error ?? ""}\n${e.response ?? ""}`.toLowerCase().includes(value.toLowerCase());
    case "until": return !e.live;
    default: return true;
  }
}

export const glob = (pattern) => new RegExp("^" + pattern.replace(/[.+^${}()|[\]\\]/g, "\\$&").replaceAll("*", ".*").replaceAll("?", ".") + "$");

// suggest lists what could stand where a text is being typed, for the term before the
// cursor: [text, help, where the term begins].
export function suggest(text, cursor, list, known) {
  const head = text.slice(0, cursor), from = head.search(/(?:[^\s"]|"[^"]*"?)*$/);
  const [, not, name, colon, value] = /^(-?)([^:]*)(:?)(.*)$/s.exec(head.slice(from)), word = alias[name] ?? name;
  const some = { route: known.routes, type: [...known.types] };
  const found = colon ? (some[word] ?? words[word]?.values ?? []).filter((v) => v.includes(value) && v !== value).map((v) => [`${word}:${quote(v)}`])
    : [...Object.keys(words).filter((w) => words[w].of.includes(list) && w.startsWith(name)).map((w) => [`${w}:`, words[w].help]),
      ...known.routes.filter((r) => name && r.includes(name)).map((r) => [`route:${r}`])];
  return found.slice(0, 10).map(([t, help]) => [not + t, help, from]);
}
