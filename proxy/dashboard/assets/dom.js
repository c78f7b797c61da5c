// Making elements, dialogs and notices. Data becomes text nodes and attributes
// only: nothing may turn a string into HTML.

// el makes an element: el("a", {class: "x", href: "/"}, "text", child, …).
// An attribute that is null or false is left out; onclick and the like listen.
export function el(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

const SVG = "http://www.w3.org/2000/svg";

// svg is el for drawings.
export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "value") node.value = value;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat(Infinity).filter((c) => c !== null && c !== undefined && c !== false));
  return node;
}

// put replaces what a node holds, unless it is the same text already.
export function put(node, ...children) {
  if (children.length === 1 && typeof children[0] === "string") {
    if (node.textContent !== children[0]) node.textContent = children[0];
    return node;
  }
  node.replaceChildren(...children.flat(Infinity).filter((c) => c !== null && c !== undefined && c !== false));
  return node;
}

// option and select make a choice of a few values; "" is written as any.
export function select(name, label, values, value, any) {
  const options = values.map((v) => el("option", { value: v }, v));
  if (any !== undefined) options.unshift(el("option", { value: "" }, any));
  if (value && !values.includes(value)) options.push(el("option", { value }, value));
  const s = el("select", { name, "aria-label": label }, options);
  s.value = value ?? "";
  return s;
}

// notice says what was done, or went wrong, for some seconds.
export function notice(text, bad = false) {
  const n = el("div", { class: bad ? "notice bad" : "notice" }, text,
    el("button", { class: "plain", "aria-label": "Close", onclick: () => n.remove() }, "×"));
  document.getElementById("notices").append(n);
  setTimeout(() => n.remove(), bad ? 15000 : 6000);
}

let quiet = 0;

// say tells a screen reader something, at most every few seconds.
export function say(text) {
  if (Date.now() - quiet < 4000) return;
  quiet = Date.now();
  document.getElementById("said").textContent = text;
}

// dialog shows a modal dialog and returns it. Esc and Cancel close it; it is
// removed then, and closed is called.
export function dialog({ title, body, actions = [], cancel = "Cancel", closed }) {
  const d = el("dialog", { "aria-labelledby": "dialog-title" },
    el("h2", { id: "dialog-title" }, title),
    el("div", { class: "dialog-body" }, body),
    el("div", { class: "dialog-actions" },
      cancel && el("button", { type: "button", onclick: () => d.close() }, cancel), actions));
  d.addEventListener("close", () => {
    d.remove();
    closed?.();
  });
  document.body.append(d);
  d.showModal();
  return d;
}

// problem shows an error where something would have been.
export function problem(title, err, again) {
  return el("div", { class: "empty bad", role: "alert" }, el("strong", {}, title), el("p", {}, sentence(err.message)),
    again && el("button", { onclick: again }, "Try again"));
}

// sentence gives an error's text its capital and full stop.
export function sentence(s) {
  if (!s) return "";
  s = s[0].toUpperCase() + s.slice(1);
  return /[.!?…]$/.test(s) ? s : s + ".";
}
