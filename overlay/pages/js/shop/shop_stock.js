// The sheet where the stock of one SKU is corrected, with the reason, and where the last corrections are read.

import { element, moment } from "../elements.js";
import { ActKeys } from "../keys.js";
import { t } from "../language.js";
import { optionWords } from "../options.js";
import { Problem } from "../problem.js";
import { staffJson } from "../staff.js";
import { problemWords } from "./shop_words.js";

const SHOWN = 5;
const WORDS = { stale: "shop_stock_stale", below_held: "shop_stock_below_held" };

const $ = (id) => document.getElementById(id);

export class StockSheet {
  #uses;
  #keys = new ActKeys();
  #about = null; // {product, sku}
  #stock = null; // what the edit is based on
  #edits = [];
  #refused = null;

  constructor(uses) {
    this.#uses = uses;
    $("stock-form").addEventListener("submit", (event) => void this.#save(event));
  }

  /** Open it for a SKU, with what there is at this moment. */
  async open(product, sku) {
    this.#about = { product, sku };
    this.#refused = null;
    this.#stock = null;
    this.#edits = [];
    $("stock-form").reset();
    this.show();
    $("stock-sheet").showModal();
    await this.#read({ fill: true });
  }

  show() {
    if (this.#about === null) return;
    const { product, sku } = this.#about;
    $("stock-title").textContent = [product.title, optionWords(sku.options) || sku.sku].join(" · ");
    $("stock-figures").textContent = this.#stock ? `${this.#stock.available} ${t("shop_available")} · ${t("shop_figures", this.#stock)}` : "";
    $("stock-save").disabled = this.#stock === null;
    $("stock-problem").hidden = this.#refused === null;
    if (this.#refused) $("stock-problem-text").textContent = problemWords(this.#refused, WORDS);
    $("adjustments").replaceChildren(...this.#edits.map(edit));
  }

  async #read({ fill = false } = {}) {
    const url = `/v1/skus/${encodeURIComponent(this.#about.sku.sku)}`;
    await this.#attempt(async () => {
      const [stock, edits] = await Promise.all([staffJson(`${url}/stock`), staffJson(`${url}/adjustments?limit=${SHOWN}`)]);
      this.#stock = stock;
      this.#edits = edits.items;
      if (fill) {
        $("stock-on-hand").value = String(stock.on_hand);
        $("stock-low-at").value = stock.low_at ?? "";
        $("stock-on-hand").select();
      }
    });
  }

  async #save(event) {
    event.preventDefault();
    const { sku, version } = this.#stock;
    const body = { on_hand: $("stock-on-hand").valueAsNumber, reason: $("stock-reason").value.trim(), low_at: lowAt() };
    const url = `/v1/skus/${encodeURIComponent(sku)}/stock`;
    const headers = { "If-Match": `"${version}"` };
    const put = (key) => staffJson(url, { method: "PUT", headers, body, key });
    this.#refused = null;
    $("stock-save").disabled = true;
    const saved = await this.#attempt(async () => this.#uses.changed(await this.#keys.run(JSON.stringify([url, version, body]), put)));
    if (saved) {
      $("stock-sheet").close();
      this.#uses.toast(t("shop_stock_saved"));
      await this.#uses.refresh();
    } else {
      await this.#read(); // what was typed stays, what it is based on is fresh
    }
  }

  async #attempt(work) {
    try {
      await work();
      this.show();
      return true;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.#refused = error;
      this.show();
      return false;
    }
  }
}

// At how many available the staff is told; null for never.
function lowAt() {
  const { value, valueAsNumber } = $("stock-low-at");
  return value === "" ? null : valueAsNumber;
}

function edit({ before, after, reason, by, at }) {
  return element(
    "li",
    {},
    element("strong", {}, `${before} → ${after}`),
    element("span", {}, reason),
    element("small", {}, by, " · ", moment(at)),
  );
}
