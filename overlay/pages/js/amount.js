// Prices as they are typed: 19.90 yuan is 1990 minor units, worked out with whole numbers only.
//
// How many digits a currency has after the point is ISO 4217's word, as on the server; browsers count some otherwise.

const NO_DIGITS = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split(" ");
const THREE_DIGITS = "BHD IQD JOD KWD LYD OMR TND".split(" ");
const AMOUNT_MOST = BigInt(Number.MAX_SAFE_INTEGER);
const CHARS_MOST = 40;

/** The currencies offered; a shop's own comes first by itself once it has been used. */
export const CURRENCIES = (
  "CNY USD EUR GBP JPY HKD TWD KRW SGD MYR THB VND PHP INR AUD NZD CAD CHF SEK NOK DKK PLN CZK TRY AED SAR KWD " +
  "ILS ZAR NGN KES EGP BRL MXN CLP"
).split(" ");

/** Digits after the point: 0, 2 or 3. */
export function digitsOf(currency) {
  if (NO_DIGITS.includes(currency)) return 0;
  return THREE_DIGITS.includes(currency) ? 3 : 2;
}

/**
 * Minor units of what was typed, null for what is no price or can be read in two ways (1,990). Full-width digits and
 * points of Chinese keyboards count, and so does a currency sign in front; a comma may be the point, or stand between
 * thousands where a point follows.
 */
export function parseAmount(text, currency) {
  if (text.length > CHARS_MOST) return null;
  const plain = text.normalize("NFKC").replaceAll("。", ".").replace(/\s/g, "").replace(/^[¥$€£₩₫₹฿]/, "");
  const grouped = /^\d{1,3}(,\d{3})+\.\d+$/.test(plain) ? plain.replaceAll(",", "") : plain;
  const match = /^(\d+)(?:([.,])(\d+))?$/.exec(grouped);
  if (match === null) return null;
  const [, whole, point, part = ""] = match;
  const digits = digitsOf(currency);
  if (part.length > digits || (point === "," && part.length > 2)) return null;
  const amount = BigInt(whole + part.padEnd(digits, "0"));
  return amount <= AMOUNT_MOST ? Number(amount) : null;
}

/** {amount, currency} as it would be typed: 19.90. */
export function majorText({ amount, currency }) {
  const digits = digitsOf(currency);
  const text = String(Math.abs(amount)).padStart(digits + 1, "0");
  const whole = text.slice(0, text.length - digits);
  return (amount < 0 ? "-" : "") + (digits ? `${whole}.${text.slice(-digits)}` : whole);
}

/** A whole number of pieces up to `most`, null for anything else. */
export function parsePieces(text, most = 1_000_000_000) {
  const plain = text.normalize("NFKC").trim();
  return /^\d{1,10}$/.test(plain) && Number(plain) <= most ? Number(plain) : null;
}
