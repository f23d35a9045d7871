// What one check found, kept as keys of words so that the language may change under it.

/**
 * `level`: "ok", "warn", "bad", or "skip" where it could not be looked at. `what` and `fix` are keys, `values` fill
 * the blanks of both; `details` are [key, values].
 */
export function finding(level, what, { fix = null, values = {}, details = [] } = {}) {
  return { level, what, fix, values, details };
}

/** Whole milliseconds, at least 1. */
export function whole_ms(ms) {
  return Math.max(1, Math.round(ms));
}
