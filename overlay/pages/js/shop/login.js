// The login of staff: a name and a password, or the admin token; then on to where they wanted to go.

import { startFields } from "../fields.js";
import { startLanguage, t } from "../language.js";
import { Problem } from "../problem.js";
import { signIn, signedIn } from "../staff.js";
import { startToast } from "../toast.js";
import { ownPath } from "./own_path.js";

const SHOP = "/shop";
const WORDS = {
  unauthorized: "login_wrong",
  too_many: "login_too_many",
  unreachable: "login_unreachable",
};

const $ = (id) => document.getElementById(id);
let way = "password"; // or "token"
let refused = null; // the Problem that is shown

function goOn() {
  location.replace(ownPath(new URLSearchParams(location.search).get("next"), SHOP));
}

function show() {
  for (const button of document.querySelectorAll("[data-way]")) {
    button.setAttribute("aria-pressed", String(button.dataset.way === way));
  }
  $("by-password").hidden = way !== "password";
  $("by-token").hidden = way !== "token";
  for (const field of [$("name"), $("password")]) field.required = way === "password";
  $("token").required = way === "token";
  $("problem").hidden = refused === null;
  if (refused) $("problem-text").textContent = words(refused);
}

function words(problem) {
  if (problem.code === "unauthorized" && way === "token") return t("login_wrong_token");
  const key = WORDS[problem.code];
  return key ? t(key) : t("login_refused", { detail: problem.detail });
}

function choose(chosen) {
  way = chosen;
  refused = null;
  show();
  (way === "token" ? $("token") : $("name")).focus();
}

async function submit(event) {
  event.preventDefault();
  $("submit").disabled = true;
  refused = null;
  const token = { admin_token: $("token").value.trim() };
  const account = { name: $("name").value.trim(), password: $("password").value };
  try {
    await signIn(way === "token" ? token : account);
    goOn();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    refused = error;
    $("submit").disabled = false;
    (way === "token" ? $("token") : $("password")).select();
  }
  show();
}

async function start() {
  startLanguage(show);
  startFields(startToast($("toast")));
  show();
  for (const button of document.querySelectorAll("[data-way]")) {
    button.addEventListener("click", () => choose(button.dataset.way));
  }
  $("form").addEventListener("submit", (event) => void submit(event));
  try {
    if (await signedIn()) goOn();
  } catch (error) {
    if (!(error instanceof Problem)) throw error; // the button will tell
  }
}

void start();
