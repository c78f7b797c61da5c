// JSON as text: taken apart without being parsed, so that every digit and key stays
// as it was sent. It may not be used to check JSON: it trusts that it is some.

// skip returns where the value that begins at or after i ends.
function skip(s, i) {
  i = space(s, i);
  if (s[i] === '"') {
    for (i++; i < s.length && s[i] !== '"'; i++) if (s[i] === "\\") i++;
    return i + 1;
  }
  if (s[i] !== "{" && s[i] !== "[") {
    while (i < s.length && !/[\s,:\]}]/.test(s[i])) i++;
    return i;
  }
  for (let depth = 0; i < s.length;) {
    if (s[i] === '"') {
      i = skip(s, i);
      continue;
    }
    if (s[i] === "{" || s[i] === "[") depth++;
    if (s[i] === "}" || s[i] === "]") depth--;
    i++;
    if (depth === 0) break;
  }
  return i;
}

function space(s, i) {
  while (i < s.length && /\s/.test(s[i])) i++;
  return i;
}

// members lists what an object or array holds, as {key, text}; the key of an element
// is its number. It is null for any other value.
export function members(s) {
  let i = space(s, 0);
  const object = s[i] === "{", out = [];
  if (!object && s[i] !== "[") return null;
  for (i = space(s, i + 1); i < s.length && s[i] !== "]" && s[i] !== "}"; i = space(s, i)) {
    let key = out.length, from = i;
    if (object) {
      i = skip(s, from);
      key = s.slice(from, i);
      from = space(s, space(s, i) + 1); // behind the colon
    }
    i = skip(s, from);
    out.push({ key, text: s.slice(from, i) });
    i = space(s, i);
    if (s[i] === ",") i++;
  }
  return out;
}

// cut returns the text of the value at a path of keys and indexes; undefined if there is none.
export function cut(s, ...path) {
  for (const step of path) {
    s = members(s ?? "")?.find(({ key }) => (typeof key === "string" ? JSON.parse(key) : key) === step)?.text;
  }
  return s;
}

// pretty is a value laid out as text.
export function pretty(s, indent = "") {
  const list = members(s), inner = indent + "  ";
  if (!list?.length) return list ? s.trim()[0] + s.trim().at(-1) : s.trim();
  const [open, close] = s.trim()[0] === "{" ? "{}" : "[]";
  return `${open}\n${list.map(({ key, text }) => inner + (typeof key === "string" ? `${key}: ` : "") + pretty(text, inner)).join(",\n")}\n${indent}${close}`;
}

// leaves lists the values that hold no others, as [path, text].
export function leaves(s, path = "") {
  const list = members(s);
  return list?.length ? list.flatMap(({ key, text }) => leaves(text, path + step(key))) : [[path, list ? s.replace(/\s/g, "") : s]];
}

// step is a key or an index as jq writes it in a path.
export function step(key) {
  if (typeof key === "number") return `[${key}]`;
  return /^"[A-Za-z_]\w*"$/.test(key) ? `.${key.slice(1, -1)}` : `[${key}]`;
}
