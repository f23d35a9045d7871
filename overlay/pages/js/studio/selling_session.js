// Who sells in this studio, and the requests made in that name.
//
// Unlike elsewhere, a session that has ended leads to no other page: the camera may be live in this one.

import { Problem, jsonOf, request, requestJson } from "../problem.js";
import { signIn, signOut, signedIn } from "../staff.js";

export class SellingSession {
  who = null; // {name, role, acts, csrf}
  known = false; // whether the server has said who it is

  #listeners = [];

  /** `listener()` is called whenever somebody has signed in or out. */
  onChange(listener) {
    this.#listeners.push(listener);
  }

  async start() {
    try {
      this.#is(await signedIn());
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.#is(null);
    }
  }

  may(act) {
    return this.who?.acts.includes(act) ?? false;
  }

  /** Throws Problem. */
  async signIn(fields) {
    this.#is(await signIn(fields));
  }

  /** Signed out here even where the server no longer knew the session; throws Problem where it didn't answer. */
  async signOut() {
    try {
      await signOut();
    } catch (error) {
      if (!(error instanceof Problem) || ![401, 403].includes(error.status)) throw error;
    }
    this.#is(null);
  }

  /** The JSON of a good answer, null for an empty one; throws Problem. `key` goes as Idempotency-Key. */
  async send(url, { method = "GET", body, headers = {}, key } = {}) {
    const sent = { method, headers: { ...headers, ...(key && { "Idempotency-Key": key }) } };
    if (body !== undefined) {
      sent.body = JSON.stringify(body);
      sent.headers["Content-Type"] = "application/json";
    }
    return this.signed(async (signature) => {
      const own = method === "GET" ? {} : signature;
      const response = await request(url, { ...sent, headers: { ...sent.headers, ...own } });
      return jsonOf(response);
    });
  }

  /** Do what `act(headers)` does with the session's headers: once more if another tab has renewed it. Throws Problem. */
  async signed(act) {
    const used = this.who?.csrf;
    try {
      return await act(signature(used));
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (error.status === 401) this.#is(null);
      if (error.status !== 403 || !(await this.#renewed(used))) throw error;
      return act(signature(this.who.csrf));
    }
  }

  async #renewed(used) {
    const now = await requestJson("/v1/me");
    if (!now.csrf || now.csrf === used) return false;
    this.#is(now);
    return true;
  }

  #is(who) {
    this.who = who;
    this.known = true;
    for (const listener of this.#listeners) listener();
  }
}

function signature(csrf) {
  return csrf ? { "X-CSRF-Token": csrf } : {};
}
