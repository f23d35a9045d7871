// Whose invoice it is: asked for by the buyer, changed as long as the order stands.

import { element } from "../elements.js";
import { t } from "../language.js";
import { Problem } from "../problem.js";
import { problemWords } from "./shop_words.js";

const FIELDS = { title: "invoice-name", tax_id: "invoice-tax", email: "invoice-email" };
const ENDED = ["cancelled", "expired"];

const $ = (id) => document.getElementById(id);

class InvoicePanel {
  #caller = null;
  #filled = false; // the fields hold what is known; from then on they are the buyer's
  #refused = null;
  #refresh;
  #toast;

  constructor({ refresh, toast }) {
    this.#refresh = refresh;
    this.#toast = toast;
    $("invoice-form").addEventListener("submit", (event) => void this.#save(event));
  }

  /** invoice: {title, tax_id, email} or null, undefined where it isn't known. */
  show(order, invoice, caller) {
    this.#caller = caller;
    const may = !caller.isStaff && !ENDED.includes(order.state) && invoice !== undefined;
    $("invoice").hidden = !may && !invoice;
    $("invoice-form").hidden = !may;
    const lines = invoice ? [invoice.title, invoice.tax_id, invoice.email].filter(Boolean) : [];
    $("invoice-text").hidden = lines.length === 0;
    $("invoice-text").replaceChildren(...lines.map((line) => element("span", {}, line)));
    $("invoice-problem").hidden = this.#refused === null;
    if (this.#refused) $("invoice-problem-text").textContent = problemWords(this.#refused, { illegal_transition: "order_changed" });
    if (invoice && !this.#filled) this.#fill(invoice);
  }

  #fill(invoice) {
    this.#filled = true;
    for (const [name, id] of Object.entries(FIELDS)) if (!$(id).value) $(id).value = invoice[name] ?? "";
  }

  async #save(event) {
    event.preventDefault();
    const body = Object.fromEntries(Object.entries(FIELDS).map(([name, id]) => [name, $(id).value.trim()]));
    $("invoice-save").disabled = true;
    this.#refused = null;
    try {
      await this.#caller.act("/invoice", { method: "PUT", body });
      $("invoice-more").open = false;
      this.#toast(t("order_invoice_saved"));
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.#refused = error;
    }
    $("invoice-save").disabled = false;
    await this.#refresh();
  }
}

/** Wire the form; `refresh` looks at the order again. */
export function startInvoice(uses) {
  return new InvoicePanel(uses);
}
