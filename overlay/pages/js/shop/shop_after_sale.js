// What waits for an answer after the sale: returns to decide or to receive, and cases; each opens its order.

import { element, moment } from "../elements.js";
import { t } from "../language.js";
import { staffJson } from "../staff.js";
import { caseWords } from "./shop_cases.js";
import { showKeyed } from "./shop_keyed.js";
import { returnWords } from "./shop_returns.js";

const SHOWN = 100; // oldest first; the next come when these are done

const $ = (id) => document.getElementById(id);

export class AfterSaleTab {
  #uses;
  #returns = null;
  #cases = null;

  constructor(uses) {
    this.#uses = uses;
  }

  async refresh() {
    const list = async (what, state) => (await staffJson(`/v1/${what}?state=${state}&limit=${SHOWN}`)).items;
    const [requested, approved, cases] = await Promise.all([list("returns", "requested"), list("returns", "approved"), list("cases", "open")]);
    this.#returns = [...requested, ...approved];
    this.#cases = cases;
    await this.#uses.sheet.refresh();
  }

  show() {
    if (this.#returns === null) return;
    $("waiting-returns-empty").hidden = this.#returns.length > 0;
    $("waiting-cases-empty").hidden = this.#cases.length > 0;
    const open = (order) => () => void this.#uses.sheet.open({ id: order });
    showKeyed($("waiting-returns"), this.#returns, ({ order, state, lines, reason, created_at }) => {
      const count = lines.reduce((sum, { qty }) => sum + qty, 0);
      return row(open(order), order, t("shop_pieces", { count }), reason, returnWords(state), created_at);
    });
    showKeyed($("waiting-cases"), this.#cases, ({ order, kind, messages, updated_at }) => {
      const last = messages.at(-1);
      const state = t(last?.by === "staff" ? "shop_case_answered" : "shop_case_waits");
      return row(open(order), order, caseWords(kind), last?.text ?? "", state, updated_at);
    });
    this.#uses.sheet.show();
  }
}

function row(open, order, title, text, state, at) {
  const opener = element(
    "button",
    { type: "button", class: "order-row", "data-order": order, "data-testid": "waiting" },
    element("span", { class: "order-when" }, moment(at), element("small", { class: "mono" }, order.slice(-8))),
    element("span", { class: "order-what" }, title, element("small", {}, text)),
    element("span", {}, ""),
    element("span", { class: "order-words" }, state),
  );
  opener.addEventListener("click", open);
  return element("li", {}, opener);
}
