// What a refusal means to a viewer, in words.

import { t } from "../../language.js";

const WORDS = {
  out_of_stock: "deny_out_of_stock",
  limit_reached: "deny_limit_reached",
  rate_limited: "deny_too_fast",
  too_many: "deny_too_fast",
  illegal_transition: "deny_changed",
  unauthorized: "deny_who",
  token_missing: "deny_who",
  token_expired: "deny_who",
  not_found: "deny_gone",
  sku_not_found: "deny_gone",
  unreachable: "deny_cut",
  no_answer: "deny_cut",
  no_carrier: "deny_cut",
  cut: "deny_cut",
};

/** A sentence for a Problem; `held` of it, or given, says that others hold the last pieces. */
export function refusalWords(problem, { held = problem.extra?.held } = {}) {
  if (problem.code === "out_of_stock" && held) return t("deny_held");
  const key = WORDS[problem.code];
  return key ? t(key) : t("deny_other", { detail: problem.detail });
}
