// What the server answers when it refuses (RFC 9457 problem+json), and requests that throw it.

const REQUEST_TIMEOUT_MS = 10_000;

/** A refusal. `code` decides what happens next; `unreachable` and `aborted` are ours: no answer came. */
export class Problem extends Error {
  constructor(code, { status = 0, detail = "", retry_after_ms = null, extra = {} } = {}) {
    super(detail || code);
    this.name = "Problem";
    this.code = code;
    this.status = status;
    this.detail = detail;
    this.retry_after_ms = retry_after_ms;
    this.extra = extra; // what else the refusal says
  }
}

// For these the status says all that the pages act on, whatever finer code the server has.
export const CODE_BY_STATUS = { 401: "unauthorized", 403: "forbidden", 404: "not_found", 429: "too_many", 503: "unavailable" };

async function problemOf(response) {
  let body = {};
  try {
    body = await response.json();
  } catch {
    // A proxy's error page, or nothing at all: the status has to do.
  }
  const seconds = Number.parseFloat(response.headers.get("Retry-After") ?? "");
  return new Problem(CODE_BY_STATUS[response.status] ?? body.code ?? "refused", {
    status: response.status,
    detail: body.detail ?? body.title ?? `HTTP ${response.status}`,
    retry_after_ms: Number.isFinite(seconds) ? seconds * 1000 : null,
    extra: body,
  });
}

/** fetch() that returns only good answers: throws Problem for the others, for silence, and for `signal`. */
export async function request(url, { signal, ...options } = {}) {
  const controller = new AbortController();
  const abort = () => controller.abort();
  const timer = setTimeout(abort, REQUEST_TIMEOUT_MS);
  signal?.addEventListener("abort", abort);
  if (signal?.aborted) abort();
  try {
    const response = await fetch(url, { ...options, signal: controller.signal });
    if (!response.ok) throw await problemOf(response);
    return response;
  } catch (error) {
    if (error instanceof Problem) throw error;
    throw new Problem(signal?.aborted ? "aborted" : "unreachable", { detail: String(error) });
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
  }
}

/** The JSON of a good answer; anything else is no answer. */
export async function requestJson(url, options) {
  const response = await request(url, options);
  try {
    return await response.json();
  } catch (error) {
    throw new Problem("unreachable", { detail: String(error) });
  }
}

/** The JSON of an answer, null for an empty one. Throws Problem where it is none. */
export async function jsonOf(response) {
  const text = await response.text();
  try {
    return text ? JSON.parse(text) : null;
  } catch (error) {
    throw new Problem("unreachable", { detail: String(error) });
  }
}

/** `Authorization` for a token or key; no header for none. */
export function bearer(token) {
  return token ? { Authorization: `Bearer ${token}` } : {};
}
