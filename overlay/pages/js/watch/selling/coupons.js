// Coupons: what was dropped into the room, what the viewer has claimed, and claiming, which is done once.

import { Problem } from "../../problem.js";
import { recall, remember } from "../../storage.js";
import { Once } from "./once.js";

const OFFERED = 10; // the server keeps no more of a room
const CLAIMED_KEPT = 100;

export class Coupons {
  #room;
  #api;
  #clock;
  #onChange;
  #once;
  #offered = new Map(); // id → document
  #claims = []; // {coupon, claimed, unspent}: what is not spent
  #counts; // id → how often it was claimed, also of those that are spent
  #away = new Set(); // ids that the viewer has put away

  /** events: RoomEvents. api: BuyerApi. clock: MediaClock. onChange(): something is another. */
  constructor({ room, events, api, clock, onChange }) {
    this.#room = room;
    this.#api = api;
    this.#clock = clock;
    this.#onChange = onChange;
    this.#once = new Once({ kept: `hawker.claiming.${room}`, events, api });
    this.#counts = readCounts(recall(localStorage, this.#countsKey));
  }

  /** `hello`'s coupons, the latest first. */
  reset(coupons) {
    this.#offered = new Map(coupons.slice(0, OFFERED).map((coupon) => [coupon.id, coupon]));
    this.#onChange();
  }

  /** `coupon.dropped`. */
  drop(coupon) {
    this.#away.delete(coupon.id);
    this.#offered.delete(coupon.id);
    this.#offered = new Map([[coupon.id, coupon], ...this.#offered].slice(0, OFFERED));
    this.#onChange();
  }

  /** The one to offer: the latest that may still be claimed by this viewer; null for none. */
  get offer() {
    const open = [...this.#offered.values()].filter((coupon) => {
      const more = (this.#counts.get(coupon.id) ?? 0) < coupon.per_buyer;
      return more && coupon.left > 0 && !this.#away.has(coupon.id) && this.#runs(coupon);
    });
    return open[0] ?? null;
  }

  /** Documents of those that may be spent in this room, on one of `skus` if given. */
  usable(skus = null) {
    return this.#claims
      .map(({ coupon }) => coupon)
      .filter((coupon) => this.#runs(coupon) && (coupon.room === null || coupon.room === this.#room))
      .filter(({ skus: about }) => skus === null || about.length === 0 || about.some((sku) => skus.includes(sku)));
  }

  putAway(id) {
    this.#away.add(id);
    this.#onChange();
  }

  /** One more of this coupon; promises {coupon, claimed, unspent}. Throws Problem. */
  async claim(id, onSlow) {
    const url = `/v1/coupons/${encodeURIComponent(id)}/claims`;
    const act = { type: "coupon.claim", member: "claim", data: { coupon: id }, url, body: {} };
    try {
      const claim = await this.#once.run(id, act, onSlow);
      this.#count(id, claim.claimed);
      await this.refresh();
      return claim;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.#refused(id, error);
      throw error;
    }
  }

  /** Claims whose answers were never seen are asked for again, under their keys. */
  async recover() {
    for (const [id] of this.#once.unseen) await this.claim(id).catch(() => {}); // it says what became of it
  }

  /** Ask for what is claimed and not spent. */
  async refresh() {
    try {
      this.#claims = (await this.#api.json("/v1/coupon-claims")).items;
      for (const { coupon, claimed } of this.#claims) this.#counts.set(coupon.id, claimed);
    } catch (error) {
      if (!(error instanceof Problem)) throw error; // what was known stays
    }
    this.#onChange();
  }

  nudge() {
    this.#once.nudge();
  }

  get #countsKey() {
    return `hawker.claimed.${this.#room}`;
  }

  #runs({ starts_at, ends_at }) {
    const now_ms = this.#clock.now();
    return Date.parse(starts_at) <= now_ms && (ends_at === null || now_ms < Date.parse(ends_at));
  }

  #refused(id, { code, extra }) {
    const coupon = this.#offered.get(id);
    if (!coupon) return;
    if (code === "limit_reached") this.#count(id, extra?.claimed ?? coupon.per_buyer);
    if (["coupon_gone", "coupon_over", "coupon_not_yours", "not_found"].includes(code)) this.#offered.delete(id);
  }

  #count(id, claimed) {
    this.#counts.set(id, claimed);
    const kept = [...this.#counts].slice(-CLAIMED_KEPT);
    remember(localStorage, this.#countsKey, JSON.stringify(kept));
  }
}

function readCounts(text) {
  try {
    return new Map(JSON.parse(text ?? "[]"));
  } catch {
    return new Map(); // somebody else's
  }
}
