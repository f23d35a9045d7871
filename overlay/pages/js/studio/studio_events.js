// The room's events over WebSocket, as a looker-on has them: in JSON, resumed where it was cut off; with a token only
// where the room lets nobody in without.
//
// A room tells its `seq` every second: silence means that the line is dead, long before the network says so.

import { Backoff } from "../backoff.js";

const SILENCE_MS = 6000;
const LOOK_MS = 2000;
const PROTOCOL = "hawker.v1.json";

export class StudioEvents {
  open = false;

  #url;
  #token;
  #onEvent;
  #onOpen;
  #backoff = new Backoff();
  #after = null; // the last durable event
  #heardAt = 0;
  #socket = null;
  #timer = null;

  /** `token()` gives a promise of a token, or of null; `onEvent(envelope)` is called for each event, `onOpen(open)` when
   * the line comes or goes. */
  constructor({ room, token, onEvent, onOpen }) {
    const origin = location.origin.replace(/^http/, "ws");
    this.#url = `${origin}/v1/rooms/${encodeURIComponent(room)}/events`;
    this.#token = token;
    this.#onEvent = onEvent;
    this.#onOpen = onOpen;
  }

  start() {
    void this.#connect();
    setInterval(() => this.#look(), LOOK_MS);
    window.addEventListener("online", () => this.hurry());
    document.addEventListener("visibilitychange", () => document.hidden || this.#look());
  }

  /** Somebody has signed in: where the line was refused it may be let in now. */
  hurry() {
    this.#backoff.reset();
    if (this.#timer !== null) void this.#connect();
  }

  async #connect() {
    clearTimeout(this.#timer);
    this.#timer = null;
    const query = new URLSearchParams();
    const token = await this.#token();
    if (token !== null) query.set("token", token);
    if (this.#after !== null) query.set("after", this.#after);
    const socket = new WebSocket(`${this.#url}?${query}`, PROTOCOL);
    this.#socket = socket;
    this.#heardAt = performance.now();
    socket.addEventListener("message", ({ data }) => socket === this.#socket && this.#take(JSON.parse(data)));
    socket.addEventListener("close", () => socket === this.#socket && this.#closed());
  }

  #take(event) {
    this.#heardAt = performance.now();
    this.#backoff.reset();
    if (event.t === "hello") this.#after = event.d.seq;
    else if (event.seq !== null && event.seq !== undefined) this.#after = event.seq;
    this.#setOpen(true);
    this.#onEvent(event);
  }

  #closed() {
    this.#socket = null;
    this.#setOpen(false);
    this.#timer = setTimeout(() => void this.#connect(), this.#backoff.next());
  }

  // A dead line may take minutes to close by itself.
  #look() {
    if (this.#socket === null || performance.now() - this.#heardAt < SILENCE_MS) return;
    const dead = this.#socket;
    this.#socket = null;
    dead.close();
    this.#closed();
  }

  #setOpen(open) {
    if (open === this.open) return;
    this.open = open;
    this.#onOpen(open);
  }
}
