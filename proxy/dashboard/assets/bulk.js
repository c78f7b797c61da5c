// Work on many deliveries, that tells how far it is and can be stopped.

import { get, post, Problem } from "./api.js";

const SLICE = 1000; // deliveries asked for at once
const AT_ONCE = 4; // requests under way

// each does f for each id, and says how many were fine and how many refused.
export async function each(ids, f, progress, signal) {
  const left = [...ids], out = { fine: 0, refused: 0, why: "" };
  await Promise.all(Array.from({ length: AT_ONCE }, async () => {
    while (left.length) {
      signal.throwIfAborted();
      try {
        await f(left.shift());
        out.fine++;
      } catch (err) {
        if (!(err instanceof Problem) || !err.status) throw err;
        out.refused++;
        out.why = err.message;
      }
      progress(out.fine + out.refused, ids.length);
    }
  }));
  return out;
}

// slices asks for all that match a filter, newest first, about a thousand at a
// time: each slice is what was made between two moments, so that what comes back
// into the filter meanwhile is not met again.
export async function slices(path, filter, total, progress, signal) {
  let n = 0, until = filter.until;
  const { reshape, status, ...list } = filter; // which GET /deliveries does not know
  if (total <= SLICE) return JSON.parse(await post(path, filter, signal)).matched;
  progress(0, total);
  for (;;) {
    signal.throwIfAborted();
    const { deliveries, next } = await get("/deliveries", { ...list, until, limit: SLICE }, signal);
    const since = next ? deliveries.at(-1).created : filter.since;
    n += JSON.parse(await post(path, { ...filter, since, until }, signal)).matched;
    progress(Math.min(n, total), total);
    if (!next) return n;
    until = since;
  }
}

