// Webhooks: which servers are told of what, how that goes, and sending again.

import { button, element, moment } from "../elements.js";
import { t } from "../language.js";
import { Problem } from "../problem.js";
import { staffJson } from "../staff.js";
import { showKeyed } from "./shop_keyed.js";
import { sureButton } from "./shop_sure.js";
import { problemWords } from "./shop_words.js";

const DELIVERIES = 30;
const STATES = { pending: "shop_hook_pending", succeeded: "shop_hook_succeeded", failed: "shop_hook_failed" };
const WHOLE = "/v1/webhook-endpoints";

const $ = (id) => document.getElementById(id);
const urlOf = (id) => `${WHOLE}/${encodeURIComponent(id)}`;

export class HooksTab {
  #uses;
  #hooks = null;
  #looking = null; // the id whose deliveries are shown
  #deliveries = [];
  #told = null; // {id, url, secret} of a new secret, and whether it `replaces` one
  #refused = "";

  constructor(uses) {
    this.#uses = uses;
    $("hook-new").addEventListener("submit", (event) => void this.#add(event));
    $("hook-replay").addEventListener("submit", (event) => void this.#replay(event));
  }

  async refresh() {
    this.#hooks = (await staffJson(WHOLE)).items;
    if (!this.#hooks.some(({ id }) => id === this.#looking)) this.#looking = this.#hooks[0]?.id ?? null;
    const asked = this.#looking;
    const sent = asked === null ? [] : (await staffJson(`${urlOf(asked)}/deliveries?limit=${DELIVERIES}`)).items;
    if (asked === this.#looking) this.#deliveries = sent;
  }

  show() {
    $("hook-problem").hidden = this.#refused === "";
    $("hook-problem").textContent = this.#refused;
    if (this.#hooks === null) return;
    $("hooks-empty").hidden = this.#hooks.length > 0;
    showKeyed($("hooks"), this.#hooks, (each) => this.#hook(each));
    const looked = this.#hooks.find(({ id }) => id === this.#looking);
    $("deliveries-card").hidden = looked === undefined;
    $("deliveries-of").textContent = looked?.url ?? "";
    $("deliveries-empty").hidden = this.#deliveries.length > 0;
    showKeyed($("deliveries"), this.#deliveries, (each) => this.#delivery(each));
  }

  #hook({ id, url, events, enabled, disabled_why }) {
    const look = () => {
      this.#looking = id;
      void this.#uses.refresh();
    };
    const test = () => void this.#act(() => staffJson(`${urlOf(id)}/test`, { method: "POST" }), look);
    const turn = () => void this.#act(() => staffJson(urlOf(id), { method: "PATCH", body: { enabled: !enabled } }));
    const rotate = () => void this.#act(() => staffJson(`${urlOf(id)}/rotate-secret`, { method: "POST" }), (made) => this.#tell({ ...made, replaces: true }));
    const remove = () => void this.#act(() => staffJson(urlOf(id), { method: "DELETE" }), () => this.#told?.id === id && this.#tell(null));
    const small = { class: "button small" };
    return element(
      "li",
      { "data-testid": "hook", "data-disabled": !enabled },
      element("strong", {}, url, element("small", {}, events.join(", "))),
      element("span", {}, t(enabled ? "shop_hook_on" : "shop_hook_off"), disabled_why ? element("small", {}, disabled_why) : null),
      element(
        "div",
        { class: "acts" },
        button(t("shop_hook_look"), look, small),
        button(t("shop_hook_test"), test, { ...small, "data-testid": "hook-test", disabled: !enabled }),
        button(t(enabled ? "shop_hook_turn_off" : "shop_hook_turn_on"), turn, small),
        sureButton(t("shop_hook_rotate"), t("shop_hook_rotate_sure"), url, rotate, { ...small, "data-testid": "hook-rotate" }),
        sureButton(t("shop_delete"), t("shop_delete_sure"), url, remove, { ...small, "data-testid": "hook-delete" }),
      ),
    );
  }

  #delivery({ id, type, state, attempts, status, error, created_at }) {
    const again = () => void this.#act(() => staffJson(`${urlOf(this.#looking)}/deliveries/${encodeURIComponent(id)}/replay`, { method: "POST" }));
    const why = [status, error].filter(Boolean).join(" · ");
    return element(
      "li",
      { "data-testid": "delivery", "data-state": state },
      element("strong", { class: "mono" }, type, element("small", {}, moment(created_at))),
      element("span", {}, t(STATES[state]), element("small", {}, [t("shop_hook_attempts", { count: attempts }), why].filter(Boolean).join(" · "))),
      button(t("shop_hook_again"), again, { class: "button small", "data-testid": "delivery-again" }),
    );
  }

  async #add(event) {
    event.preventDefault();
    const events = $("hook-events").value.split(/[\s,，]+/).filter(Boolean);
    const body = { url: $("hook-url").value.trim(), ...(events.length && { events }) };
    await this.#act(() => staffJson(WHOLE, { method: "POST", body }), (made) => {
      $("hook-new").reset();
      this.#looking = made.id;
      this.#tell(made);
    });
  }

  // A secret is nowhere else: it stays until another one comes, or its endpoint is deleted.
  #tell(told) {
    this.#told = told;
    $("hook-secret").value = told?.secret ?? "";
    $("hook-secret-of").textContent = told?.url ?? "";
    $("hook-once-old").hidden = !told?.replaces;
    $("hook-once").hidden = told === null;
    $("hook-once").scrollIntoView({ block: "nearest" });
  }

  async #replay(event) {
    event.preventDefault();
    const body = { since: new Date($("hook-since").value).toISOString() };
    const again = () => staffJson(`${urlOf(this.#looking)}/replay`, { method: "POST", body });
    await this.#act(again, ({ replayed }) => this.#uses.toast(t("shop_hook_replayed", { count: replayed })));
  }

  async #act(work, then = () => {}) {
    this.#refused = "";
    try {
      const answer = await work();
      this.#uses.toast(t("shop_done"));
      then(answer);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.#refused = problemWords(error);
    }
    await this.#uses.refresh();
  }
}
