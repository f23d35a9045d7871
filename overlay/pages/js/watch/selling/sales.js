// The room's sales: which one a SKU has now, by the server's clock, and how many pieces are left of its quota.
//
// The start and the end come with the clock, whenever the event about them comes. What is left is asked for while a
// sale runs and its SKU sells.

import { Problem } from "../../problem.js";

const LOOK_MS = 8000; // an audience asks no more often than that
const SPREAD_MS = 4000;
const KEPT = 50;

/** "scheduled", "running", "gone" (the quota is) or "over". */
export function phaseOf(sale, now_ms) {
  if (now_ms >= Date.parse(sale.ends_at)) return "over";
  if (now_ms < Date.parse(sale.starts_at)) return "scheduled";
  return sale.left === 0 ? "gone" : "running";
}

export class Sales {
  #url;
  #api;
  #clock;
  #onChange;
  #sales = new Map(); // id → document
  #looking = new Set(); // ids

  /** api: BuyerApi. clock: MediaClock. onChange(product): the product's sales are other ones. */
  constructor({ room, api, clock, onChange }) {
    this.#url = `/v1/rooms/${encodeURIComponent(room)}/flash-sales`;
    this.#api = api;
    this.#clock = clock;
    this.#onChange = onChange;
  }

  /** `hello`'s sales. */
  reset(sales) {
    const before = [...this.#sales.values()];
    this.#sales = new Map(sales.slice(0, KEPT).map((sale) => [sale.id, sale]));
    for (const { product_id } of [...before, ...sales]) this.#onChange(product_id);
  }

  /** `sale.scheduled`, `sale.started` or `sale.ended`. */
  hear(sale) {
    this.#sales.delete(sale.id);
    if (sale.state !== "ended") this.#sales.set(sale.id, sale);
    if (this.#sales.size > KEPT) this.#sales.delete(this.#sales.keys().next().value);
    this.#onChange(sale.product_id);
  }

  /** {sale, phase} of a SKU: the cheapest that runs, else the next one, else one whose quota is gone; null for none. */
  of(sku) {
    return this.#first((sale) => sale.sku === sku);
  }

  /** {sale, phase} of the whole room, of products for which `wanted(product)`. */
  next(wanted) {
    return this.#first(({ product_id }) => wanted(product_id));
  }

  /** Pieces of a SKU are sold or back: how many are left of its quota? */
  sold(sku) {
    const found = this.of(sku);
    if (!found || found.sale.quota === null || found.phase === "scheduled" || this.#looking.has(found.sale.id)) return;
    this.#looking.add(found.sale.id);
    setTimeout(() => void this.look(found.sale.id), LOOK_MS + Math.random() * SPREAD_MS);
  }

  /** Ask for a sale as it is now. */
  async look(id) {
    try {
      this.hear(await this.#api.json(`${this.#url}/${encodeURIComponent(id)}`));
    } catch (error) {
      if (!(error instanceof Problem)) throw error; // the next piece sold asks again
    }
    this.#looking.delete(id);
  }

  #first(wanted) {
    const now_ms = this.#clock.now();
    const found = [...this.#sales.values()].filter(wanted).map((sale) => ({ sale, phase: phaseOf(sale, now_ms) }));
    const running = found.filter(({ phase }) => phase === "running").sort(cheapest);
    const scheduled = found.filter(({ phase }) => phase === "scheduled").sort(soonest);
    return running[0] ?? scheduled[0] ?? found.find(({ phase }) => phase === "gone") ?? null;
  }
}

function cheapest(one, other) {
  return one.sale.price.amount - other.sale.price.amount;
}

function soonest(one, other) {
  return one.sale.starts_at.localeCompare(other.sale.starts_at);
}
