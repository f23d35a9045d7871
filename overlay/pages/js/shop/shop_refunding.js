// Giving money back: for pieces of an order or an amount, with what it comes to before it is done.

import { parseAmount } from "../amount.js";
import { element, moment } from "../elements.js";
import { t } from "../language.js";
import { formatMoney } from "../money.js";
import { showKeyed } from "./shop_keyed.js";
import { piecesWords, showPieces, typedPieces } from "./shop_pieces.js";
import { shareOf } from "./shop_sums.js";

const REFUNDABLE = ["paid", "partially_refunded"];
const STATES = { open: "shop_refund_open", done: "shop_refund_done", failed: "shop_refund_failed" };

const $ = (id) => document.getElementById(id);

export class RefundPart {
  #uses;
  #order = null;
  #refunds = [];

  /** uses: may, act(path, body, done words), say(key), show(). */
  constructor(uses) {
    this.#uses = uses;
    for (const type of ["input", "change"]) $("refund").addEventListener(type, () => this.#showSum());
    $("refund").addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#refund();
    });
  }

  clear() {
    $("refund").reset();
    $("refund-lines").replaceChildren();
    $("refund-box").open = false;
  }

  show(order, { refunds }) {
    this.#order = order;
    this.#refunds = refunds;
    $("refund-box").hidden = !this.#uses.may("orders.refund") || !REFUNDABLE.includes(order.payment);
    const lines = order.lines.map((line) => ({ line: { sku: line.sku, title: line.title, options: line.options }, most: line.qty - line.refunded, usual: 0 }));
    showPieces($("refund-lines"), "refund", lines);
    $("refunds-title").hidden = refunds.length === 0;
    const own = refunds.map((refund) => ({ ...refund, words: piecesWords(refund.lines.filter(({ qty }) => qty > 0), order) }));
    showKeyed($("refunds"), own, item);
    this.#showSum();
  }

  #byAmount() {
    return $("refund-way").value === "amount";
  }

  #showSum() {
    if (this.#order === null) return;
    const amount = this.#byAmount();
    $("refund-lines").hidden = $("refund-restock-row").hidden = amount;
    $("refund-amount-row").hidden = !amount;
    $("refund-currency").textContent = this.#order.total.currency;
    const sum = this.#sum();
    $("refund-make").textContent = sum ? t("shop_refund_make", { amount: formatMoney(sum) }) : t("shop_refund_none");
    $("refund-make").disabled = !sum;
  }

  // What goes back, null for nothing; the server adds shipping and tax by its rules.
  #sum() {
    const { currency } = this.#order.total;
    if (this.#byAmount()) {
      const amount = parseAmount($("refund-amount").value, currency);
      return amount ? { amount, currency } : null;
    }
    const pieces = typedPieces($("refund-lines"));
    if (!pieces?.length) return null;
    const shares = pieces.map(({ sku, qty }) => shareOf(this.#order.lines.find((line) => line.sku === sku), qty, this.#refunds));
    return { amount: shares.reduce((sum, share) => sum + share, 0), currency };
  }

  async #refund() {
    const reason = $("refund-reason").value.trim();
    const sum = this.#sum();
    if (sum === null || !reason) return this.#uses.say("shop_refund_incomplete");
    const restock = $("refund-restock").checked;
    const body = this.#byAmount() ? { amount: sum, reason } : { lines: typedPieces($("refund-lines")), reason, restock };
    if (await this.#uses.act("refunds", body, "shop_refund_made")) {
      this.clear();
      this.#uses.show();
    }
    return undefined;
  }
}

function item({ amount, words, reason, state, created_at }) {
  return element(
    "li",
    { "data-testid": "refund-item" },
    element("strong", {}, formatMoney(amount)),
    element("span", {}, words || t("shop_refund_by_amount"), element("small", {}, reason)),
    element("small", {}, t(STATES[state] ?? "shop_refund_open"), " · ", moment(created_at)),
  );
}
