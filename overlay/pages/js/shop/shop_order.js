// The sheet of one order in the shop: all that is known of it, and shipping, delivering, cancelling.

import { element, moment } from "../elements.js";
import { ActKeys } from "../keys.js";
import { t } from "../language.js";
import { formatMoney } from "../money.js";
import { addressLines, lineItems } from "../order_lines.js";
import { Problem } from "../problem.js";
import { staffJson } from "../staff.js";
import { orderWords, problemWords } from "./shop_words.js";

const WORDS = { illegal_transition: "shop_order_changed", not_found: "shop_order_missing" };

const $ = (id) => document.getElementById(id);

export class OrderSheet {
  #uses;
  #keys = new ActKeys();
  #order = null;
  #whole = false; // contact and address have come too
  #asking = false; // whether to cancel
  #busy = false;
  #refused = null;

  constructor(uses) {
    this.#uses = uses;
    $("ship").addEventListener("submit", (event) => {
      event.preventDefault();
      const tracking = $("ship-tracking").value.trim();
      void this.#act("ship", tracking ? { tracking } : {}, "shop_shipped");
    });
    $("deliver").addEventListener("click", () => void this.#act("deliver", {}, "shop_delivered"));
    $("cancel").addEventListener("click", () => this.#ask());
    $("cancel-sure").addEventListener("click", () => void this.#act("cancel", {}, "shop_cancelled"));
  }

  /** Open it for an order of the list, or for {id}. */
  async open(order) {
    this.#order = order;
    this.#whole = this.#asking = false;
    this.#refused = null;
    $("ship").reset();
    this.show();
    if (!$("order-sheet").open) $("order-sheet").showModal();
    await this.refresh();
    this.show();
  }

  /** Look at the order again while the sheet is open. */
  async refresh() {
    if (!$("order-sheet").open || this.#busy) return;
    const { id } = this.#order;
    try {
      const order = await staffJson(`/v1/orders/${encodeURIComponent(id)}`);
      if (this.#order.id !== id) return;
      this.#order = order;
      this.#whole = true;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.#refused = error;
    }
  }

  show() {
    const order = this.#order;
    if (order === null) return;
    $("order-title").textContent = t("shop_order_title", { id: order.id.slice(-8) });
    $("order-problem").hidden = this.#refused === null;
    if (this.#refused) $("order-problem-text").textContent = problemWords(this.#refused, WORDS);
    const known = order.lines !== undefined;
    if (known) this.#showOrder(order);
    this.#showActs(known ? order : { state: "", fulfilment: "" });
  }

  #showOrder(order) {
    const words = orderWords(order);
    const { state, payment, fulfilment } = order;
    Object.assign($("order-words").dataset, { state, payment, fulfilment });
    $("order-words").textContent = `${words.state} · ${words.payment} · ${words.fulfilment}`;
    $("order-demo").hidden = !order.demo;
    $("order-lines").replaceChildren(...lineItems(order));
    $("order-total").textContent = formatMoney(order.total);
    $("order-facts").replaceChildren(...facts(order));
    $("order-address").replaceChildren(...this.#address(order));
  }

  #address(order) {
    if (!this.#whole) return [];
    if (!("address" in order)) return [element("span", { class: "hint" }, t("shop_address_hidden"))];
    const lines = addressLines(order).map((line) => element("span", {}, line));
    return lines.length ? lines : [element("span", { class: "hint" }, t("shop_no_address"))];
  }

  #showActs({ state, fulfilment }) {
    const { may } = this.#uses;
    const ships = may("orders.ship") && state === "confirmed";
    const ends = may("orders.cancel") && (state === "reserved" || (state === "confirmed" && fulfilment === "none"));
    $("ship").hidden = !ships || fulfilment !== "none";
    $("deliver").hidden = !ships || fulfilment !== "shipped";
    $("cancel").hidden = !ends || this.#asking;
    $("cancel-sure").hidden = !ends || !this.#asking;
    $("cancel-sure").textContent = t(state === "confirmed" ? "shop_cancel_sure_paid" : "shop_cancel_sure");
    for (const each of document.querySelectorAll("#ship button, #order-sheet .acts button")) each.disabled = this.#busy;
  }

  #ask() {
    this.#asking = true;
    this.show();
    $("cancel-sure").focus();
  }

  async #act(name, body, done) {
    const url = `/v1/orders/${encodeURIComponent(this.#order.id)}/${name}`;
    this.#busy = true;
    this.#refused = null;
    this.show();
    try {
      await this.#keys.run(JSON.stringify([url, body]), (key) => staffJson(url, { method: "POST", body, key }));
      this.#uses.toast(t(done));
      this.#asking = false;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.#refused = error;
    }
    this.#busy = false;
    await this.#uses.refresh();
  }
}

function facts(order) {
  const rows = [
    ["order_number", element("span", { class: "mono" }, order.id)],
    ["order_placed", moment(order.created_at)],
    ["shop_buyer", element("span", { class: "mono" }, order.buyer)],
    ["shop_room", order.room],
    ["order_tracking", order.tracking],
    ["shop_referral", order.referral],
  ];
  return rows
    .filter(([, value]) => value)
    .map(([key, value]) => element("div", {}, element("dt", {}, t(key)), element("dd", {}, value)));
}
