// What an order holds, line by line, and where it goes, as text.

import { element } from "./elements.js";
import { formatMoney } from "./money.js";
import { optionWords } from "./options.js";

const ADDRESS_LINES = [["name", "phone"], ["email"], ["street"], ["postcode", "city", "region"], ["country"], ["note"]];

/** An order's lines as list items; `amount` of a line is the money shown. */
export function lineItems(order, amount = (line) => line.total) {
  return order.lines.map((line) =>
    element(
      "li",
      { class: "line" },
      element(
        "span",
        { class: "line-words" },
        element("span", { class: "line-title" }, line.title),
        element("span", { class: "line-options" }, [optionWords(line.options), line.sku].filter(Boolean).join(" · ")),
      ),
      element("span", { class: "line-qty" }, `× ${line.qty}`),
      element("span", { class: "line-total" }, formatMoney(amount(line))),
    ),
  );
}

/** Contact and address as lines of text; what stands in both is said once. */
export function addressLines({ contact, address }) {
  const words = (name) => [...new Set([address?.[name], contact?.[name]])].filter(Boolean);
  return ADDRESS_LINES.map((names) => names.flatMap(words).join(" ")).filter(Boolean);
}
