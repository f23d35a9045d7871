// Looking again and again, one look at a time, so that a late answer never stands over a newer one.

export class Polling {
  #look;
  #wait_ms;
  #running = null;
  #again = false;
  #timer = null;

  /** `look` is awaited; then `wait_ms()` says how long until the next look, null for never. */
  constructor(look, wait_ms) {
    this.#look = look;
    this.#wait_ms = wait_ms;
  }

  /** Look now, and once more if a look is under way already: it may have missed what has just happened. */
  now() {
    this.#again = this.#running !== null;
    this.#running ??= this.#rounds().finally(() => (this.#running = null));
    return this.#running;
  }

  async #rounds() {
    clearTimeout(this.#timer);
    do {
      this.#again = false;
      await this.#look();
    } while (this.#again);
    const wait_ms = this.#wait_ms();
    if (wait_ms !== null) this.#timer = setTimeout(() => void this.now(), wait_ms);
  }
}
