// Where the reader is: the parameters of the URL, and steps from there.

export const params = () => Object.fromEntries(new URLSearchParams(location.search));

// INNER marks an entry of the tab's history that was reached from this page.
export const INNER = { inner: true };

// url is the page with these parameters; empty ones are left out.
export function url(p) {
  const given = Object.entries(p).filter(([, v]) => v !== undefined && v !== null && v !== "");
  // A filter is read by people: what need not be escaped in a query is not.
  return given.length ? "/?" + new URLSearchParams(given).toString().replace(/%3A/g, ":").replace(/%2C/g, ",").replace(/%2F/g, "/") : "/";
}

// go changes the URL as the reader does; replace is for while somebody types.
export function go(p, replace = false) {
  const to = url(p);
  if (to === location.pathname + location.search) return;
  if (replace) history.replaceState(history.state, "", to);
  else history.pushState(INNER, "", to);
  dispatchEvent(new Event("signalpost:url"));
}

// back goes where the reader came from, but never off the page.
export function back(otherwise = { view: "deliveries" }) {
  if (history.state?.inner) history.back();
  else go(otherwise);
}

export const toDelivery = (id) => url({ view: "delivery", id });
export const toSignal = (id) => url({ view: "signal", id });
export const toRoute = (name) => url({ view: "route", name });
export const toDeliveries = (q) => url({ view: "deliveries", q });
