// The room's orders as they come in, newest first, and what the show has brought in.

import { t } from "../../language.js";
import { formatMoney } from "../../money.js";
import { Problem } from "../../problem.js";
import { arrange } from "../../template.js";
import { orderRow, showOrder } from "./order_row.js";
import { totalsOf } from "./order_totals.js";
import { wordsOf } from "./selling_words.js";

const PAGE = 100;
const PAGES_MOST = 20; // of one show; more are for the shop's own reports
const SHOWN_MOST = 50;
const EVERY_MS = 10_000;
const WHOLE_MS = 60_000; // how often older orders are read again
const CHANGED_MS = 700;
const PAUSE_MOST_MS = 5 * 60_000; // a stream that is back sooner is the same show

const $ = (id) => document.getElementById(id);

export class OrdersPanel {
  #url;
  #session;
  #showBegan_ms = null; // UTC; null while the room isn't live
  #orders = new Map(); // id → document, newest first
  #rows = new Map();
  #capped = false;
  #problem = null;
  #loaded = false;
  #asking = false;
  #again = false;
  #wholeAt = -Infinity;
  #timer = null;
  #dueAt = Infinity;
  #wentOffAt_ms = null;

  constructor({ room, session }) {
    this.#url = `/v1/orders?room=${encodeURIComponent(room)}&limit=${PAGE}`;
    this.#session = session;
    session.onChange(() => this.#signedInOrOut());
    document.addEventListener("visibilitychange", () => document.hidden || this.changed());
  }

  /** When the show that is on air began (UTC ms), null when none is. */
  showBegan(began_ms) {
    if (began_ms === this.#showBegan_ms) return;
    this.#showBegan_ms = began_ms;
    this.#wholeAt = -Infinity;
    this.changed();
  }

  /** The stream has come or gone at `at_ms` (UTC); a show that is over keeps its totals on the screen. */
  onAir(live, at_ms) {
    if (!live) this.#wentOffAt_ms = at_ms;
    else if (this.#showBegan_ms === null || at_ms - (this.#wentOffAt_ms ?? at_ms) > PAUSE_MOST_MS) this.showBegan(at_ms);
  }

  /** Something has been bought, or come back: look soon. */
  changed() {
    this.#schedule(CHANGED_MS);
  }

  showWords() {
    const shown = [...this.#orders.values()].slice(0, SHOWN_MOST);
    for (const id of this.#rows.keys()) if (!shown.some((order) => order.id === id)) this.#rows.delete(id);
    arrange($("orders"), shown.map((order) => this.#row(order)));
    $("orders-empty").hidden = shown.length > 0 || !this.#loaded;
    $("orders-problem").hidden = this.#problem === null;
    $("orders-problem").textContent = this.#problem ? wordsOf(this.#problem) : "";
    this.#showTotals();
  }

  get #since_ms() {
    return this.#showBegan_ms ?? new Date().setHours(0, 0, 0, 0);
  }

  async #refresh() {
    if (!this.#session.may("orders.read")) return;
    if (this.#asking) return void (this.#again = true);
    this.#asking = true;
    try {
      await this.#read();
      this.#problem = null;
      this.#loaded = true;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.#problem = error;
    }
    this.#asking = false;
    this.showWords();
    this.#schedule(this.#again ? CHANGED_MS : EVERY_MS);
    this.#again = false;
  }

  // The newest page each time; from time to time all orders of the show, for what became of the older ones.
  async #read() {
    const whole = performance.now() - this.#wholeAt > WHOLE_MS;
    const read = new Map();
    let cursor = null;
    for (let page = 0; page < (whole ? PAGES_MOST : 1); page += 1) {
      const more = cursor === null ? "" : `&cursor=${encodeURIComponent(cursor)}`;
      const { items, next } = await this.#session.send(this.#url + more);
      for (const order of items) read.set(order.id, order);
      cursor = next;
      if (cursor === null || Date.parse(items.at(-1).created_at) < this.#since_ms) break;
    }
    if (whole) {
      this.#wholeAt = performance.now();
      this.#capped = cursor !== null && Date.parse([...read.values()].at(-1).created_at) >= this.#since_ms;
      this.#orders = read;
      return;
    }
    for (const [id, order] of this.#orders) if (!read.has(id)) read.set(id, order);
    this.#orders = read;
  }

  #row(order) {
    const item = this.#rows.get(order.id) ?? orderRow();
    this.#rows.set(order.id, item);
    showOrder(item, order);
    return item;
  }

  #showTotals() {
    const { orders, byCurrency } = totalsOf(this.#orders.values(), this.#since_ms);
    $("totals-label").textContent = t(this.#showBegan_ms === null ? "sell_totals_today" : "sell_totals_show");
    $("totals-orders").textContent = String(orders) + (this.#capped ? "+" : "");
    const sums = (kind) =>
      Object.entries(byCurrency)
        .filter(([, sum]) => sum[kind] > 0)
        .map(([currency, sum]) => formatMoney({ amount: sum[kind], currency }));
    $("totals-paid").textContent = sums("paid").join(" + ") || "–";
    $("totals-waiting").textContent = sums("waiting").join(" + ") || "–";
  }

  // The earliest look that was asked for counts, so that news upon news put none of them off.
  #schedule(wait_ms) {
    const dueAt = performance.now() + wait_ms;
    if (dueAt >= this.#dueAt || !this.#session.may("orders.read")) return;
    clearTimeout(this.#timer);
    this.#dueAt = dueAt;
    this.#timer = setTimeout(() => {
      this.#dueAt = Infinity;
      if (document.hidden) this.#schedule(EVERY_MS);
      else void this.#refresh();
    }, wait_ms);
  }

  #signedInOrOut() {
    const reads = this.#session.may("orders.read");
    $("orders-card").hidden = $("orders-jump").hidden = !reads;
    if (!reads) {
      this.#orders.clear();
      this.#loaded = false;
      this.#wholeAt = -Infinity;
    }
    this.#schedule(0);
  }
}
