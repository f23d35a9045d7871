// The products of the studio: the room's bag or the whole catalogue, searched, pinned, put in order, and kept fresh.

import { t } from "../../language.js";
import { Problem } from "../../problem.js";
import { arrange } from "../../template.js";
import { ProductRow } from "./product_row.js";
import { RoomOffer } from "./room_offer.js";
import { wordsOf } from "./selling_words.js";

const SEARCH_MS = 250;
const CHANGED_MS = 200;
const DRAWN_MS = 30;
const EVERY_MS = 10_000; // while no events come

const $ = (id) => document.getElementById(id);

export class SellingPanel {
  #offer;
  #session;
  #state;
  #rows = new Map(); // product id → ProductRow
  #view = "bag";
  #bag = []; // product ids in their order
  #found = null; // product ids of the catalogue, once they are known
  #next = null; // cursor of the catalogue's next page
  #asked = 0; // answers to earlier questions count no more
  #problem = null;
  #loaded = false;
  #timer = null;
  #drawing = false;
  #eventsOpen = false;

  constructor({ room, session, state }) {
    this.#offer = new RoomOffer({ room, session });
    this.#session = session;
    this.#state = state;
    for (const button of document.querySelectorAll("[data-view]")) {
      button.addEventListener("click", () => this.look(button.dataset.view));
    }
    $("product-search").addEventListener("input", () => this.#searched());
    $("arrange").addEventListener("click", () => this.#toggleArranging());
    $("products-more").addEventListener("click", () => void this.load({ more: true }));
    session.onChange(() => this.#signedInOrOut());
    setInterval(() => this.#eventsOpen || document.hidden || void this.load(), EVERY_MS);
    document.addEventListener("visibilitychange", () => document.hidden || void this.load());
  }

  /** Show the "bag" or the "catalogue". */
  look(view) {
    this.#view = view;
    this.draw();
    void this.load();
  }

  /** Take an event; the list is drawn once for all that come together. */
  take(event) {
    if (event.t === "hello" || event.t === "bag.changed") this.changed();
    if (this.#state.apply(event, performance.now())) this.draw();
  }

  followEvents(open) {
    this.#eventsOpen = open;
  }

  /** The list is another one: ask for it soon. */
  changed() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.load(), CHANGED_MS);
  }

  draw() {
    if (this.#drawing) return;
    this.#drawing = true;
    setTimeout(() => {
      this.#drawing = false;
      this.#draw();
    }, DRAWN_MS);
  }

  /** Ask for the list anew, or for its next page. */
  async load({ more = false } = {}) {
    if (this.#session.who === null) return;
    clearTimeout(this.#timer);
    const asked = ++this.#asked;
    try {
      await Promise.all([this.#loadBag(asked), this.#view === "catalogue" && this.#loadCatalogue(more, asked)]);
      this.#problem = null;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.#problem = error;
    }
    if (asked === this.#asked) this.draw();
  }

  /** What the products here are priced in, null while there are none. */
  usualCurrency() {
    const [product] = this.#state.products.values();
    return product?.skus[0]?.price.currency ?? null;
  }

  /** Put a product that was just made into the bag, on top where it is seen. Throws Problem. */
  async made(product) {
    this.#view = "bag";
    $("product-search").value = "";
    await this.#put(product.id, 0);
  }

  async #put(product, position) {
    await this.#offer.put(product, position);
    await this.load();
  }

  async #loadBag(asked) {
    const askedAt = performance.now();
    const [items, cards] = await Promise.all([this.#offer.bag(), this.#offer.cards()]);
    if (asked !== this.#asked) return;
    this.#loaded = true;
    this.#state.keep(items.map(({ product }) => product), askedAt);
    this.#state.keepCards(cards, askedAt);
    this.#bag = items.map(({ product_id }) => product_id);
  }

  async #loadCatalogue(more, asked) {
    const askedAt = performance.now();
    const cursor = more ? this.#next : null;
    const { items, next } = await this.#offer.catalogue({ words: $("product-search").value.trim(), cursor });
    if (asked !== this.#asked) return;
    this.#state.keep(items, askedAt);
    const ids = items.map(({ id }) => id);
    this.#found = cursor !== null ? [...new Set([...this.#found, ...ids])] : ids;
    this.#next = next;
  }

  #draw() {
    const inBag = this.#view === "bag";
    const ids = inBag ? this.#bag.filter((id) => this.#matches(id)) : (this.#found ?? []);
    const rows = ids.filter((id) => this.#state.products.has(id)).map((id) => this.#row(id));
    for (const id of this.#rows.keys()) if (!ids.includes(id)) this.#rows.delete(id);
    arrange($("products"), rows);
    for (const button of document.querySelectorAll("[data-view]")) {
      button.setAttribute("aria-pressed", String(button.dataset.view === this.#view));
    }
    const searched = $("product-search").value.trim() !== "";
    $("bag-count").textContent = this.#loaded ? String(this.#bag.length) : "";
    $("arrange").hidden = !inBag || this.#bag.length < 2 || !this.#session.may("bag.write");
    $("products-more").hidden = inBag || this.#next === null;
    const known = inBag ? this.#loaded : this.#found !== null;
    $("products-empty").hidden = rows.length > 0 || !known || this.#problem !== null;
    $("products-empty-text").textContent = t(this.#emptiness(searched));
    $("products-problem").hidden = this.#problem === null;
    $("products-problem").textContent = this.#problem ? wordsOf(this.#problem) : "";
    const categories = new Set([...this.#state.products.values()].map(({ category }) => category).filter(Boolean));
    arrangeOptions($("categories"), [...categories].sort());
  }

  #emptiness(searched) {
    if (searched) return "sell_nothing_found";
    return this.#view === "bag" ? "sell_bag_empty" : "sell_catalogue_empty";
  }

  #matches(id) {
    const words = $("product-search").value.trim().toLowerCase();
    const product = this.#state.products.get(id);
    if (!words || !product) return true;
    const texts = [product.title, product.category ?? "", ...product.skus.map(({ sku }) => sku)];
    return texts.some((text) => text.toLowerCase().includes(words));
  }

  #row(id) {
    let row = this.#rows.get(id);
    if (row === undefined) {
      row = new ProductRow({ session: this.#session, acts: this.#acts, onSku: (said) => this.#hear(said) });
      this.#rows.set(id, row);
    }
    const place = this.#bag.indexOf(id);
    row.show({
      product: this.#state.products.get(id),
      pinned: this.#state.cardsOf(id).length > 0,
      inBag: place >= 0,
      first: place === 0,
      last: place === this.#bag.length - 1,
      who: this.#session.who,
      language: document.documentElement.lang,
    });
    return row.element;
  }

  #acts = {
    pin: async (product) => {
      const card = await this.#offer.pin(product);
      for (const earlier of this.#state.cardsOf(product)) this.#state.unpin(earlier, performance.now());
      this.#state.pin(card, performance.now());
      this.draw();
    },
    unpin: async (product) => {
      for (const card of this.#state.cardsOf(product)) {
        await this.#offer.unpin(card);
        this.#state.unpin(card, performance.now());
      }
      this.draw();
    },
    add: (product) => this.#put(product),
    remove: async (product) => {
      await this.#offer.takeOut(product);
      await this.load();
    },
    up: (product) => this.#put(product, this.#bag.indexOf(product) - 1),
    down: (product) => this.#put(product, this.#bag.indexOf(product) + 1),
  };

  // What an edit made: an event will say the same to everybody else.
  #hear({ sku, price, price_version, available, reserved }) {
    const said = price ? { price, price_version } : { available, held: reserved > 0 };
    this.#state.hear(sku, said, performance.now());
    this.draw();
  }

  #searched() {
    this.draw();
    clearTimeout(this.#timer);
    if (this.#view === "catalogue") this.#timer = setTimeout(() => void this.load(), SEARCH_MS);
  }

  #toggleArranging() {
    const arranging = $("products").toggleAttribute("data-arranging");
    $("arrange").setAttribute("aria-pressed", String(arranging));
  }

  #signedInOrOut() {
    $("selling").hidden = this.#session.who === null;
    $("product-new").hidden = !this.#session.may("products.write") || !this.#session.may("bag.write");
    this.draw();
    void this.load();
  }
}

function arrangeOptions(list, values) {
  const same = values.length === list.children.length && values.every((value, at) => value === list.children[at].value);
  if (!same) list.replaceChildren(...values.map((value) => new Option(value, value)));
}
