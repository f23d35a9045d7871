// Returns of an order: what the buyer sends back and why; approved or refused, and received, on the shelf again or not.

import { button, element, moment } from "../elements.js";
import { t } from "../language.js";
import { showKeyed } from "./shop_keyed.js";
import { piecesWords } from "./shop_pieces.js";

const STATES = {
  requested: "shop_return_requested",
  approved: "shop_return_approved",
  refused: "shop_return_refused",
  received: "shop_return_received",
};

const $ = (id) => document.getElementById(id);

/** A return's state in words. */
export const returnWords = (state) => t(STATES[state]);

export class ReturnsPart {
  #uses;

  /** uses: may, act(url, body, done words). */
  constructor(uses) {
    this.#uses = uses;
  }

  show(order, { returns }) {
    const acts = this.#uses.may("orders.returns");
    $("returns-title").hidden = returns.length === 0;
    const own = returns.map((each) => ({ ...each, words: piecesWords(each.lines, order), acts }));
    showKeyed($("returns"), own, (each) => this.#item(each));
  }

  #item({ id, words, reason, state, answer, restocked, created_at, acts }) {
    const decide = (act, body, done) => () => void this.#uses.act(`/v1/returns/${encodeURIComponent(id)}/${act}`, body(), done);
    const field = element("input", { maxlength: 500, autocomplete: "off", "aria-label": t("shop_return_answer"), placeholder: t("shop_return_answer") });
    const said = (more = {}) => ({ ...more, ...(field.value.trim() && { answer: field.value.trim() }) });
    const act = (name, words_, body, done, kind = "") =>
      button(t(words_), decide(name, body, done), { class: `button small${kind}`, "data-testid": `return-${words_.replace("shop_return_", "")}` });
    const buttons = {
      requested: [
        act("approve", "shop_return_approve", () => said(), "shop_return_approved", " primary"),
        act("refuse", "shop_return_refuse", () => said(), "shop_return_refused", " danger"),
      ],
      approved: [
        act("receive", "shop_return_receive", () => said({ restock: true }), "shop_return_received", " primary"),
        act("receive", "shop_return_receive_broken", () => said({ restock: false }), "shop_return_received"),
      ],
    };
    const may = acts ? (buttons[state] ?? []) : [];
    return element(
      "li",
      { class: "case", "data-testid": "return-item", "data-state": state },
      element("p", { class: "case-head" }, element("strong", {}, words), element("span", {}, returnWords(state))),
      element("p", {}, reason),
      answer ? element("p", { class: "hint" }, t("shop_said", { by: t("shop_us"), text: answer })) : null,
      restocked === null ? null : element("p", { class: "hint" }, t(restocked ? "shop_return_restocked" : "shop_return_not_restocked")),
      element("small", {}, moment(created_at)),
      may.length ? element("div", { class: "case-acts" }, element("div", { class: "input" }, field), ...may) : null,
    );
  }
}
