// Two clocks: the sidecar's, as far as this browser can tell, and how long ago
// it last said anything.

let skew = 0; // milliseconds the sidecar's clock is ahead of the browser's
let heard = performance.now();
let answered = 0; // the sidecar's time of the last answer; 0 before the first

// time is what the sidecar's clock shows now.
export const time = () => Date.now() + skew;

// noteAnswer notes an answer. Its Date, if it has one, tells of the clock: it is a whole
// second between when it was asked for, by performance.now, and now.
export function noteAnswer(date, asked) {
  const at = Date.parse(date);
  if (at) skew = Math.min(Math.max(skew, at - Date.now()), at + 1000 - (Date.now() - (performance.now() - asked)));
  heard = performance.now();
  answered = time();
}

// age is for how many milliseconds nothing was heard; last is when it was.
export const age = () => performance.now() - heard;
export const last = () => answered;
