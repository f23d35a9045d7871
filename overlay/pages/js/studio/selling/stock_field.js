// A SKU's stock in a row: how many can be sold, and on a tap all there is, what orders hold of it, and the field to
// change it with a reason.

import { parsePieces } from "../../amount.js";
import { CommandKey } from "../../keys.js";
import { t } from "../../language.js";
import { Problem } from "../../problem.js";
import { stamp } from "../../template.js";
import { wordsOf } from "./selling_words.js";

const FEW = 5;

export class StockField {
  element = stamp("stock-field");

  #session;
  #onSaved;
  #key = new CommandKey();
  #sku = null;
  #stock = null; // what the server said last, while open
  #version = null; // of what the edit is based on
  #busy = false;

  /** `onSaved({sku, available, reserved, …})` is given what the server has now. */
  constructor({ session, onSaved }) {
    this.#session = session;
    this.#onSaved = onSaved;
    this.#find(".value").addEventListener("click", () => void this.#open());
    this.#find(".cancel").addEventListener("click", () => this.#close());
    const form = this.#find("form");
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#save();
    });
    form.addEventListener("keydown", (event) => event.key === "Escape" && this.#close());
    this.#find("input").addEventListener("input", () => this.#showParts());
  }

  show(sku) {
    const moved = this.#sku !== null && this.#sku.available !== sku.available;
    this.#sku = sku;
    const count = this.#find(".count");
    count.textContent = String(sku.available);
    count.dataset.testid = `stock-${sku.sku}`;
    const value = this.#find(".value");
    value.disabled = !this.#session.may("stock.adjust");
    value.title = value.disabled ? "" : t("sell_stock_change");
    value.dataset.level = sku.available === 0 ? "none" : sku.available <= FEW ? "few" : "fine";
    this.#find(".held").hidden = !sku.held;
    if (moved && this.#stock) void this.#read();
    else this.#showParts();
  }

  async #open() {
    this.#say("");
    this.#stock = this.#version = null;
    this.#find("input").value = "";
    this.element.dataset.open = "";
    this.#find("form").hidden = false;
    if (!(await this.#read()) || this.#find("form").hidden) return;
    this.#version = this.#stock.version;
    this.#find("input").value = String(this.#stock.on_hand);
    this.#showParts();
    this.#find("input").select();
  }

  #close() {
    this.#stock = null;
    delete this.element.dataset.open;
    this.#find("form").hidden = true;
    this.#find(".value").focus();
  }

  async #read() {
    try {
      this.#stock = await this.#session.send(urlOf(this.#sku.sku));
      this.#showParts();
      return true;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.#say(wordsOf(error));
      return false;
    }
  }

  // What the pieces typed would mean: "38 to sell + 2 in unpaid orders + 0 sold, to be shipped".
  #showParts() {
    const typed = parsePieces(this.#find("input").value);
    const { reserved, committed } = this.#stock ?? { reserved: 0, committed: 0 };
    const available = typed - reserved - committed;
    const known = this.#stock !== null && typed !== null && available >= 0;
    this.#find(".parts").textContent = known ? t("sell_stock_parts", { available, reserved, committed }) : "";
  }

  async #save() {
    const on_hand = parsePieces(this.#find("input").value);
    if (on_hand === null) return this.#say(t("sell_pieces_unclear"));
    if (this.#busy || this.#version === null) return undefined;
    const { sku } = this.#sku;
    const body = { on_hand, reason: t(this.#find("select").value) };
    const headers = { "If-Match": `"${this.#version}"` };
    const key = this.#key.of([sku, body, this.#version]);
    this.#setBusy(true);
    try {
      this.#onSaved(await this.#session.send(urlOf(sku), { method: "PUT", body, headers, key }));
      this.#key.done();
      this.#close();
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      await this.#refused(error);
    } finally {
      this.#setBusy(false);
    }
    return undefined;
  }

  async #refused(problem) {
    if (!["stale", "below_held"].includes(problem.code)) return this.#say(wordsOf(problem));
    if (!(await this.#read())) return undefined;
    const { on_hand, reserved, committed, version } = this.#stock;
    this.#version = version;
    const held = reserved + committed;
    return this.#say(
      problem.code === "stale" ? t("sell_stock_meanwhile", { on_hand }) : t("sell_below_held", { held, reserved, committed }),
    );
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
  return `/v1/skus/${encodeURIComponent(sku)}/stock`;
}
