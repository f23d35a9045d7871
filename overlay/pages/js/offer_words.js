// What a promotion or a coupon gives, in words that stand beside its title.

import { pick } from "./language.js";

/** The server's words begin with the title; these don't. */
export function offerWords({ title, label }) {
  const words = pick(label);
  return words.startsWith(title) ? words.slice(title.length).replace(/^\s*[:：]\s*/, "") : words;
}
