// The parcels of an order: those that are on their way, and the form for the next one, with all pieces or some.

import { button, element, moment } from "../elements.js";
import { t } from "../language.js";
import { showKeyed } from "./shop_keyed.js";
import { allPieces, piecesWords, showPieces, typedPieces } from "./shop_pieces.js";
import { unsent } from "./shop_sums.js";

const $ = (id) => document.getElementById(id);

export class ShippingPart {
  #uses;

  /** uses: may, act(path, body, done words), say(key), show(). */
  constructor(uses) {
    this.#uses = uses;
    $("ship").addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#ship();
    });
    $("deliver").addEventListener("click", () => void uses.act("deliver", {}, "shop_delivered"));
  }

  clear() {
    $("ship").reset();
    $("ship-lines").replaceChildren();
  }

  show(order) {
    const { state, fulfilment, shipments } = order;
    const ships = this.#uses.may("orders.ship") && state === "confirmed";
    const left = order.lines.map((line) => ({ line: { sku: line.sku, title: line.title, options: line.options }, most: unsent(line), usual: unsent(line) }));
    $("ship").hidden = !ships || !["none", "partial"].includes(fulfilment);
    $("deliver").hidden = !ships || fulfilment !== "shipped";
    showPieces($("ship-lines"), "ship", left);
    $("ship-lines").hidden = left.reduce((sum, { most }) => sum + most, 0) < 2;
    $("shipments-title").hidden = shipments.length === 0;
    const own = shipments.map((shipment) => ({ ...shipment, words: piecesWords(shipment.lines, order), ends: ships && shipments.length > 1 }));
    showKeyed($("shipments"), own, (shipment) => this.#item(shipment));
  }

  #item({ id, words, carrier, tracking, sent_at, delivered_at, ends }) {
    const arrived = () => void this.#uses.act("deliver", { shipment: id }, "shop_delivered");
    const about = [carrier, tracking].filter(Boolean).join(" ") || t("shop_no_tracking");
    return element(
      "li",
      { "data-testid": "shipment" },
      element("strong", {}, words),
      element("span", { class: "mono" }, about),
      element("small", {}, moment(sent_at), delivered_at ? ` · ${t("shop_fulfilment_delivered")}` : ""),
      ends && !delivered_at ? button(t("shop_arrived"), arrived, { class: "button small", "data-testid": "shipment-arrived" }) : null,
    );
  }

  #again() {
    this.clear();
    this.#uses.show();
  }

  async #ship() {
    const lines = typedPieces($("ship-lines"));
    if (lines === null || lines.length === 0) return this.#uses.say("shop_choose_pieces");
    const [tracking, carrier] = [$("ship-tracking").value.trim(), $("ship-carrier").value.trim()];
    const body = { ...(tracking && { tracking }), ...(carrier && { carrier }), ...(!allPieces($("ship-lines")) && { lines }) };
    if (await this.#uses.act("ship", body, "shop_shipped")) this.#again();
    return undefined;
  }
}
