// The bag: everything this room sells, searched and paged, each with its button; above it the viewer's own orders.

import { element } from "../../elements.js";
import { t } from "../../language.js";
import { formatMoney } from "../../money.js";
import { headline } from "../../order_words.js";
import { Problem, bearer, requestJson } from "../../problem.js";
import { arrange } from "../../template.js";
import { left_s, minutes } from "./countdown.js";
import { openSheet, startSheet } from "./sheets.js";

const PAGE = 20;
const SHOWN = 200; // beyond that searching is better than scrolling
const TYPED_MS = 250;
const HOOKS = { price: "bag-price", sale: "bag-sale", buy: (sku) => `bag-buy-${sku}`, stock: (sku) => `bag-stock-${sku}` };

const $ = (id) => document.getElementById(id);

export class BagView {
  #url;
  #token;
  #goods;
  #orders;
  #clock;
  #offer;
  #onOrder;
  #views = []; // OfferViews in the bag's order
  #cursor = null;
  #asked = 0; // number of the last question: answers to others are too late
  #typed = null;

  /** token: a ViewerToken. goods: Goods. orders: MyOrders. offer(hooks): a new OfferView. onOrder(id): show that order. */
  constructor({ room, token, goods, orders, clock, offer, onOrder }) {
    this.#url = `/v1/rooms/${encodeURIComponent(room)}/bag`;
    this.#token = token;
    this.#goods = goods;
    this.#orders = orders;
    this.#clock = clock;
    this.#offer = offer;
    this.#onOrder = onOrder;
    startSheet($("bag-sheet"), () => this.#empty());
    $("bag-more").addEventListener("click", () => void this.#ask());
    $("bag-search").addEventListener("input", () => {
      clearTimeout(this.#typed);
      this.#typed = setTimeout(() => this.#again(), TYPED_MS);
    });
  }

  /** The whole bag, or what is found by the name `search`. */
  open(search = "") {
    this.showOrders();
    $("bag-search").value = search;
    openSheet($("bag-sheet"));
    this.#again();
  }

  close() {
    $("bag-sheet").close();
  }

  /** How many products there are. */
  count(total) {
    $("bag-count").textContent = total > 99 ? "99+" : String(total);
    $("bag-count").hidden = total === 0;
    if ($("bag-sheet").open) this.#again();
  }

  /** A product is known better; all of them without an id. */
  refresh(id = null) {
    for (const view of this.#views) {
      if (id === null || view.product.id === id) view.show(this.#goods.get(view.product.id) ?? view.product);
    }
  }

  /** Once a second. */
  tick() {
    for (const view of this.#views) view.tick();
  }

  /** The viewer's orders have changed. */
  showOrders() {
    const orders = this.#orders.all;
    $("own-orders").hidden = orders.length === 0;
    $("own-list").replaceChildren(...orders.map((order) => this.#order(order)));
  }

  #order(order) {
    const left = order.state === "reserved" ? left_s(order.expires_at, this.#clock.now()) : null;
    const titles = order.lines.map(({ title }) => title).join(", ");
    const row = element(
      "button",
      { type: "button", class: "own-row", "data-order": order.id, "data-state": order.state },
      element("span", { class: "own-title" }, titles),
      element("span", { class: "own-state" }, left ? `${t("own_reserved")} ${minutes(left)}` : t(headline(order))),
      element("span", { class: "own-total" }, formatMoney(order.total)),
    );
    row.addEventListener("click", () => this.#onOrder(order.id));
    return element("li", {}, row);
  }

  // A closed sheet holds nothing, and its products' numbers are nobody's.
  #empty() {
    this.#asked += 1;
    this.#views = [];
    $("bag-list").replaceChildren();
  }

  #again() {
    this.#cursor = null;
    void this.#ask();
  }

  async #ask() {
    this.#asked += 1;
    const asked = this.#asked;
    const cursor = this.#cursor;
    const askedAt = performance.now();
    const query = new URLSearchParams({ limit: String(PAGE) });
    const q = $("bag-search").value.trim();
    if (q) query.set("search", q);
    if (cursor) query.set("cursor", cursor);
    try {
      const { items, next } = await requestJson(`${this.#url}?${query}`, { headers: bearer(await this.#token.get()) });
      if (asked === this.#asked) this.#take(items, { more: cursor !== null, next, askedAt, q });
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (asked === this.#asked) this.#say(t("bag_refused"));
    }
  }

  #take(items, { more, next, askedAt, q }) {
    for (const { product } of items) this.#goods.put(product, askedAt);
    const before = more ? this.#views : [];
    const known = new Map(this.#views.map((view) => [view.product.id, view]));
    this.#views = [...before, ...items.map(({ product }) => known.get(product.id) ?? this.#view(product))];
    arrange($("bag-list"), this.#views.map((view) => view.element));
    this.#cursor = this.#views.length < SHOWN ? next : null;
    $("bag-more").hidden = this.#cursor === null;
    this.#say(this.#views.length ? "" : t(q ? "bag_none" : "bag_empty"));
  }

  #view(product) {
    const view = this.#offer(HOOKS);
    view.show(this.#goods.get(product.id) ?? product);
    return view;
  }

  #say(words) {
    $("bag-words").textContent = words;
    $("bag-words").hidden = words === "";
  }
}
