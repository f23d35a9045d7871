// Where the parcel goes: a form before shipping, offered again as it was given last time; then just the text.

import { element } from "../elements.js";
import { t } from "../language.js";
import { addressLines } from "../order_lines.js";
import { Problem } from "../problem.js";
import { problemWords } from "./shop_words.js";

const CONTACT = ["name", "phone", "email"];
const ADDRESS = ["country", "region", "city", "street", "postcode", "note"];

const $ = (id) => document.getElementById(id);

class ContactForm {
  #order = null;
  #caller = null;
  #filled = false; // the fields hold what is known; from then on they are the buyer's
  #open = false; // he asked to change what stands
  #refused = null;
  #refresh;
  #toast;

  constructor({ refresh, toast }) {
    this.#refresh = refresh;
    this.#toast = toast;
    $("address-form").addEventListener("submit", (event) => void this.#send(event));
    $("address-change").addEventListener("click", () => this.#reopen());
  }

  /** Show what the order says; what is being typed stays. */
  show(order, caller) {
    this.#order = order;
    this.#caller = caller;
    const lines = addressLines(order);
    const may = this.#mayChange();
    const editing = may && (lines.length === 0 || this.#open);
    $("address").hidden = !may && lines.length === 0;
    $("address-text").hidden = editing || lines.length === 0;
    $("address-text").replaceChildren(...lines.map((line) => element("span", {}, line)));
    $("address-change").hidden = editing || !may;
    $("address-form").hidden = !editing;
    $("address-lead").hidden = !editing;
    $("address-problem").hidden = this.#refused === null;
    if (this.#refused) $("address-problem-text").textContent = problemWords(this.#refused, { illegal_transition: "order_changed" });
    if (editing && !this.#filled) void this.#fill();
  }

  #mayChange() {
    const { state, fulfilment } = this.#order;
    return !this.#caller.isStaff && ["reserved", "confirmed"].includes(state) && fulfilment === "none";
  }

  #reopen() {
    this.#open = true;
    this.#filled = false;
    this.show(this.#order, this.#caller);
    $("to-name").focus();
  }

  async #fill() {
    this.#filled = true;
    const own = this.#order.contact || this.#order.address;
    const known = own ? this.#order : await this.#lastTime();
    for (const [part, names] of [[known.contact, CONTACT], [known.address, ADDRESS]]) {
      for (const name of names) if (part?.[name] && !$(`to-${name}`).value) $(`to-${name}`).value = part[name];
    }
  }

  async #lastTime() {
    try {
      return (await this.#caller.lastContact()) ?? {};
    } catch (error) {
      if (error instanceof Problem) return {}; // then he writes it himself
      throw error;
    }
  }

  async #send(event) {
    event.preventDefault();
    const fields = (names) => Object.fromEntries(names.map((name) => [name, $(`to-${name}`).value.trim()]).filter(([, text]) => text));
    const contact = fields(CONTACT);
    const { name, phone } = contact;
    const address = { ...(name && { name }), ...(phone && { phone }), ...fields(ADDRESS) };
    $("address-save").disabled = true;
    try {
      await this.#caller.act("", { method: "PATCH", body: { contact, address } });
      this.#refused = null;
      this.#open = false;
      this.#toast(t("order_address_saved"));
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.#refused = error;
    }
    $("address-save").disabled = false;
    await this.#refresh();
  }
}

/** Wire the form; `refresh` looks at the order again. */
export function startContact(uses) {
  return new ContactForm(uses);
}
