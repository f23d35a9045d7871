// The parcels of an order that goes in several: what is in each, who carries it, and what is still to come.

import { element, moment } from "../elements.js";
import { t } from "../language.js";

const $ = (id) => document.getElementById(id);

/** Show the parcels, where the line with the tracking number doesn't say it all. */
export function showParcels(order) {
  const several = order.shipments.length > 1 || order.fulfilment === "partial" || order.shipments.some(({ carrier }) => carrier);
  $("parcels").hidden = !several;
  $("tracking").hidden = several || !order.tracking;
  if (!several) return;
  $("parcel-list").replaceChildren(...order.shipments.map((parcel, at) => parcelItem(parcel, at + 1, order)));
  const rest = order.lines.map(({ sku, qty, sent, dropped }) => ({ sku, qty: qty - sent - dropped })).filter(({ qty }) => qty > 0);
  $("parcel-rest").hidden = rest.length === 0 || order.fulfilment !== "partial";
  $("parcel-rest").textContent = t("order_parcel_rest", { pieces: piecesWords(rest, order) });
}

/** [{sku, qty}] in words, by the titles of the order's lines. */
export function piecesWords(pieces, order) {
  const title = (code) => order.lines.find(({ sku }) => sku === code)?.title ?? code;
  return pieces.map(({ sku, qty }) => `${title(sku)} × ${qty}`).join(", ");
}

function parcelItem({ lines, carrier, tracking, sent_at, delivered_at }, number, order) {
  const arrived = delivered_at !== null;
  const state = element("span", { class: "record-state", "data-state": arrived ? "done" : "open" }, t(arrived ? "order_parcel_arrived" : "order_parcel_sent"));
  const by = [carrier, tracking].filter(Boolean).join(" ");
  return element(
    "li",
    { class: "record", "data-testid": "order-parcel" },
    element("p", { class: "record-head" }, element("strong", {}, t("order_parcel", { number })), state),
    element("p", {}, piecesWords(lines, order)),
    by ? element("p", { class: "mono" }, by) : null,
    element("p", { class: "hint" }, moment(delivered_at ?? sent_at)),
  );
}
