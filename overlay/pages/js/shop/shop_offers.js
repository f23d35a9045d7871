// The shop's offers: promotions that count for whoever buys, and coupons; made, looked at, ended.

import { CURRENCIES, parseAmount, parsePieces } from "../amount.js";
import { button, element, moment } from "../elements.js";
import { t } from "../language.js";
import { offerWords } from "../offer_words.js";
import { Problem, requestJson } from "../problem.js";
import { staffJson } from "../staff.js";
import { conditionWords, showRooms, typedConditions } from "./shop_conditions.js";
import { showKeyed } from "./shop_keyed.js";
import { Pager } from "./shop_pager.js";
import { problemWords } from "./shop_words.js";

const PAGE = 20;
const WORDS = { coupon_exists: "deal_coupon_exists", limit_reached: "shop_offer_too_many" };
// What each kind of offer asks for.
const FIELDS = {
  threshold: ["spend", "off", "every"],
  percent: ["percent"],
  fixed: ["off"],
  tier: ["tier", "skus", "price"],
  coupon: ["spend", "off", "quota", "each", "code"],
};
const PHASES = { over: "shop_offer_over", planned: "shop_offer_planned", runs: "shop_offer_runs" };
const ALL = ["spend", "off", "every", "percent", "tier", "skus", "price", "quota", "each", "code"];

const $ = (id) => document.getElementById(id);

export class OffersTab {
  #uses;
  #pagers;
  #promotions = null;
  #coupons = null;
  #rooms = [];
  #refused = "";

  constructor(uses) {
    this.#uses = uses;
    const look = () => void uses.refresh();
    this.#pagers = { promotions: new Pager($("promotions-pager"), look), coupons: new Pager($("coupons-pager"), look) };
    $("offer-kind").addEventListener("change", () => this.show());
    $("offer-new").addEventListener("submit", (event) => void this.#make(event));
  }

  async refresh() {
    const page = async (name, act) => {
      if (!this.#uses.may(act)) return { items: [], next: null };
      const cursor = this.#pagers[name].cursor;
      return staffJson(`/v1/${name}?${new URLSearchParams({ limit: PAGE, ...(cursor && { cursor }) })}`);
    };
    const pages = [page("promotions", "promotions.write"), page("coupons", "coupons.write")];
    [this.#promotions, this.#coupons, this.#rooms] = await Promise.all([...pages, this.#uses.rooms()]);
    if ($("offer-currency").options.length === 0) await this.#fillCurrencies();
  }

  show() {
    const { may } = this.#uses;
    $("promotions-card").hidden = !may("promotions.write");
    $("coupons-card").hidden = !may("coupons.write");
    for (const option of $("offer-kind").options) option.hidden = option.disabled = !may(option.value === "coupon" ? "coupons.write" : "promotions.write");
    const wanted = FIELDS[$("offer-kind").value];
    for (const name of ALL) $(`offer-${name}-row`).hidden = !wanted.includes(name);
    showRooms(this.#rooms);
    $("offer-problem").hidden = this.#refused === "";
    $("offer-problem").textContent = this.#refused;
    if (this.#promotions === null) return;
    $("promotions-empty").hidden = this.#promotions.items.length > 0;
    $("coupons-empty").hidden = this.#coupons.items.length > 0;
    showKeyed($("promotions"), this.#promotions.items.map(withPhase), (each) => this.#item("promotions", each));
    showKeyed($("coupons"), this.#coupons.items.map(withPhase), (each) => this.#item("coupons", each));
    this.#pagers.promotions.show(this.#promotions.next);
    this.#pagers.coupons.show(this.#coupons.next);
  }

  async #fillCurrencies() {
    const { items } = await requestJson("/v1/products?limit=1");
    const own = items[0]?.skus[0]?.price.currency;
    const wanted = own ? [own, ...CURRENCIES.filter((each) => each !== own)] : CURRENCIES;
    $("offer-currency").replaceChildren(...wanted.map((each) => new Option(each, each)));
  }

  #item(list, offer) {
    const { id, title, phase, quota, left, code, ends_at } = offer;
    const end = () => void this.#end(`/v1/${list}/${encodeURIComponent(id)}/end`);
    const figures = quota === undefined ? null : element("span", { "data-testid": "offer-claimed" }, t("deal_claimed", { claimed: quota - left, quota }));
    return element(
      "li",
      { "data-testid": "offer", "data-disabled": phase === "over" },
      element("strong", {}, title, element("small", {}, [offerWords(offer), ...conditionWords(offer), code].filter(Boolean).join(" · "))),
      element("span", {}, figures ?? "", element("small", {}, t(PHASES[phase]), ...(ends_at ? [" · ", moment(ends_at)] : []))),
      phase === "over" ? null : button(t("deal_end"), end, { class: "button small", "data-testid": "offer-end", "aria-label": `${t("deal_end")}: ${title}` }),
    );
  }

  async #make(event) {
    event.preventDefault();
    const kind = $("offer-kind").value;
    const body = wantedOf(kind);
    if (body === null) this.#refused = t("shop_offer_unclear");
    else if (await this.#act(`/v1/${kind === "coupon" ? "coupons" : "promotions"}`, body)) {
      $("offer-new").reset();
      $("offer-kind").value = kind;
    }
    this.show();
  }

  async #end(url) {
    await this.#act(url, undefined);
  }

  async #act(url, body) {
    this.#refused = "";
    try {
      await staffJson(url, { method: "POST", body });
      this.#uses.toast(t("shop_done"));
      return true;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.#refused = problemWords(error, WORDS);
      return false;
    } finally {
      await this.#uses.refresh();
    }
  }
}

// The request's body of what is typed, null where something is missing or can't be read.
function wantedOf(kind) {
  const currency = $("offer-currency").value;
  const text = (name) => $(`offer-${name}`).value.trim();
  const money = (name) => (text(name) === "" ? undefined : { amount: parseAmount(text(name), currency), currency });
  const skus = text("skus").split(/[\s,，]+/).filter(Boolean);
  const all = {
    spend: money("spend"),
    off: money("off"),
    every: $("offer-every").checked,
    percent: parsePieces(text("percent"), 100),
    tier: text("tier"),
    skus,
    price: money("price"),
    quota: parsePieces(text("quota") || "100"),
    per_buyer: parsePieces(text("each") || "1"),
    ...(text("code") && { code: text("code").toUpperCase() }),
  };
  const names = FIELDS[kind].map((name) => (name === "each" ? "per_buyer" : name));
  const own = Object.fromEntries(names.map((name) => [name, all[name]]).filter(([, value]) => value !== undefined));
  const optional = kind === "coupon" ? ["spend", "code"] : ["every"];
  const missing = names.some((name) => !optional.includes(name) && (!own[name] || own[name].length === 0));
  const unclear = Object.values(own).some((value) => value?.currency && !value.amount);
  if (missing || unclear || !text("title")) return null;
  const ends_at = $("offer-ends").value ? { ends_at: new Date($("offer-ends").value).toISOString() } : {};
  return { ...(kind !== "coupon" && { kind }), title: text("title"), ...own, ...typedConditions(), ...ends_at };
}

function withPhase(offer) {
  const now = Date.now();
  const over = offer.ends_at !== null && Date.parse(offer.ends_at) <= now;
  return { ...offer, phase: over ? "over" : Date.parse(offer.starts_at) > now ? "planned" : "runs" };
}
