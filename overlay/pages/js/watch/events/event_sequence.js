// The order of numbered events (`seq` of a room, `sseq` of a buyer): each once, in order, and gaps noticed.
//
// Events may come thrice, out of order, or not at all. What comes too early is kept until the gap before it is filled.
// What was delivered lately is remembered too: a snapshot may be older than the last event that came before it.

const KEPT = 256; // events; what is beyond comes again with the resume
const REORDERED_MS = 80; // copies are 20 ms apart: a gap often fills itself
const BEHIND_MS = 300;

export class EventSequence {
  last = null; // number of the last event delivered; null until a snapshot says where we begin

  #kept = new Map(); // number → event: those too early, and the last ones delivered
  #known = 0; // the highest number that we know to exist
  #gapSince = null;
  #patience_ms = BEHIND_MS;

  /** A snapshot that has everything up to `number`. Returns the events after it that are here already. */
  reset(number, now) {
    this.last = number;
    this.#known = Math.max(number, ...this.#kept.keys());
    if (this.#known - number > KEPT) this.#forget(number); // numbers of another life of the room
    for (const known of [...this.#kept.keys()]) if (known <= number) this.#kept.delete(known);
    this.#gapSince = null;
    return this.#next(now);
  }

  /** An event with its number. Returns those that are to be acted on now, in order. */
  take(number, event, now) {
    if (this.last !== null && number <= this.last) return [];
    this.#kept.set(number, event);
    this.#known = Math.max(this.#known, number);
    if (this.#kept.size > KEPT) this.#kept.delete(this.#least());
    return this.last === null ? [] : this.#next(now, REORDERED_MS);
  }

  /** The server says that `number` was the last. */
  told(number, now) {
    this.#known = Math.max(this.#known, number);
    if (this.last !== null) this.#look(now, BEHIND_MS);
  }

  /** Whether what is missing has been missing for so long that it should be asked for. */
  gap(now) {
    return this.#gapSince !== null && now - this.#gapSince >= this.#patience_ms;
  }

  #next(now, patience_ms = BEHIND_MS) {
    const ready = [];
    while (this.#kept.has(this.last + 1)) {
      this.last += 1;
      ready.push(this.#kept.get(this.last));
    }
    if (ready.length) this.#gapSince = null;
    this.#look(now, patience_ms);
    return ready;
  }

  #look(now, patience_ms) {
    if (this.#known <= this.last) this.#gapSince = null;
    else if (this.#gapSince === null) {
      this.#gapSince = now;
      this.#patience_ms = patience_ms;
    }
  }

  // What is missed least: the first that was delivered; with nothing but the far side of a gap, its end.
  #least() {
    const numbers = [...this.#kept.keys()];
    const first = Math.min(...numbers);
    return this.last !== null && first <= this.last ? first : Math.max(...numbers);
  }

  #forget(number) {
    this.#kept.clear();
    this.#known = number;
  }
}
