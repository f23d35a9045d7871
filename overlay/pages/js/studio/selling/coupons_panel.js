// Coupons for the room: chosen or made, dropped in front of the viewers, and how many have been claimed.

import { parseAmount, parsePieces } from "../../amount.js";
import { button, element } from "../../elements.js";
import { t } from "../../language.js";
import { offerWords } from "../../offer_words.js";
import { Problem } from "../../problem.js";
import { arrange } from "../../template.js";
import { wordsOf } from "./selling_words.js";

const ACT = "coupons.write";
const LOOK_MS = 5000;
const SHOWN = 20;
const WORDS = { coupon_over: "deal_coupon_over", coupon_exists: "deal_coupon_exists" };

const $ = (id) => document.getElementById(id);

export class CouponsPanel {
  #room;
  #session;
  #currency;
  #toast;
  #coupons = null;
  #dropped = new Set(); // ids that this room has been told of
  #rows = new Map();
  #busy = false;
  #says = "";

  /** `currency()` is what prices here are in, null while that isn't known. */
  constructor({ room, session, currency, toast }) {
    this.#room = room;
    this.#session = session;
    this.#currency = () => currency() ?? "CNY";
    this.#toast = toast;
    $("drop-new").addEventListener("click", () => this.#open($("drop-form").hidden));
    $("drop-cancel").addEventListener("click", () => this.#open(false));
    $("drop-form").addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#make();
    });
    session.onChange(() => void this.load());
    setInterval(() => document.hidden || this.#dropped.size === 0 || void this.load(), LOOK_MS);
    this.#draw();
  }

  /** An event of the room. */
  take({ t: type, d }) {
    const told = type === "hello" ? (d.coupons ?? []) : type === "coupon.dropped" ? [d] : null;
    if (told === null) return;
    for (const { id } of told) this.#dropped.add(id);
    void this.load();
  }

  async load() {
    if (this.#session.may(ACT)) {
      try {
        const { items } = await this.#session.send(`/v1/coupons?limit=${SHOWN}`);
        this.#coupons = items.filter((coupon) => fits(coupon, this.#room));
      } catch (error) {
        if (!(error instanceof Problem)) throw error;
        this.#says = wordsOf(error);
      }
    }
    this.#draw();
  }

  showWords() {
    this.#rows.clear();
    this.#draw();
  }

  #draw() {
    $("drops-card").hidden = !this.#session.may(ACT);
    $("drops-problem").hidden = this.#says === "";
    $("drops-problem").textContent = this.#says;
    for (const unit of document.querySelectorAll("[data-deal-currency]")) unit.textContent = this.#currency();
    const coupons = this.#coupons ?? [];
    $("drops-empty").hidden = this.#coupons === null || coupons.length > 0;
    arrange($("drop-list"), coupons.map((coupon) => this.#row(coupon)));
    for (const each of document.querySelectorAll("#drops-card button")) each.disabled = this.#busy;
  }

  #row(coupon) {
    const dropped = this.#dropped.has(coupon.id);
    const key = JSON.stringify([coupon, dropped]);
    const kept = this.#rows.get(coupon.id);
    const row = kept?.key === key ? kept.row : this.#made(coupon, dropped);
    this.#rows.set(coupon.id, { key, row });
    return row;
  }

  #made(coupon, dropped) {
    const claimed = t("deal_claimed", { claimed: coupon.quota - coupon.left, quota: coupon.quota });
    return element(
      "li",
      { class: "deal", "data-phase": dropped ? "running" : "", "data-coupon": coupon.id, "data-testid": "coupon" },
      element(
        "div",
        { class: "deal-words" },
        element("strong", { class: "deal-title" }, coupon.title),
        element("p", { class: "deal-facts" }, element("span", {}, offerWords(coupon)), element("span", { "data-testid": "coupon-claimed" }, claimed)),
      ),
      dropped ? element("p", { class: "deal-clock" }, t("deal_dropped")) : element("p", {}),
      button(t(dropped ? "deal_drop_again" : "deal_drop"), () => void this.#drop(coupon.id), {
        class: dropped ? "button small" : "button small primary",
        "data-testid": "coupon-drop",
      }),
    );
  }

  #open(open) {
    $("drop-form").hidden = !open;
    $("drop-new").setAttribute("aria-expanded", String(open));
    this.#says = "";
    this.#draw();
    if (open) $("drop-title").focus();
  }

  async #make() {
    const body = this.#wanted();
    if (body === null || this.#busy) return this.#draw();
    const made = await this.#attempt(() => this.#session.send("/v1/coupons", { method: "POST", body }));
    if (made) {
      $("drop-form").reset();
      this.#open(false);
    }
    return this.load();
  }

  #wanted() {
    const currency = this.#currency();
    const money = (id) => ({ amount: parseAmount($(id).value, currency), currency });
    const title = $("drop-title").value.trim();
    const [off, spend] = [money("drop-off"), $("drop-spend").value.trim() ? money("drop-spend") : undefined];
    const count = (id, usual) => parsePieces($(id).value.trim() || usual);
    const [quota, per_buyer] = [count("drop-quota", "100"), count("drop-each", "1")];
    if (!title) return this.#refuse("deal_title_missing");
    if (!off.amount || spend?.amount === null) return this.#refuse("deal_price_unclear");
    if (!quota || !per_buyer) return this.#refuse("sell_pieces_unclear");
    return { title, off, ...(spend && { spend }), quota, per_buyer, room: this.#room };
  }

  #refuse(words) {
    this.#says = t(words);
    return null;
  }

  async #drop(coupon) {
    const url = `/v1/rooms/${encodeURIComponent(this.#room)}/coupon-drops`;
    const done = await this.#attempt(() => this.#session.send(url, { method: "POST", body: { coupon } }));
    if (done) {
      this.#dropped.add(coupon);
      this.#toast(t("deal_drop_done"));
    }
    await this.load();
  }

  async #attempt(work) {
    this.#busy = true;
    this.#says = "";
    this.#draw();
    try {
      await work();
      return true;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.#says = error.code in WORDS ? t(WORDS[error.code]) : wordsOf(error);
      return false;
    } finally {
      this.#busy = false;
      this.#draw();
    }
  }
}

// Those with a code are claimed by that word and not dropped.
function fits({ room, code, ends_at }, own) {
  return (room === null || room === own) && code === null && (ends_at === null || Date.parse(ends_at) > Date.now());
}
