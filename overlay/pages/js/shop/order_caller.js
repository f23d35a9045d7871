// Who the buyer is on the page of an order: the key of his link, or a guest's token of this browser, or staff.
//
// The key stands in the link's fragment, is taken out of the address bar at once, and lasts as long as the tab.

import { Problem, bearer, request, requestJson } from "../problem.js";
import { recall, remember, takeFromFragment } from "../storage.js";
import { ViewerToken } from "../viewer_token.js";

const TOKEN_KEYS = /^hawker\.(?:guest|token)\.(.+)$/;
const ROOMS_MOST = 5; // whose tokens are tried
const NOT_SEEN = [401, 403, 404];

export class OrderCaller {
  #url;
  #kept;
  #found; // the credential that opened the order; null: staff's cookie

  /** `id` of the order. */
  constructor(id) {
    this.#url = `/v1/orders/${encodeURIComponent(id)}`;
    this.#kept = `hawker.order.${id}`;
    const key = takeFromFragment("key");
    if (key) remember(sessionStorage, this.#kept, key);
  }

  /** The key of the buyer's link, or null. */
  get key() {
    return recall(sessionStorage, this.#kept);
  }

  /** Whether it is staff that sees the order. */
  get isStaff() {
    return this.#found === null;
  }

  /** {order, now_ms: the server's clock}. Throws Problem; `not_found` also for what others may see. */
  async look() {
    if (this.#found !== undefined) {
      try {
        return await this.#get(this.#found);
      } catch (error) {
        if (!notSeen(error)) throw error;
        this.#found = undefined; // a token ends, the order does not
      }
    }
    for await (const token of this.#candidates()) {
      try {
        const seen = await this.#get(token);
        this.#found = token;
        return seen;
      } catch (error) {
        if (!notSeen(error)) throw error;
      }
    }
    throw new Problem("not_found", { status: 404 });
  }

  /** What the server answers to the buyer's act on the order. Throws Problem. */
  act(path, { method = "POST", body, key } = {}) {
    const headers = { ...bearer(this.#found), "Content-Type": "application/json" };
    if (key) headers["Idempotency-Key"] = key;
    return requestJson(this.#url + path, { method, headers, body: JSON.stringify(body ?? {}) });
  }

  /** A payment of the order, with the `page` where it is made. Throws Problem. */
  payment(id) {
    return requestJson(`/v1/payments/${id}`, { headers: bearer(this.#found) });
  }

  /** What belongs to the order below `path`: returns, refunds, cases, invoice. Throws Problem. */
  part(path) {
    return requestJson(this.#url + path, { headers: bearer(this.#found) });
  }

  /** The buyer's words in a case; the case after it. Throws Problem. */
  say(id, body, key) {
    const headers = { ...bearer(this.#found), "Content-Type": "application/json", "Idempotency-Key": key };
    const url = `/v1/cases/${encodeURIComponent(id)}/messages`;
    return requestJson(url, { method: "POST", headers, body: JSON.stringify(body) });
  }

  /** {contact, address} that the buyer gave last, or null; an order's key alone doesn't know him. Throws Problem. */
  lastContact() {
    return requestJson("/v1/contact", { headers: bearer(this.#found) });
  }

  async *#candidates() {
    if (this.key) yield this.key;
    for (const room of rooms()) {
      const token = await tokenOf(room);
      if (token) yield token;
    }
    yield null;
  }

  async #get(token) {
    const response = await request(this.#url, { headers: bearer(token) });
    const now_ms = Date.parse(response.headers.get("Date") ?? "") || Date.now();
    return { order: await response.json(), now_ms };
  }
}

const notSeen = (error) => error instanceof Problem && NOT_SEEN.includes(error.status);

// An expired guest token still renews its owner's name.
async function tokenOf(room) {
  try {
    return await new ViewerToken(room).get();
  } catch (error) {
    if (error instanceof Problem && error.code !== "unreachable") return null;
    throw error;
  }
}

function rooms() {
  const found = new Set();
  for (const storage of ["sessionStorage", "localStorage"]) {
    for (const key of keysOf(storage)) {
      const room = TOKEN_KEYS.exec(key)?.[1];
      if (room) found.add(room);
    }
  }
  return [...found].slice(0, ROOMS_MOST);
}

function keysOf(storage) {
  try {
    return Object.keys(window[storage]);
  } catch {
    return []; // refused: nothing is kept
  }
}
