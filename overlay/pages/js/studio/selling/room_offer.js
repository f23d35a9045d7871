// What the room offers, as the server has it: its bag and its cards, read and changed by who has signed in.

import { Problem } from "../../problem.js";

const BAG_PAGE = 200;
const BAG_PAGES_MOST = 3; // a bag holds 500
const CATALOGUE_PAGE = 30;

/** All throw Problem. */
export class RoomOffer {
  #url;
  #session;

  constructor({ room, session }) {
    this.#url = `/v1/rooms/${encodeURIComponent(room)}`;
    this.#session = session;
  }

  /** The bag's items in their order: [{product_id, position, product}]. */
  async bag() {
    const items = [];
    let cursor = null;
    for (let page = 0; page < BAG_PAGES_MOST; page += 1) {
      const more = cursor === null ? "" : `&cursor=${encodeURIComponent(cursor)}`;
      const answer = await this.#session.send(`${this.#url}/bag?limit=${BAG_PAGE}${more}`);
      items.push(...answer.items);
      cursor = answer.next;
      if (cursor === null) break;
    }
    return items;
  }

  /** The cards that are pinned, the latest last. */
  async cards() {
    const { items } = await this.#session.send(`${this.#url}/cards`);
    return items;
  }

  /** A page of all products of the shop: {items, next}. */
  catalogue({ words, cursor }) {
    const query = new URLSearchParams({ limit: String(CATALOGUE_PAGE) });
    if (words) query.set("search", words);
    if (cursor !== null) query.set("cursor", cursor);
    return this.#session.send(`/v1/products?${query}`);
  }

  /** Into the bag, or to another position (from 0) in it. */
  async put(product, position) {
    await this.#session.send(`${this.#url}/bag`, { method: "POST", body: { product_id: product, position } });
  }

  takeOut(product) {
    return this.#delete(`${this.#url}/bag/${encodeURIComponent(product)}`);
  }

  /** The new card. */
  pin(product) {
    return this.#session.send(`${this.#url}/cards`, { method: "POST", body: { product_id: product } });
  }

  unpin(card) {
    return this.#delete(`${this.#url}/cards/${encodeURIComponent(card)}`);
  }

  // What is gone already, somebody else has taken: that was the wish.
  async #delete(url) {
    try {
      await this.#session.send(url, { method: "DELETE" });
    } catch (error) {
      if (!(error instanceof Problem) || error.code !== "not_found") throw error;
    }
  }
}
