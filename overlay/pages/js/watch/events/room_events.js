// A room's events, over whichever carrier lives: the data channels of the session that plays, else a WebSocket.
//
// Whoever listens gets each numbered event once and in order, whatever carrier brings it. A gap is asked for with
// `resume`, once at a time. When a carrier is lost the other one goes on from the same numbers.

import { Backoff } from "../../backoff.js";
import { Problem } from "../../problem.js";
import { ChannelCarrier, SocketCarrier, eventsUrl } from "./event_carriers.js";
import { EventSequence } from "./event_sequence.js";
import { Replies } from "./replies.js";

const CHANNELS_MS = 3000; // data channels that are not open by then are not coming
const OPENING_MS = 8000;
const SILENT_MS = 6000; // a `seq` comes every second
const ANSWER_MS = 8000;
const TICK_MS = 100;
const ONLINE_SPREAD_MS = 2000; // a whole audience asks for the new clock
const RESUME = { first_ms: 500, most_ms: 8000 };

export class RoomEvents {
  #room;
  #token;
  #onEvent;
  #public = new EventSequence();
  #own = new EventSequence();
  #channels = null; // a ChannelCarrier that may still open
  #channelsUntil = performance.now() + CHANNELS_MS;
  #carrier = null; // the one in use
  #socket = null; // the one that is opening
  #socketUntil = 0;
  #failures = 0;
  #retryAt = 0;
  #backoff = new Backoff({ first_ms: 500, most_ms: 15_000 });
  #heardAt = 0;
  #resuming = false;
  #resumeAt = 0;
  #resumeBackoff = new Backoff(RESUME);
  #replies = new Replies();
  #timer = null;

  /** token: a ViewerToken. onEvent(envelope): `hello` and every event but replies, seq and errors. */
  constructor({ room, token, onEvent }) {
    this.#room = room;
    this.#token = token;
    this.#onEvent = onEvent;
  }

  /** "channels", "websocket", or "" while there is none. */
  get carrier() {
    return this.#carrier?.name ?? "";
  }

  start() {
    this.#timer ??= setInterval(() => this.#tick(), TICK_MS);
  }

  /** Nothing to hear here (no such room, not allowed): until `start`. */
  stop() {
    clearInterval(this.#timer);
    this.#timer = null;
    this.#dropSocket();
    this.#lose();
  }

  /** The data channels of the session that is beginning; null when it has ended. */
  use(channels) {
    this.#channels?.close();
    if (this.#carrier !== null && this.#carrier === this.#channels) this.#lose();
    this.#channels = null;
    this.#channelsUntil = 0;
    if (channels) this.#await(channels);
  }

  /** The network or the page is back: don't wait. */
  nudge() {
    this.#retryAt = 0;
  }

  /** Ask for an act; promises its reply's data. Throws Problem: the server's, or no_carrier, no_answer, cut. */
  send(type, data, { within_ms = ANSWER_MS } = {}) {
    if (!this.#carrier?.open) return Promise.reject(new Problem("no_carrier"));
    return this.#replies.ask(within_ms, (rid) => this.#carrier.send(JSON.stringify({ v: 1, rid, t: type, d: data })));
  }

  #await(channels) {
    const carrier = new ChannelCarrier(channels, {
      onOpen: () => this.#take(carrier),
      onMessage: (envelope) => this.#receive(envelope, carrier),
      onClosed: () => this.#closed(carrier),
    });
    this.#channels = carrier;
    this.#channelsUntil = performance.now() + CHANNELS_MS;
  }

  #tick() {
    const now = performance.now();
    if (this.#carrier !== null && now - this.#heardAt > SILENT_MS) this.#closed(this.#carrier);
    if (this.#socket !== null && now > this.#socketUntil) this.#failed();
    if (this.#carrier === null && this.#socket === null && now > this.#channelsUntil && now > this.#retryAt) {
      void this.#connect();
    }
    if (this.#public.gap(now) || this.#own.gap(now)) void this.#resume(now);
  }

  async #connect() {
    this.#retryAt = performance.now() + this.#backoff.next();
    let token = null;
    try {
      // A socket that is refused doesn't say why: it may be the token.
      token = this.#failures > 0 && this.#failures % 2 === 0 ? await this.#token.renew() : await this.#token.get();
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.#failures += 1;
      return;
    }
    if (this.#carrier !== null || this.#socket !== null || this.#timer === null) return;
    const url = eventsUrl(this.#room, { token, after: this.#public.last, safter: this.#own.last });
    const carrier = new SocketCarrier(url, {
      onOpen: () => this.#take(carrier),
      onMessage: (envelope) => this.#receive(envelope, carrier),
      onClosed: () => (carrier === this.#socket ? this.#failed() : this.#closed(carrier)),
    });
    this.#socket = carrier;
    this.#socketUntil = performance.now() + OPENING_MS;
  }

  // `carrier` is open: it is the one from now on. Data channels win over a socket, not the other way round.
  #take(carrier) {
    if (carrier === this.#socket) this.#socket = null;
    else this.#dropSocket();
    if (this.#carrier !== null && this.#carrier !== carrier) this.#lose();
    this.#carrier = carrier;
    this.#heardAt = performance.now();
    this.#failures = 0;
  }

  #closed(carrier) {
    carrier.close();
    if (carrier === this.#channels) this.#channels = null;
    if (carrier === this.#carrier) this.#lose();
  }

  #failed() {
    this.#failures += 1;
    this.#dropSocket();
  }

  #dropSocket() {
    this.#socket?.close();
    this.#socket = null;
  }

  #lose() {
    if (this.#carrier === null) return;
    if (this.#carrier !== this.#channels) this.#carrier.close();
    this.#carrier = null;
    this.#retryAt = performance.now() + this.#backoff.next(); // a whole audience may have been cut off
    this.#replies.cut();
  }

  #receive(envelope, carrier) {
    if (carrier === this.#carrier) this.#heardAt = performance.now();
    const { t, d } = envelope;
    if (t === "reply" || t === "error") this.#replies.take(t, d);
    else if (t === "seq") this.#public.told(d.seq, performance.now());
    else for (const event of this.#inOrder(envelope)) this.#deliver(event);
  }

  #inOrder(envelope) {
    const now = performance.now();
    const { t, d, seq, sseq } = envelope;
    if (t === "hello") {
      const own = Number.isInteger(d.sseq) ? this.#own.reset(d.sseq, now) : [];
      return [envelope, ...this.#public.reset(d.seq, now), ...own];
    }
    if (Number.isInteger(sseq)) return this.#own.take(sseq, envelope, now);
    if (Number.isInteger(seq)) return this.#public.take(seq, envelope, now);
    return [envelope];
  }

  #deliver(event) {
    this.#backoff.reset();
    if (event.t === "stream.online") setTimeout(() => void this.#greet(), Math.random() * ONLINE_SPREAD_MS);
    this.#onEvent(event);
  }

  // The show has begun (again), with another clock: a new `hello` has it.
  async #greet() {
    await this.send("resume", {}).catch(() => {}); // who is cut off is greeted when it is back
  }

  async #resume(now) {
    if (this.#resuming || now < this.#resumeAt) return;
    this.#resuming = true;
    try {
      await this.send("resume", { after: this.#public.last, safter: this.#own.last });
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
    }
    this.#resuming = false;
    const filled = !this.#public.gap(performance.now()) && !this.#own.gap(performance.now());
    if (filled) this.#resumeBackoff = new Backoff(RESUME);
    this.#resumeAt = performance.now() + this.#resumeBackoff.next();
  }
}
