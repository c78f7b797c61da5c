// Making elements, and patching them; dialogs and notices. Data becomes text
// nodes and attributes only: nothing may turn a string into HTML.

// el makes an element: el("a", {class: "x", href: "/"}, "text", child, …).
// An attribute that is null or false is left out; onclick and the like are
// properties, of which patch knows.
export const el = (name, attributes = {}, ...children) => fill(document.createElement(name), attributes, children);
export const svg = (name, attributes = {}, ...children) => fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);

function fill(node, attributes, children) {
  node.append(...children.flat(Infinity).filter(real)); // first: the value of a select is one of them
  const given = Object.keys(attributes).filter((name) => real(attributes[name]) || attributes[name] === "");
  node.given = given.filter((name) => name.startsWith("on") || name === "value" || name === "checked");
  for (const name of given) {
    if (node.given.includes(name)) node[name] = attributes[name];
    else node.setAttribute(name, attributes[name] === true ? "" : String(attributes[name]));
  }
  return node;
}

const real = (c) => c !== null && c !== undefined && c !== false && c !== "";

// put makes a node hold these children, and touches only what differs: what
// somebody selected, focused, folded or scrolled stays. Elements with a data-key
// are known by it; those with data-own look after what they hold themselves.
export function put(node, ...children) {
  patchChildren(node, children.flat(Infinity).filter(real).map((c) => (c instanceof Node ? c : document.createTextNode(c))));
  return node;
}

const key = (n) => n.dataset?.key ?? "";
const kind = (n) => `${n.nodeName}.${n.getAttribute?.("class")?.split(" ")[0] ?? ""}`;

function patchChildren(old, list) {
  const keyed = new Map([...old.childNodes].filter(key).map((c) => [key(c), c]));
  const wanted = new Set(list.map(key).filter(Boolean));
  let at = old.firstChild;
  const skip = () => {
    const gone = at;
    at = at.nextSibling;
    gone.remove();
  };
  for (const want of list) {
    while (at && key(at) && !wanted.has(key(at))) skip();
    let have = keyed.get(key(want));
    if (!key(want)) {
      let like = at;
      while (like && (key(like) || kind(like) !== kind(want))) like = key(like) ? null : like.nextSibling;
      while (like && at !== like) skip();
      have = like;
    }
    if (!have) {
      old.insertBefore(want, at);
      continue;
    }
    if (have === at) at = at.nextSibling;
    else old.insertBefore(have, at);
    patch(have, want);
  }
  while (at) skip();
}

function patch(old, fresh) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  if (old === fresh || "own" in old.dataset) return;
  const names = new Set([...old.getAttributeNames(), ...fresh.getAttributeNames()]);
  names.delete("open"); // whether it is folded is the reader's
  for (const name of names) {
    const value = fresh.getAttribute(name);
    if (value === null) old.removeAttribute(name);
    else if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const name of old.given ?? []) if (name.startsWith("on")) old[name] = null;
  for (const name of fresh.given ?? []) {
    if (old[name] !== fresh[name] && !(name === "value" && old === document.activeElement)) old[name] = fresh[name];
  }
  old.given = fresh.given;
  patchChildren(old, [...fresh.childNodes]);
}

export const button = (text, onclick, attributes = {}) => el("button", { type: "button", onclick, ...attributes }, text);

// select makes a choice of a few values, each as [value, words].
export const select = (attributes, values, value) => el("select", { ...attributes, value }, values.map(([v, words]) => el("option", { value: v }, words)));

// fact is a name and a value in a list of such; href makes the value a link.
export const fact = (name, value, href, kind) => el("div", { class: kind }, el("dt", {}, name), el("dd", {}, href ? el("a", { href }, value) : value));

// notice says what was done, or went wrong, for some seconds.
export function notice(text) {
  const n = el("div", { class: "notice" }, text, button("×", () => n.remove(), { class: "plain", "aria-label": "Close" }));
  document.getElementById("notices").append(n);
  setTimeout(() => n.remove(), 6000);
}

let said = -Infinity;

// say tells a screen reader something, at most every few seconds.
export function say(text) {
  if (performance.now() - said < 4000) return;
  said = performance.now();
  document.getElementById("said").textContent = text;
}

// dialog shows a modal dialog and returns it. Esc and Cancel close it; it is
// removed then, and closed is called.
export function dialog({ title, body, actions = [], cancel = "Cancel", closed, kind = "" }) {
  const d = el("dialog", { class: kind, "aria-labelledby": "dialog-title", onclose: () => {
    d.remove();
    closed?.();
  } },
  el("h2", { id: "dialog-title" }, title),
  el("div", { class: "dialog-body" }, body),
  el("div", { class: "dialog-actions" }, cancel && button(cancel, () => d.close(), { class: "cancel" }), actions));
  document.body.append(d);
  d.showModal();
  return d;
}

// problem shows an error where something would have been.
export function problem(title, err, again) {
  return el("div", { class: "empty bad", role: "alert" }, el("strong", {}, title), el("p", {}, err.message[0].toUpperCase() + err.message.slice(1)), again && button("Try again", again));
}

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    notice("Copied.");
  } catch {
    dialog({ title: "Copy this", cancel: "Close", body: [el("p", { class: "quiet" }, "The browser does not let this page copy by itself."), el("textarea", { rows: 8, readonly: true, "aria-label": "Text", value: text })] })
      .querySelector("textarea").select();
  }
}
