// Refusals in the seller's words, by the problem's code.

import { t } from "../../language.js";

const WORDS = {
  unreachable: "sell_unreachable",
  unauthorized: "sell_signed_out",
  forbidden: "sell_forbidden",
  not_found: "sell_gone",
  too_many: "sell_too_many",
  unavailable: "sell_busy",
  stale: "sell_stale",
  picture_too_large: "sell_picture_too_large",
  too_large: "sell_picture_too_large",
  picture_type: "sell_picture_type",
  picture_broken: "sell_picture_broken",
  too_slow: "sell_too_slow",
  sku_exists: "sell_sku_exists",
  limit_reached: "sell_limit_reached",
  restream_url: "restream_bad_url",
};

/** What to say of a Problem. */
export function wordsOf({ code, detail }) {
  return t(WORDS[code] ?? "sell_refused", { detail });
}
