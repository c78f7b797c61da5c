// The request of a delivery: as it was sent, and as a command. What is secret in
// it is never here; the command reads it from the environment.

import { button, copy, el } from "./dom.js";
import { when } from "./format.js";
import { headers } from "./tree.js";

// What the sidecar puts in place of a secret or a signature.
const secret = /\[[a-z ]+\]/;

const variable = (name) => name.toUpperCase().replace(/[^A-Z0-9]+/g, "_");
const quoted = (s) => `'${s.replaceAll("'", `'\\''`)}'`;

// shell writes a header for a shell: secrets as $NAME.
function header(name, value) {
  const parts = `${name}: ${value}`.split(secret);
  return parts.map((p) => (p ? quoted(p) : "")).join(`"$${variable(name)}"`);
}

// curl is the request as a command; $URL is the route's url, a secret, too.
export function curl(d, body) {
  const lines = [`# $${variable(d.route)}_URL is the url of the route ${d.route}, on ${d.request.target}`, `curl -X ${d.request.method} "$${variable(d.route)}_URL"`];
  for (const [name, value] of Object.entries(d.request.headers)) if (!/^content-length$/i.test(name)) lines.push(`  -H ${header(name, value)}`);
  lines.push(`  --data-binary ${quoted(body)}`);
  return lines[0] + "\n" + lines.slice(1).join(" \\\n");
}

// verify is the command that checks the signature of what a receiver got.
export function verify(d, body) {
  return [`printf %s ${quoted(body)} > body.json`,
    `# headers.txt: the headers as the receiver got them, a line each; the signature is not kept here`,
    `SIGNALPOST_SECRET="$${variable(d.route)}_SECRET" signalpost verify --headers headers.txt --body body.json`].join("\n");
}

export function request(d, body) {
  const r = d.request;
  return el("section", { class: "panel", "data-key": "request" },
    el("div", { class: "panel-head" }, el("h2", {}, r?.sent ? "Request, as it was sent" : "Request"),
      r && body !== null && el("span", { class: "buttons" }, button("Copy as curl", () => copy(curl(d, body))), button("Copy verify command", () => copy(verify(d, body))))),
    r ? [el("p", { class: "request-line" }, el("code", {}, `${r.method} ${r.target}/…`),
      el("span", { class: "quiet" }, r.sent ? [" Of the last attempt", r.time && [", ", when(r.time)], ". "] : " Nothing was sent yet: this is what would be, by today's config. ", "The path of the URL, secrets and signatures are never shown.")), headers(r.headers)]
      : el("p", { class: "quiet" }, d.body === null ? "There is no body, so there is no request." : "Its route is not in the config, so there is no request to show."));
}
