// The shop's staff: accounts and API keys for who manages them, and the log of what staff did.

import { button, element, moment } from "../elements.js";
import { t } from "../language.js";
import { Problem } from "../problem.js";
import { staffJson } from "../staff.js";
import { Pager } from "./shop_pager.js";

const ROLES = ["operator", "host", "moderator", "finance", "engineer"];
const LIST_MOST = 200;
const AUDIT_PAGE = 25;
const PASSWORD_CHARS_MIN = 10;

const $ = (id) => document.getElementById(id);

export class StaffTab {
  #uses;
  #pager;
  #accounts = [];
  #keys = [];
  #audit = null;
  #doomed = null; // the address of what is deleted if it is tapped once more

  constructor(uses) {
    this.#uses = uses;
    this.#pager = new Pager($("audit-pager"), () => void uses.refresh());
    $("account-password").minLength = PASSWORD_CHARS_MIN;
    for (const select of document.querySelectorAll("[data-roles]")) {
      select.replaceChildren(...ROLES.map((role) => element("option", { value: role }, role)));
    }
    $("account-new").addEventListener("submit", (event) => void this.#addAccount(event));
    $("key-new").addEventListener("submit", (event) => void this.#addKey(event));
  }

  async refresh() {
    const { may } = this.#uses;
    if (may("staff.manage")) {
      const [accounts, keys] = await Promise.all([staffJson(`/v1/staff?limit=${LIST_MOST}`), staffJson(`/v1/api-keys?limit=${LIST_MOST}`)]);
      this.#accounts = accounts.items;
      this.#keys = keys.items;
    }
    if (may("audit.read")) {
      const cursor = this.#pager.cursor;
      this.#audit = await staffJson(`/v1/audit?limit=${AUDIT_PAGE}${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`);
    }
  }

  show() {
    const { may } = this.#uses;
    $("accounts-card").hidden = $("keys-card").hidden = !may("staff.manage");
    $("audit-card").hidden = !may("audit.read");
    const held = document.activeElement?.dataset.row;
    $("accounts").replaceChildren(...this.#accounts.map((account) => this.#account(account)));
    $("keys").replaceChildren(...this.#keys.map((key) => this.#key(key)));
    if (held) document.querySelector(`[data-row="${CSS.escape(held)}"]`)?.focus();
    if (this.#audit === null) return;
    $("audit").replaceChildren(...this.#audit.items.map(entry));
    this.#pager.show(this.#audit.next);
  }

  #account({ name, role, disabled, created_at }) {
    const url = `/v1/staff/${encodeURIComponent(name)}`;
    const words = disabled ? t("shop_account_enable") : t("shop_account_disable");
    const toggle = () => void this.#act(() => staffJson(url, { method: "PATCH", body: { disabled: !disabled } }));
    return element(
      "li",
      { "data-account": name, "data-disabled": disabled },
      element("strong", {}, name),
      this.#roleOf(url, name, role),
      element("small", {}, disabled ? t("shop_account_disabled") : moment(created_at)),
      button(words, toggle, { class: "button small", "data-row": `${url} toggle`, "aria-label": `${words}: ${name}` }),
      this.#deleter(url, name),
    );
  }

  #roleOf(url, name, role) {
    const select = element("select", { "aria-label": `${t("shop_role")}: ${name}`, "data-row": `${url} role` });
    select.append(...ROLES.map((each) => element("option", { value: each, selected: each === role }, each)));
    select.addEventListener("change", () => void this.#act(() => staffJson(url, { method: "PATCH", body: { role: select.value } })));
    return select;
  }

  #key({ id, label, role, created_at }) {
    const url = `/v1/api-keys/${encodeURIComponent(id)}`;
    return element("li", {}, element("strong", {}, label), element("span", {}, role), element("small", {}, moment(created_at)), this.#deleter(url, label));
  }

  // The first tap asks, the second one does.
  #deleter(url, name) {
    const sure = this.#doomed === url;
    const words = t(sure ? "shop_delete_sure" : "shop_delete");
    const remove = () => {
      this.#doomed = sure ? null : url;
      if (sure) void this.#act(() => staffJson(url, { method: "DELETE" }));
      else this.show();
    };
    return button(words, remove, { class: `button small${sure ? " danger" : ""}`, "data-row": `${url} delete`, "aria-label": `${words}: ${name}` });
  }

  async #addAccount(event) {
    event.preventDefault();
    const body = { name: $("account-name").value.trim(), password: $("account-password").value, role: $("account-role").value };
    if (await this.#act(() => staffJson("/v1/staff", { method: "POST", body }))) $("account-new").reset();
  }

  async #addKey(event) {
    event.preventDefault();
    const body = { label: $("key-label").value.trim(), role: $("key-role").value };
    await this.#act(async () => {
      const made = await staffJson("/v1/api-keys", { method: "POST", body });
      $("key-value").value = made.key;
      $("key-once").hidden = false;
      $("key-new").reset();
    });
  }

  async #act(work) {
    try {
      await work();
      this.#uses.toast(t("shop_done"));
      return true;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.#uses.toast(t("shop_refused", { detail: error.detail }));
      return false;
    } finally {
      await this.#uses.refresh();
    }
  }
}

function entry({ at, by, role, act, target }) {
  const about = Object.entries(target).map(([name, value]) => `${name} ${value}`);
  return element(
    "li",
    {},
    element("small", {}, moment(at)),
    element("strong", {}, by),
    element("span", {}, act, role && role !== by ? element("small", {}, role) : null),
    element("span", { class: "mono" }, about.join(", ")),
  );
}
