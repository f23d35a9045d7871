// The coupon above the card: what was dropped and how many are left, the button that claims it, and what is claimed.

import { pick, t } from "../../language.js";
import { Problem } from "../../problem.js";
import { refusalWords } from "./refusals.js";

const TOLD_MS = 6000; // how long a refusal stands after its coupon has gone

const $ = (id) => document.getElementById(id);

export class CouponView {
  #coupons;
  #shown = null; // the coupon that is offered
  #busy = false;
  #told = null; // timer of a sentence that outlives its coupon

  /** coupons: Coupons. */
  constructor(coupons) {
    this.#coupons = coupons;
    $("coupon-claim").addEventListener("click", () => void this.#claim());
    $("coupon-close").addEventListener("click", () => this.#coupons.putAway(this.#shown.id));
  }

  /** The coupons are other ones, or the language is. */
  show() {
    if (this.#busy) return;
    const own = this.#coupons.usable();
    this.#shown = this.#coupons.offer;
    const [coupon] = [this.#shown, ...own].filter(Boolean);
    $("coupon").hidden = !coupon && this.#told === null;
    $("coupon-claim").hidden = $("coupon-close").hidden = this.#shown === null;
    $("coupon").dataset.state = this.#shown ? "offered" : own.length ? "claimed" : "gone";
    if (!coupon) return;
    $("coupon-label").textContent = pick(coupon.label);
    $("coupon-claim").textContent = t("coupon_claim");
    if (this.#told !== null) return;
    this.#say(this.#shown ? t("coupon_left", { left: coupon.left }) : t("coupon_yours", { count: own.length }));
  }

  async #claim() {
    const { id } = this.#shown;
    this.#busy = true;
    $("coupon-claim").disabled = true;
    clearTimeout(this.#told);
    this.#told = null;
    let refused = null;
    try {
      await this.#coupons.claim(id, () => this.#say(t("buy_slow")));
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      refused = error;
    }
    this.#busy = false;
    $("coupon-claim").disabled = false;
    if (refused) this.#tell(refusalWords(refused, { coupon: true }));
    this.show();
  }

  #tell(words) {
    this.#say(words);
    this.#told = setTimeout(() => {
      this.#told = null;
      this.show();
    }, TOLD_MS);
  }

  #say(words) {
    if ($("coupon-words").textContent !== words) $("coupon-words").textContent = words;
  }
}
