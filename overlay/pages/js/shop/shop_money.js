// The money of a month: what came and went by day, what does not fit, what merchants are owed, and disputes.

import { element, moment } from "../elements.js";
import { t } from "../language.js";
import { formatMoney } from "../money.js";
import { ActKeys } from "../keys.js";
import { Problem } from "../problem.js";
import { staffJson } from "../staff.js";
import { showKeyed } from "./shop_keyed.js";
import { lastMonths } from "./shop_sums.js";
import { problemWords } from "./shop_words.js";

const MONTHS = 13;
const DISPUTES = 50;
const KINDS = {
  other_amount: "shop_mismatch_other_amount",
  unexpected_money: "shop_mismatch_unexpected_money",
  second_success: "shop_mismatch_second_success",
  paid_but_over: "shop_mismatch_paid_but_over",
  refund_open: "shop_mismatch_refund_open",
  refund_failed: "shop_mismatch_refund_failed",
  intent_open: "shop_mismatch_intent_open",
};
const STATES = { open: "shop_dispute_open", won: "shop_dispute_won", lost: "shop_dispute_lost" };

const $ = (id) => document.getElementById(id);

export class MoneyTab {
  #uses;
  #keys = new ActKeys();
  #report = null;
  #shares = [];
  #disputes = [];

  constructor(uses) {
    this.#uses = uses;
    $("money-month").addEventListener("change", () => {
      this.#report = null;
      void uses.refresh();
    });
  }

  async refresh() {
    this.#fillMonths();
    const asked = span();
    const [report, shares, disputes] = await Promise.all([
      staffJson(`/v1/payments/reconciliation?${asked}`),
      staffJson(`/v1/settlement?${asked}`),
      staffJson(`/v1/payments/disputes?limit=${DISPUTES}`),
    ]);
    if (`${asked}` !== `${span()}`) return; // another month was chosen meanwhile
    this.#report = report;
    this.#shares = shares.items;
    this.#disputes = disputes.items;
    await this.#uses.sheet.refresh();
  }

  show() {
    this.#fillMonths();
    const links = { "money-csv": "/v1/payments/reconciliation", "settlement-csv": "/v1/settlement", "export-csv": "/v1/orders/export" };
    for (const [id, url] of Object.entries(links)) $(id).href = `${url}?${span()}&format=csv`;
    if (this.#report === null) return;
    const { items, mismatches, more } = this.#report;
    $("days-empty").hidden = items.length > 0;
    $("days-table").hidden = items.length === 0;
    showKeyed($("days"), items, day);
    $("mismatches-fine").hidden = mismatches.length > 0;
    $("mismatches-more").hidden = !more;
    const open = (order) => void this.#uses.sheet.open({ id: order });
    showKeyed($("mismatches"), mismatches, (each) => mismatch(each, open));
    $("shares-empty").hidden = this.#shares.length > 0;
    $("shares-table").hidden = this.#shares.length === 0;
    showKeyed($("shares"), this.#shares, share);
    $("disputes-empty").hidden = this.#disputes.length > 0;
    const may = this.#uses.may("payments.disputes");
    showKeyed($("disputes"), this.#disputes.map((each) => ({ ...each, may })), (each) => this.#dispute(each, open));
    this.#uses.sheet.show();
  }

  #fillMonths() {
    const tag = document.documentElement.lang;
    if ($("money-month").dataset.tag === tag) return;
    const chosen = $("money-month").value;
    const format = new Intl.DateTimeFormat(tag, { year: "numeric", month: "long", timeZone: "UTC" });
    const months = lastMonths(new Date(), MONTHS).map(([year, month]) => new Option(format.format(Date.UTC(year, month)), `${year}-${month}`));
    $("money-month").replaceChildren(...months);
    if (chosen) $("money-month").value = chosen;
    $("money-month").dataset.tag = tag;
  }

  #dispute({ id, order, amount, reason, state, evidence, created_at, may }, open) {
    const field = element("input", { maxlength: 1000, autocomplete: "off", "aria-label": t("shop_evidence"), placeholder: t("shop_evidence") });
    const form = element("form", { class: "case-acts" }, element("div", { class: "input" }, field), element("button", { type: "submit", class: "button small" }, t("shop_note_add")));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (field.value.trim()) void this.#note(id, field.value.trim());
    });
    return element(
      "li",
      { class: "case", "data-state": state, "data-testid": "dispute" },
      element("p", { class: "case-head" }, element("strong", {}, formatMoney(amount), " · ", reason), element("span", {}, t(STATES[state]))),
      orderLink(order, open),
      ...evidence.map(({ text, by, at }) => element("p", { class: "said" }, element("b", {}, by), ` ${text} `, element("small", {}, moment(at)))),
      element("small", {}, moment(created_at)),
      may && state === "open" ? form : null,
    );
  }

  async #note(id, text) {
    const url = `/v1/payments/disputes/${encodeURIComponent(id)}/evidence`;
    try {
      await this.#keys.run(JSON.stringify([url, text]), (key) => staffJson(url, { method: "POST", body: { text }, key }));
      this.#uses.toast(t("shop_note_kept"));
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.#uses.toast(problemWords(error));
    }
    await this.#uses.refresh();
  }
}

// The month chosen, in UTC as the report's days are.
function span() {
  const [year, month] = $("money-month").value.split("-").map(Number);
  const first = (at) => new Date(Date.UTC(year, at, 1)).toISOString().slice(0, 10);
  return new URLSearchParams({ from: first(month), to: first(month + 1) });
}

function orderLink(order, open) {
  const link = element("a", { class: "mono", href: `?tab=orders&order=${encodeURIComponent(order)}`, "data-testid": "money-order" }, order.slice(-8));
  link.addEventListener("click", (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
    event.preventDefault();
    open(order);
  });
  return element("p", {}, t("shop_order_of"), " ", link);
}

function cells(...values) {
  return values.map((value) => element("td", {}, value));
}

function day({ day: name, provider, payments, captured, refunded, lost, fees, open }) {
  const money = [captured, refunded, lost, fees].map(formatMoney);
  return element("tr", { "data-testid": "day" }, element("td", {}, name, element("small", {}, provider)), ...cells(String(payments), String(open), ...money));
}

function share({ merchant, orders, pieces, discount, refunded, net }) {
  const figures = [String(orders), String(pieces), formatMoney(discount), formatMoney(refunded), formatMoney(net)];
  return element("tr", { "data-testid": "share" }, ...cells(merchant ?? t("shop_itself"), ...figures));
}

function mismatch({ kind, order, amount }, open) {
  const words = t(KINDS[kind] ?? "shop_mismatch_other");
  return element("li", { class: "case", "data-state": "open", "data-testid": "mismatch" }, element("p", { class: "case-head" }, element("strong", {}, words), element("span", {}, formatMoney(amount))), orderLink(order, open));
}
