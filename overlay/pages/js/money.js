// Money as the pages show it. The server sends integer minor units; how many of them make one is the currency's own matter.

import { digitsOf, majorText } from "./amount.js";

const TAGS = { en: "en", zh: "zh-CN" };

/** {amount, currency} in words of `language` ("en", "zh" or a tag; the page's own if not given); "" for no money. */
export function formatMoney(money, language = globalThis.document?.documentElement.lang) {
  if (!money) return "";
  const digits = digitsOf(money.currency);
  const format = new Intl.NumberFormat(TAGS[language] ?? (language || "en"), {
    style: "currency",
    currency: money.currency,
    currencyDisplay: "narrowSymbol",
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
  // A decimal in a string: dividing would lose the last digits of large sums. Old browsers make a number of it again.
  return format.format(majorText(money));
}
