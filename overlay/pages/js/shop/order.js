// The buyer's page of one order: what was bought, how it stands, paying, where it goes, and the link to keep.

import { moment } from "../elements.js";
import { startFields } from "../fields.js";
import { ActKeys } from "../keys.js";
import { startLanguage, t } from "../language.js";
import { formatMoney } from "../money.js";
import { lineItems } from "../order_lines.js";
import { headline, mayChange, pendingPayment, steps } from "../order_words.js";
import { listed, priceRows } from "../price_rows.js";
import { Problem } from "../problem.js";
import { startToast } from "../toast.js";
import { OrderCaller } from "./order_caller.js";
import { startCases } from "./order_cases.js";
import { startContact } from "./order_contact.js";
import { startInvoice } from "./order_invoice.js";
import { showParcels } from "./order_parcels.js";
import { OrderRecords } from "./order_records.js";
import { startRefunds } from "./order_refunds.js";
import { Polling } from "./polling.js";
import { problemWords } from "./shop_words.js";

const SOON_MS = 3000;
const LATER_MS = 15_000;
const TICK_MS = 1000;

const $ = (id) => document.getElementById(id);
const id = location.pathname.split("/").at(-1);
const caller = new OrderCaller(id);
const keys = new ActKeys();
const records = new OrderRecords(caller);

let order = null;
let ahead_ms = 0; // the server's clock against ours
let refused = null; // why the order isn't shown, or isn't fresh
let failed = null; // why the last act was refused
let asking = false; // whether to cancel
let panels = null; // {contact, refunds, cases, invoice}

const ownLink = () => (caller.key ? `/orders/${id}#key=${caller.key}` : (order?.link ?? `/orders/${id}`));
const left_ms = () => Date.parse(order.expires_at) - Date.now() - ahead_ms;

const polling = new Polling(look, () => {
  if (refused?.code === "not_found") return null;
  return order && mayChange(order) ? SOON_MS : LATER_MS;
});
const refresh = () => polling.now();

async function look() {
  if (document.hidden) return;
  try {
    const seen = await caller.look();
    await records.look(seen.order);
    order = seen.order;
    ahead_ms = seen.now_ms - Date.now();
    refused = null;
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    refused = error;
  }
  show();
}

function show() {
  const missing = refused?.code === "not_found";
  $("missing").hidden = !missing;
  $("stale").hidden = !refused || missing;
  $("order").hidden = order === null || missing;
  $("staff").hidden = order === null || missing || !caller.isStaff;
  if (order === null || missing) return;
  showStatus();
  showLines();
  showActs();
  panels.contact.show(order, caller);
  panels.refunds.show(order, records.known, caller);
  panels.cases.show(records.known.cases, caller);
  panels.invoice.show(order, records.known.invoice, caller);
}

function showStatus() {
  const status = $("status");
  Object.assign(status.dataset, { state: order.state, payment: order.payment, fulfilment: order.fulfilment });
  say(status, t(headline(order)));
  const stages = steps(order);
  $("steps").hidden = stages === null;
  for (const [at, item] of [...$("steps").children].entries()) item.dataset.step = stages?.[at] ?? "";
  showParcels(order);
  $("tracking-number").textContent = order.tracking ?? "";
  $("demo").hidden = !order.demo;
  tick();
}

function showLines() {
  $("number").textContent = order.id;
  $("placed").replaceChildren(moment(order.created_at));
  $("lines").replaceChildren(...lineItems(order, listed));
  $("prices").replaceChildren(...priceRows(order));
  $("refunded").hidden = order.refunded.amount === 0;
  $("refunded-amount").textContent = formatMoney(order.refunded);
  $("total").textContent = formatMoney(order.total);
  const link = caller.key || order.link;
  $("keep").hidden = !link;
  if (link) $("link").value = location.origin + ownLink();
  $("room").hidden = !order.room;
  if (order.room) $("room").href = `/watch/${encodeURIComponent(order.room)}`;
}

function showActs() {
  const buyer = !caller.isStaff;
  const reserved = order.state === "reserved";
  const held = reserved || (order.state === "confirmed" && order.fulfilment === "none");
  const pending = order.payment === "pending";
  $("pay").hidden = !buyer || !reserved;
  $("pay").textContent = pending ? t("order_pay_again") : t("order_pay", { amount: formatMoney(order.total) });
  $("cancel").hidden = !buyer || !held || asking;
  $("sure").hidden = !buyer || !held || !asking;
  $("sure-text").textContent = t(order.payment === "paid" ? "order_sure_paid" : "order_sure");
  $("failed").hidden = failed === null;
  if (failed) $("failed-text").textContent = problemWords(failed, { illegal_transition: "order_changed" });
}

// A text that is read aloud is only touched when it has changed.
function say(place, words) {
  if (place.textContent !== words) place.textContent = words;
}

function tick() {
  const counting = order?.state === "reserved" && order.expires_at;
  $("left").hidden = !counting;
  if (!counting) return;
  const s = Math.max(0, Math.ceil(left_ms() / 1000));
  $("left").textContent = t("order_left", { left: `${Math.floor(s / 60)}:${String(s % 60).padStart(2, "0")}` });
}

async function act(work) {
  failed = null;
  for (const each of document.querySelectorAll("#acts button")) each.disabled = true;
  try {
    await work();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    failed = error;
  }
  for (const each of document.querySelectorAll("#acts button")) each.disabled = false;
  await refresh();
}

async function pay() {
  const pending = pendingPayment(order);
  const begin = () => keys.run("pay", (key) => caller.act("/payments", { body: {}, key }));
  const payment = await (pending ? caller.payment(pending) : begin());
  const page = payment.next?.url ?? payment.page;
  const ours = new URL(page, location.href).origin === location.origin; // others are not told the order's key
  location.assign(ours ? `${page}#return=${encodeURIComponent(ownLink())}` : page);
}

async function cancel() {
  await keys.run("cancel", (key) => caller.act("/cancel", { key }));
  asking = false;
}

function ask(whether) {
  asking = whether;
  show();
  $(whether ? "sure-no" : "cancel").focus();
}

function start() {
  const toast = startToast($("toast"));
  startLanguage(show);
  startFields(toast);
  panels = {
    contact: startContact({ refresh, toast }),
    refunds: startRefunds({ refresh, toast }),
    cases: startCases({ refresh }),
    invoice: startInvoice({ refresh: () => (records.forget(), refresh()), toast }),
  };
  $("pay").addEventListener("click", () => void act(pay));
  $("cancel").addEventListener("click", () => ask(true));
  $("sure-no").addEventListener("click", () => ask(false));
  $("sure-yes").addEventListener("click", () => void act(cancel));
  $("staff-link").href = `/shop?tab=orders&order=${encodeURIComponent(id)}`;
  $("again").addEventListener("click", () => void refresh());
  for (const event of ["pageshow", "online"]) window.addEventListener(event, () => void refresh());
  document.addEventListener("visibilitychange", () => document.hidden || void refresh());
  setInterval(() => tick(), TICK_MS);
}

start();
