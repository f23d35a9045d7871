// From a press on Buy to an order: at once where the price is the one that is shown, else by the quote sheet.

import { t } from "../../language.js";
import { optionWords } from "../../options.js";
import { Problem } from "../../problem.js";
import { Buying } from "./buying.js";
import { QuoteSheet } from "./quote_sheet.js";
import { refusalWords } from "./refusals.js";

const AGAIN_MS = 800; // the second click of a double one is no second order
const STALE = ["price_changed", "out_of_stock", "limit_reached"]; // what was shown is not how it is

export class Checkout {
  #room;
  #goods;
  #sales;
  #coupons;
  #orders;
  #cart;
  #onOrder;
  #buying;
  #sheet;

  /** The parts of the shop; onOrder(id): there is an order. */
  constructor({ room, events, api, goods, sales, coupons, orders, cart, onOrder }) {
    this.#room = room;
    this.#goods = goods;
    this.#sales = sales;
    this.#coupons = coupons;
    this.#orders = orders;
    this.#cart = cart;
    this.#onOrder = onOrder;
    this.#buying = new Buying({ room, events, api });
    this.#sheet = new QuoteSheet({ room, api, goods, coupons, buy: (body, onSlow) => this.#quoted(body, onSlow) });
  }

  /** One piece of this SKU, as it is shown; who has coupons for it looks at the price first. view: an OfferView. */
  async buy(view, product, { sku, price_version }) {
    view.wait(null);
    view.say("");
    if (this.#coupons.usable([sku]).length) return this.#sheet.open(product, sku);
    const body = { room: this.#room, lines: [{ sku, qty: 1 }], price_version };
    view.busy(true);
    try {
      await this.#order(body, () => view.say(t("buy_slow")));
      view.say("");
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      await this.#refused(error, view, product, sku);
    }
    setTimeout(() => view.busy(false), AGAIN_MS);
  }

  /** How many, and why they cost what they cost. */
  open(product, { sku }) {
    this.#sheet.open(product, sku);
  }

  /** One piece more in the cart. view: an OfferView. */
  add(view, product, { sku, options }) {
    const what = [product.title, optionWords(options)].filter(Boolean).join(" · ");
    view.say(t(this.#cart.add(product.id, sku, what) ? "cart_added" : "cart_full"));
  }

  /** All that is in the cart, and what it costs together. */
  openCart() {
    this.#sheet.openCart(this.#cart);
  }

  refresh() {
    this.#sheet.refresh();
  }

  /** Orders whose answers were never seen. */
  async recover() {
    for (const order of await this.#buying.recover()) {
      this.#orders.put(order);
      if (this.#cart.same(order.lines)) this.#cart.bought(order.lines);
    }
  }

  nudge() {
    this.#buying.nudge();
  }

  async #quoted(body, onSlow) {
    try {
      await this.#order(body, onSlow);
    } catch (error) {
      if (error instanceof Problem) await Promise.all(body.lines.map(({ sku }) => this.#renew(error, sku)));
      throw error;
    }
  }

  async #order(body, onSlow) {
    const order = await this.#buying.buy(body, onSlow);
    this.#orders.put(order);
    if (order.coupons?.length) void this.#coupons.refresh();
    this.#sheet.close();
    this.#onOrder(order.id);
  }

  // Said of the product as it is now: the refusal says that we knew an older one.
  async #refused(problem, view, product, code) {
    await this.#renew(problem, code, product.id);
    if (problem.code === "price_changed") {
      return this.#sheet.open(product, code, { news: t("quote_changed"), quote: problem.extra?.quote });
    }
    const sku = this.#goods.get(product.id)?.skus.find((each) => each.sku === code);
    if (problem.code === "out_of_stock") view.wait(code);
    if (problem.code !== "out_of_stock" || !sku?.available) {
      view.say(refusalWords(problem, { held: problem.extra?.held ?? sku?.held }));
    }
  }

  async #renew({ code }, sku, product = null) {
    if (!STALE.includes(code)) return;
    const found = this.#sales.of(sku);
    const asked = [product && this.#goods.refresh(product), found && this.#sales.look(found.sale.id)];
    await Promise.all(asked).catch(() => {}); // events will tell
  }
}
