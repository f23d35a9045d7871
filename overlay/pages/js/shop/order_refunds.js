// What was given back, what the buyer sends back, and the form that asks for it.

import { element, moment } from "../elements.js";
import { t } from "../language.js";
import { formatMoney } from "../money.js";
import { ActKeys } from "../keys.js";
import { Problem } from "../problem.js";
import { piecesWords } from "./order_parcels.js";
import { problemWords } from "./shop_words.js";

const RETURN_STATES = {
  requested: "order_return_asked",
  approved: "order_return_approved",
  refused: "order_return_refused",
  received: "order_return_received",
};
const DENIED = {
  return_window_over: "order_return_late",
  not_returnable: "order_return_never",
  illegal_transition: "order_changed",
};
const WAITING = ["requested", "approved"];
const ARRIVED = ["delivered", "return_requested", "partially_returned"];

const $ = (id) => document.getElementById(id);

class RefundsPanel {
  #order = null;
  #caller = null;
  #returns = [];
  #refused = null;
  #keys = new ActKeys();
  #refresh;
  #toast;

  constructor({ refresh, toast }) {
    this.#refresh = refresh;
    this.#toast = toast;
    $("return-open").addEventListener("click", () => this.#open(true));
    $("return-close").addEventListener("click", () => this.#open(false));
    $("return-form").addEventListener("submit", (event) => void this.#send(event));
  }

  /** records: {refunds, returns} of the order, oldest first. */
  show(order, { refunds, returns }, caller) {
    this.#order = order;
    this.#caller = caller;
    this.#returns = returns;
    $("refund-list").replaceChildren(...refunds.map((refund) => refundItem(refund, order)));
    $("return-list").replaceChildren(...returns.map((each) => returnItem(each, order)));
    const may = !caller.isStaff && ARRIVED.includes(order.fulfilment) && this.#lines().length > 0;
    if (!may) $("return-form").hidden = true;
    $("return-open").hidden = !may || !$("return-form").hidden;
    $("refunds").hidden = !may && refunds.length === 0 && returns.length === 0;
    $("return-problem").hidden = this.#refused === null;
    if (this.#refused) $("return-problem-text").textContent = problemWords(this.#refused, DENIED);
  }

  // [{line, most}] of what may still be sent back.
  #lines() {
    const waiting = this.#returns.filter(({ state, refund }) => WAITING.includes(state) && refund === null);
    const coming = (code) =>
      waiting.flatMap(({ lines }) => lines).reduce((sum, { sku, qty }) => sum + (sku === code ? qty : 0), 0);
    return this.#order.lines
      .map((line) => ({ line, most: line.sent + line.dropped - line.refunded - coming(line.sku) }))
      .filter(({ most }) => most > 0);
  }

  #open(whether) {
    if (whether) $("return-lines").replaceChildren(...this.#lines().map(lineField));
    this.#refused = null;
    $("return-problem").hidden = true;
    $("return-form").hidden = !whether;
    $("return-open").hidden = whether;
    (whether ? $("return-lines").querySelector("input") : $("return-open")).focus();
  }

  async #send(event) {
    event.preventDefault();
    const lines = [...$("return-lines").querySelectorAll("input")]
      .map((field) => ({ sku: field.dataset.sku, qty: Number(field.value) }))
      .filter(({ qty }) => qty > 0);
    if (lines.length === 0) return $("return-lines").querySelector("input").focus();
    const body = { lines, reason: $("return-reason").value.trim() };
    $("return-send").disabled = true;
    try {
      await this.#keys.run(JSON.stringify(["return", body]), (key) => this.#caller.act("/returns", { body, key }));
      this.#open(false);
      $("return-reason").value = "";
      this.#toast(t("order_return_sent"));
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.#refused = error;
    }
    $("return-send").disabled = false;
    await this.#refresh();
  }
}

/** Wire the form; `refresh` looks at the order again. */
export function startRefunds(uses) {
  return new RefundsPanel(uses);
}

function refundItem({ amount, lines, reason, state, created_at }, order) {
  return element(
    "li",
    { class: "record", "data-testid": "order-refund" },
    element("p", { class: "record-head" }, element("strong", {}, formatMoney(amount)), chip(state === "done" ? "order_refund_done" : "order_refund_open", state)),
    lines.length ? element("p", {}, piecesWords(lines, order)) : null,
    reason ? element("p", { class: "hint" }, reason) : null,
    element("p", { class: "hint" }, moment(created_at)),
  );
}

function returnItem({ id, lines, reason, state, answer, created_at }, order) {
  const pieces = piecesWords(lines, order);
  return element(
    "li",
    { class: "record", "data-testid": "order-return", "data-return": id },
    element("p", { class: "record-head" }, element("strong", {}, pieces), chip(RETURN_STATES[state], state)),
    element("p", { class: "hint" }, reason),
    answer ? element("p", {}, t("order_return_answer", { answer })) : null,
    element("p", { class: "hint" }, moment(created_at)),
  );
}

function chip(key, state) {
  return element("span", { class: "record-state", "data-state": state }, t(key));
}

function lineField({ line, most }, at) {
  const id = `return-qty-${at}`;
  const field = { id, type: "number", min: 0, max: most, value: at === 0 ? 1 : 0, inputmode: "numeric", required: true };
  return element(
    "div",
    { class: "field return-line" },
    element("label", { for: id }, `${line.title} (${t("order_return_most", { most })})`),
    element("div", { class: "input" }, element("input", { ...field, "data-sku": line.sku, "data-testid": id })),
  );
}
