// The deck: the card that is large, the others as small pictures above it, and what is new said once.

import { element } from "../../elements.js";
import { t } from "../../language.js";
import { formatMoney } from "../../money.js";
import { arrange } from "../../template.js";
import { pictureUrl } from "./goods.js";

const HOOKS = { price: "card-price", sale: "card-sale", buy: () => "buy", stock: (sku) => `stock-${sku}` };
const INITIALS = 2;

const $ = (id) => document.getElementById(id);

export class CardView {
  #cards;
  #goods;
  #offer;
  #views = new Map(); // card id → OfferView
  #thumbs = new Map(); // card id → its small picture

  /** cards: Cards. goods: Goods. offer(hooks): a new OfferView. */
  constructor({ cards, goods, offer }) {
    this.#cards = cards;
    this.#goods = goods;
    this.#offer = offer;
  }

  /** The cards have changed; `news` is the one to be told of, or null. */
  show(news) {
    const here = new Set(this.#cards.all.map(({ id }) => id));
    for (const id of [...this.#views.keys()]) {
      if (!here.has(id)) this.#forget(id);
    }
    const { shown, all } = this.#cards;
    const others = all.filter((card) => card !== shown);
    $("deck-stack").hidden = others.length === 0;
    arrange($("deck-stack"), others.map((card) => this.#thumb(card)));
    arrange($("deck-card"), shown ? [this.#view(shown).element] : []);
    if (news) this.#tell(news);
  }

  /** A product is known better, or the language is another. */
  refresh(id = null) {
    for (const { id: card, product_id } of this.#cards.all) {
      if (id !== null && product_id !== id) continue;
      this.#views.get(card)?.show(this.#goods.get(product_id));
      this.#views.get(card)?.element.querySelector(".offer-close").setAttribute("aria-label", t("card_away"));
    }
  }

  /** Once a second. */
  tick() {
    for (const view of this.#views.values()) view.tick();
  }

  /** Whether the large card is of this product. */
  shows(product) {
    return this.#cards.shown?.product_id === product;
  }

  #forget(id) {
    this.#views.delete(id);
    this.#thumbs.delete(id);
  }

  #view(card) {
    if (!this.#views.has(card.id)) this.#views.set(card.id, this.#make(card));
    return this.#views.get(card.id);
  }

  #make(card) {
    const view = this.#offer(HOOKS);
    view.element.classList.add("offer-large");
    Object.assign(view.element.dataset, { testid: "card", card: card.id, product: card.product_id });
    const named = { type: "button", class: "icon-button offer-close", "aria-label": t("card_away") };
    const close = element("button", named, icon("close"));
    close.addEventListener("click", () => {
      this.#cards.show(null);
      $("deck-stack").querySelector("button")?.focus();
    });
    view.element.append(close);
    view.show(this.#goods.get(card.product_id) ?? card.product);
    return view;
  }

  #thumb(card) {
    if (!this.#thumbs.has(card.id)) {
      const { title } = card.product;
      const url = pictureUrl(card.product);
      const picture = url && element("img", { src: url, alt: "", width: 44, height: 44 });
      const named = { type: "button", class: "thumb", "aria-label": title, title, "data-card": card.id };
      const button = element("button", named, picture ?? [...title].slice(0, INITIALS).join(""));
      button.addEventListener("click", () => {
        this.#cards.show(card.id);
        $("deck-card").querySelector(".offer-buy")?.focus({ preventScroll: true });
      });
      this.#thumbs.set(card.id, button);
    }
    return this.#thumbs.get(card.id);
  }

  #tell({ product_id, product }) {
    const { title, skus } = this.#goods.get(product_id) ?? product;
    $("deck-news").textContent = t("card_news", { title, price: formatMoney(skus[0].price) });
  }
}

/** An icon of icons.svg. */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `/static/icons.svg#${name}`);
  svg.append(use);
  return svg;
}
