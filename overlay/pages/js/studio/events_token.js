// What lets the studio hear the events of a room that is not public: a token of its own, for staff who may issue one.

import { Problem } from "../problem.js";

const RENEWED_AFTER_MS = 11 * 3600 * 1000; // it is good for 12 hours

export class EventsToken {
  #room;
  #session;
  #access;
  #issued = null; // {token, at}

  /** `access()` is who may watch the room, as far as is known. */
  constructor({ room, session, access }) {
    this.#room = room;
    this.#session = session;
    this.#access = access;
  }

  /** A token, or null where none is needed or none is to be had. */
  async get() {
    if (this.#access() === "public" || !this.#session.may("viewer_tokens.issue")) return null;
    if (this.#issued !== null && performance.now() - this.#issued.at < RENEWED_AFTER_MS) return this.#issued.token;
    const body = { room: this.#room, role: "moderator" }; // the least that is let into a rehearsal
    try {
      const { token } = await this.#session.send("/v1/viewer-tokens", { method: "POST", body });
      this.#issued = { token, at: performance.now() };
      return token;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      return null;
    }
  }
}
