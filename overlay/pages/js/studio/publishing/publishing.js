// Keeping a camera on the air: connects, comes back after a loss, and stops where coming back would be wrong.

import { Backoff, Sleep } from "../../backoff.js";
import { Problem, requestJson } from "../../problem.js";
import { WhipPublisher } from "./whip.js";

const STEADY_MS = 10_000;
const GIVE_UP = new Set(["unauthorized", "forbidden", "not_found", "no_webrtc", "no_h264", "taken_over"]);

export class Publishing {
  #room;
  #key;
  #media;
  #onChange;
  #publisher = null;
  #stop = new AbortController();
  #sleep = new Sleep();
  #backoff = new Backoff();

  /** onChange({state, problem}): state is connecting, live, reconnecting, failed or stopped; problem a Problem or null. */
  constructor({ room, key, media, onChange }) {
    this.#room = room;
    this.#key = key;
    this.#media = media;
    this.#onChange = onChange;
  }

  async run() {
    this.#onChange({ state: "connecting", problem: null });
    while (!this.#stop.signal.aborted) {
      const problem = await this.#session();
      if (this.#stop.signal.aborted) return;
      if (GIVE_UP.has(problem.code)) {
        this.#onChange({ state: "failed", problem });
        return;
      }
      this.#onChange({ state: "reconnecting", problem });
      await this.#sleep.wait(this.#backoff.next());
    }
  }

  async stats() {
    return this.#publisher?.ended ? this.#publisher.stats() : null;
  }

  /** Send from another camera or microphone from now on. */
  async replace(media) {
    this.#media = media;
    if (this.#publisher?.ended) await this.#publisher.replace(media);
  }

  /** The network is back: don't wait. */
  nudge() {
    this.#sleep.wake();
  }

  stop() {
    this.#stop.abort();
    this.#sleep.wake();
    void this.#publisher?.close();
    this.#onChange({ state: "stopped", problem: null });
  }

  // One session from start to end; the Problem that ended it.
  async #session() {
    const publisher = new WhipPublisher({ key: this.#key, media: this.#media });
    this.#publisher = publisher;
    try {
      await publisher.start(this.#stop.signal);
    } catch (error) {
      void publisher.close();
      if (!(error instanceof Problem)) throw error;
      return error;
    }
    const began = performance.now();
    this.#onChange({ state: "live", problem: null });
    const reason = await publisher.ended;
    if (performance.now() - began > STEADY_MS) this.#backoff.reset();
    const known = await publisher.close();
    return new Problem((await this.#takenOver(known)) ? "taken_over" : reason);
  }

  // The server had ended our session, and yet the room is live: then another device has the room, and coming back
  // would throw that one out, and so on. A network loss looks otherwise: our session is still known.
  async #takenOver(known) {
    if (known !== false || this.#stop.signal.aborted) return false;
    try {
      return (await requestJson(`/v1/rooms/${encodeURIComponent(this.#room)}`)).live === true;
    } catch {
      return false;
    }
  }
}
