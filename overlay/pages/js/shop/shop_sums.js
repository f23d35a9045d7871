// What orders add up to, and what is to be taken off the shelf for them. Demo orders are no sales and count in neither.

const PAID = new Set(["paid", "disputed"]);

/** {orders, demo: how many; paid, refunded: {count, amounts: {currency: minor units}}; open: how many may still be paid}. */
export function sumsOf(orders) {
  const real = orders.filter((order) => !order.demo);
  return {
    orders: real.length,
    demo: orders.length - real.length,
    open: real.filter((order) => order.state === "reserved").length,
    paid: sum(real.filter((order) => PAID.has(order.payment))),
    refunded: sum(real.filter((order) => order.payment === "refunded")),
  };
}

function sum(orders) {
  const amounts = {};
  for (const { total } of orders) amounts[total.currency] = (amounts[total.currency] ?? 0) + total.amount;
  return { count: orders.length, amounts };
}

/** Orders that were paid and wait for their parcel, oldest first. */
export function toShip(orders) {
  const waiting = orders.filter(({ demo, state, fulfilment }) => !demo && state === "confirmed" && ["none", "partial"].includes(fulfilment));
  return waiting.sort((one, other) => (one.created_at < other.created_at ? -1 : 1));
}

/** What they need: [{sku, title, options, qty, orders}] by title and SKU; `orders` is how many want it. */
export function pickList(orders) {
  const rows = new Map();
  for (const line of orders.flatMap((order) => order.lines).filter((line) => unsent(line) > 0)) {
    const row = rows.get(line.sku) ?? { sku: line.sku, title: line.title, options: line.options, qty: 0, orders: 0 };
    row.qty += unsent(line);
    row.orders += 1;
    rows.set(line.sku, row);
  }
  return [...rows.values()].sort((one, other) => one.title.localeCompare(other.title) || (one.sku < other.sku ? -1 : 1));
}

/** Pieces of a line that are still to be sent. */
export function unsent({ qty, sent = 0, dropped = 0 }) {
  return qty - sent - dropped;
}

/** The months to choose from, as [year, month 0–11], this one first. */
export function lastMonths(now, count) {
  const first = (back) => new Date(now.getFullYear(), now.getMonth() - back, 1);
  return Array.from({ length: count }, (_, back) => [first(back).getFullYear(), first(back).getMonth()]);
}

/**
 * What the next `pieces` of a line give back, in minor units: shares of what was paid are cumulative, so that in whatever
 * portions they go they add up to the line's total. `refunds` are those of the order, as the server has them.
 */
export function shareOf({ sku, qty, total, refunded }, pieces, refunds) {
  const own = refunds.flatMap(({ lines, state }) => (state === "failed" ? [] : lines)).filter((line) => line.sku === sku);
  const gone = own.reduce((sum, { amount }) => sum + amount.amount, 0);
  const share = Number((BigInt(total.amount) * BigInt(refunded + pieces)) / BigInt(qty)) - gone;
  return Math.max(0, share);
}
