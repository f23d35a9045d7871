// Asking the shop about an order: cases with their messages, an answer to each, and a new one.

import { element, moment } from "../elements.js";
import { ActKeys } from "../keys.js";
import { t } from "../language.js";
import { Problem } from "../problem.js";
import { problemWords } from "./shop_words.js";

const KINDS = {
  damaged: "order_case_damaged",
  wrong_item: "order_case_wrong_item",
  missing: "order_case_missing",
  not_arrived: "order_case_not_arrived",
  refund: "order_case_refund",
  other: "order_case_other",
};
const DENIED = { illegal_transition: "order_case_closed_now", too_many_records: "order_case_many" };
const TEXT_CHARS = 2000;

const $ = (id) => document.getElementById(id);

class CasesPanel {
  #caller = null;
  #drawn = "";
  #drafts = new Map(); // case id → what is being typed
  #refused = null;
  #keys = new ActKeys();
  #refresh;

  constructor({ refresh }) {
    this.#refresh = refresh;
    $("case-form").addEventListener("submit", (event) => void this.#begin(event));
    $("case-open").addEventListener("click", () => this.#open());
  }

  /** cases of the order, oldest first. */
  show(cases, caller) {
    this.#caller = caller;
    $("cases").hidden = caller.isStaff && cases.length === 0;
    $("case-open").hidden = caller.isStaff || !$("case-form").hidden;
    const kind = $("case-kind").value;
    $("case-kind").replaceChildren(...Object.entries(KINDS).map(([value, key]) => element("option", { value }, t(key))));
    if (kind) $("case-kind").value = kind;
    this.#showCases(cases);
    $("case-problem").hidden = this.#refused === null;
    if (this.#refused) $("case-problem-text").textContent = problemWords(this.#refused, DENIED);
  }

  // Only what has changed is drawn anew: an answer may be half typed.
  #showCases(cases) {
    const drawn = JSON.stringify([cases, document.documentElement.lang]);
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    $("case-list").replaceChildren(...cases.map((each) => this.#case(each)));
  }

  #case(each) {
    const { id, kind, state, messages } = each;
    const says = messages.map(({ by, text, at }) =>
      element("li", { class: "message", "data-by": by }, element("p", {}, text), element("p", { class: "hint" }, t(by === "staff" ? "order_case_shop" : "order_case_you"), " · ", moment(at))),
    );
    const stateWords = element("span", { class: "record-state", "data-state": state }, t(state === "open" ? "order_case_is_open" : "order_case_is_closed"));
    return element(
      "li",
      { class: "record", "data-testid": "order-case", "data-case": id },
      element("p", { class: "record-head" }, element("strong", {}, t(KINDS[kind])), stateWords),
      element("ul", { class: "messages" }, ...says),
      state === "open" && !this.#caller.isStaff ? this.#answer(id) : null,
    );
  }

  #answer(id) {
    const field = element("input", { required: true, maxlength: TEXT_CHARS, placeholder: t("order_case_answer"), "aria-label": t("order_case_answer"), "data-testid": "order-case-answer" });
    field.value = this.#drafts.get(id) ?? "";
    field.addEventListener("input", () => this.#drafts.set(id, field.value));
    const send = element("button", { class: "button" }, t("order_case_send"));
    const form = element("form", { class: "answer" }, element("div", { class: "input" }, field), send);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const text = field.value.trim();
      if (text) void this.#act(send, `say ${id} ${text}`, (key) => this.#caller.say(id, { text }, key), () => this.#drafts.delete(id));
    });
    return form;
  }

  #open() {
    $("case-form").hidden = false;
    $("case-open").hidden = true;
    $("case-kind").focus();
  }

  async #begin(event) {
    event.preventDefault();
    const body = { kind: $("case-kind").value, text: $("case-text").value.trim() };
    const ask = (key) => this.#caller.act("/cases", { body, key });
    await this.#act($("case-send"), JSON.stringify(["case", body]), ask, () => {
      $("case-text").value = "";
      $("case-form").hidden = true;
    });
  }

  async #act(button, what, ask, done) {
    button.disabled = true;
    this.#refused = null;
    try {
      await this.#keys.run(what, ask);
      done();
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.#refused = error;
    }
    button.disabled = false;
    await this.#refresh();
  }
}

/** Wire the forms; `refresh` looks at the order again. */
export function startCases(uses) {
  return new CasesPanel(uses);
}
