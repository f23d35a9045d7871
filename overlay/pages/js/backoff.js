// Waits between attempts: they grow, and are jittered so that a thousand viewers cut off together don't return together.

export class Backoff {
  #next_ms;

  constructor({ first_ms = 500, most_ms = 10_000 } = {}) {
    this.first_ms = first_ms;
    this.most_ms = most_ms;
    this.#next_ms = first_ms;
  }

  /** The next wait in ms: doubles each time up to `most_ms`, and is drawn from 50–150 % of that. */
  next() {
    const wait_ms = this.#next_ms * (0.5 + Math.random());
    this.#next_ms = Math.min(this.#next_ms * 2, this.most_ms);
    return wait_ms;
  }

  reset() {
    this.#next_ms = this.first_ms;
  }
}

/** A wait that can be cut short: `wake()` ends the one under way. */
export class Sleep {
  #wake = () => {};

  wait(ms) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  wake() {
    this.#wake();
  }
}
