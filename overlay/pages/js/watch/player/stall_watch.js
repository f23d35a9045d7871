// Notices that a picture stands still though nothing says so: a count that ought to grow, looked at now and then.

const HURRIED_MS = 1500;

export class StallWatch {
  #patience_ms;
  #seen = -1;
  #since = 0;
  #hurried = false;

  constructor(patience_ms) {
    this.#patience_ms = patience_ms;
  }

  /** Whether `count` has not grown for too long. now: ms of a steady clock. */
  stalled(count, now) {
    if (count !== this.#seen) {
      this.#seen = count;
      this.#since = now;
      this.#hurried = false;
    }
    const patience_ms = this.#hurried ? HURRIED_MS : this.#patience_ms;
    return now - this.#since > patience_ms;
  }

  /** Whether it grew at the last look. */
  moving(now) {
    return this.#since === now;
  }

  /** Standing still means nothing now (page hidden, video paused): begin again. */
  rest(now) {
    this.#since = now;
  }

  /** The network or the page came back: be suspicious sooner, until the count grows. */
  hurry() {
    this.#hurried = true;
  }
}
