// Idempotency keys: what is asked for again after a cut is asked for under the same key, and done once.

import { Problem } from "./problem.js";

const KEY_BYTES = 16;

/** A new Idempotency-Key; crypto.getRandomValues is there on http too. */
export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(KEY_BYTES));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The same act keeps its key until an answer to it has come. */
export class ActKeys {
  #kept = new Map(); // as many as there are acts without an answer

  /** `act(key)`; `what` tells acts apart, so it holds all that the server is told. */
  async run(what, act) {
    const key = this.#kept.get(what) ?? newKey();
    this.#kept.set(what, key);
    try {
      const answer = await act(key);
      this.#kept.delete(what);
      return answer;
    } catch (error) {
      const answered = error instanceof Problem && error.status >= 400 && error.status < 500;
      if (answered) this.#kept.delete(what);
      throw error;
    }
  }
}

/** One Idempotency-Key for each command: the same command tried again has the same key. */
export class CommandKey {
  #command = null;
  #key = null;

  of(command) {
    const text = JSON.stringify(command);
    if (text !== this.#command) [this.#command, this.#key] = [text, newKey()];
    return this.#key;
  }

  /** The command was accepted: the next one is another, even if it says the same. */
  done() {
    this.#command = null;
  }
}
