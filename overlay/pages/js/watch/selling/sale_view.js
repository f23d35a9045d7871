// A sale in words: when it starts or ends, by the server's clock, at what price, and what is left of its quota.

import { element } from "../../elements.js";
import { t } from "../../language.js";
import { formatMoney } from "../../money.js";
import { left_s, minutes } from "./countdown.js";

const SOON_S = 10;
const COUNTED_S = 24 * 3600; // a price for the season needs no clock

/** Fill `place` with {sale, phase}; null empties and hides it. hooks: {sale}: an id for tests. */
export function showSale(place, found, now_ms) {
  place.hidden = found === null;
  if (found === null) return place.replaceChildren();
  const { sale, phase } = found;
  if (place.dataset.sale !== `${sale.id} ${phase}` || place.dataset.lang !== document.documentElement.lang) {
    Object.assign(place.dataset, { sale: `${sale.id} ${phase}`, phase, lang: document.documentElement.lang });
    place.replaceChildren(...parts(sale, phase));
  }
  const left = left_s(phase === "scheduled" ? sale.starts_at : sale.ends_at, now_ms);
  say(place, "when", left > COUNTED_S ? "" : t(phase === "scheduled" ? "sale_starts" : "sale_ends"));
  say(place, "count", left > COUNTED_S ? "" : minutes(left));
  say(place, "left", leftWords(sale, phase));
  place.toggleAttribute("data-soon", left <= SOON_S);
}

function leftWords({ quota, left }, phase) {
  if (phase === "gone") return t("sale_gone");
  return quota === null ? "" : t("sale_left", { left, quota });
}

function parts(sale, phase) {
  const part = (name, words = "") => element("span", { class: `sale-${name}`, "data-testid": `sale-${name}` }, words);
  if (phase === "gone") return [part("left")];
  const price = phase === "scheduled" ? t("sale_price", { price: formatMoney(sale.price) }) : t("sale_now");
  return [part("price", price), element("span", { class: "sale-clock", role: "timer" }, part("when"), part("count")), part("left")];
}

function say(place, name, words) {
  const part = place.querySelector(`.sale-${name}`);
  if (part && part.textContent !== words) part.textContent = words;
}
