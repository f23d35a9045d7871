// The pick list: what to take off the shelf for the orders that are paid and not sent, and the parcels to make of it.

import { element, moment } from "../elements.js";
import { t } from "../language.js";
import { optionWords } from "../options.js";
import { addressLines } from "../order_lines.js";
import { staffJson } from "../staff.js";
import { pickList, toShip, unsent } from "./shop_sums.js";

const PAGE = 200;
const ORDERS_MOST = 2000; // more is no list that anybody walks with
const ADDRESSES_MOST = 100; // each is a request of its own
const AT_ONCE = 6;

const $ = (id) => document.getElementById(id);

export class PickingTab {
  #uses;
  #orders = null;
  #complete = true;
  #given = new Map(); // contact and address by order and its last change
  #at = "";

  constructor(uses) {
    this.#uses = uses;
    $("picking-csv").href = "/v1/pick-list?format=csv";
    $("print").addEventListener("click", () => window.print());
  }

  async refresh() {
    const found = [];
    let cursor = null;
    do {
      const query = new URLSearchParams({ state: "confirmed", limit: PAGE, ...(cursor && { cursor }) });
      const page = await staffJson(`/v1/orders?${query}`);
      found.push(...page.items);
      cursor = page.next;
    } while (cursor && found.length < ORDERS_MOST);
    const orders = toShip(found);
    if (this.#uses.may("orders.contact")) await this.#readAddresses(orders.slice(0, ADDRESSES_MOST));
    this.#orders = orders;
    this.#complete = cursor === null;
    this.#at = new Date().toISOString();
  }

  show() {
    if (this.#orders === null) return;
    const none = this.#orders.length === 0;
    $("picking-empty").hidden = !none;
    for (const part of [$("picking-table"), $("parcels-title"), $("print")]) part.hidden = none;
    $("picking-csv").hidden = none || !this.#uses.may("orders.ship");
    $("picking-at").replaceChildren(t("shop_picking_count", { orders: this.#orders.length }), " ", moment(this.#at));
    if (!this.#complete) $("picking-at").append(" ", t("shop_picking_incomplete", { most: ORDERS_MOST }));
    $("picking").replaceChildren(...pickList(this.#orders).map(shelfRow));
    $("parcels").replaceChildren(...this.#orders.map((order) => this.#parcel(order)));
  }

  // Only those that are new or changed since the last look.
  async #readAddresses(orders) {
    const known = this.#given;
    this.#given = new Map(orders.filter((order) => known.has(stamp(order))).map((order) => [stamp(order), known.get(stamp(order))]));
    const waiting = orders.filter((order) => !this.#given.has(stamp(order)));
    const work = async () => {
      for (let order = waiting.pop(); order !== undefined; order = waiting.pop()) {
        const whole = await staffJson(`/v1/orders/${encodeURIComponent(order.id)}`);
        this.#given.set(stamp(order), addressLines(whole));
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
  }

  #parcel(order) {
    const address = this.#given.get(stamp(order)) ?? [];
    const lines = order.lines.filter((line) => unsent(line) > 0).map((line) => `${unsent(line)} × ${[line.title, optionWords(line.options)].filter(Boolean).join(" · ")}`);
    return element(
      "li",
      { class: "parcel" },
      element("span", { class: "tick", "aria-hidden": "true" }),
      element("span", { class: "parcel-what" }, element("strong", { class: "mono" }, order.id.slice(-8)), ...lines.map((line) => element("span", {}, line))),
      element("span", { class: "address-text" }, ...(address.length ? address : [t("shop_no_address")]).map((line) => element("span", {}, line))),
    );
  }
}

const stamp = (order) => `${order.id} ${order.updated_at}`;

function shelfRow(row) {
  const name = element("td", {}, row.title, element("small", {}, [optionWords(row.options), row.sku].filter(Boolean).join(" · ")));
  return element("tr", { "data-sku": row.sku }, element("td", { class: "count" }, String(row.qty)), name, element("td", { class: "count" }, String(row.orders)));
}
