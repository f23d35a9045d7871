// When an event's media time (`mt`, ms) is on the screen: by the frame that shows it, or by the server's clock.

const RTP_MODULUS = 2 ** 32;

/** The RTP timestamp of media time `mt_ms`; `base` is that of media time 0 (RFC 3550: 32 bits that wrap). */
export function rtpAt(mt_ms, base, rate) {
  const ticks = base + Math.round((mt_ms * rate) / 1000);
  return ((ticks % RTP_MODULUS) + RTP_MODULUS) % RTP_MODULUS;
}

/** Whether the frame at `timestamp` is the one of `target` or a later one, at most half a wrap (6.6 h at 90 kHz) later. */
export function reached(timestamp, target) {
  return ((timestamp - target) | 0) >= 0;
}

export class MediaClock {
  #offset_ms = null; // server's UTC − our steady clock
  #epoch_ms = null;
  #rtp = null; // {base, rate}
  #steady;

  /** steady: ms of a clock that never jumps. */
  constructor(steady = () => performance.now()) {
    this.#steady = steady;
  }

  /** `clock` of a `hello`. */
  set({ now, epoch, rtp_base, rtp_rate }) {
    this.#offset_ms = now - this.#steady();
    this.#epoch_ms = epoch ?? null;
    this.#rtp = (rtp_base ?? null) === null ? null : { base: rtp_base, rate: rtp_rate };
  }

  /** The server's UTC in an event that has just come. The one that was under way shortest tells the time best. */
  heard(ts_ms) {
    if (this.#offset_ms !== null) this.#offset_ms = Math.max(this.#offset_ms, ts_ms - this.#steady());
  }

  /** The server's UTC ms; ours until it has told. */
  now() {
    return this.#offset_ms === null ? Date.now() : this.#steady() + this.#offset_ms;
  }

  /** UTC ms at which media time `mt_ms` was made; null where nobody knows. */
  due(mt_ms) {
    return mt_ms === null || this.#epoch_ms === null ? null : this.#epoch_ms + mt_ms;
  }

  /** The RTP timestamp of the frame that shows `mt_ms`; null where nobody knows. */
  rtp(mt_ms) {
    return mt_ms === null || this.#rtp === null ? null : rtpAt(mt_ms, this.#rtp.base, this.#rtp.rate);
  }
}
