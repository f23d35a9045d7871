// The shop on the watch page: a room's events become cards, prices, stock, orders and chat, and clicks become orders.

import { t } from "../../language.js";
import { formatMoney } from "../../money.js";
import { headline } from "../../order_words.js";
import { Problem } from "../../problem.js";
import { FrameGate } from "../events/frame_gate.js";
import { MediaClock } from "../events/media_clock.js";
import { RoomEvents } from "../events/room_events.js";
import { BagView } from "./bag_view.js";
import { BuyerApi } from "./buyer_api.js";
import { Buying } from "./buying.js";
import { CardView } from "./card_view.js";
import { Cards } from "./cards.js";
import { Chat } from "./chat.js";
import { everySecond, left_s, minutes } from "./countdown.js";
import { Goods } from "./goods.js";
import { MyOrders } from "./my_orders.js";
import { OrderSheet } from "./order_sheet.js";
import { refusalWords } from "./refusals.js";

const AGAIN_MS = 800; // the second click of a double one is no second order
const RECENT_MS = 30 * 60_000; // an order that has ended is still shown

const $ = (id) => document.getElementById(id);

export class LiveShop {
  events; // RoomEvents

  #room;
  #onRoom;
  #clock = new MediaClock();
  #goods = new Goods({ onChange: (id) => this.#known(id) });
  #orders = new MyOrders({ onChange: () => this.#ordered() });
  #cards;
  #deck;
  #bag;
  #sheet;
  #buying;
  #chat;

  /**
   * token: a ViewerToken. byFrame(): whether the video's frames come over WebRTC now.
   * onRoom({live?, viewers?, title?}): what events say of the room.
   */
  constructor({ room, token, video, byFrame, onRoom }) {
    this.#room = room;
    this.#onRoom = onRoom;
    const api = new BuyerApi(token);
    this.events = new RoomEvents({ room, token, onEvent: (event) => this.#heard(event) });
    const gate = new FrameGate({ video, clock: this.#clock, byFrame });
    const onBuy = (view, product, sku) => void this.#buy(view, product, sku);
    const parts = { room, token, api, goods: this.#goods, orders: this.#orders, clock: this.#clock, events: this.events };
    this.#cards = new Cards({ gate, onChange: ({ news }) => this.#deck.show(news) });
    this.#deck = new CardView({ cards: this.#cards, goods: this.#goods, onBuy });
    this.#bag = new BagView({ ...parts, onBuy, onOrder: (id) => this.#show(id) });
    this.#sheet = new OrderSheet({ ...parts, onClose: () => this.#ordered() });
    this.#buying = new Buying(parts);
    this.#chat = new Chat(parts);
  }

  start() {
    $("bag-open").addEventListener("click", () => this.#bag.open());
    $("own").addEventListener("click", () => this.#show(this.#orders.current.id));
    everySecond(() => this.#clock.now(), () => this.#tick());
    this.events.start();
    void this.#recover();
  }

  /** The network or the page is back. */
  nudge() {
    this.events.nudge();
    this.#buying.nudge();
    void this.#recover();
  }

  /** The language is another. */
  refresh() {
    this.#deck.refresh();
    this.#bag.refresh();
    this.#chat.refresh();
    this.#ordered();
    this.#sheet.show();
  }

  #heard({ t: type, d, mt, ts }) {
    this.#clock.heard(ts);
    this.#acts[type]?.(d, mt);
  }

  #acts = {
    hello: (d) => this.#hello(d),
    "card.pinned": (card, mt) => {
      this.#goods.put(card.product);
      this.#cards.pin(card, mt);
    },
    "card.unpinned": ({ id }) => this.#cards.unpin(id),
    "price.changed": (d) => this.#goods.hear(d),
    "stock.changed": (d) => this.#goods.hear(d),
    "bag.changed": ({ total }) => this.#bag.count(total),
    "order.updated": (order) => this.#orders.put(order),
    chat: ({ messages }) => this.#chat.show(messages),
    "viewer.count": ({ n }) => this.#onRoom({ viewers: n }),
    "stream.online": () => this.#onRoom({ live: true }),
    "stream.slate": () => this.#onRoom({ live: true }),
    "stream.offline": () => this.#onRoom({ live: false }),
  };

  #hello({ room, cards, bag, stock, orders, viewers, clock }) {
    this.#clock.set(clock);
    this.#onRoom({ live: room.live, viewers, ...(room.title && { title: room.title }) });
    for (const { product } of [...bag.items, ...cards]) this.#goods.put(product);
    this.#goods.stock(stock);
    this.#cards.reset(cards);
    this.#bag.count(bag.total);
    for (const order of orders ?? []) this.#orders.put(order);
  }

  async #buy(view, product, { sku, price_version }) {
    const body = { room: this.#room, lines: [{ sku, qty: 1 }], price_version };
    view.busy(true);
    view.say("");
    try {
      const order = await this.#buying.buy(body, () => view.say(t("buy_slow")));
      view.say("");
      this.#orders.put(order);
      this.#show(order.id);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      view.say(await this.#refused(error, product.id, sku));
    }
    setTimeout(() => view.busy(false), AGAIN_MS);
  }

  // A sentence, said of the product as it is now: the refusal says that we knew an older one.
  async #refused(problem, id, code) {
    const told = ["price_changed", "out_of_stock"].includes(problem.code);
    if (told) await this.#goods.refresh(id).catch(() => {}); // its events will tell
    const sku = this.#goods.get(id)?.skus.find((each) => each.sku === code);
    if (problem.code === "price_changed" && sku) return t("deny_price", { price: formatMoney(sku.price) });
    return refusalWords(problem, { held: problem.extra?.held ?? sku?.held });
  }

  async #recover() {
    for (const order of await this.#buying.recover()) this.#orders.put(order);
  }

  #show(id) {
    this.#bag.close();
    this.#sheet.open(id);
  }

  #known(id) {
    this.#deck?.refresh(id);
    this.#bag?.refresh(id);
  }

  #ordered() {
    const current = this.#orders.current;
    if (this.#sheet.isOpen || !current) this.#sheet.show();
    else this.#sheet.select(current.id);
    this.#bag.showOrders();
    this.#tick();
  }

  #tick() {
    this.#sheet.tick();
    const order = this.#orders.current;
    const left = order?.state === "reserved" ? left_s(order.expires_at, this.#clock.now()) : null;
    const recent = order && (left !== null || this.#clock.now() - Date.parse(order.updated_at) < RECENT_MS);
    $("own").hidden = !recent;
    if (!recent) return;
    const words = left === null ? t(headline(order)) : t("own_reserved");
    if ($("own-words").textContent !== words) $("own-words").textContent = words;
    $("own").dataset.state = order.state;
    $("own-left").textContent = left === null ? "" : minutes(left);
  }
}
