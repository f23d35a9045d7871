// The shop's products: pictures, SKUs, prices and what there is of them; and the sheet where stock is corrected.

import { button, element } from "../elements.js";
import { t } from "../language.js";
import { formatMoney } from "../money.js";
import { optionWords } from "../options.js";
import { requestJson } from "../problem.js";
import { staffJson } from "../staff.js";
import { arrange } from "../template.js";
import { Pager } from "./shop_pager.js";
import { StockSheet } from "./shop_stock.js";

const PAGE = 12; // products; each SKU of them is asked for its stock
const AT_ONCE = 6;
const TYPED_MS = 300;

const $ = (id) => document.getElementById(id);

export class ProductsTab {
  #uses;
  #pager;
  #sheet;
  #products = null;
  #stocks = new Map(); // by SKU, of the products that are shown
  #rooms = [];
  #next = null;
  #typing = null;

  constructor(uses) {
    this.#uses = uses;
    this.#pager = new Pager($("products-pager"), () => void uses.refresh());
    this.#sheet = new StockSheet({ ...uses, changed: (stock) => this.#stocks.set(stock.sku, stock) });
    $("products-q").addEventListener("input", () => this.#search());
    $("products-search").addEventListener("submit", (event) => event.preventDefault());
  }

  async refresh() {
    const query = new URLSearchParams({ limit: PAGE });
    const q = $("products-q").value.trim();
    if (q) query.set("search", q);
    if (this.#pager.cursor) query.set("cursor", this.#pager.cursor);
    const [page, rooms] = await Promise.all([requestJson(`/v1/products?${query}`), this.#uses.rooms()]);
    this.#products = page.items;
    this.#rooms = rooms;
    this.#next = page.next;
    if (this.#uses.may("stock.read")) await this.#readStocks();
  }

  show() {
    if (this.#products === null) return;
    $("products-empty").hidden = this.#products.length > 0;
    $("studios").replaceChildren(...this.#rooms.map(studioLink));
    this.#list();
    this.#pager.show(this.#next);
    this.#sheet.show();
  }

  async #readStocks() {
    const waiting = this.#products.flatMap((product) => product.skus.map((sku) => sku.sku));
    const found = new Map();
    const work = async () => {
      for (let sku = waiting.pop(); sku !== undefined; sku = waiting.pop()) {
        found.set(sku, await staffJson(`/v1/skus/${encodeURIComponent(sku)}/stock`));
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    this.#stocks = found;
  }

  // A product's element stays the same while the product does, so that focus does.
  #list() {
    const kept = new Map([...$("products").children].map((item) => [item.dataset.key, item]));
    const items = this.#products.map((product) => {
      const key = `${document.documentElement.lang} ${product.id} ${product.version}`;
      const item = kept.get(key) ?? this.#item(product);
      item.dataset.key = key;
      for (const sku of product.skus) showFigures(item, sku, this.#stocks.get(sku.sku));
      return item;
    });
    arrange($("products"), items);
  }

  #item(product) {
    const skus = product.skus.map((sku) => this.#row(product, sku));
    const about = [product.category, product.merchant].filter(Boolean).join(" · ");
    return element(
      "li",
      { class: "product", "data-product": product.id },
      picture(product),
      element("div", { class: "product-head" }, element("h3", {}, product.title), about && element("p", { class: "hint" }, about)),
      element("ul", { class: "skus" }, ...skus),
    );
  }

  #row(product, sku) {
    const edit = () => void this.#sheet.open(product, sku);
    const name = optionWords(sku.options);
    return element(
      "li",
      { class: "sku", "data-sku": sku.sku },
      element("span", { class: "sku-name" }, name || sku.sku, name ? element("small", {}, sku.sku) : null),
      element("span", { class: "sku-price" }, formatMoney(sku.price)),
      element(
        "span",
        { class: "sku-stock" },
        element("strong", { "data-testid": `stock-${sku.sku}`, class: "available" }),
        element("span", { class: "unit" }, t("shop_available")),
        element("small", { class: "low", "data-testid": `low-${sku.sku}`, hidden: true }, t("shop_low")),
        element("small", { class: "figures" }),
      ),
      this.#uses.may("stock.adjust")
        ? button(t("shop_stock_edit"), edit, { class: "button small", "data-testid": `edit-stock-${sku.sku}`, "aria-label": `${t("shop_stock_edit")}: ${product.title} ${name}` })
        : null,
    );
  }

  #search() {
    clearTimeout(this.#typing);
    this.#pager.reset();
    this.#typing = setTimeout(() => void this.#uses.refresh(), TYPED_MS);
  }
}

function showFigures(item, sku, stock) {
  const row = [...item.querySelectorAll(".sku")].find((each) => each.dataset.sku === sku.sku);
  const available = stock?.available ?? sku.available;
  row.toggleAttribute("data-out", available === 0);
  row.querySelector(".available").textContent = String(available);
  row.querySelector(".low").hidden = !isLow(stock);
  row.querySelector(".figures").textContent = stock ? figureWords(stock) : sku.held ? t("shop_held") : "";
}

function isLow(stock) {
  return Number.isInteger(stock?.low_at) && stock.available <= stock.low_at;
}

/** What there is of a SKU in words: on the shelf, held by reservations, paid. */
function figureWords({ on_hand, reserved, committed }) {
  return t("shop_figures", { on_hand, reserved, committed });
}

function picture({ image }) {
  if (!image) return element("span", { class: "picture" });
  return element("img", { class: "picture", src: `/v1/images/${image}`, alt: "", loading: "lazy", width: 96, height: 96 });
}

function studioLink(room) {
  return element("li", {}, element("a", { href: `/studio/${encodeURIComponent(room.id)}` }, room.title || room.id));
}
