// The shop's page for staff: its tabs, who is signed in, and looking again every ten seconds and after each act.

import { startFields } from "../fields.js";
import { startLanguage, t } from "../language.js";
import { Problem, requestJson } from "../problem.js";
import { goToLogin, signOut, signedIn } from "../staff.js";
import { startToast } from "../toast.js";
import { Polling } from "./polling.js";
import { AfterSaleTab } from "./shop_after_sale.js";
import { HooksTab } from "./shop_hooks.js";
import { MoneyTab } from "./shop_money.js";
import { OffersTab } from "./shop_offers.js";
import { OrderSheet } from "./shop_order.js";
import { OrdersTab } from "./shop_orders.js";
import { PickingTab } from "./shop_picking.js";
import { ProductsTab } from "./shop_products.js";
import { StaffTab } from "./shop_staff.js";
import { problemWords } from "./shop_words.js";

const EVERY_MS = 10_000;
const ROOMS_MOST = 200;
// Who may one of these acts sees the tab.
const TABS = {
  products: null,
  orders: ["orders.read"],
  picking: ["orders.read"],
  after_sale: ["orders.read"],
  offers: ["promotions.write", "coupons.write"],
  money: ["payments.read"],
  hooks: ["webhooks.manage"],
  staff: ["staff.manage", "audit.read"],
};

const $ = (id) => document.getElementById(id);
let staff = null;
let tabs = {};
let current = null;
let refused = null;

const may = (act) => staff.acts.includes(act);
const allowed = (name) => TABS[name] === null || TABS[name].some(may);

const polling = new Polling(look, () => EVERY_MS);
const refresh = () => polling.now();

async function look() {
  if (document.hidden) return;
  try {
    await tabs[current].refresh();
    refused = null;
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    refused = error;
  }
  show();
}

function show() {
  if (staff === null) return;
  const { name, role } = staff;
  $("who").textContent = name === role ? name : t("shop_who", { name, role });
  $("problem").hidden = refused === null;
  if (refused) $("problem-text").textContent = problemWords(refused);
  for (const link of document.querySelectorAll("[data-tab]")) {
    link.hidden = !allowed(link.dataset.tab);
    if (link.dataset.tab === current) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  for (const name of Object.keys(TABS)) $(`tab-${name}`).hidden = name !== current;
  tabs[current].show();
}

function open(name) {
  current = name in TABS && allowed(name) ? name : "products";
  show();
  document.querySelector("[data-tab][aria-current]").scrollIntoView({ block: "nearest", inline: "nearest" });
  void refresh();
}

function openByLink(event) {
  const name = event.currentTarget.dataset.tab;
  if (event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
  event.preventDefault();
  history.pushState(null, "", `?tab=${name}`);
  open(name);
}

const asked = () => new URLSearchParams(location.search).get("tab") ?? "products";

async function leave() {
  try {
    await signOut();
    location.assign("/login");
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    refused = error;
    show();
  }
}

async function rooms() {
  return (await requestJson(`/v1/rooms?limit=${ROOMS_MOST}`)).items;
}

function wire() {
  for (const link of document.querySelectorAll("[data-tab]")) link.addEventListener("click", openByLink);
  for (const closer of document.querySelectorAll("[data-close]")) {
    closer.addEventListener("click", () => $(closer.dataset.close).close());
  }
  $("sign-out").addEventListener("click", () => void leave());
  window.addEventListener("popstate", () => open(asked()));
  window.addEventListener("online", () => void refresh());
  document.addEventListener("visibilitychange", () => document.hidden || void refresh());
}

async function start() {
  const toast = startToast($("toast"));
  startLanguage(show);
  startFields(toast);
  try {
    staff = await signedIn();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    $("counter").hidden = $("problem").hidden = false;
    $("problem-text").textContent = problemWords(error);
    return;
  }
  if (staff === null) return goToLogin();
  const uses = { may, toast, rooms, refresh };
  uses.sheet = new OrderSheet(uses);
  tabs = {
    products: new ProductsTab(uses),
    orders: new OrdersTab(uses),
    picking: new PickingTab(uses),
    after_sale: new AfterSaleTab(uses),
    offers: new OffersTab(uses),
    money: new MoneyTab(uses),
    hooks: new HooksTab(uses),
    staff: new StaffTab(uses),
  };
  wire();
  $("counter").hidden = false;
  open(asked());
}

void start();
