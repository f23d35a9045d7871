// The sandbox's payment page: choose a test card, pay, and see the outcome as it comes. No money moves.
//
// Who knows the payment's id may pay it. `#return=/…` names the page of this site to go back to.

import { startLanguage, t } from "../language.js";
import { formatMoney } from "../money.js";
import { Problem, requestJson } from "../problem.js";
import { recall, remember, takeFromFragment } from "../storage.js";
import { ownPath } from "./own_path.js";
import { Polling } from "./polling.js";

const LOOK_MS = 1000;
const LOOK_LATER_MS = 3000;
const PATIENT_LOOKS = 20; // after these the outcome is one that comes late
const BACK_MS = 1500; // long enough to read that it went well

const CARDS = {
  4242424242424242: "pay_card_approved",
  4000000000000002: "pay_card_declined",
  4000000000000077: "pay_card_delayed",
  4000000000000119: "pay_card_lost",
  4000000000000259: "pay_card_twice",
  4000000000000341: "pay_card_late",
  4000000000000408: "pay_card_order",
  4000000000000580: "pay_card_amount",
  4000000000000663: "pay_card_no_refund",
};
const STATES = {
  open: "pay_state_open",
  sending: "pay_state_sending",
  pending: "pay_state_pending",
  succeeded: "pay_state_succeeded",
  failed: "pay_state_failed",
};

const $ = (id) => document.getElementById(id);
const id = location.pathname.split("/").at(-1);
const url = `/v1/sandbox/payments/${id}`;
const RETURN = `hawker.return.${id}`;

let page = null; // the payment's document, once it is known
let chosen = false; // a card was sent
let sending = false;
let failed = null; // why the card wasn't taken
let refused = null; // why the page isn't known, or isn't fresh
let looks = 0;
let acts = 0;

function cameFrom() {
  const given = takeFromFragment("return");
  if (given !== null) remember(sessionStorage, RETURN, given);
  return ownPath(recall(sessionStorage, RETURN));
}

const back = cameFrom();

function stateName() {
  if (page.state !== "pending") return page.state;
  if (sending) return "sending";
  return chosen ? "pending" : "open";
}

function show() {
  const missing = page === null;
  const problem = failed ?? refused;
  $("problem").hidden = problem === null;
  if (problem) $("problem-text").textContent = problemWords(problem);
  $("form").hidden = missing;
  $("amount").textContent = missing ? "" : formatMoney(page.amount);
  if (missing) return;
  const state = stateName();
  $("state").dataset.state = state;
  const words = t(STATES[state]);
  if ($("state").textContent !== words) $("state").textContent = words;
  const open = state === "open";
  for (const part of [$("cards"), $("submit")]) {
    part.hidden = !open && state !== "sending";
    part.disabled = !open;
  }
  $("submit").textContent = t("pay_submit", { amount: formatMoney(page.amount) });
  $("back").hidden = back === null;
  for (const item of $("list").children) item.querySelector(".card-does").textContent = does(item.dataset);
}

function does({ number, label }) {
  return number in CARDS ? t(CARDS[number]) : label;
}

function problemWords(problem) {
  if (problem.code === "not_found") return t("pay_not_found");
  if (problem.code === "unreachable") return t("pay_unreachable");
  return t("pay_refused", { detail: problem.detail });
}

function fill() {
  const items = page.cards.map(({ number, label }, at) => {
    const item = $("card").content.firstElementChild.cloneNode(true);
    Object.assign(item.dataset, { number, label });
    const radio = item.querySelector("input");
    Object.assign(radio, { value: number, checked: at === 0 });
    radio.dataset.testid = `pay-card-${number}`;
    item.querySelector(".card-number").textContent = number.replace(/(.{4})(?=.)/g, "$1 ");
    return item;
  });
  $("list").replaceChildren(...items);
}

function receive(answer) {
  const first = page === null;
  const decided = answer.state !== "pending" && page?.state === "pending";
  page = answer;
  if (first) fill();
  // Only an outcome that was seen to come leads away: who opens an old page wants to read it.
  if (decided && page.state === "succeeded" && back) setTimeout(() => location.assign(back), BACK_MS);
}

/** `use` what the server answers; what went wrong, or null. */
async function attempt(use, options) {
  try {
    use(await requestJson(url, options));
    return null;
  } catch (error) {
    if (error instanceof Problem) return error;
    throw error;
  }
}

async function look() {
  const before = acts; // what was asked before a card was sent is late when it comes after it
  refused = await attempt((answer) => before === acts && receive(answer));
  if (page && page.state !== "pending") failed = null;
  show();
}

function wait_ms() {
  if (page ? page.state !== "pending" : refused?.code === "not_found") return null;
  looks = chosen ? looks + 1 : 0;
  return chosen && looks < PATIENT_LOOKS ? LOOK_MS : LOOK_LATER_MS;
}

const polling = new Polling(look, wait_ms);

async function pay(event) {
  event.preventDefault();
  const card = new FormData($("form")).get("card");
  acts += 1;
  sending = true;
  show();
  const headers = { "Content-Type": "application/json" };
  failed = await attempt(receive, { method: "POST", headers, body: JSON.stringify({ card }) });
  acts += 1;
  sending = false;
  chosen = failed === null;
  show();
  await polling.now();
}

function start() {
  startLanguage(show);
  document.documentElement.toggleAttribute("data-framed", window.self !== window.top);
  if (back) $("back").href = back;
  $("form").addEventListener("submit", (event) => void pay(event));
  void polling.now();
}

start();
