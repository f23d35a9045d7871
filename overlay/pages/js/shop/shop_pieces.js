// Which pieces of an order's lines: a number for each line, from none to all that there are.

import { element } from "../elements.js";
import { optionWords } from "../options.js";
import { showKeyed } from "./shop_keyed.js";

/** Show a field for each of [{line, most, usual}] with any; `name` tells fields of two forms apart. */
export function showPieces(place, name, lines) {
  const values = lines.filter(({ most }) => most > 0).map(({ line, most, usual }) => ({ line, most, usual }));
  showKeyed(place, values, (value) => field(name, value));
}

/** [{sku, qty}] of what is typed; null where a number is none or too large. */
export function typedPieces(place) {
  const fields = [...place.querySelectorAll("input")];
  if (fields.some((each) => !each.checkValidity() || each.value === "")) return null;
  return fields.map((each) => ({ sku: each.dataset.sku, qty: each.valueAsNumber })).filter(({ qty }) => qty > 0);
}

/** Whether all there is has been chosen. */
export function allPieces(place) {
  return [...place.querySelectorAll("input")].every((each) => each.value === each.max);
}

/** "2 × Silk scarf · red, 1 × Cup" of [{sku, qty}] of an order. */
export function piecesWords(pieces, order) {
  return pieces.map(({ sku, qty }) => `${qty} × ${nameOf(order.lines.find((line) => line.sku === sku), sku)}`).join(", ");
}

function nameOf(line, sku) {
  return line ? [line.title, optionWords(line.options)].filter(Boolean).join(" · ") : sku;
}

function field(name, { line, most, usual }) {
  const id = `${name}-${line.sku}`;
  const input = { id, type: "number", min: 0, max: most, value: usual, step: 1, inputmode: "numeric", required: true };
  return element(
    "li",
    { class: "pieces" },
    element("label", { for: id }, nameOf(line, line.sku)),
    element("input", { ...input, "data-sku": line.sku, "data-testid": id }),
    element("span", { class: "hint" }, `/ ${most}`),
  );
}
