// What a show has brought in, by currency; demo orders count nowhere.

/**
 * The totals of orders made at `since_ms` (UTC) or later: {orders, byCurrency: {CNY: {paid, waiting}}}. `paid` is what has
 * been paid and kept, `waiting` what is reserved and may still be, in minor units.
 */
export function totalsOf(orders, since_ms) {
  const byCurrency = {};
  let count = 0;
  for (const order of orders) {
    if (order.demo || Date.parse(order.created_at) < since_ms) continue;
    const kind = kindOf(order);
    if (kind === null) continue;
    const { amount, currency } = order.total;
    byCurrency[currency] ??= { paid: 0, waiting: 0 };
    byCurrency[currency][kind] += amount;
    count += 1;
  }
  return { orders: count, byCurrency };
}

function kindOf({ state, payment }) {
  if (payment === "paid") return "paid";
  return state === "reserved" ? "waiting" : null;
}
