// Small parts that the shop's and the buyer's pages share: elements, moments, and an order in words.

import { t } from "./language.js";
import { formatMoney } from "./money.js";
import { Problem } from "./problem.js";
import { newKey } from "./staff.js";

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
const ADDRESS_LINES = [["name", "phone"], ["email"], ["street"], ["postcode", "city", "region"], ["country"], ["note"]];

const tag = () => document.documentElement.lang || "en";
const worded = (table, value) => (value in table ? t(table[value]) : value);

/** An element with attributes, and children that are elements or texts; null among them is left out. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** A button that calls `act`. */
export function button(words, act, attributes = {}) {
  const made = element("button", { type: "button", class: "button", ...attributes }, words);
  made.addEventListener("click", act);
  return made;
}

/** A moment (RFC 3339) in words of the page's language. */
export function moment(text) {
  const format = new Intl.DateTimeFormat(tag(), { dateStyle: "medium", timeStyle: "short" });
  return element("time", { datetime: text }, format.format(new Date(text)));
}

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

/** A SKU's options as one text. */
export function optionWords(options) {
  return Object.values(options ?? {}).join(" · ");
}

/** An order's lines as list items. */
export function lineItems(order) {
  return order.lines.map((line) =>
    element(
      "li",
      { class: "line" },
      element(
        "span",
        { class: "line-words" },
        element("span", { class: "line-title" }, line.title),
        element("span", { class: "line-options" }, [optionWords(line.options), line.sku].filter(Boolean).join(" · ")),
      ),
      element("span", { class: "line-qty" }, `× ${line.qty}`),
      element("span", { class: "line-total" }, formatMoney(line.total)),
    ),
  );
}

/** Contact and address as lines of text; what stands in both is said once. */
export function addressLines({ contact, address }) {
  const words = (name) => [...new Set([address?.[name], contact?.[name]])].filter(Boolean);
  return ADDRESS_LINES.map((names) => names.flatMap(words).join(" ")).filter(Boolean);
}

/** A refusal in words: `words` by code, else what the server says. */
export function problemWords(problem, words = {}) {
  const common = { unreachable: "shop_unreachable", forbidden: "shop_forbidden", too_many: "shop_too_many" };
  const key = words[problem.code] ?? common[problem.code];
  return key ? t(key) : t("shop_refused", { detail: problem.detail });
}

/** Idempotency keys: the same act keeps its key until an answer to it has come. */
export class ActKeys {
  #kept = new Map(); // as many as there are acts without an answer

  /** `act(key)`; `what` tells acts apart, so it holds all that the server is told. */
  async run(what, act) {
    const key = this.#kept.get(what) ?? newKey();
    this.#kept.set(what, key);
    try {
      const answer = await act(key);
      this.#kept.delete(what);
      return answer;
    } catch (error) {
      const answered = error instanceof Problem && error.status >= 400 && error.status < 500;
      if (answered) this.#kept.delete(what);
      throw error;
    }
  }
}
