// What a refusal means to a viewer, in words.

import { t } from "../../language.js";

const WORDS = {
  out_of_stock: "deny_out_of_stock",
  mixed_currency: "deny_mixed_currency",
  limit_reached: "deny_limit_reached",
  rate_limited: "deny_too_fast",
  too_many: "deny_too_fast",
  illegal_transition: "deny_changed",
  unauthorized: "deny_who",
  token_missing: "deny_who",
  token_expired: "deny_who",
  not_found: "deny_gone",
  sku_not_found: "deny_gone",
  coupon_gone: "deny_coupon_gone",
  coupon_over: "deny_coupon_over",
  coupon_not_yours: "deny_coupon_not_yours",
  coupon_not_claimed: "deny_coupon_spent",
  coupon_not_found: "deny_coupon_over",
  unreachable: "deny_cut",
  no_answer: "deny_cut",
  no_carrier: "deny_cut",
  cut: "deny_cut",
};
const OF_A_CLAIM = { limit_reached: "deny_coupon_yours", not_found: "deny_coupon_over" };

/** A sentence for a Problem; `held` of it, or given, says that others hold the last pieces; `coupon`: of a claim. */
export function refusalWords(problem, { held = problem.extra?.held, coupon = false } = {}) {
  if (problem.code === "out_of_stock" && held) return t("deny_held");
  const key = (coupon && OF_A_CLAIM[problem.code]) || WORDS[problem.code];
  return key ? t(key) : t("deny_other", { detail: problem.detail });
}
