// One order of the viewer's: how it stands, how long it is held, paying, where it goes, and the link to keep.

import { ActKeys } from "../../keys.js";
import { t } from "../../language.js";
import { formatMoney } from "../../money.js";
import { lineItems } from "../../order_lines.js";
import { headline, mayChange, pendingPayment } from "../../order_words.js";
import { listed, priceRows } from "../../price_rows.js";
import { Problem } from "../../problem.js";
import { left_s, minutes } from "./countdown.js";
import { DeliveryForm } from "./delivery_form.js";
import { PaymentFrame } from "./payment_frame.js";
import { refusalWords } from "./refusals.js";
import { openSheet, startSheet } from "./sheets.js";

const POLL_MS = 4000;
const POLL_PATIENT_MS = 15_000; // while events come
const ANSWER_MS = 6000;

const $ = (id) => document.getElementById(id);

export class OrderSheet {
  #orders;
  #api;
  #events;
  #clock;
  #id = null;
  #delivery;
  #frame = new PaymentFrame({ frame: $("pay-frame"), tab: $("pay-tab") });
  #pages = new Map(); // payment → {url, code, image} of what is next; null while it is asked for
  #keys = new ActKeys();
  #asking = false; // whether the viewer is sure to cancel
  #polledAt = 0;
  #polling = false;

  /** orders: MyOrders. api: BuyerApi. events: RoomEvents. clock: MediaClock. onClose(): the sheet was closed. */
  constructor({ orders, api, events, clock, onClose }) {
    this.#orders = orders;
    this.#api = api;
    this.#events = events;
    this.#clock = clock;
    this.#delivery = new DeliveryForm(api);
    startSheet($("order-sheet"), () => {
      this.#asking = false;
      onClose();
    });
    $("pay").addEventListener("click", () => void this.#act(() => this.#pay()));
    $("order-cancel").addEventListener("click", () => void this.#act(() => this.#cancel()));
  }

  /** Slide over the show with this order. */
  open(id) {
    this.#say("");
    openSheet($("order-sheet"));
    this.select(id);
    this.#polledAt = performance.now();
  }

  /** Make this the order that the sheet is about, without opening it. */
  select(id) {
    if (this.#id !== id) this.#frame.hide();
    this.#id = id;
    this.show();
  }

  get isOpen() {
    return $("order-sheet").open;
  }

  /** Show the order as it is now. */
  show() {
    const order = this.#orders.get(this.#id);
    if (!order) return;
    this.#showStatus(order);
    $("order-lines").replaceChildren(...lineItems(order, listed));
    $("order-prices").replaceChildren(...priceRows(order));
    $("order-total").textContent = formatMoney(order.total);
    $("order-link").hidden = !order.link;
    if (order.link) $("order-link").href = order.link;
    this.#showActs(order);
    if (this.isOpen) this.#delivery.show(order);
    this.tick();
  }

  /** Once a second: the countdown, and a look at the server where events are silent. */
  tick() {
    const order = this.#orders.get(this.#id);
    if (!order) return;
    const left = order.state === "reserved" ? left_s(order.expires_at, this.#clock.now()) : null;
    $("order-left").hidden = left === null;
    if (left !== null) $("order-left").textContent = t(left > 0 ? "own_held" : "own_held_over", { left: minutes(left) });
    const every_ms = this.#events.carrier && left !== 0 ? POLL_PATIENT_MS : POLL_MS;
    if (this.isOpen && mayChange(order) && performance.now() - this.#polledAt > every_ms) void this.#poll(order.id);
  }

  #showStatus(order) {
    const status = $("order-status");
    Object.assign(status.dataset, { state: order.state, payment: order.payment, fulfilment: order.fulfilment });
    const words = t(order.state === "reserved" && order.payment === "pending" ? "own_paying" : headline(order));
    if (status.textContent !== words) status.textContent = words; // it is read aloud when it changes
  }

  #showActs(order) {
    const reserved = order.state === "reserved";
    const payment = reserved ? pendingPayment(order) : null;
    const page = payment && this.#page(payment);
    $("order-pay").hidden = !reserved;
    $("pay").hidden = payment !== null;
    $("pay").textContent = t(order.payment === "failed" ? "own_pay_again" : "own_pay", { amount: formatMoney(order.total) });
    if (page) this.#frame.show(page.url);
    else this.#frame.hide();
    $("pay-code").hidden = !page?.code;
    $("pay-code-image").hidden = !page?.image;
    if (page?.image) $("pay-code-image").setAttribute("src", page.image);
    $("pay-code-text").textContent = page?.code ?? "";
    $("order-cancel").hidden = !(reserved || order.state === "confirmed") || order.fulfilment !== "none";
    $("order-cancel").textContent = t(this.#asking ? "own_cancel_sure" : "own_cancel");
  }

  async #act(work) {
    const buttons = [$("pay"), $("order-cancel")];
    for (const button of buttons) button.disabled = true;
    this.#say("");
    try {
      await work();
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.#say(refusalWords(error));
    }
    for (const button of buttons) button.disabled = false;
    this.show();
  }

  async #pay() {
    if (!(await this.#delivery.save())) return;
    const order = this.#id;
    const payment = await this.#keys.run(`pay ${order}`, async (key) => {
      try {
        return (await this.#events.send("pay", { key, order }, { within_ms: ANSWER_MS })).payment;
      } catch (error) {
        if (!(error instanceof Problem) || !["no_carrier", "no_answer", "cut"].includes(error.code)) throw error;
        return this.#api.order(order, "/payments", { method: "POST", body: {}, key });
      }
    });
    if (payment.next?.kind !== "qr") this.#pages.set(payment.id, target(payment)); // a code's picture is asked for
    await this.#poll(order);
  }

  // The provider's page of a payment under way; one begun before a reload is asked for, once.
  #page(payment) {
    if (!this.#pages.has(payment) && this.isOpen) {
      this.#pages.set(payment, null);
      void this.#askPage(payment);
    }
    return this.#pages.get(payment) ?? null;
  }

  async #askPage(payment) {
    try {
      this.#pages.set(payment, target(await this.#api.json(`/v1/payments/${encodeURIComponent(payment)}`)));
      this.show();
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.#pages.delete(payment); // it is asked for again when the order is looked at next
    }
  }

  async #cancel() {
    if (!this.#asking) {
      this.#asking = true;
      return;
    }
    this.#asking = false;
    const id = this.#id;
    await this.#keys.run(`cancel ${id}`, (key) => this.#api.order(id, "/cancel", { method: "POST", key }));
    await this.#poll(id);
  }

  async #poll(id) {
    if (this.#polling) return;
    this.#polling = true;
    try {
      this.#orders.put(await this.#api.order(id));
    } catch (error) {
      if (!(error instanceof Problem)) throw error; // it is asked again soon
    }
    this.#polling = false;
    this.#polledAt = performance.now();
  }

  #say(words) {
    $("order-problem").textContent = words;
    $("order-problem").hidden = words === "";
  }
}

// Where the payment goes on: the provider's page or another site's, and the content of a code to scan.
function target({ next, page }) {
  return { url: next?.url ?? page, code: next?.kind === "qr" ? next.content : null, image: next?.image };
}
