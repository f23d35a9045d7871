// The sheet of one order in the shop: all that is known of it, and all that may still be done about it.

import { element, moment } from "../elements.js";
import { ActKeys } from "../keys.js";
import { t } from "../language.js";
import { formatMoney } from "../money.js";
import { addressLines, lineItems } from "../order_lines.js";
import { priceRows } from "../price_rows.js";
import { Problem } from "../problem.js";
import { staffJson } from "../staff.js";
import { CasesPart } from "./shop_cases.js";
import { RefundPart } from "./shop_refunding.js";
import { ReturnsPart } from "./shop_returns.js";
import { ShippingPart } from "./shop_shipping.js";
import { orderWords, problemWords } from "./shop_words.js";

const WORDS = { illegal_transition: "shop_order_changed", not_found: "shop_order_missing", refund_exceeds: "shop_refund_exceeds" };
const NONE = { refunds: [], returns: [], cases: [], notes: [], settlement: [] };

const $ = (id) => document.getElementById(id);

export class OrderSheet {
  #uses;
  #keys = new ActKeys();
  #order = null;
  #whole = false; // contact and address have come too
  #asking = false; // whether to cancel
  #busy = false;
  #refused = null;

  #records = NONE; // what belongs to the order
  #parts;

  constructor(uses) {
    this.#uses = uses;
    const own = {
      may: uses.may,
      act: (path, body, done) => this.#act(path, body, done),
      show: () => this.show(),
      say: (key) => this.#uses.toast(t(key)),
    };
    this.#parts = [new ShippingPart(own), new RefundPart(own), new ReturnsPart(own), new CasesPart(own)];
    $("cancel").addEventListener("click", () => this.#ask());
    $("cancel-sure").addEventListener("click", () => void this.#act("cancel", {}, "shop_cancelled"));
  }

  /** Open it for an order of the list, or for {id}. */
  async open(order) {
    this.#order = order;
    this.#whole = this.#asking = false;
    this.#refused = null;
    this.#records = NONE;
    for (const part of this.#parts) part.clear?.();
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
      const [order, records] = await Promise.all([staffJson(urlOf(id)), this.#read(id)]);
      if (this.#order.id !== id) return;
      this.#order = order;
      this.#records = records;
      this.#whole = true;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.#refused = error;
    }
  }

  async #read(id) {
    const names = Object.keys(NONE).filter((name) => name !== "notes" || this.#uses.may("orders.notes"));
    const lists = await Promise.all(names.map(async (name) => [name, (await staffJson(`${urlOf(id)}/${name}`)).items]));
    return { ...NONE, ...Object.fromEntries(lists) };
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
    $("order-parts").hidden = !this.#whole;
    if (this.#whole) for (const part of this.#parts) part.show(order, this.#records);
  }

  #showOrder(order) {
    const words = orderWords(order);
    const { state, payment, fulfilment } = order;
    Object.assign($("order-words").dataset, { state, payment, fulfilment });
    $("order-words").textContent = `${words.state} · ${words.payment} · ${words.fulfilment}`;
    $("order-demo").hidden = !order.demo;
    const rows = priceRows(order);
    $("order-lines").replaceChildren(...lineItems(order, (line) => (rows.length ? line.subtotal : line.total)).map((item, at) => withFigures(item, order.lines[at])));
    $("order-prices").replaceChildren(...rows);
    $("order-settlement").replaceChildren(...this.#settlement());
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

  // Only where more than the shop itself has a share.
  #settlement() {
    const { settlement } = this.#records;
    if (settlement.every(({ merchant }) => merchant === null)) return [];
    return settlement.map(({ merchant, net }) => element("div", {}, element("dt", {}, merchant ?? t("shop_itself")), element("dd", {}, formatMoney(net))));
  }

  #showActs({ state, fulfilment }) {
    const ends = this.#uses.may("orders.cancel") && (state === "reserved" || (state === "confirmed" && fulfilment === "none"));
    $("cancel").hidden = !ends || this.#asking;
    $("cancel-sure").hidden = !ends || !this.#asking;
    $("cancel-sure").textContent = t(state === "confirmed" ? "shop_cancel_sure_paid" : "shop_cancel_sure");
    for (const each of document.querySelectorAll("#order-sheet form button, #order-sheet .acts button")) each.disabled = this.#busy;
  }

  #ask() {
    this.#asking = true;
    this.show();
    $("cancel-sure").focus();
  }

  // Whether it was done; `path` is one below the order, or a whole one.
  async #act(path, body, done) {
    const url = path.startsWith("/") ? path : `${urlOf(this.#order.id)}/${path}`;
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
    const refused = this.#refused;
    await this.#uses.refresh();
    return refused === null;
  }
}

const urlOf = (id) => `/v1/orders/${encodeURIComponent(id)}`;

// What has become of a line's pieces, where it isn't all one.
function withFigures(item, { sent, returned, refunded, dropped, qty }) {
  const said = [
    sent > 0 && sent < qty && t("shop_line_sent", { count: sent }),
    returned > 0 && t("shop_line_returned", { count: returned }),
    refunded > 0 && t("shop_line_refunded", { count: refunded }),
    dropped > 0 && t("shop_line_dropped", { count: dropped }),
  ].filter(Boolean);
  if (said.length) item.querySelector(".line-words").append(element("small", { class: "line-figures" }, said.join(" · ")));
  return item;
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
