// Lets an act happen on the very frame it belongs to.
//
// Over WebRTC each frame has its RTP timestamp: an act waits for the first frame that reaches its own, and at most
// LATE_MS beyond the moment it is due by the server's clock (the picture may stand still, or not be looked at).
// Without such frames (HLS, sound alone) it happens when it is due.

import { reached } from "./media_clock.js";

const LATE_MS = 800;
const HELD = 50; // acts; the earliest is let go when there are more

export class FrameGate {
  #video;
  #clock;
  #byFrame;
  #held = new Map(); // id → {target, act, timer}
  #looking = false;

  /** clock: a MediaClock. byFrame(): whether the picture comes over WebRTC now. */
  constructor({ video, clock, byFrame }) {
    this.#video = video;
    this.#clock = clock;
    this.#byFrame = byFrame;
  }

  /** Call `act` on the frame of `mt` (ms of media time; null: at once). */
  at(id, mt, act) {
    this.drop(id);
    const due = this.#clock.due(mt);
    const target = this.#byFrame() && this.#video.requestVideoFrameCallback ? this.#clock.rtp(mt) : null;
    const patience_ms = (due === null ? 0 : due - this.#clock.now()) + (target === null ? 0 : LATE_MS);
    if (mt === null || patience_ms <= 0) return act();
    if (this.#held.size >= HELD) this.#release(this.#held.keys().next().value);
    this.#held.set(id, { target, act, timer: setTimeout(() => this.#release(id), patience_ms) });
    if (target !== null) this.#look();
  }

  /** Forget an act that has not happened. */
  drop(id) {
    clearTimeout(this.#held.get(id)?.timer);
    this.#held.delete(id);
  }

  #release(id) {
    const { act } = this.#held.get(id);
    this.drop(id);
    act();
  }

  #look() {
    if (this.#looking) return;
    this.#looking = true;
    this.#video.requestVideoFrameCallback((_, { rtpTimestamp }) => {
      this.#looking = false;
      for (const [id, { target }] of [...this.#held]) {
        if (target !== null && rtpTimestamp !== undefined && reached(rtpTimestamp, target)) this.#release(id);
      }
      if ([...this.#held.values()].some(({ target }) => target !== null)) this.#look();
    });
  }
}
