// How an order stands, said to its buyer in one sentence, and what may still happen to it.

// By state, then by payment (or, once it is paid, by fulfilment); "" is whatever is not named.
const HEADLINES = {
  reserved: { "": "order_reserved", pending: "order_paying", failed: "order_pay_failed" },
  cancelled: { "": "order_cancelled", paid: "order_refunding", refunded: "order_refunded" },
  expired: { "": "order_expired", pending: "order_expired_paying", paid: "order_refunding", refunded: "order_refunded" },
};
const ON_ITS_WAY = {
  "": "order_confirmed",
  partial: "order_partial",
  shipped: "order_shipped",
  delivered: "order_delivered",
  return_requested: "order_return_requested",
  partially_returned: "order_returned",
  returned: "order_returned",
};
const STAGES = { none: 2, partial: 2, shipped: 3 }; // how many steps are done once it is paid

/** The key of the sentence for its buyer. */
export function headline(order) {
  const byPayment = HEADLINES[order.state];
  return byPayment ? (byPayment[order.payment] ?? byPayment[""]) : (ON_ITS_WAY[order.fulfilment] ?? ON_ITS_WAY[""]);
}

/** For ordered, paid, shipped, delivered: "done", "now" or ""; null where the order has ended before. */
export function steps(order) {
  if (order.state === "cancelled" || order.state === "expired") return null;
  const done = order.state === "reserved" ? 1 : (STAGES[order.fulfilment] ?? 4);
  return [0, 1, 2, 3].map((at) => (at < done ? "done" : at === done ? "now" : ""));
}

/** Whether to look often: a payment, a refund or the end of the reservation may come any moment. */
export function mayChange({ state, payment }) {
  return state === "reserved" || payment === "pending" || (payment === "paid" && (state === "cancelled" || state === "expired"));
}

/** The payment that is under way, or null. */
export function pendingPayment({ payment, payments }) {
  return payment === "pending" ? (payments.at(-1) ?? null) : null;
}
