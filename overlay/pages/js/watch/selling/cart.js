// The cart: what the viewer wants to buy together. It is kept in the browser, and holds nothing back in the shop.

import { recall, remember } from "../../storage.js";

const LINES_MOST = 20; // below the server's limit of lines in an order, and no longer than a sheet is read
export const QTY_MOST = 99;
const WORDS_MOST = 200;

export class Cart {
  #kept;
  #onChange;
  #lines; // {product, sku, qty, what}

  /** onChange(): it holds something else. */
  constructor({ room, onChange }) {
    this.#kept = `hawker.cart.${room}`;
    this.#onChange = onChange;
    this.#lines = readLines(recall(localStorage, this.#kept));
  }

  get lines() {
    return this.#lines;
  }

  get pieces() {
    return this.#lines.reduce((sum, { qty }) => sum + qty, 0);
  }

  /** One piece more of a product's SKU (its code); `what` is its name. False if the cart is full. */
  add(product, sku, what) {
    const line = this.#lines.find((each) => each.sku === sku);
    if (!line && this.#lines.length === LINES_MOST) return false;
    if (line?.qty === QTY_MOST) return false;
    if (line) this.set(sku, line.qty + 1);
    else this.#keep([...this.#lines, { product, sku, qty: 1, what: what.slice(0, WORDS_MOST) }]);
    return true;
  }

  /** So many pieces of a SKU; none takes its line away. */
  set(sku, qty) {
    const lines = this.#lines.map((line) => (line.sku === sku ? { ...line, qty: Math.min(QTY_MOST, qty) } : line));
    this.#keep(lines.filter((line) => line.qty > 0));
  }

  /** These lines were ordered: their pieces leave. */
  bought(lines) {
    for (const { sku, qty } of lines) {
      const line = this.#lines.find((each) => each.sku === sku);
      if (line) this.set(sku, Math.max(0, line.qty - qty));
    }
  }

  /** Whether an order of these lines is one of this cart. */
  same(lines) {
    const text = (those) => JSON.stringify(those.map(({ sku, qty }) => [sku, qty]).sort());
    return text(lines) === text(this.#lines);
  }

  #keep(lines) {
    this.#lines = lines;
    remember(localStorage, this.#kept, JSON.stringify(lines));
    this.#onChange();
  }
}

function readLines(text) {
  try {
    return JSON.parse(text ?? "[]").filter(sound).slice(0, LINES_MOST);
  } catch {
    return []; // somebody else's
  }
}

function sound(line) {
  const texts = [line?.product, line?.sku, line?.what].every((text) => typeof text === "string");
  return texts && Number.isInteger(line.qty) && line.qty >= 1 && line.qty <= QTY_MOST;
}
