// What the server says about the room (title, live, viewers), asked now and then: often while waiting, seldom while all is
// well, and told between by the room's events.

import { Problem, bearer, requestJson } from "./problem.js";

const WAITING_MS = 3000;
const PLAYING_MS = 10_000;

export class RoomFeed {
  room = null; // the last answer

  #url;
  #token;
  #onChange;
  #timer = null;
  #every_ms = WAITING_MS;

  /** `onChange(room, before)` is called after each answer; both may be null. */
  constructor({ room, token, onChange }) {
    this.#url = `/v1/rooms/${encodeURIComponent(room)}`;
    this.#token = token;
    this.#onChange = onChange;
  }

  /** Ask now: "live", "idle", "missing" (no such room), or "unknown" (no answer). */
  async refresh() {
    this.#schedule();
    try {
      this.#take(await requestJson(this.#url, { headers: bearer(await this.#token()) }));
      return this.room.live ? "live" : "idle";
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      return error.code === "not_found" ? "missing" : "unknown";
    }
  }

  /** An event has said so: `news` are members of the room. */
  tell(news) {
    if (this.room) this.#take({ ...this.room, ...news });
  }

  relax(playing) {
    this.#every_ms = playing ? PLAYING_MS : WAITING_MS;
    this.#schedule();
  }

  close() {
    clearTimeout(this.#timer);
    this.#timer = null;
  }

  #take(room) {
    const before = this.room;
    this.room = room;
    this.#onChange(room, before);
  }

  #schedule() {
    clearTimeout(this.#timer);
    const wait_ms = this.#every_ms * (0.75 + Math.random() / 2);
    this.#timer = setTimeout(() => (document.hidden ? this.#schedule() : void this.refresh()), wait_ms);
  }
}
