// The viewer's own orders in this room, the newest first, as `hello`, answers and `order.updated` tell of them.

const KEPT = 20;
const OPEN = new Set(["reserved"]);

export class MyOrders {
  #orders = new Map(); // id → document
  #onChange;

  /** onChange(order): it is new or another. */
  constructor({ onChange }) {
    this.#onChange = onChange;
  }

  get all() {
    return [...this.#orders.values()].sort((one, other) => other.created_at.localeCompare(one.created_at));
  }

  /** The one that waits for its payment, else the newest; null without any. */
  get current() {
    return this.all.find(({ state }) => OPEN.has(state)) ?? this.all[0] ?? null;
  }

  get(id) {
    return this.#orders.get(id) ?? null;
  }

  /** Keep a document, unless a newer one is known. One without a link keeps the link it had. */
  put(order) {
    if (!order.lines) return; // an event of an order that could not be read: only its id
    const known = this.#orders.get(order.id);
    if (known && known.updated_at > order.updated_at) return;
    this.#orders.set(order.id, { ...known, ...order, link: order.link ?? known?.link ?? null });
    if (this.#orders.size > KEPT) this.#orders.delete(this.all.at(-1).id);
    this.#onChange(this.#orders.get(order.id));
  }
}
