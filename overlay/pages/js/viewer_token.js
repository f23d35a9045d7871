// The viewer's token. A public room gives its visitor a guest token, whose `sub` (who the orders belong to)
// has to survive reload, renewal and a change of room: it is kept in localStorage, and shown when a new one is asked for.
// A restricted room's token comes in the link's fragment (#token=…), which browsers never send to servers.

import { Problem, bearer, requestJson } from "./problem.js";
import { recall, remember, takeFromFragment } from "./storage.js";

const LAST_GUEST = "hawker.guest"; // of whichever room
const RENEW_BEFORE_MS = 5 * 60_000;

export class ViewerToken {
  #room;
  #asking = null;
  #guestless = false; // this room gives guests no token

  constructor(room) {
    this.#room = room;
    const invited = takeFromFragment("token");
    if (invited) remember(sessionStorage, this.#invitedKey, invited);
  }

  /** A token that is good for some minutes, or null if the room gives its visitors none. Throws Problem. */
  async get() {
    const invited = recall(sessionStorage, this.#invitedKey);
    if (invited || this.#guestless) return invited;
    const kept = recall(localStorage, this.#guestKey);
    return kept && expiry_ms(kept) - Date.now() > RENEW_BEFORE_MS ? kept : this.renew();
  }

  /** A new guest token with the old one's `sub`, or null. Callers at the same time share one request. */
  renew() {
    this.#asking ??= this.#ask().finally(() => (this.#asking = null));
    return this.#asking;
  }

  async #ask() {
    const old = recall(localStorage, this.#guestKey) ?? recall(localStorage, LAST_GUEST);
    const url = `/v1/rooms/${encodeURIComponent(this.#room)}/guest-token`;
    try {
      const { token } = await requestJson(url, { method: "POST", headers: bearer(old) });
      remember(localStorage, this.#guestKey, token);
      remember(localStorage, LAST_GUEST, token);
      return token;
    } catch (error) {
      this.#guestless = error instanceof Problem && [401, 403].includes(error.status);
      if (this.#guestless) return null;
      throw error;
    }
  }

  get #guestKey() {
    return `hawker.guest.${this.#room}`;
  }

  get #invitedKey() {
    return `hawker.token.${this.#room}`;
  }
}

/** When a JWT expires, ms since the epoch; Infinity if it doesn't say, 0 if it can't be read. */
export function expiry_ms(token) {
  try {
    const payload = token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/");
    const { exp } = JSON.parse(atob(payload));
    return exp === undefined ? Infinity : exp * 1000;
  } catch {
    return 0;
  }
}
