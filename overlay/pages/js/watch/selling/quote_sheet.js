// The price before it is paid: how many, which coupons, why it costs what it costs, and the button that takes it.
//
// What is shown is the server's quote, and what is bought is that quote's version: another price is shown and asked
// for again.

import { element } from "../../elements.js";
import { pick, t } from "../../language.js";
import { formatMoney } from "../../money.js";
import { optionWords } from "../../options.js";
import { priceRows } from "../../price_rows.js";
import { Problem } from "../../problem.js";
import { arrange, stamp } from "../../template.js";
import { QTY_MOST } from "./cart.js";
import { refusalWords } from "./refusals.js";
import { openSheet, startSheet } from "./sheets.js";

const GUARD_MS = 800; // the second click of a double one buys nothing

const $ = (id) => document.getElementById(id);

export class QuoteSheet {
  #room;
  #api;
  #goods;
  #coupons;
  #buy;
  #wanted = null; // [{product, sku, qty, what}], the cart's or one of its own; null while shut
  #cart = null; // the cart that is shown, if it is one
  #rows = new Map(); // sku → its element
  #left = new Set(); // ids of coupons not to spend
  #quote = null;
  #asked = 0;
  #busy = false;
  #taking = false; // an order is on the way: its lines stand
  #openedAt = 0;

  /** api: BuyerApi. goods: Goods. coupons: Coupons. buy(body, onSlow): promises whether the order was made. */
  constructor({ room, api, goods, coupons, buy }) {
    this.#room = room;
    this.#api = api;
    this.#goods = goods;
    this.#coupons = coupons;
    this.#buy = buy;
    startSheet($("quote-sheet"), () => this.#shut());
    $("quote-buy").addEventListener("click", () => void this.#take());
  }

  /** The price of a product's SKU (its code); `news` is a sentence above it, `quote` one that is known already. */
  open(product, sku, { news = "", quote = null, qty = 1 } = {}) {
    this.#begin([{ product: product.id, sku, qty, what: product.title }], null, { news, quote });
  }

  /** The price of all that is in the cart. */
  openCart(cart) {
    this.#begin(cart.lines, cart, { news: "", quote: null });
  }

  #begin(wanted, cart, { news, quote }) {
    this.#wanted = wanted;
    this.#cart = cart;
    this.#rows.clear();
    this.#left.clear();
    this.#quote = null;
    this.#openedAt = performance.now();
    setTimeout(() => this.#busyNow(this.#busy), GUARD_MS);
    this.#news(news);
    this.#say("");
    openSheet($("quote-sheet"));
    if (quote && this.#asking.length === 0) this.#show(quote);
    else void this.#ask();
  }

  /** The language, the product or the coupons are other ones. */
  refresh() {
    if (!this.#wanted) return;
    this.#rows.clear(); // they may be in another language
    if (this.#quote) this.#show(this.#quote);
  }

  #shut() {
    this.#wanted = null;
    this.#cart = null;
  }

  get isOpen() {
    return $("quote-sheet").open;
  }

  close() {
    $("quote-sheet").close();
  }

  get #lines() {
    return this.#wanted.map(({ sku, qty }) => ({ sku, qty }));
  }

  // Ids of the coupons that the viewer has and wants to spend.
  get #asking() {
    return this.#usable.map(({ id }) => id).filter((id) => !this.#left.has(id));
  }

  get #usable() {
    return this.#coupons.usable(this.#wanted.map(({ sku }) => sku));
  }

  get #waits() {
    return this.#busy || performance.now() - this.#openedAt < GUARD_MS;
  }

  // So many pieces of a line more, or less; a line without any leaves the cart.
  #want(sku, more) {
    if (this.#busy && this.#taking) return;
    const { qty } = this.#wanted.find((line) => line.sku === sku);
    const wanted = Math.min(QTY_MOST, qty + more);
    this.#cart?.set(sku, wanted);
    this.#wanted = this.#cart?.lines ?? this.#wanted.map((line) => ({ ...line, qty: wanted }));
    if (this.#wanted.length === 0) return this.close();
    this.#showLines();
    if (!$("quote-sheet").contains(document.activeElement)) $("quote-buy").focus();
    this.#news("");
    void this.#ask();
  }

  async #ask() {
    this.#asked += 1;
    const asked = this.#asked;
    this.#busyNow(true);
    const body = { room: this.#room, lines: this.#lines, coupons: this.#asking };
    try {
      const quote = await this.#api.json("/v1/quotes", { method: "POST", body });
      if (asked !== this.#asked || !this.#wanted) return;
      this.#say("");
      this.#show(quote);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (asked !== this.#asked || !this.#wanted) return;
      this.#quote = null; // that of other lines is none of these
      $("quote-rows").replaceChildren();
      $("quote-hints").hidden = true;
      $("quote-total").textContent = "";
      $("quote-buy").textContent = t("try_again");
      this.#say(this.#why(error));
      this.#showLines();
    }
    this.#busyNow(false);
  }

  #show(quote) {
    this.#quote = quote;
    this.#showLines();
    $("quote-rows").replaceChildren(...priceRows(quote));
    $("quote-hints").replaceChildren(...quote.hints.map(hintItem));
    $("quote-hints").hidden = quote.hints.length === 0;
    const total = formatMoney(quote.total);
    if ($("quote-total").textContent !== total) $("quote-total").textContent = total; // it is read aloud
    $("quote-buy").textContent = t("quote_buy", { amount: formatMoney(quote.total) });
    this.#showCoupons(quote);
    this.#busyNow(false);
  }

  #showLines() {
    $("quote-title").textContent = t(this.#cart ? "cart_title" : "quote_title");
    for (const { sku } of this.#wanted) if (!this.#rows.has(sku)) this.#rows.set(sku, this.#row(sku));
    arrange($("quote-lines"), this.#wanted.map(({ sku }) => this.#rows.get(sku)));
    for (const line of this.#wanted) {
      const part = (name) => this.#rows.get(line.sku).querySelector(name);
      part(".quote-what").textContent = this.#what(line);
      part(".stepper").setAttribute("aria-label", `${t("quote_qty")}: ${this.#what(line)}`);
      part(".quote-remove").setAttribute("aria-label", `${t("cart_remove")}: ${this.#what(line)}`);
      part("output").textContent = String(line.qty);
      part(".quote-less").disabled = line.qty === 1;
      part(".quote-more").disabled = line.qty === QTY_MOST;
    }
  }

  #row(sku) {
    const made = stamp("quote-line");
    made.dataset.sku = sku;
    made.querySelector(".quote-less").addEventListener("click", () => this.#want(sku, -1));
    made.querySelector(".quote-more").addEventListener("click", () => this.#want(sku, 1));
    const remove = made.querySelector(".quote-remove");
    remove.hidden = this.#cart === null;
    remove.addEventListener("click", () => this.#want(sku, -this.#wanted.find((line) => line.sku === sku).qty));
    return made;
  }

  #what({ product, sku, what }) {
    const known = this.#goods.get(product);
    const kind = known?.skus.find((each) => each.sku === sku);
    return known ? [known.title, optionWords(kind?.options)].filter(Boolean).join(" · ") : what;
  }

  // Why not, and of which lines, where there are several.
  #why(problem) {
    const words = refusalWords(problem);
    const about = this.#wanted.filter(({ sku }) => problem.extra?.skus?.includes(sku));
    if (this.#wanted.length < 2 || about.length === 0) return words;
    return t("cart_line", { what: about.map((line) => this.#what(line)).join(", "), words });
  }

  #showCoupons(quote) {
    const own = this.#usable;
    $("quote-coupons").hidden = own.length === 0;
    const drawn = JSON.stringify([own.map(({ id }) => id), quote.coupons, [...this.#left], document.documentElement.lang]);
    if ($("quote-coupon-list").dataset.drawn === drawn) return;
    $("quote-coupon-list").dataset.drawn = drawn;
    $("quote-coupon-list").replaceChildren(...own.map((coupon) => this.#coupon(coupon, quote)));
  }

  #coupon({ id, label }, { coupons }) {
    const box = element("input", { type: "checkbox", "data-testid": `quote-coupon-${id}` });
    box.checked = !this.#left.has(id);
    box.addEventListener("change", () => {
      if (box.checked) this.#left.delete(id);
      else this.#left.add(id);
      void this.#ask();
    });
    const idle = box.checked && !coupons.includes(id);
    const words = element("span", {}, pick(label), idle ? element("span", { class: "hint" }, t("quote_coupon_idle")) : null);
    return element("li", {}, element("label", { class: "quote-coupon" }, box, words));
  }

  async #take() {
    if (this.#waits) return;
    if (this.#quote === null) return void this.#ask();
    const { price_version, coupons } = this.#quote;
    const body = { room: this.#room, lines: this.#lines, price_version, ...(coupons.length && { coupons }) };
    const cart = this.#cart;
    this.#taking = true;
    this.#busyNow(true);
    this.#news("");
    this.#say("");
    try {
      await this.#buy(body, () => this.#say(t("buy_slow")));
      cart?.bought(body.lines);
      return;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (!this.#wanted) return;
      const { code, extra } = error;
      if (code === "price_changed") this.#news(t("quote_changed"));
      else this.#say(this.#why(error));
      if (code === "price_changed" && extra?.quote) this.#show(extra.quote);
      else if (code === "price_changed") void this.#ask();
      if (code === "coupon_not_claimed") await this.#coupons.refresh();
    } finally {
      this.#taking = false;
      this.#busyNow(false);
    }
  }

  #busyNow(whether) {
    this.#busy = whether;
    $("quote-buy").setAttribute("aria-disabled", String(this.#waits));
  }

  #news(words) {
    $("quote-news").textContent = words;
    $("quote-news").hidden = words === "";
  }

  #say(words) {
    $("quote-problem").textContent = words;
    $("quote-problem").hidden = words === "";
  }
}

// What is missing to each rule that would give something, or more.
function hintItem({ label, missing }) {
  const words = t("quote_missing", { missing: formatMoney(missing), label: pick(label) });
  return element("li", { "data-testid": "quote-hint" }, words);
}
