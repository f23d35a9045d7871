// One order in the studio: what was bought, for how much, and how far it is, in words with a colour.

import { t } from "../../language.js";
import { formatMoney } from "../../money.js";
import { optionWords } from "../../options.js";
import { stamp } from "../../template.js";

const STATES = {
  reserved: ["sell_state_reserved", "warn"],
  confirmed: ["sell_state_confirmed", "good"],
  completed: ["sell_state_completed", "good"],
  cancelled: ["sell_state_cancelled", "bad"],
  expired: ["sell_state_expired", "quiet"],
};
const PAYMENTS = {
  none: ["sell_payment_none", "quiet"],
  pending: ["sell_payment_pending", "warn"],
  failed: ["sell_payment_failed", "bad"],
  paid: ["sell_payment_paid", "good"],
  partially_refunded: ["sell_payment_partially_refunded", "warn"],
  refunded: ["sell_payment_refunded", "bad"],
  disputed: ["sell_payment_disputed", "bad"],
};
const FULFILMENTS = {
  none: ["sell_fulfilment_none", "quiet"],
  partial: ["sell_fulfilment_partial", "warn"],
  shipped: ["sell_fulfilment_shipped", "good"],
  delivered: ["sell_fulfilment_delivered", "good"],
  return_requested: ["sell_fulfilment_return_requested", "warn"],
  partially_returned: ["sell_fulfilment_partially_returned", "bad"],
  returned: ["sell_fulfilment_returned", "bad"],
};

/** An element for an order; `showOrder` fills it. */
export function orderRow() {
  return stamp("order-row");
}

/** Show an order document in its element. */
export function showOrder(item, order) {
  const find = (name) => item.querySelector(name);
  item.dataset.order = order.id;
  find(".order-lines").textContent = order.lines.map(lineWords).join(", ");
  find(".order-lines").href = `/orders/${encodeURIComponent(order.id)}`;
  find(".order-total").textContent = formatMoney(order.total);
  const made = new Date(order.created_at);
  find("time").dateTime = order.created_at;
  find("time").textContent = made.toLocaleTimeString("en", { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  find(".order-number").textContent = `…${order.id.slice(-5)}`;
  find(".demo").hidden = !order.demo;
  const ships = order.state === "confirmed" || order.fulfilment !== "none";
  chip(find(".order-state"), STATES, order.state);
  chip(find(".order-payment"), PAYMENTS, order.payment);
  chip(find(".order-fulfilment"), FULFILMENTS, ships ? order.fulfilment : null);
}

function lineWords({ qty, title, options }) {
  const kind = optionWords(options);
  return `${qty} × ${title}${kind ? ` (${kind})` : ""}`;
}

function chip(element, words, value) {
  element.hidden = value === null;
  if (value === null) return;
  const [key, tone] = words[value] ?? ["sell_other", "quiet"];
  element.textContent = t(key, { value });
  element.dataset.tone = tone;
  element.dataset.value = value;
}
