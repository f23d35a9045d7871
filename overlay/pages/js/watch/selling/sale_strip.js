// A line above the card about a sale of something that no large card shows: the press leads to it in the bag.

import { t } from "../../language.js";
import { Problem } from "../../problem.js";
import { showSale } from "./sale_view.js";

const $ = (id) => document.getElementById(id);

export class SaleStrip {
  #sales;
  #goods;
  #clock;
  #shows;
  #asked = new Set(); // products that were not known

  /** sales: Sales. goods: Goods. clock: MediaClock. shows(product): there is a card. onOpen(title): look it up. */
  constructor({ sales, goods, clock, shows, onOpen }) {
    this.#sales = sales;
    this.#goods = goods;
    this.#clock = clock;
    this.#shows = shows;
    $("strip").addEventListener("click", () => onOpen($("strip-title").textContent));
  }

  /** The sales, the cards or the language are other ones, or a second has passed. */
  show() {
    const found = this.#sales.next((id) => !this.#shows(id));
    const wanted = found && found.phase !== "gone";
    const product = wanted ? this.#goods.get(found.sale.product_id) : null;
    if (wanted && !product) this.#ask(found.sale.product_id);
    $("strip").hidden = !product;
    showSale($("strip-sale"), product ? found : null, this.#clock.now());
    if (!product) return;
    $("strip").title = t("sale_open");
    if ($("strip-title").textContent !== product.title) $("strip-title").textContent = product.title;
  }

  async #ask(id) {
    if (this.#asked.has(id)) return;
    this.#asked.add(id);
    try {
      await this.#goods.refresh(id);
    } catch (error) {
      if (!(error instanceof Problem)) throw error; // not to be seen: the sale is in the bag all the same
    }
  }
}
