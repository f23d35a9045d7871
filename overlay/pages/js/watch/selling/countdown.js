// How long is left until a moment of the server's clock, shown as minutes and seconds.

/** Whole seconds from `now_ms` to `until` (RFC 3339), at least 0; null for no moment. */
export function left_s(until, now_ms) {
  const until_ms = Date.parse(until ?? "");
  return Number.isNaN(until_ms) ? null : Math.max(0, Math.ceil((until_ms - now_ms) / 1000));
}

/** 9:05, 1:00:00. */
export function minutes(seconds) {
  const two = (number) => String(number).padStart(2, "0");
  const h = Math.floor(seconds / 3600);
  const m = Math.floor((seconds % 3600) / 60);
  return `${h ? `${h}:${two(m)}` : m}:${two(seconds % 60)}`;
}

/** Calls `tick` at each whole second of `now()` (ms), as long as the page lives. */
export function everySecond(now, tick) {
  tick();
  setTimeout(() => everySecond(now, tick), 1000 - (now() % 1000) + 5);
}
