// Buying: an act done once, over the room's events or HTTP, and found again by its key after a reload.

import { Problem } from "../../problem.js";
import { Once } from "./once.js";

export class Buying {
  #api;
  #once;

  /** events: RoomEvents. api: BuyerApi. */
  constructor({ room, events, api }) {
    this.#api = api;
    this.#once = new Once({ kept: `hawker.buying.${room}`, events, api });
  }

  /**
   * Promises the order document. body: that of POST /v1/orders. onSlow(): no answer yet, it is asked again.
   * The same body while its order is on the way is the same act. Throws Problem.
   */
  buy(body, onSlow) {
    const act = { type: "buy", member: "order", data: body, url: "/v1/orders", body };
    return this.#once.run(JSON.stringify(body), act, onSlow);
  }

  /** The orders of acts whose answers were never seen. Those that were not done are forgotten. */
  async recover() {
    const found = [];
    for (const [text, key] of this.#once.unseen) {
      try {
        found.push(await this.#api.json(`/v1/orders/by-key/${encodeURIComponent(key)}`));
        this.#once.done(text);
      } catch (error) {
        if (!(error instanceof Problem)) throw error;
        if (error.code === "not_found") this.#once.done(text);
      }
    }
    return found;
  }

  /** The network is back: don't wait. */
  nudge() {
    this.#once.nudge();
  }
}
