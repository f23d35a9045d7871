// Money as the pages show it. The server sends integer minor units; how many of them make one is the currency's own matter.

const digitsOf = new Map();
const TAGS = { en: "en", zh: "zh-CN" };

/** How many digits the currency has after the point (ISO 4217): CNY 2, JPY 0, KWD 3. */
export function minorDigits(currency) {
  if (!digitsOf.has(currency)) {
    const { maximumFractionDigits } = new Intl.NumberFormat("en", { style: "currency", currency }).resolvedOptions();
    digitsOf.set(currency, maximumFractionDigits);
  }
  return digitsOf.get(currency);
}

/** {amount, currency} in words of `language` ("en", "zh" or a tag; the page's own if not given); "" for no money. */
export function formatMoney(money, language = globalThis.document?.documentElement.lang) {
  if (!money) return "";
  const { amount, currency } = money;
  const format = new Intl.NumberFormat(TAGS[language] ?? (language || "en"), {
    style: "currency",
    currency,
    currencyDisplay: "narrowSymbol",
  });
  return format.format(decimal(amount, minorDigits(currency)));
}

// A decimal in a string: dividing would lose the last digits of large sums. Old browsers make a number of it again.
function decimal(amount, digits) {
  const whole = String(Math.abs(amount)).padStart(digits + 1, "0");
  const point = whole.length - digits;
  return (amount < 0 ? "-" : "") + (digits ? `${whole.slice(0, point)}.${whole.slice(point)}` : whole);
}
