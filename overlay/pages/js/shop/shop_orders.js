// The shop's orders: found by state, room, buyer or month, newest first, and what they add up to.

import { element, moment } from "../elements.js";
import { t } from "../language.js";
import { formatMoney } from "../money.js";
import { staffJson } from "../staff.js";
import { arrange } from "../template.js";
import { choices } from "./shop_choices.js";
import { ordersCsv } from "./shop_csv.js";
import { Pager } from "./shop_pager.js";
import { lastMonths, sumsOf } from "./shop_sums.js";
import { orderWords, stateChoices } from "./shop_words.js";

const PAGE = 25;
const MONTH_PAGE = 200; // the server's most
const MONTH_ORDERS_MOST = 20_000;
const MONTHS = 13;
const SAVED_MS = 60_000; // the browser has read it by then

const $ = (id) => document.getElementById(id);

export class OrdersTab {
  #uses;
  #pager;
  #sheet;
  #page = null;
  #rooms = [];
  #month = null; // {name, orders, complete} or {name} while it is added up
  #asked = new URLSearchParams(location.search).get("order"); // to be opened at once

  constructor(uses) {
    this.#uses = uses;
    this.#pager = new Pager($("orders-pager"), () => void uses.refresh());
    this.#sheet = uses.sheet;
    for (const id of ["orders-state", "orders-room"]) $(id).addEventListener("change", () => this.#refilter());
    $("orders-filters").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#refilter();
    });
    $("orders-buyer").addEventListener("change", () => this.#refilter());
    $("orders-month").addEventListener("change", () => void this.#addUp());
    $("csv").addEventListener("click", () => save(ordersCsv(this.#month.orders), `orders ${this.#month.name}.csv`));
  }

  async refresh() {
    const query = this.#query(PAGE, this.#pager.cursor);
    const [page, rooms] = await Promise.all([staffJson(`/v1/orders?${query}`), this.#uses.rooms()]);
    this.#page = page;
    this.#rooms = rooms;
    await this.#sheet.refresh();
    if (this.#asked) void this.#sheet.open({ id: this.#asked });
    this.#asked = null;
  }

  show() {
    choices($("orders-state"), [["", t("shop_all")], ...stateChoices()]);
    choices($("orders-room"), [["", t("shop_all")], ...this.#rooms.map((room) => [room.id, room.title || room.id])]);
    choices($("orders-month"), [["", t("shop_this_page")], ...lastMonths(new Date(), MONTHS).map((month) => [month.join("-"), monthName(month)])]);
    if (this.#page === null) return;
    $("orders-empty").hidden = this.#page.items.length > 0;
    this.#list();
    this.#pager.show(this.#page.next);
    this.#showSums();
    this.#sheet.show();
  }

  #query(limit, cursor) {
    const query = new URLSearchParams({ limit });
    for (const name of ["state", "room", "buyer"]) {
      const value = $(`orders-${name}`).value.trim();
      if (value) query.set(name, value);
    }
    if (cursor) query.set("cursor", cursor);
    return query;
  }

  #refilter() {
    this.#pager.reset();
    $("orders-month").value = "";
    this.#month = null;
    void this.#uses.refresh();
  }

  // Rows stay the same elements while their orders do, so that focus does.
  #list() {
    const kept = new Map([...$("orders").children].map((item) => [item.dataset.key, item]));
    const items = this.#page.items.map((order) => {
      const key = `${document.documentElement.lang} ${order.id} ${order.updated_at} ${order.state}`;
      const item = kept.get(key) ?? row(order, () => void this.#sheet.open(order));
      item.dataset.key = key;
      return item;
    });
    arrange($("orders"), items);
  }

  #showSums() {
    const words = this.#month ? monthWords(this.#month) : sumWords(t("shop_this_page"), sumsOf(this.#page.items));
    if ($("sums").textContent !== words) $("sums").textContent = words;
    $("csv").hidden = !this.#month?.orders?.length;
  }

  // The list has no filter by time, but it is newest first: read until before the month.
  async #addUp() {
    const [year, month] = $("orders-month").value.split("-").map(Number);
    if (!$("orders-month").value) this.#month = null;
    else {
      const asked = (this.#month = { name: monthName([year, month]) });
      this.#showSums();
      const since = new Date(year, month, 1).toISOString();
      const until = new Date(year, month + 1, 1).toISOString();
      const { orders, complete } = await this.#since(since);
      if (this.#month !== asked) return; // another one was chosen meanwhile
      this.#month = { ...asked, orders: orders.filter((order) => order.created_at < until), complete };
    }
    this.#showSums();
  }

  async #since(since) {
    const orders = [];
    let cursor = null;
    do {
      const page = await staffJson(`/v1/orders?${this.#query(MONTH_PAGE, cursor)}`);
      const wanted = page.items.filter((order) => order.created_at >= since);
      orders.push(...wanted);
      cursor = wanted.length < page.items.length ? null : page.next;
    } while (cursor && orders.length < MONTH_ORDERS_MOST);
    return { orders, complete: cursor === null };
  }
}

function row(order, open) {
  const words = orderWords(order);
  const what = order.lines.map((line) => (line.qty > 1 ? `${line.qty} × ${line.title}` : line.title)).join(", ");
  const opener = element(
    "button",
    { type: "button", class: "order-row", "data-order": order.id, "data-testid": `order-${order.id}` },
    element("span", { class: "order-when" }, moment(order.created_at), element("small", {}, order.room ?? "")),
    element("span", { class: "order-what" }, what, element("small", { class: "mono" }, order.id.slice(-8), " · ", order.buyer)),
    element("span", { class: "order-total" }, formatMoney(order.total), order.demo ? element("small", { class: "demo" }, t("shop_demo")) : null),
    element(
      "span",
      { class: "order-words", "data-testid": "order-status", "data-state": order.state, "data-payment": order.payment, "data-fulfilment": order.fulfilment },
      element("span", {}, words.state),
      element("small", {}, `${words.payment} · ${words.fulfilment}`),
    ),
  );
  opener.addEventListener("click", open);
  return element("li", {}, opener);
}

function monthName([year, month]) {
  const tag = document.documentElement.lang;
  return new Intl.DateTimeFormat(tag, { year: "numeric", month: "long" }).format(new Date(year, month, 1));
}

function monthWords({ name, orders, complete }) {
  if (!orders) return t("shop_sums_adding", { name });
  const words = sumWords(name, sumsOf(orders));
  return complete ? words : `${words} · ${t("shop_sums_incomplete", { most: MONTH_ORDERS_MOST })}`;
}

function sumWords(name, { orders, demo, open, paid, refunded }) {
  const words = [
    t("shop_sums_orders", { name, count: orders }),
    paid.count && t("shop_sums_paid", { count: paid.count, amount: amounts(paid) }),
    open && t("shop_sums_open", { count: open }),
    refunded.count && t("shop_sums_refunded", { count: refunded.count, amount: amounts(refunded) }),
    demo && t("shop_sums_demo", { count: demo }),
  ];
  return words.filter(Boolean).join(" · ");
}

function amounts({ amounts: byCurrency }) {
  return Object.entries(byCurrency).map(([currency, amount]) => formatMoney({ amount, currency })).join(" + ");
}

function save(text, name) {
  const url = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  element("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), SAVED_MS);
}
