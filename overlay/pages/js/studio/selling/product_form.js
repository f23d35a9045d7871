// A new product in under a minute: picture, name, price, pieces; options, limit and category for who wants them.

import { CURRENCIES, majorText, parseAmount, parsePieces } from "../../amount.js";
import { t } from "../../language.js";
import { SKUS_MOST } from "../../options.js";
import { Problem } from "../../problem.js";
import { recall, remember } from "../../storage.js";
import { OptionsField } from "./options_field.js";
import { PictureField } from "./picture_field.js";
import { wordsOf } from "./selling_words.js";

const KEPT = "hawker.currency";

const $ = (id) => document.getElementById(id);

export class ProductForm {
  #session;
  #usualCurrency;
  #onMade;
  #picture;
  #options = new OptionsField();
  #says = []; // [field's id, key of words or Problem, values]
  #busy = false;

  /**
   * `usualCurrency()` is what the shop's other products are priced in, or null. `onMade(product)` puts the product that
   * was made into the bag; its promise is waited for.
   */
  constructor({ session, usualCurrency, onMade }) {
    this.#session = session;
    this.#usualCurrency = usualCurrency;
    this.#onMade = onMade;
    this.#picture = new PictureField(session);
    $("product-new").addEventListener("click", () => ($("product-form").hidden ? this.open() : this.close()));
    $("product-cancel").addEventListener("click", () => this.close());
    $("product-form").addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#make();
    });
    $("product-currency").addEventListener("change", () => ($("product-price").placeholder = example()));
    session.onChange(() => session.may("products.write") || this.close());
    this.showWords();
  }

  open() {
    this.#offerCurrencies();
    $("product-form").hidden = false;
    $("product-new").setAttribute("aria-expanded", "true");
    $("product-form").scrollIntoView({ block: "nearest", behavior: "smooth" });
    $("product-title").focus({ preventScroll: true });
  }

  close() {
    $("product-form").hidden = true;
    $("product-new").setAttribute("aria-expanded", "false");
  }

  showWords() {
    this.#picture.showWords();
    for (const place of $("product-form").querySelectorAll("[data-says]")) {
      const said = this.#says.filter(([field]) => field === place.dataset.says);
      place.textContent = said.map(([, what, values]) => wordsFor(what, values)).join(" ");
      place.hidden = said.length === 0;
    }
    $("product-make").textContent = t(this.#busy ? "sell_making" : "sell_make");
  }

  async #make() {
    if (this.#busy) return;
    const product = this.#read();
    if (product === null) return;
    this.#setBusy(true);
    try {
      product.image = (await this.#picture.id()) ?? undefined;
      const made = await this.#session.send("/v1/products", { method: "POST", body: product });
      remember(localStorage, KEPT, $("product-currency").value);
      this.#clear();
      await this.#onMade(made);
      this.close();
      $("product-new").focus();
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (error.code.startsWith("picture_")) return; // said beside the picture
      this.#says = [["form", error]];
    } finally {
      this.#setBusy(false);
    }
  }

  // The body of POST /v1/products, or null with what is wrong said beside each field.
  #read() {
    this.#says = [];
    const title = $("product-title").value.trim();
    if (!title) this.#complain("product-title", "sell_title_missing");
    const currency = $("product-currency").value;
    const amount = parseAmount($("product-price").value, currency);
    if (amount === null) this.#complain("product-price", "sell_price_unclear", { example: example() });
    const limit = $("product-limit").value.trim();
    const per_buyer = limit ? parsePieces(limit, 1_000_000) : undefined;
    if (per_buyer === null || per_buyer === 0) this.#complain("product-limit", "sell_limit_unclear");
    const skus = this.#options.skus();
    if (skus === null) this.#complain("options", "sell_options_unclear", { most: SKUS_MOST });
    else if (skus.some(({ stock }) => stock === null)) this.#complain("product-stock", "sell_pieces_unclear");
    this.showWords();
    if (this.#says.length > 0) {
      document.getElementById(this.#says[0][0])?.focus();
      return null;
    }
    const category = $("product-category").value.trim() || undefined;
    return { title, category, skus: skus.map((sku) => ({ ...sku, price: { amount, currency }, per_buyer })) };
  }

  // The one used last comes chosen, else the one that the shop has used.
  #offerCurrencies() {
    if ($("product-currency").value) return;
    const first = recall(localStorage, KEPT) ?? this.#usualCurrency() ?? CURRENCIES[0];
    const all = CURRENCIES.includes(first) ? CURRENCIES : [first, ...CURRENCIES];
    $("product-currency").replaceChildren(...all.map((code) => new Option(code, code, code === first, code === first)));
    $("product-price").placeholder = example();
  }

  #clear() {
    const { value } = $("product-currency");
    $("product-form").reset();
    $("product-currency").value = value;
    this.#options.clear();
    this.#picture.clear();
  }

  #complain(field, key, values) {
    this.#says.push([field, key, values]);
    const folded = document.getElementById(field).closest("details");
    if (folded) folded.open = true;
  }

  #setBusy(busy) {
    this.#busy = busy;
    $("product-make").disabled = busy;
    this.showWords();
  }
}

// A price as one would type it in the currency that is chosen.
function example() {
  return majorText({ amount: 1990, currency: $("product-currency").value });
}

function wordsFor(what, values) {
  return what instanceof Problem ? wordsOf(what) : t(what, values);
}
