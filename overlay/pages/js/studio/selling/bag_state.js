// What the studio knows of the room's products: documents, which cards are pinned, and what events have said since.
//
// An answer may be older than an event that came while it was on its way; then the event's word counts.

export class BagState {
  products = new Map(); // id → product document
  cards = new Map(); // card id → product id

  #places = new Map(); // SKU → product id
  #heard = new Map(); // SKU → {at, and what an event said of it}
  #toldCards = new Map(); // card id → {at, product or null where it was taken down}

  /** Take documents that were asked for at `askedAt` (any monotonic clock; the same as of `apply`). */
  keep(products, askedAt) {
    for (const product of products) {
      const skus = product.skus.map((sku) => {
        this.#places.set(sku.sku, product.id);
        const heard = this.#heard.get(sku.sku);
        return heard && heard.at >= askedAt ? { ...sku, ...heard.said } : sku;
      });
      this.products.set(product.id, { ...product, skus });
    }
  }

  /** Take all cards that are pinned, as of `askedAt`. */
  keepCards(cards, askedAt) {
    this.cards = new Map(cards.map((card) => [card.id, card.product_id]));
    for (const [id, { at, product }] of this.#toldCards) {
      if (at < askedAt) this.#toldCards.delete(id);
      else if (product === null) this.cards.delete(id);
      else this.cards.set(id, product);
    }
  }

  pin(card, now) {
    this.cards.set(card.id, card.product_id);
    this.#toldCards.set(card.id, { at: now, product: card.product_id });
  }

  unpin(id, now) {
    this.cards.delete(id);
    this.#toldCards.set(id, { at: now, product: null });
  }

  /** The cards of a product that are pinned. */
  cardsOf(product) {
    return [...this.cards].filter(([, of]) => of === product).map(([id]) => id);
  }

  /** Take an event; true if what is shown of the products may have changed. */
  apply({ t, d }, now) {
    const act = ACTS[t];
    if (act === undefined) return false;
    act(this, d, now);
    return true;
  }

  /** Take what an event or a `hello` says of one SKU. */
  hear(sku, said, now) {
    this.#heard.set(sku, { at: now, said: { ...this.#heard.get(sku)?.said, ...said } });
    const product = this.products.get(this.#places.get(sku));
    if (product === undefined) return;
    const skus = product.skus.map((each) => (each.sku === sku ? { ...each, ...said } : each));
    this.products.set(product.id, { ...product, skus });
  }
}

// Documents in events are cut short for viewers; whole ones are asked for.
const ACTS = {
  hello: (state, { cards, stock }, now) => {
    state.keepCards(cards ?? [], now);
    for (const [sku, { available, held }] of Object.entries(stock ?? {})) state.hear(sku, { available, held }, now);
  },
  "card.pinned": (state, card, now) => state.pin(card, now),
  "card.unpinned": (state, { id }, now) => state.unpin(id, now),
  "price.changed": (state, { sku, price, price_version }, now) => state.hear(sku, { price, price_version }, now),
  "stock.changed": (state, { sku, available, held }, now) => state.hear(sku, { available, held }, now),
};
