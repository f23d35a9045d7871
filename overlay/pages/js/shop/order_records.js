// What was made of an order after it was placed: refunds, returns, cases, the invoice; asked for where there are any.

import { Problem } from "../problem.js";

const NOTHING = { refunds: [], returns: [], cases: [], invoice: undefined };

export class OrderRecords {
  #caller;
  #known = NOTHING;
  #askedInvoice = false;

  /** caller: an OrderCaller. */
  constructor(caller) {
    this.#caller = caller;
  }

  /** {refunds, returns, cases, invoice: null for none, undefined where it isn't known}, as they were seen last. */
  get known() {
    return this.#known;
  }

  /** Ask for those that the order has; what cannot be had stays as it was. */
  async look(order) {
    const lists = ["refunds", "returns", "cases"].map((name) => this.#list(order, name));
    const [refunds, returns, cases, invoice] = await Promise.all([...lists, this.#invoice()]);
    this.#known = { refunds, returns, cases, invoice };
  }

  /** The invoice may be another one. */
  forget() {
    this.#askedInvoice = false;
  }

  async #list(order, name) {
    if (order[name].length === 0) return [];
    return (await this.#part(`/${name}`))?.items ?? this.#known[name];
  }

  async #invoice() {
    if (this.#askedInvoice) return this.#known.invoice;
    const answer = await this.#part("/invoice");
    this.#askedInvoice = answer !== null;
    return answer === null ? this.#known.invoice : answer.invoice;
  }

  async #part(path) {
    try {
      return await this.#caller.part(path);
    } catch (error) {
      if (error instanceof Problem) return null;
      throw error;
    }
  }
}
