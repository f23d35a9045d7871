// Questions under way over a room's events, each with its number (`rid`), until the reply, the time or the cut.

import { Problem } from "../../problem.js";

export class Replies {
  #waiting = new Map(); // rid → {resolve, reject, timer}
  #rid = 0;

  /** Promises the reply's data; `send(rid)` sends. Throws Problem: the server's, or no_answer, cut. */
  ask(within_ms, send) {
    this.#rid += 1;
    const rid = this.#rid;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#settle(rid)?.reject(new Problem("no_answer")), within_ms);
      this.#waiting.set(rid, { resolve, reject, timer });
      try {
        send(rid);
      } catch (error) {
        this.#settle(rid)?.reject(new Problem("cut", { detail: String(error) })); // closing, or its buffer is full
      }
    });
  }

  /** A `reply` or `error`; one that nobody waits for any more is let go. */
  take(type, data) {
    const waiting = this.#settle(data.rid);
    if (type === "reply") waiting?.resolve(data);
    else waiting?.reject(problemOf(data));
  }

  /** The carrier is lost: no reply will come. */
  cut() {
    for (const rid of [...this.#waiting.keys()]) this.#settle(rid).reject(new Problem("cut"));
  }

  #settle(rid) {
    const waiting = this.#waiting.get(rid);
    this.#waiting.delete(rid);
    if (waiting) clearTimeout(waiting.timer);
    return waiting;
  }
}

function problemOf({ code, detail, rid, ...extra }) {
  return new Problem(code, { detail, extra });
}
