// The shop on the watch page: a room's events become cards, prices, stock, orders and chat, and clicks become orders.

import { t } from "../../language.js";
import { headline } from "../../order_words.js";
import { FrameGate } from "../events/frame_gate.js";
import { MediaClock } from "../events/media_clock.js";
import { RoomEvents } from "../events/room_events.js";
import { BagView } from "./bag_view.js";
import { BuyerApi } from "./buyer_api.js";
import { CardView } from "./card_view.js";
import { Cards } from "./cards.js";
import { Cart } from "./cart.js";
import { Chat } from "./chat.js";
import { Checkout } from "./checkout.js";
import { everySecond, left_s, minutes } from "./countdown.js";
import { CouponView } from "./coupon_view.js";
import { Coupons } from "./coupons.js";
import { Goods } from "./goods.js";
import { MyOrders } from "./my_orders.js";
import { OfferView } from "./offer_view.js";
import { OrderSheet } from "./order_sheet.js";
import { SaleStrip } from "./sale_strip.js";
import { Sales } from "./sales.js";

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
  #sales;
  #strip;
  #coupons;
  #couponView;
  #checkout;
  #cart;
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
    const shared = { room, token, api, goods: this.#goods, orders: this.#orders, clock: this.#clock, events: this.events };
    this.#sales = new Sales({ ...shared, onChange: (product) => this.#known(product) });
    this.#coupons = new Coupons({ ...shared, onChange: () => this.#couponed() });
    this.#couponView = new CouponView(this.#coupons);
    this.#cart = new Cart({ room, onChange: () => this.#carted() });
    const parts = { ...shared, cart: this.#cart, sales: this.#sales, coupons: this.#coupons, offer: (hooks) => this.#offer(hooks) };
    this.#cards = new Cards({ gate, onChange: ({ news }) => this.#carded(news) });
    this.#deck = new CardView({ cards: this.#cards, ...parts });
    this.#bag = new BagView({ ...parts, onOrder: (id) => this.#show(id) });
    this.#strip = new SaleStrip({ ...parts, shows: (id) => this.#deck.shows(id), onOpen: (title) => this.#bag.open(title) });
    this.#sheet = new OrderSheet({ ...parts, onClose: () => this.#ordered() });
    this.#checkout = new Checkout({ ...parts, onOrder: (id) => this.#show(id) });
    this.#chat = new Chat(parts);
  }

  start() {
    $("bag-open").addEventListener("click", () => this.#bag.open());
    $("cart-open").addEventListener("click", () => this.#checkout.openCart());
    this.#carted();
    $("own").addEventListener("click", () => this.#show(this.#orders.current.id));
    everySecond(() => this.#clock.now(), () => this.#tick());
    this.events.start();
    void this.#recover();
  }

  /** The network or the page is back. */
  nudge() {
    this.events.nudge();
    this.#checkout.nudge();
    this.#coupons.nudge();
    void this.#recover();
  }

  /** The language is another. */
  refresh() {
    this.#deck.refresh();
    this.#bag.refresh();
    this.#strip.show();
    this.#couponed();
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
    "stock.changed": (d) => {
      this.#goods.hear(d);
      this.#sales.sold(d.sku);
    },
    "sale.scheduled": (sale) => this.#sales.hear(sale),
    "sale.started": (sale) => this.#sales.hear(sale),
    "sale.ended": (sale) => this.#sales.hear(sale),
    "coupon.dropped": (coupon) => this.#coupons.drop(coupon),
    "coupon.claimed": () => void this.#coupons.refresh(),
    "bag.changed": ({ total }) => this.#bag.count(total),
    "order.updated": (order) => this.#orders.put(order),
    chat: ({ messages }) => this.#chat.show(messages),
    "viewer.count": ({ n }) => this.#onRoom({ viewers: n }),
    "stream.online": () => this.#onRoom({ live: true }),
    "stream.slate": () => this.#onRoom({ live: true }),
    "stream.offline": () => this.#onRoom({ live: false }),
  };

  #hello({ room, cards, bag, stock, sales, coupons, orders, viewers, clock }) {
    this.#clock.set(clock);
    this.#onRoom({ live: room.live, viewers, ...(room.title && { title: room.title }) });
    for (const { product } of [...bag.items, ...cards]) this.#goods.put(product);
    this.#goods.stock(stock);
    this.#sales.reset(sales);
    this.#coupons.reset(coupons);
    this.#cards.reset(cards);
    this.#bag.count(bag.total);
    for (const order of orders ?? []) this.#orders.put(order);
  }

  #offer(hooks) {
    const view = new OfferView({
      hooks,
      sales: this.#sales,
      clock: this.#clock,
      onBuy: (product, sku) => void this.#checkout.buy(view, product, sku),
      onAdd: (product, sku) => this.#checkout.add(view, product, sku),
      onMore: (product, sku) => this.#checkout.open(product, sku),
    });
    return view;
  }

  async #recover() {
    await Promise.all([this.#checkout.recover(), this.#coupons.recover(), this.#coupons.refresh()]);
  }

  #show(id) {
    this.#bag.close();
    this.#sheet.open(id);
  }

  #known(id) {
    this.#deck?.refresh(id);
    this.#bag?.refresh(id);
    this.#strip?.show();
  }

  #carded(news) {
    this.#deck.show(news);
    this.#strip?.show();
  }

  #carted() {
    $("cart-place").hidden = this.#cart.pieces === 0;
    $("cart-count").textContent = this.#cart.pieces > 99 ? "99+" : String(this.#cart.pieces);
  }

  #couponed() {
    this.#couponView?.show();
    this.#checkout?.refresh();
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
    this.#deck.tick();
    this.#bag.tick();
    this.#strip.show();
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
