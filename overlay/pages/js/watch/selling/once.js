// An act done once, whatever carries it. It goes over the room's events; without an answer the same key and body go
// over HTTP, again and again, and the server makes one act of it all.
//
// The key is kept until an answer is known, so that neither a cut nor a reload can do it twice or lose it.

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

export class Once {
  #kept;
  #events;
  #api;
  #sleep = new Sleep();
  #attempts; // command's text → key
  #running = new Map(); // command's text → the promise of its answer

  /** kept: the name in sessionStorage. events: RoomEvents. api: BuyerApi. */
  constructor({ kept, events, api }) {
    this.#kept = kept;
    this.#events = events;
    this.#api = api;
    this.#attempts = readAttempts(recall(sessionStorage, kept));
  }

  /** [text, key] of the commands whose answers were never seen (a reload came between). */
  get unseen() {
    return [...this.#attempts].filter(([text]) => !this.#running.has(text));
  }

  /**
   * Promises the answer. text: what tells commands apart. act: {type, member, data} of the event's act and of its
   * answer, {url, body} of the same over HTTP. onSlow(): no answer yet, it is asked again. The same text while its
   * answer is on the way is the same act. Throws Problem.
   */
  run(text, act, onSlow = () => {}) {
    if (!this.#running.has(text)) {
      const running = this.#run(text, act, onSlow).finally(() => this.#running.delete(text));
      this.#running.set(text, running);
    }
    return this.#running.get(text);
  }

  /** The answer to this command is known: the next one is another. */
  done(text) {
    this.#keep(text, null);
  }

  /** The network is back: don't wait. */
  nudge() {
    this.#sleep.wake();
  }

  async #run(text, act, onSlow) {
    const key = this.#attempts.get(text) ?? newKey();
    this.#keep(text, key);
    try {
      const answer = await this.#ask(key, act, onSlow);
      this.#keep(text, null);
      return answer;
    } catch (error) {
      if (error instanceof Problem && !unanswered(error)) this.#keep(text, null); // refused: nothing was done
      throw error;
    }
  }

  async #ask(key, { type, member, data, url, body }, onSlow) {
    try {
      return (await this.#events.send(type, { key, ...data }, { within_ms: ANSWER_MS }))[member];
    } catch (error) {
      if (!(error instanceof Problem) || !unanswered(error)) throw error;
    }
    const backoff = new Backoff(WAIT);
    for (let tries = 1; ; tries += 1) {
      try {
        return await this.#api.json(url, { method: "POST", body, key });
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
