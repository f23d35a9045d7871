// Flash sales of the room: made from a SKU of the bag, counted down by the server's clock, ended early.

import { parseAmount, parsePieces } from "../../amount.js";
import { button, element } from "../../elements.js";
import { t } from "../../language.js";
import { formatMoney } from "../../money.js";
import { optionWords } from "../../options.js";
import { Problem } from "../../problem.js";
import { arrange } from "../../template.js";
import { RoomOffer } from "./room_offer.js";
import { wordsOf } from "./selling_words.js";

const ACT = "sales.write";
const STARTS_S = [0, 30, 60, 300, 600, 1800];
const LENGTHS_S = [60, 180, 300, 600, 1800, 3600, 14400];
const LENGTH_USUAL_S = "300";
const TICK_MS = 500;
const LOOK_MS = 5000;
const SHOWN = 10;
const WORDS = { limit_reached: "deal_too_many", sale_over: "deal_sale_over" };

const $ = (id) => document.getElementById(id);

export class SalesPanel {
  #session;
  #offer;
  #url;
  #ahead_ms = 0; // the server's clock minus ours
  #sales = null;
  #skus = new Map(); // SKU → {product, sku} of the bag
  #rows = new Map();
  #busy = false;
  #says = "";

  constructor({ room, session }) {
    this.#session = session;
    this.#offer = new RoomOffer({ room, session });
    this.#url = `/v1/rooms/${encodeURIComponent(room)}/flash-sales`;
    $("sale-new").addEventListener("click", () => void this.#open($("sale-form").hidden));
    $("sale-cancel").addEventListener("click", () => void this.#open(false));
    $("sale-sku").addEventListener("change", () => this.#showUsual());
    $("sale-form").addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#make();
    });
    session.onChange(() => void this.load());
    setInterval(() => this.#tick(), TICK_MS);
    setInterval(() => document.hidden || this.#running().length === 0 || void this.load(), LOOK_MS);
    this.showWords();
  }

  /** An event of the room; `hello` and `seq` come as they are made, others may come late. */
  take({ t: type, ts }) {
    if (type === "hello" || type === "seq") this.#ahead_ms = ts - Date.now();
    if (["hello", "sale.scheduled", "sale.started", "sale.ended"].includes(type)) void this.load();
  }

  async load() {
    if (this.#session.may(ACT)) {
      try {
        const { items } = await this.#session.send(`${this.#url}?limit=${SHOWN}`);
        if (items.some(({ sku }) => !this.#skus.has(sku))) await this.#readNames();
        this.#sales = items;
      } catch (error) {
        if (!(error instanceof Problem)) throw error;
        this.#says = wordsOf(error);
      }
    }
    this.#draw();
  }

  showWords() {
    choices($("sale-start"), STARTS_S.map((seconds) => [seconds, seconds ? t("deal_in", { time: span(seconds) }) : t("deal_now")]), "0");
    choices($("sale-length"), LENGTHS_S.map((seconds) => [seconds, span(seconds)]), LENGTH_USUAL_S);
    this.#rows.clear();
    this.#showUsual();
    this.#draw();
  }

  #draw() {
    $("sales-card").hidden = !this.#session.may(ACT);
    $("sales-problem").hidden = this.#says === "";
    $("sales-problem").textContent = this.#says;
    const sales = this.#sales ?? [];
    $("sales-empty").hidden = this.#sales === null || sales.length > 0;
    arrange($("sale-list"), sales.map((sale) => this.#row(sale)));
    for (const each of document.querySelectorAll("#sales-card button")) each.disabled = this.#busy;
    this.#tick();
  }

  #row(sale) {
    const key = JSON.stringify(sale);
    const row = this.#rows.get(sale.id)?.key === key ? this.#rows.get(sale.id).row : this.#made(sale);
    this.#rows.set(sale.id, { key, row });
    return row;
  }

  #made(sale) {
    const left = sale.quota === null ? t("deal_for_all") : t("sale_left", { left: sale.left, quota: sale.quota });
    const each = sale.per_buyer === null ? null : t("deal_per_buyer", { count: sale.per_buyer });
    const prices = element("span", {}, element("strong", {}, formatMoney(sale.price)), " ", element("s", {}, formatMoney(sale.list_price)));
    return element(
      "li",
      { class: "deal", "data-sale": sale.id, "data-testid": "sale" },
      element("div", { class: "deal-words" }, element("strong", { class: "deal-title" }, this.#nameOf(sale)), element("p", { class: "deal-facts" }, prices, element("span", { "data-testid": "sale-left" }, left), each && element("span", {}, each))),
      element("p", { class: "deal-clock", "data-testid": "sale-clock" }),
      button(t("deal_end"), () => void this.#end(sale), { class: "button small", "data-testid": "sale-end" }),
    );
  }

  #nameOf({ sku }) {
    const found = this.#skus.get(sku);
    return found ? nameOf(found) : sku;
  }

  // Countdowns stand or fall with the server's clock; ours may be minutes off.
  #tick() {
    const now_ms = Date.now() + this.#ahead_ms;
    for (const sale of this.#sales ?? []) {
      const row = this.#rows.get(sale.id)?.row;
      if (!row) continue;
      const phase = phaseOf(sale, now_ms);
      row.dataset.phase = phase;
      const until = Date.parse(phase === "scheduled" ? sale.starts_at : sale.ends_at) - now_ms;
      const words = phase === "over" ? t("deal_over") : `${t(phase === "scheduled" ? "sale_starts" : "sale_ends")} ${clock(until)}`;
      if (row.querySelector(".deal-clock").textContent !== words) row.querySelector(".deal-clock").textContent = words;
      row.querySelector("button").hidden = phase === "over";
    }
  }

  #running() {
    return (this.#sales ?? []).filter((sale) => phaseOf(sale, Date.now() + this.#ahead_ms) !== "over");
  }

  async #open(open) {
    $("sale-form").hidden = !open;
    $("sale-new").setAttribute("aria-expanded", String(open));
    this.#says = "";
    if (open) await this.#attempt(() => this.#readBag());
    this.#draw();
    if (open) $("sale-price").focus();
  }

  async #readNames() {
    const bag = await this.#offer.bag();
    this.#skus = new Map(bag.flatMap(({ product }) => product.skus.map((sku) => [sku.sku, { product, sku }])));
  }

  async #readBag() {
    await this.#readNames();
    choices($("sale-sku"), [...this.#skus].map(([sku, found]) => [sku, nameOf(found)]));
    if (this.#skus.size === 0) this.#says = t("deal_bag_empty");
    this.#rows.clear();
    this.#showUsual();
  }

  #showUsual() {
    const found = this.#skus.get($("sale-sku").value);
    $("sale-currency").textContent = found?.sku.price.currency ?? "";
    $("sale-usual").textContent = found ? t("deal_usual", { price: formatMoney(found.sku.price), count: found.sku.available }) : "";
  }

  async #make() {
    const body = this.#wanted();
    if (body === null || this.#busy) return this.#draw();
    const made = await this.#attempt(() => this.#session.send(this.#url, { method: "POST", body }));
    if (made) {
      $("sale-form").reset();
      this.showWords();
      await this.#open(false);
    }
    return this.load();
  }

  #wanted() {
    const found = this.#skus.get($("sale-sku").value);
    if (!found) return this.#refuse("deal_bag_empty");
    const { currency } = found.sku.price;
    const amount = parseAmount($("sale-price").value, currency);
    if (amount === null) return this.#refuse("deal_price_unclear");
    const [quota, per_buyer] = [pieces("sale-quota"), pieces("sale-each")];
    if (quota === null || per_buyer === null) return this.#refuse("sell_pieces_unclear");
    const starts_ms = Date.now() + this.#ahead_ms + Number($("sale-start").value) * 1000;
    const ends_ms = starts_ms + Number($("sale-length").value) * 1000;
    const times = { starts_at: new Date(starts_ms).toISOString(), ends_at: new Date(ends_ms).toISOString() };
    return { sku: found.sku.sku, price: { amount, currency }, ...(quota && { quota }), ...(per_buyer && { per_buyer }), ...times };
  }

  #refuse(words) {
    this.#says = t(words);
    return null;
  }

  async #end({ id }) {
    await this.#attempt(() => this.#session.send(`${this.#url}/${encodeURIComponent(id)}/end`, { method: "POST" }));
    await this.load();
  }

  async #attempt(work) {
    this.#busy = true;
    this.#says = "";
    this.#draw();
    try {
      await work();
      return true;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.#says = error.code in WORDS ? t(WORDS[error.code]) : wordsOf(error);
      return false;
    } finally {
      this.#busy = false;
      this.#draw();
    }
  }
}

function phaseOf({ state, starts_at, ends_at }, now_ms) {
  if (state === "ended" || now_ms >= Date.parse(ends_at)) return "over";
  return now_ms < Date.parse(starts_at) ? "scheduled" : "running";
}

function nameOf({ product, sku }) {
  return [product.title, optionWords(sku.options) || (product.skus.length > 1 ? sku.sku : "")].filter(Boolean).join(" · ");
}

// Pieces of a field that may be empty: undefined then, null for what is no number.
function pieces(id) {
  const { value } = $(id);
  const count = parsePieces(value);
  if (value.trim() === "") return undefined;
  return count === 0 ? null : count;
}

function clock(ms) {
  const seconds = Math.max(0, Math.ceil(ms / 1000));
  const two = (count) => String(count).padStart(2, "0");
  const rest = `${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
  return seconds < 3600 ? rest : `${Math.floor(seconds / 3600)}:${rest}`;
}

function span(seconds) {
  const [unit, count] = seconds < 60 ? ["second", seconds] : seconds < 3600 ? ["minute", seconds / 60] : ["hour", seconds / 3600];
  const tag = document.documentElement.lang || "en";
  return new Intl.NumberFormat(tag, { style: "unit", unit, unitDisplay: "long" }).format(count);
}

function choices(select, wanted, usual) {
  const chosen = select.value || usual;
  select.replaceChildren(...wanted.map(([value, words]) => new Option(words, value)));
  if (wanted.some(([value]) => String(value) === chosen)) select.value = chosen;
}
