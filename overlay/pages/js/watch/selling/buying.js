// Buying: one act, whatever carries it. It goes over the room's events; without an answer the same key and body go
// over HTTP, again and again, and the server makes one order of it all.
//
// The key is kept until an answer is known, so that neither a cut nor a reload can make two orders or lose one.

import { Backoff, Sleep } from "../../backoff.js";
import { newKey } from "../../keys.js";
import { Problem } from "../../problem.js";
import { forget, recall, remember } from "../../storage.js";

const ANSWER_MS = 4000;
const TRIES = 6; // over HTTP, some 20 s; then the viewer decides
const ATTEMPTS_KEPT = 8;
const WAIT = { first_ms: 1000, most_ms: 5000 };

// No answer, or one that says that the outcome is not known: the same again.
const UNKNOWN = new Set([
  ...["no_carrier", "no_answer", "cut", "unreachable", "aborted", "internal_error", "store_unavailable"],
  ...["outcome_unknown", "busy", "unavailable", "token_missing", "token_expired", "going_away"],
]);

/** Whether a problem leaves open whether the act was done. */
export function unanswered({ code, status }) {
  return UNKNOWN.has(code) || status >= 500;
}

export class Buying {
  #kept;
  #events;
  #api;
  #sleep = new Sleep();
  #attempts; // body's text → key
  #running = new Map(); // body's text → the promise of its order

  /** events: RoomEvents. api: BuyerApi. */
  constructor({ room, events, api }) {
    this.#kept = `hawker.buying.${room}`;
    this.#events = events;
    this.#api = api;
    this.#attempts = readAttempts(recall(sessionStorage, this.#kept));
  }

  /**
   * Promises the order document. body: that of POST /v1/orders. onSlow(): no answer yet, it is asked again.
   * The same body while its order is on the way is the same act. Throws Problem.
   */
  buy(body, onSlow = () => {}) {
    const text = JSON.stringify(body);
    if (!this.#running.has(text)) {
      const running = this.#buy(text, body, onSlow).finally(() => this.#running.delete(text));
      this.#running.set(text, running);
    }
    return this.#running.get(text);
  }

  /** The orders of acts whose answers were never seen (a reload came between). Those that were not done are forgotten. */
  async recover() {
    const found = [];
    for (const [text, key] of [...this.#attempts]) {
      if (this.#running.has(text)) continue;
      try {
        found.push(await this.#api.json(`/v1/orders/by-key/${encodeURIComponent(key)}`));
        this.#keep(text, null);
      } catch (error) {
        if (!(error instanceof Problem)) throw error;
        if (error.code === "not_found") this.#keep(text, null);
      }
    }
    return found;
  }

  /** The network is back: don't wait. */
  nudge() {
    this.#sleep.wake();
  }

  async #buy(text, body, onSlow) {
    const key = this.#attempts.get(text) ?? newKey();
    this.#keep(text, key);
    try {
      const order = await this.#ask(key, body, onSlow);
      this.#keep(text, null);
      return order;
    } catch (error) {
      if (error instanceof Problem && !unanswered(error)) this.#keep(text, null); // refused: nothing was done
      throw error;
    }
  }

  async #ask(key, body, onSlow) {
    try {
      return (await this.#events.send("buy", { key, ...body }, { within_ms: ANSWER_MS })).order;
    } catch (error) {
      if (!(error instanceof Problem) || !unanswered(error)) throw error;
    }
    const backoff = new Backoff(WAIT);
    for (let tries = 1; ; tries += 1) {
      try {
        return await this.#api.json("/v1/orders", { method: "POST", body, key });
      } catch (error) {
        if (!(error instanceof Problem) || !unanswered(error) || tries === TRIES) throw error;
      }
      onSlow();
      await this.#sleep.wait(backoff.next());
    }
  }

  #keep(text, key) {
    this.#attempts.delete(text);
    if (key !== null) this.#attempts.set(text, key);
    if (this.#attempts.size > ATTEMPTS_KEPT) this.#attempts.delete(this.#attempts.keys().next().value);
    if (this.#attempts.size) remember(sessionStorage, this.#kept, JSON.stringify([...this.#attempts]));
    else forget(sessionStorage, this.#kept);
  }
}

function readAttempts(text) {
  try {
    return new Map(JSON.parse(text ?? "[]"));
  } catch {
    return new Map(); // somebody else's
  }
}
