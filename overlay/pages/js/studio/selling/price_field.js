// A SKU's price in a row: what it is, and on a tap the field to change it in place.

import { majorText, parseAmount } from "../../amount.js";
import { t } from "../../language.js";
import { formatMoney } from "../../money.js";
import { Problem } from "../../problem.js";
import { stamp } from "../../template.js";
import { wordsOf } from "./selling_words.js";

export class PriceField {
  element = stamp("price-field");

  #session;
  #onSaved;
  #sku = null;
  #version = null; // of the price that was there when the field was opened, or as it was told since
  #busy = false;

  /** `onSaved({sku, price, price_version})` is given what the server has now. */
  constructor({ session, onSaved }) {
    this.#session = session;
    this.#onSaved = onSaved;
    this.#find(".value").addEventListener("click", () => this.#open());
    this.#find(".cancel").addEventListener("click", () => this.#close());
    const form = this.#find("form");
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#save();
    });
    form.addEventListener("keydown", (event) => event.key === "Escape" && this.#close());
  }

  show(sku) {
    this.#sku = sku;
    const value = this.#find(".value");
    value.textContent = formatMoney(sku.price);
    value.disabled = !this.#session.may("prices.write");
    value.title = value.disabled ? "" : t("sell_price_change");
    value.dataset.testid = `price-${sku.sku}`;
  }

  #open() {
    this.#version = this.#sku.price_version;
    this.#find(".unit").textContent = this.#sku.price.currency;
    this.#find("input").value = majorText(this.#sku.price);
    this.#say("");
    this.element.dataset.open = "";
    this.#find("form").hidden = false;
    this.#find("input").select();
  }

  #close() {
    delete this.element.dataset.open;
    this.#find("form").hidden = true;
    this.#find(".value").focus();
  }

  async #save() {
    const { sku, price } = this.#sku;
    const amount = parseAmount(this.#find("input").value, price.currency);
    if (amount === null) return this.#say(t("sell_price_unclear", { example: majorText({ ...price, amount: 1990 }) }));
    if (this.#busy) return undefined;
    this.#setBusy(true);
    try {
      const body = { price: { amount, currency: price.currency } };
      const headers = { "If-Match": `"${this.#version}"` };
      this.#onSaved(await this.#session.send(urlOf(sku), { method: "PUT", body, headers }));
      this.#close();
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.#say(error.code === "stale" ? await this.#meanwhile() : wordsOf(error));
    } finally {
      this.#setBusy(false);
    }
    return undefined;
  }

  // Somebody else was faster: say what it is now; saving again overrules him, knowing it.
  async #meanwhile() {
    try {
      const now = await this.#session.send(urlOf(this.#sku.sku));
      this.#version = now.price_version;
      this.#onSaved(now);
      return t("sell_price_meanwhile", { price: formatMoney(now.price) });
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      return wordsOf(error);
    }
  }

  #say(text) {
    this.#find(".says").textContent = text;
  }

  #setBusy(busy) {
    this.#busy = busy;
    this.#find(".save").disabled = busy;
  }

  #find(selector) {
    return this.element.querySelector(selector);
  }
}

function urlOf(sku) {
  return `/v1/skus/${encodeURIComponent(sku)}/price`;
}
