// A price in rows: what the pieces cost, what each rule takes off, and what comes on top; of a quote or of an order.

import { element } from "./elements.js";
import { pick, t } from "./language.js";
import { formatMoney } from "./money.js";

/** The rows of a quote (or of an order) from the goods to the total, the total itself not among them. */
export function priceRows({ lines, discounts, shipping, tax }) {
  const rows = [];
  const list = lines.reduce((sum, line) => sum + listed(line).amount, 0);
  const unit = lines.reduce((sum, line) => sum + line.subtotal.amount, 0);
  const { currency } = lines[0].unit;
  const plain = list === unit && discounts.length === 0 && !shipping && !tax;
  if (plain) return rows;
  rows.push(row(t("quote_list"), formatMoney({ amount: list, currency }), "list"));
  if (unit < list) rows.push(row(t("quote_sale"), less({ amount: list - unit, currency }), "sale"));
  for (const { label, amount, kind } of discounts) rows.push(row(pick(label), less(amount), kind));
  if (shipping) rows.push(row(t("quote_shipping"), formatMoney(shipping), "shipping"));
  if (tax) rows.push(row(t("quote_tax"), formatMoney(tax), "tax"));
  return rows;
}

/** What a line costs before all that the rows take off. */
export function listed({ list_unit, qty }) {
  return { amount: list_unit.amount * qty, currency: list_unit.currency };
}

function less(money) {
  return `−${formatMoney(money)}`;
}

function row(words, amount, kind) {
  const place = { class: "price-row", "data-kind": kind, "data-testid": "quote-row" };
  return element("li", place, element("span", {}, words), element("span", { class: "price-amount" }, amount));
}
