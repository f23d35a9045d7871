// Where an order goes: a form that may be left empty, filled with what was given last time, saved before shipping.

import { t } from "../../language.js";
import { Problem } from "../../problem.js";

const CONTACT = ["name", "phone"];
const ADDRESS = ["name", "phone", "street", "city", "postcode"];
const FIELDS = ["name", "phone", "street", "city", "postcode"];

const $ = (id) => document.getElementById(id);

export class DeliveryForm {
  #api;
  #id = null; // the order's
  #dirty = false;

  /** api: BuyerApi. */
  constructor(api) {
    this.#api = api;
    $("delivery-form").addEventListener("input", () => this.#changed());
    $("delivery-form").addEventListener("submit", (event) => {
      event.preventDefault();
      void this.save();
    });
  }

  /** Show it for this order while it may be changed. */
  show(order) {
    $("delivery").hidden = !["reserved", "confirmed"].includes(order.state) || order.fulfilment !== "none";
    if (this.#id === order.id || $("delivery").hidden) return;
    this.#id = order.id;
    this.#dirty = false;
    $("delivery-form").reset();
    this.#say("delivery_hint");
    void this.#fill(order.id);
  }

  /** Save what was typed; true if nothing is left to be saved. */
  async save() {
    if (!this.#dirty) return true;
    $("delivery-save").disabled = true;
    try {
      const body = { contact: taken(CONTACT), address: taken(ADDRESS) };
      await this.#api.order(this.#id, "", { method: "PATCH", body });
      this.#dirty = false;
      this.#say("delivery_saved");
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      $("delivery").open = true;
      this.#say("delivery_refused", { detail: error.detail });
    }
    $("delivery-save").disabled = false;
    return !this.#dirty;
  }

  async #fill(id) {
    try {
      const own = await this.#api.order(id);
      const given = own.address || own.contact ? own : await this.#api.json("/v1/contact");
      if (this.#dirty || this.#id !== id) return;
      for (const name of FIELDS) $(`delivery-${name}`).value = given?.address?.[name] ?? given?.contact?.[name] ?? "";
      const offered = FIELDS.some((name) => $(`delivery-${name}`).value);
      if (given === own) this.#say(offered ? "delivery_saved" : "delivery_hint");
      else if (offered) this.#offer();
    } catch (error) {
      if (!(error instanceof Problem)) throw error; // then the buyer writes it anew
    }
  }

  // What was given last time is only in the fields so far; paying or saving gives it to this order too.
  #offer() {
    this.#dirty = true;
    this.#say("delivery_again");
  }

  #changed() {
    this.#dirty = true;
    this.#say("delivery_hint");
  }

  #say(key, values) {
    $("delivery-words").textContent = t(key, values);
  }
}

function taken(names) {
  return Object.fromEntries(names.map((name) => [name, $(`delivery-${name}`).value.trim()]).filter(([, text]) => text));
}
