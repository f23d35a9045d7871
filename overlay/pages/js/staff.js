// Staff in the pages: who is signed in (by an HttpOnly cookie that no script sees), and the requests they make.

import { Problem, jsonOf, request, requestJson } from "./problem.js";

const SAFE = new Set(["GET", "HEAD"]);

let asking = null; // the promise of who is signed in; one request for all who ask

/** Who is signed in, {name, role, acts, csrf}, or null. Throws Problem if the server doesn't say. */
export function signedIn() {
  asking ??= ask().catch((error) => {
    asking = null;
    throw error;
  });
  return asking;
}

/** Sign in with {name, password} or {admin_token}; who that is. Throws Problem. */
export async function signIn(fields) {
  const options = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(fields) };
  const staff = await requestJson("/v1/login", options);
  asking = Promise.resolve(staff);
  return staff;
}

/** End the session here and on the server. */
export async function signOut() {
  const staff = await signedIn();
  if (staff) await request("/v1/logout", { method: "POST", headers: { "X-CSRF-Token": staff.csrf } });
  asking = Promise.resolve(null);
}

/**
 * The JSON that the server answers to staff, null for an empty answer. `body` is sent as JSON, a FormData as it is;
 * `key` as Idempotency-Key. Throws Problem; who isn't signed in is led to the login and back.
 */
export async function staffJson(url, { method = "GET", body, headers = {}, key } = {}) {
  const sent = { method, headers: { ...headers } };
  if (key) sent.headers["Idempotency-Key"] = key;
  if (body instanceof FormData) sent.body = body;
  else if (body !== undefined) {
    sent.body = JSON.stringify(body);
    sent.headers["Content-Type"] = "application/json";
  }
  try {
    return await jsonOf(await (SAFE.has(method) ? request(url, sent) : signed(url, sent)));
  } catch (error) {
    if (error instanceof Problem && error.status === 401) goToLogin();
    throw error;
  }
}

/** To the login, and from there back to this page. */
export function goToLogin() {
  asking = null;
  location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
}

async function ask() {
  try {
    const caller = await requestJson("/v1/me");
    return caller.csrf ? caller : null;
  } catch (error) {
    if (error instanceof Problem && error.status === 401) return null;
    throw error;
  }
}

// Another tab may have signed in anew meanwhile: then the token we know is the old session's.
async function signed(url, sent) {
  const used = (await signedIn())?.csrf;
  const once = (csrf) => request(url, { ...sent, headers: { ...sent.headers, ...(csrf && { "X-CSRF-Token": csrf }) } });
  try {
    return await once(used);
  } catch (error) {
    if (!(error instanceof Problem) || error.status !== 403) throw error;
    asking = null;
    const now = (await signedIn())?.csrf;
    if (!now || now === used) throw error;
    return once(now);
  }
}
