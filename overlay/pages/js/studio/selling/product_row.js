// One product in the studio's list: its picture, its SKUs with price and stock, and what can be done with it.

import { t } from "../../language.js";
import { optionWords } from "../../options.js";
import { Problem } from "../../problem.js";
import { arrange, stamp } from "../../template.js";
import { PriceField } from "./price_field.js";
import { wordsOf } from "./selling_words.js";
import { StockField } from "./stock_field.js";

export class ProductRow {
  element = stamp("product-row");

  #session;
  #onSku;
  #skus = new Map(); // SKU → {element, price, stock}
  #shown = null;
  #busy = false;

  /**
   * `acts`: pin, unpin, add, remove, up, down; each is given the product's id and returns a promise. `onSku(said)` is
   * given what an edit has made of a SKU.
   */
  constructor({ session, acts, onSku }) {
    this.#session = session;
    this.#onSku = onSku;
    const pin = this.#find(".pin");
    pin.addEventListener("click", () => void this.#do(this.#shown.pinned ? acts.unpin : acts.pin, pin));
    for (const name of ["add", "remove", "up", "down"]) {
      const button = this.#find(`.${name}`);
      button.addEventListener("click", () => void this.#do(acts[name], button));
    }
  }

  /** Show it: {product, pinned, inBag, first, last}, and `who` sees it in which `language`. */
  show(shown) {
    if (this.#shown && Object.keys(shown).every((name) => shown[name] === this.#shown[name])) return;
    this.#shown = shown;
    const { product, pinned, inBag, first, last } = shown;
    this.element.dataset.product = product.id;
    this.element.toggleAttribute("data-pinned", pinned);
    this.#showPicture(product);
    this.#find(".product-title").textContent = product.title;
    this.#find(".product-facts").textContent = facts(product);
    const pin = this.#find(".pin");
    pin.dataset.testid = `pin-${product.id}`;
    pin.hidden = !inBag || !this.#session.may("cards.pin");
    pin.setAttribute("aria-pressed", String(pinned));
    pin.setAttribute("aria-label", t(pinned ? "sell_pinned_title" : "sell_pin_title", { title: product.title }));
    this.#find(".pin-word").textContent = t(pinned ? "sell_pinned" : "sell_pin");
    const arranges = this.#session.may("bag.write");
    this.#find(".add").hidden = inBag || !arranges;
    this.#find(".order-acts").hidden = !inBag || !arranges;
    this.#find(".up").disabled = first;
    this.#find(".down").disabled = last;
    arrange(this.#find(".skus"), product.skus.map((sku) => this.#sku(sku, product.skus.length > 1)));
  }

  #showPicture({ image, title }) {
    const picture = this.#find(".picture img");
    const url = image ? `/v1/images/${encodeURIComponent(image)}` : null;
    picture.hidden = url === null;
    if (url !== null && picture.getAttribute("src") !== url) picture.src = url;
    this.#find(".picture span").textContent = url === null ? [...title][0] : "";
  }

  #sku(sku, several) {
    let item = this.#skus.get(sku.sku);
    if (item === undefined) {
      const onSaved = (said) => this.#onSku(said);
      item = {
        element: stamp("sku-row"),
        price: new PriceField({ session: this.#session, onSaved }),
        stock: new StockField({ session: this.#session, onSaved }),
      };
      item.element.append(item.price.element, item.stock.element);
      this.#skus.set(sku.sku, item);
    }
    const options = item.element.querySelector(".sku-options");
    options.textContent = optionWords(sku.options);
    options.hidden = !several && !options.textContent;
    item.price.show(sku);
    item.stock.show(sku);
    return item.element;
  }

  async #do(act, button) {
    if (this.#busy) return;
    this.#busy = true;
    button.setAttribute("aria-busy", "true");
    this.#say("");
    try {
      await act(this.#shown.product.id);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.#say(wordsOf(error));
    } finally {
      this.#busy = false;
      button.removeAttribute("aria-busy");
    }
  }

  #say(text) {
    this.#find(".row-says").textContent = text;
  }

  #find(selector) {
    return this.element.querySelector(selector);
  }
}

function facts({ category, skus }) {
  const limits = new Set(skus.map(({ per_buyer }) => per_buyer ?? 0));
  const [limit] = limits;
  const most = limits.size === 1 && limit > 0 ? t("sell_limit_each", { limit }) : "";
  return [category, most].filter(Boolean).join(" · ");
}
