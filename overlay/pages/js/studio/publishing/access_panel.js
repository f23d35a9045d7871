// Who can watch: everyone, the invited, or in a rehearsal staff alone, for whom there is a link.

import { copy } from "../../copy.js";
import { t } from "../../language.js";
import { Problem } from "../../problem.js";
import { wordsOf } from "../selling/selling_words.js";

const SAYS = {
  public: "access_says_public",
  restricted: "access_says_restricted",
  rehearsal: "access_says_rehearsal",
};

const $ = (id) => document.getElementById(id);

export class AccessPanel {
  #room;
  #session;
  #toast;
  #onChange;
  #access = null; // as last told
  #problem = "";

  /** `onChange(access)` is called when it was changed here. */
  constructor({ room, session, toast, onChange }) {
    this.#room = room;
    this.#session = session;
    this.#toast = toast;
    this.#onChange = onChange;
    for (const button of document.querySelectorAll("[data-access]")) {
      button.addEventListener("click", () => void this.#choose(button.dataset.access));
    }
    $("access-link").addEventListener("click", () => void this.#link());
    session.onChange(() => this.showWords());
    this.showWords();
  }

  /** The room, as the server tells it. */
  take({ access }) {
    if (access === this.#access) return;
    this.#access = access;
    this.showWords();
  }

  showWords() {
    $("access-says").textContent = this.#access === null ? "" : t(SAYS[this.#access]);
    $("access-says").dataset.state = this.#access ?? "";
    $("access-ways").hidden = !this.#session.may("rooms.write") || this.#access === null;
    for (const button of document.querySelectorAll("[data-access]")) {
      button.setAttribute("aria-pressed", String(button.dataset.access === this.#access));
    }
    $("access-link").hidden = !this.#session.may("viewer_tokens.issue");
    if ($("access-link").hidden) this.#showLink("");
    $("access-problem").hidden = this.#problem === "";
    $("access-problem").textContent = this.#problem;
  }

  async #choose(access) {
    await this.#act(async () => {
      const url = `/v1/rooms/${encodeURIComponent(this.#room)}`;
      const changed = await this.#session.send(url, { method: "PATCH", body: { access } });
      this.take(changed);
      this.#onChange(changed.access);
    });
  }

  // Shown as well as copied: not every browser lets a page copy after it has waited for an answer.
  async #link() {
    await this.#act(async () => {
      const body = { room: this.#room, role: "moderator" }; // the least that is let into a rehearsal
      const { token } = await this.#session.send("/v1/viewer-tokens", { method: "POST", body });
      this.#showLink(`${location.origin}/watch/${encodeURIComponent(this.#room)}#token=${token}`);
      if (await copy($("access-link-url").value)) this.#toast(t("link_copied"));
    });
  }

  #showLink(link) {
    $("access-link-url").value = link;
    $("access-link-box").hidden = link === "";
  }

  async #act(act) {
    this.#problem = "";
    try {
      await act();
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.#problem = wordsOf(error);
    }
    this.showWords();
  }
}
