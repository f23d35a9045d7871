// The shop's words for what the server says: the states of an order, and refusals.

import { t } from "../language.js";

const STATES = {
  reserved: "shop_state_reserved",
  confirmed: "shop_state_confirmed",
  completed: "shop_state_completed",
  cancelled: "shop_state_cancelled",
  expired: "shop_state_expired",
};
const PAYMENTS = {
  none: "shop_payment_none",
  pending: "shop_payment_pending",
  failed: "shop_payment_failed",
  paid: "shop_payment_paid",
  partially_refunded: "shop_payment_partially_refunded",
  refunded: "shop_payment_refunded",
  disputed: "shop_payment_disputed",
};
const FULFILMENTS = {
  none: "shop_fulfilment_none",
  partial: "shop_fulfilment_partial",
  shipped: "shop_fulfilment_shipped",
  delivered: "shop_fulfilment_delivered",
  return_requested: "shop_fulfilment_return_requested",
  partially_returned: "shop_fulfilment_partially_returned",
  returned: "shop_fulfilment_returned",
};

const worded = (table, value) => (value in table ? t(table[value]) : value);

/** What an order's three states say: its state, its payment and its fulfilment. */
export function orderWords(order) {
  return {
    state: worded(STATES, order.state),
    payment: worded(PAYMENTS, order.payment),
    fulfilment: worded(FULFILMENTS, order.fulfilment),
  };
}

/** The states that orders are looked for by, in words. */
export function stateChoices() {
  return Object.keys(STATES).map((state) => [state, t(STATES[state])]);
}

/** A refusal in words: `words` by code, else what the server says. */
export function problemWords(problem, words = {}) {
  const common = { unreachable: "shop_unreachable", forbidden: "shop_forbidden", too_many: "shop_too_many" };
  const key = words[problem.code] ?? common[problem.code];
  return key ? t(key) : t("shop_refused", { detail: problem.detail });
}
