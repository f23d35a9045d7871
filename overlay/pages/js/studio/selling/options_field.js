// The options of a new product (Size: S, M, L), and how many pieces there are of each combination.

import { parsePieces } from "../../amount.js";
import { OPTION_CHARS, SKUS_MOST, combinations, optionWords, parseValues } from "../../options.js";
import { stamp } from "../../template.js";

const OPTIONS_MOST = 3;

const $ = (id) => document.getElementById(id);

export class OptionsField {
  #pieces = new Map(); // options as JSON → pieces typed for that SKU

  constructor() {
    $("option-add").addEventListener("click", () => this.#addOption().querySelector("input").focus());
    $("product-form").addEventListener("input", () => this.#showVariants());
  }

  clear() {
    $("options").replaceChildren();
    this.#pieces.clear();
    this.#optionsChanged();
  }

  /** {options, stock} of each SKU; stock null where it is no number; null for options that can't be. */
  skus() {
    const options = this.#options();
    if (options === null) return null;
    const all = parsePieces($("product-stock").value);
    return combinations(options).map((each) => {
      const own = this.#pieces.get(JSON.stringify(each));
      return { options: each, stock: own === undefined || own === "" ? all : parsePieces(own) };
    });
  }

  // [{name, values}] of the rows that have something in them; null where that makes no SKUs.
  #options() {
    const rows = [...$("options").children].map((row) => {
      const [name, values] = row.querySelectorAll("input");
      return { name: name.value.trim(), values: parseValues(values.value) };
    });
    const given = rows.filter(({ name, values }) => name || values.length > 0);
    const names = new Set(given.map(({ name }) => name));
    const count = given.reduce((product, { values }) => product * values.length, 1);
    const texts = given.flatMap(({ name, values }) => [name, ...values]);
    const good = given.every(({ name, values }) => name && values.length > 0);
    const fits = names.size === given.length && count <= SKUS_MOST && texts.every((text) => text.length <= OPTION_CHARS);
    return good && fits ? given : null;
  }

  // With options there is a field for the pieces of each SKU; an empty one has as many as all.
  #showVariants() {
    const made = combinations(this.#options() ?? []);
    const several = made.length > 1;
    const keys = several ? made.map((each) => JSON.stringify(each)) : [];
    const list = $("variants");
    $("variants-box").hidden = !several;
    const same = keys.length === list.children.length && keys.every((key, at) => key === list.children[at].dataset.key);
    if (!same) list.replaceChildren(...keys.map((key) => this.#variant(key)));
    for (const field of list.querySelectorAll("input")) field.placeholder = $("product-stock").value || "0";
  }

  #variant(key) {
    const row = stamp("variant-row");
    row.dataset.key = key;
    row.querySelector("span").textContent = optionWords(JSON.parse(key));
    const field = row.querySelector("input");
    field.value = this.#pieces.get(key) ?? "";
    field.addEventListener("input", () => this.#pieces.set(key, field.value));
    return row;
  }

  #addOption() {
    const row = stamp("option-row");
    row.querySelector(".option-remove").addEventListener("click", () => {
      row.remove();
      this.#optionsChanged();
    });
    $("options").append(row);
    this.#optionsChanged();
    return row;
  }

  #optionsChanged() {
    $("option-add").hidden = $("options").children.length >= OPTIONS_MOST;
    this.#showVariants();
  }
}
