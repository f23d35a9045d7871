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
import { refusalWords } from "./refusals.js";
import { openSheet, startSheet } from "./sheets.js";

const QTY_MOST = 99;
const GUARD_MS = 800; // the second click of a double one buys nothing

const $ = (id) => document.getElementById(id);

export class QuoteSheet {
  #room;
  #api;
  #goods;
  #coupons;
  #buy;
  #wanted = null; // {product, sku, qty}
  #left = new Set(); // ids of coupons not to spend
  #quote = null;
  #asked = 0;
  #busy = false;
  #openedAt = 0;

  /** api: BuyerApi. goods: Goods. coupons: Coupons. buy(body, onSlow): promises whether the order was made. */
  constructor({ room, api, goods, coupons, buy }) {
    this.#room = room;
    this.#api = api;
    this.#goods = goods;
    this.#coupons = coupons;
    this.#buy = buy;
    startSheet($("quote-sheet"), () => (this.#wanted = null));
    $("quote-less").addEventListener("click", () => this.#want(this.#wanted.qty - 1));
    $("quote-more").addEventListener("click", () => this.#want(this.#wanted.qty + 1));
    $("quote-buy").addEventListener("click", () => void this.#take());
  }

  /** The price of a product's SKU (its code); `news` is a sentence above it, `quote` one that is known already. */
  open(product, sku, { news = "", quote = null, qty = 1 } = {}) {
    this.#wanted = { product: product.id, sku, qty };
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
    if (this.#quote) this.#show(this.#quote);
  }

  get isOpen() {
    return $("quote-sheet").open;
  }

  close() {
    $("quote-sheet").close();
  }

  get #lines() {
    return [{ sku: this.#wanted.sku, qty: this.#wanted.qty }];
  }

  // Ids of the coupons that the viewer has and wants to spend.
  get #asking() {
    return this.#coupons.usable([this.#wanted.sku]).map(({ id }) => id).filter((id) => !this.#left.has(id));
  }

  get #waits() {
    return this.#busy || this.#quote === null || performance.now() - this.#openedAt < GUARD_MS;
  }

  #want(qty) {
    this.#wanted.qty = Math.min(QTY_MOST, Math.max(1, qty));
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
      this.#say(refusalWords(error));
      if (this.#quote === null) this.#showLine();
    }
    this.#busyNow(false);
  }

  #show(quote) {
    this.#quote = quote;
    this.#showLine();
    $("quote-rows").replaceChildren(...priceRows(quote));
    $("quote-hints").replaceChildren(...quote.hints.map(hintItem));
    $("quote-hints").hidden = quote.hints.length === 0;
    $("quote-total").textContent = formatMoney(quote.total);
    $("quote-buy").textContent = t("quote_buy", { amount: formatMoney(quote.total) });
    this.#showCoupons(quote);
    this.#busyNow(false);
  }

  #showLine() {
    const { product, sku, qty } = this.#wanted;
    const known = this.#goods.get(product);
    const kind = known?.skus.find((each) => each.sku === sku);
    $("quote-what").textContent = [known?.title, optionWords(kind?.options)].filter(Boolean).join(" · ");
    $("quote-qty").textContent = String(qty);
  }

  #showCoupons(quote) {
    const own = this.#coupons.usable([this.#wanted.sku]);
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
    const { price_version, coupons } = this.#quote;
    const body = { room: this.#room, lines: this.#lines, price_version, ...(coupons.length && { coupons }) };
    this.#busyNow(true);
    this.#news("");
    this.#say("");
    try {
      await this.#buy(body, () => this.#say(t("buy_slow")));
      return;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (!this.#wanted) return;
      const { code, extra } = error;
      if (code === "price_changed") this.#news(t("quote_changed"));
      else this.#say(refusalWords(error));
      if (code === "price_changed" && extra?.quote) this.#show(extra.quote);
      else if (code === "price_changed") void this.#ask();
      if (code === "coupon_not_claimed") await this.#coupons.refresh();
    } finally {
      this.#busyNow(false);
    }
  }

  #busyNow(whether) {
    this.#busy = whether;
    $("quote-buy").setAttribute("aria-disabled", String(this.#waits));
    $("quote-less").disabled = this.#wanted?.qty === 1;
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
