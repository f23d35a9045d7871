// What the page knows of products: their documents, and what events have said of prices and stock since.
//
// An answer may be older than an event that came while it was on its way; then the event's word counts.

import { requestJson } from "../../problem.js";

const KEPT = 300; // products; those put in longest ago are forgotten

export class Goods {
  #products = new Map(); // id → document
  #heard = new Map(); // SKU → {at, said}: what an event said
  #onChange;

  /** onChange(id): a product is known, or known better. */
  constructor({ onChange }) {
    this.#onChange = onChange;
  }

  get(id) {
    return this.#products.get(id) ?? null;
  }

  /**
   * Keep a document that was asked for (or sent) at `askedAt`, ms of performance.now(). Of one with many SKUs events
   * tell only the first (`more`): the rest is asked for.
   */
  put(product, askedAt = performance.now()) {
    const skus = product.skus.map((sku) => {
      const heard = this.#heard.get(sku.sku);
      return heard && heard.at > askedAt ? { ...sku, ...heard.said } : sku;
    });
    this.#products.delete(product.id);
    this.#products.set(product.id, { ...product, skus });
    if (this.#products.size > KEPT) this.#forget(this.#products.keys().next().value);
    this.#onChange(product.id);
    if (product.more) void this.refresh(product.id).catch(() => {}); // its first SKUs are there at least
  }

  /** `price.changed` or `stock.changed`: what it says of the SKU. */
  hear({ product_id, sku, ...said }) {
    const product = this.#products.get(product_id);
    if (!product) return;
    this.#heard.set(sku, { at: performance.now(), said: { ...this.#heard.get(sku)?.said, ...said } });
    const skus = product.skus.map((each) => (each.sku === sku ? { ...each, ...said } : each));
    this.#products.set(product_id, { ...product, skus });
    this.#onChange(product_id);
  }

  /** `hello`'s stock by SKU, for the products that are here. */
  stock(bySku) {
    for (const { id, skus } of [...this.#products.values()]) {
      for (const { sku } of skus) if (bySku[sku]) this.hear({ product_id: id, sku, ...bySku[sku] });
    }
  }

  /** Ask the server for the product as it is now. Throws Problem. */
  async refresh(id) {
    const askedAt = performance.now();
    this.put(await requestJson(`/v1/products/${encodeURIComponent(id)}`), askedAt);
  }

  #forget(id) {
    for (const { sku } of this.#products.get(id).skus) this.#heard.delete(sku);
    this.#products.delete(id);
  }
}

/** Where the picture of a product is, or null. */
export function pictureUrl({ image }) {
  return image ? `/v1/images/${encodeURIComponent(image)}` : null;
}
