// What buyers say after the sale, answered and closed; and the staff's own notes about an order.

import { button, element, moment } from "../elements.js";
import { t } from "../language.js";
import { showKeyed } from "./shop_keyed.js";

const KINDS = {
  damaged: "shop_case_damaged",
  wrong_item: "shop_case_wrong_item",
  missing: "shop_case_missing",
  not_arrived: "shop_case_not_arrived",
  refund: "shop_case_refund",
  other: "shop_case_other",
};

const $ = (id) => document.getElementById(id);

/** What a case is about, in words. */
export const caseWords = (kind) => t(KINDS[kind] ?? "shop_case_other");

export class CasesPart {
  #uses;

  /** uses: may, act(url, body, done words). */
  constructor(uses) {
    this.#uses = uses;
    $("note").addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#note();
    });
  }

  clear() {
    $("note").reset();
  }

  show(_order, { cases, notes }) {
    const acts = this.#uses.may("orders.returns");
    $("cases-title").hidden = cases.length === 0;
    showKeyed($("cases"), cases.map((each) => ({ ...each, acts })), (each) => this.#item(each));
    $("notes-box").hidden = !this.#uses.may("orders.notes");
    showKeyed($("notes"), notes, noteItem);
  }

  #item({ id, kind, state, messages, acts }) {
    const url = `/v1/cases/${encodeURIComponent(id)}`;
    const field = element("textarea", { rows: 2, maxlength: 1000, "aria-label": t("shop_case_answer"), "data-testid": "case-answer" });
    const say = () => field.value.trim() && void this.#uses.act(`${url}/messages`, { text: field.value.trim() }, "shop_case_said");
    const close = () => void this.#uses.act(`${url}/close`, {}, "shop_case_closed");
    const open = acts && state === "open";
    return element(
      "li",
      { class: "case", "data-testid": "case-item", "data-state": state },
      element("p", { class: "case-head" }, element("strong", {}, caseWords(kind)), element("span", {}, t(state === "open" ? "shop_case_open" : "shop_case_closed"))),
      ...messages.map(({ by, text, at }) =>
        element("p", { class: "said", "data-by": by }, element("b", {}, t(by === "buyer" ? "shop_buyer" : "shop_us")), ` ${text} `, element("small", {}, moment(at))),
      ),
      open ? element("div", { class: "input" }, field) : null,
      open
        ? element(
            "div",
            { class: "acts" },
            button(t("shop_case_say"), say, { class: "button small primary", "data-testid": "case-say" }),
            button(t("shop_case_close"), close, { class: "button small", "data-testid": "case-close" }),
          )
        : null,
    );
  }

  async #note() {
    const text = $("note-text").value.trim();
    if (text && (await this.#uses.act("notes", { text }, "shop_note_kept"))) this.clear();
  }
}

function noteItem({ text, by, at }) {
  return element("li", {}, element("span", {}, text), element("small", {}, by, " · ", moment(at)));
}
