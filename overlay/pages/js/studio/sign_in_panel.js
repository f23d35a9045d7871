// "Sign in to sell": a name and its password, or the admin token; and who is signed in.

import { t } from "../language.js";
import { Problem } from "../problem.js";
import { wordsOf } from "./selling/selling_words.js";

const ROLES = {
  admin: "sell_role_admin",
  operator: "sell_role_operator",
  host: "sell_role_host",
  moderator: "sell_role_moderator",
  finance: "sell_role_finance",
  engineer: "sell_role_engineer",
};

const $ = (id) => document.getElementById(id);

export class SignInPanel {
  #session;
  #byToken = false;
  #busy = false;
  #problem = null;

  constructor(session) {
    this.#session = session;
    $("sign-in-form").addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#signIn();
    });
    $("sign-in-other").addEventListener("click", () => {
      this.#byToken = !this.#byToken;
      this.#problem = null;
      this.show();
      this.#firstField().focus();
    });
    $("sign-out").addEventListener("click", () => void this.#signOut());
    session.onChange(() => this.show());
    this.show();
  }

  show() {
    const { who, known } = this.#session;
    $("sign-in").hidden = !known || who !== null;
    $("who").hidden = who === null;
    $("by-name").hidden = this.#byToken;
    $("by-token").hidden = !this.#byToken;
    $("sign-in-submit").disabled = this.#busy;
    $("sign-in-problem").hidden = this.#problem === null;
    this.showWords();
  }

  showWords() {
    const { who } = this.#session;
    $("sign-in-other").textContent = t(this.#byToken ? "sell_by_name" : "sell_by_token");
    $("who-name").textContent = who?.name ?? "";
    $("who-role").textContent = who && ROLES[who.role] && who.role !== who.name ? t(ROLES[who.role]) : "";
    $("sign-in-problem").textContent = this.#problem ? this.#words(this.#problem) : "";
  }

  #words(problem) {
    if (problem.status !== 401) return wordsOf(problem);
    return t(this.#byToken ? "ingest_denied" : "sell_wrong_password");
  }

  async #signIn() {
    const fields = this.#byToken
      ? { admin_token: $("admin-token").value.trim() }
      : { name: $("staff-name").value.trim(), password: $("staff-password").value };
    const empty = Object.values(fields).some((value) => !value);
    if (this.#busy || empty) return void (empty && this.#firstField().focus());
    await this.#act(() => this.#session.signIn(fields));
    if (this.#problem === null) $("admin-token").value = $("staff-password").value = "";
  }

  async #signOut() {
    await this.#act(() => this.#session.signOut());
  }

  async #act(act) {
    this.#busy = true;
    this.#problem = null;
    this.show();
    try {
      await act();
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.#problem = error;
    } finally {
      this.#busy = false;
      this.show();
    }
  }

  #firstField() {
    if (this.#byToken) return $("admin-token");
    return $("staff-name").value ? $("staff-password") : $("staff-name");
  }
}
