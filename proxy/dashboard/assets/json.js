// JSON as text: cut out and laid out without being parsed, so that every digit
// and key stays as it was sent. It may not be used to check JSON: it trusts that it is some.

// skip returns where the value that begins at or after i ends.
function skip(s, i) {
  i = space(s, i);
  if (s[i] === '"') {
    for (i++; i < s.length && s[i] !== '"'; i++) if (s[i] === "\\") i++;
    return i + 1;
  }
  if (s[i] === "{" || s[i] === "[") {
    let depth = 0;
    while (i < s.length) {
      const c = s[i];
      if (c === '"') {
        i = skip(s, i);
        continue;
      }
      if (c === "{" || c === "[") depth++;
      if (c === "}" || c === "]") depth--;
      i++;
      if (depth === 0) return i;
    }
    return i;
  }
  while (i < s.length && !/[\s,\]}]/.test(s[i])) i++;
  return i;
}

function space(s, i) {
  while (i < s.length && /\s/.test(s[i])) i++;
  return i;
}

// cut returns the text of the value at a path of keys and indexes; undefined if there is none.
export function cut(s, ...path) {
  let from = space(s, 0);
  for (const step of path) {
    let i = from;
    if (s[i] !== (typeof step === "number" ? "[" : "{")) return undefined;
    let found = false;
    i = space(s, i + 1);
    for (let n = 0; i < s.length && s[i] !== "]" && s[i] !== "}"; n++) {
      let key = n;
      if (typeof step === "string") {
        const end = skip(s, i);
        key = JSON.parse(s.slice(i, end));
        i = space(s, space(s, end) + 1); // the colon
      }
      if (key === step) {
        from = i;
        found = true;
        break;
      }
      i = space(s, skip(s, i));
      if (s[i] === ",") i = space(s, i + 1);
    }
    if (!found) return undefined;
  }
  return s.slice(from, skip(s, from));
}

// tokens lays a value out: a list of [kind, text], kind being key, string,
// number, word or "" for what stands between them.
export function tokens(s) {
  const out = [];
  const stack = [];
  const between = (text) => out.push(["", text]);
  const line = () => "\n" + "  ".repeat(stack.length);
  for (let i = space(s, 0); i < s.length; i = space(s, i)) {
    const c = s[i];
    if (c === "{" || c === "[") {
      const end = space(s, i + 1);
      if (s[end] === "}" || s[end] === "]") {
        between(c + s[end]);
        i = end + 1;
        continue;
      }
      stack.push(c);
      between(c + line());
      i++;
    } else if (c === "}" || c === "]") {
      stack.pop();
      between(line() + c);
      i++;
    } else if (c === ",") {
      between("," + line());
      i++;
    } else if (c === ":") {
      between(": ");
      i++;
    } else {
      const end = Math.max(skip(s, i), i + 1);
      const text = s.slice(i, end);
      let kind = "word";
      if (c === '"') kind = s[space(s, end)] === ":" && stack.at(-1) === "{" ? "key" : "string";
      else if (c === "-" || (c >= "0" && c <= "9")) kind = "number";
      out.push([kind, text]);
      i = end;
    }
  }
  return out;
}

// pretty is a value laid out as text.
export const pretty = (s) => tokens(s).map((t) => t[1]).join("");

// leaves lists the values of a text that hold no others, as [path, text].
export function leaves(s) {
  const out = [];
  const walk = (from, path) => {
    if (s[from] !== "{" && s[from] !== "[") return out.push([path, s.slice(from, skip(s, from))]);
    let i = space(s, from + 1);
    if (s[i] === "}" || s[i] === "]") out.push([path, s[from] + s[i]]);
    for (let n = 0; i < s.length && s[i] !== "]" && s[i] !== "}"; n++) {
      let step = `[${n}]`;
      if (s[from] === "{") {
        const end = skip(s, i);
        step = named(JSON.parse(s.slice(i, end)));
        i = space(s, space(s, end) + 1);
      }
      walk(i, path + step);
      i = space(s, skip(s, i));
      if (s[i] === ",") i = space(s, i + 1);
    }
  };
  walk(space(s, 0), "");
  return out;
}

// named is a key as jq writes it.
export const named = (key) => (/^[A-Za-z_]\w*$/.test(key) ? `.${key}` : `[${JSON.stringify(key)}]`);
