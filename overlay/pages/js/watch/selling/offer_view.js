// A product to buy: picture, price, what is left, its kinds, and the button. On the card and in the bag alike.

import { element } from "../../elements.js";
import { t } from "../../language.js";
import { formatMoney } from "../../money.js";
import { optionWords } from "../../options.js";
import { stamp } from "../../template.js";
import { pictureUrl } from "./goods.js";
import { showSale } from "./sale_view.js";

const FEW = 5; // pieces from which on it is said louder
let made = 0; // names of radio groups

/** What can be had of a SKU: "yes", "held" (others hold the last ones) or "no". */
export function supply({ available, held }) {
  return available > 0 ? "yes" : held ? "held" : "no";
}

export class OfferView {
  element = stamp("offer");

  #onBuy;
  #hooks;
  #sales;
  #clock;
  #product = null;
  #chosen = null; // the SKU's code
  #picked = false; // by the viewer
  #busy = false;
  #group = `kind-${(made += 1)}`;
  #drawn = ""; // of which SKUs the kinds are drawn
  #waiting = null; // the SKU that was gone when the viewer wanted it

  /**
   * onBuy(product, sku): both as they are shown, the SKU with the price and version of a sale that runs; onMore(product,
   * sku): how many, and why that price; onAdd(product, sku): one more in the cart. sales: Sales. clock: MediaClock. hooks: {price, sale, buy, stock}: ids for tests;
   * stock and buy get the SKU.
   */
  constructor({ onBuy, onAdd, onMore, sales, clock, hooks }) {
    this.#onBuy = onBuy;
    this.#sales = sales;
    this.#clock = clock;
    this.#hooks = hooks;
    this.#part("price").dataset.testid = hooks.price;
    this.#part("list").dataset.testid = `${hooks.price}-list`;
    this.#part("sale").dataset.testid = hooks.sale;
    this.#part("buy").addEventListener("click", () => this.#busy || this.#onBuy(this.#product, this.#offered));
    this.#part("add").addEventListener("click", () => onAdd(this.#product, this.#offered));
    this.#part("more").addEventListener("click", () => onMore(this.#product, this.#offered));
  }

  get product() {
    return this.#product;
  }

  /** Show the product as it is now. */
  show(product) {
    const before = this.#product;
    this.#product = product;
    if (!this.#picked || !this.#sku) this.#chosen = first(product.skus).sku;
    this.#part("title").textContent = product.title;
    if (before?.image !== product.image || !before) this.#showPicture();
    this.#showKinds();
    this.#showFacts(before);
  }

  /** Once a second: a sale starts, ends, and counts down. */
  tick() {
    this.#showFacts(this.#product);
  }

  /** Others hold the last pieces, or have bought them: the viewer is told when there are some again. */
  wait(sku) {
    this.#waiting = sku;
    this.#showFacts(this.#product);
  }

  /** While its order is on the way the button waits. */
  busy(whether) {
    this.#busy = whether;
    this.#showButton();
  }

  /** A sentence below; "" takes it away. */
  say(words) {
    const note = this.#part("note");
    if (note.textContent !== words) note.textContent = words;
    note.hidden = words === "";
  }

  get #sku() {
    return this.#product.skus.find(({ sku }) => sku === this.#chosen);
  }

  // As it is sold now: at the price of a sale that runs, and of its version.
  get #offered() {
    const sku = this.#sku;
    const found = this.#sales.of(sku.sku);
    if (found?.phase !== "running") return sku;
    const { price, price_version } = found.sale;
    return { ...sku, price, price_version, list: sku.price };
  }

  #part(name) {
    return this.element.querySelector(`.offer-${name}`);
  }

  #showPicture() {
    const picture = this.#part("picture");
    const url = pictureUrl(this.#product);
    picture.hidden = url === null;
    if (url) picture.src = url;
  }

  #showKinds() {
    const { skus } = this.#product;
    const kinds = this.#part("options");
    kinds.hidden = skus.length < 2;
    if (kinds.hidden) return;
    const drawn = JSON.stringify(skus.map(({ sku, options }) => [sku, options]));
    if (drawn !== this.#drawn) {
      for (const old of kinds.querySelectorAll("label")) old.remove();
      kinds.append(...skus.map((sku) => this.#kind(sku)));
      this.#drawn = drawn;
    }
    for (const [at, label] of [...kinds.querySelectorAll("label")].entries()) {
      label.dataset.supply = supply(skus[at]);
      label.querySelector("input").checked = skus[at].sku === this.#chosen;
      label.querySelector("[data-testid]").textContent = String(skus[at].available);
    }
  }

  #kind({ sku, options }) {
    const radio = element("input", { type: "radio", name: this.#group, value: sku });
    radio.addEventListener("change", () => {
      this.#chosen = sku;
      this.#picked = true;
      this.say("");
      this.#showFacts(this.#product);
    });
    const left = element("span", { class: "kind-left", "data-testid": this.#hooks.stock(sku) });
    return element("label", { class: "kind" }, radio, optionWords(options) || sku, left);
  }

  #showFacts(before) {
    const sku = this.#offered;
    const price = formatMoney(sku.price);
    const place = this.#part("price");
    const old = before?.id === this.#product.id && place.dataset.sku === sku.sku && place.textContent !== price;
    if (place.textContent !== price) place.textContent = price;
    place.dataset.sku = sku.sku;
    if (old) flash(place);
    this.#part("list").hidden = !sku.list;
    if (sku.list) this.#part("list").textContent = formatMoney(sku.list);
    showSale(this.#part("sale"), this.#sales.of(sku.sku), this.#clock.now());
    this.#cameBack(sku);
    this.#showStock(sku);
    this.#showButton();
  }

  #cameBack({ sku, available }) {
    if (this.#waiting !== sku || available === 0) return;
    this.say(t("stock_back"));
    this.#part("buy").dataset.back = "";
  }

  #showStock({ sku, available, held }) {
    const place = this.#part("stock");
    const can = supply({ available, held });
    place.dataset.supply = can === "yes" && available <= FEW ? "few" : can;
    const words = t({ yes: "stock_left", held: "stock_held", no: "stock_none" }[can]);
    if (this.#product.skus.length > 1) return place.replaceChildren(can === "yes" ? "" : words);
    const count = element("span", { "data-testid": this.#hooks.stock(sku) }, String(available));
    place.replaceChildren(count, ` ${words}`);
  }

  #showButton() {
    const button = this.#part("buy");
    const sku = this.#offered;
    const gone = supply(sku) === "no";
    const again = this.#waiting === sku.sku;
    if (!again || gone) delete button.dataset.back;
    button.dataset.testid = this.#hooks.buy(sku.sku);
    const words = this.#busy ? "buy_busy" : gone ? "buy_gone" : again ? "buy_again" : "buy";
    if (button.textContent !== t(words)) button.textContent = t(words);
    button.setAttribute("aria-label", `${button.textContent} ${this.#product.title} ${formatMoney(sku.price)}`);
    button.setAttribute("aria-disabled", String(this.#busy || gone));
    button.disabled = gone && !this.#busy; // while busy it keeps the focus
    this.#part("more").hidden = this.#part("add").hidden = gone;
    this.#part("add").dataset.testid = `${button.dataset.testid}-add`;
    this.#part("add").setAttribute("aria-label", `${t("cart_add")} ${this.#product.title}`);
  }
}

// The first that can be had.
function first(skus) {
  return skus.find(({ available }) => available > 0) ?? skus[0];
}

function flash(place) {
  delete place.dataset.changed;
  void place.offsetWidth; // begin the animation anew
  place.dataset.changed = "";
}
