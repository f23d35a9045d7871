// The two buttons below a list that comes in pages: the list's cursors are kept, so that one can go back.

import { button } from "../elements.js";
import { t } from "../language.js";

export class Pager {
  #place;
  #onTurn;
  #cursors = [null]; // of the pages up to the one that is shown
  #next = null;

  constructor(place, onTurn) {
    this.#place = place;
    this.#onTurn = onTurn;
  }

  /** The cursor of the page to show, or null for the first. */
  get cursor() {
    return this.#cursors.at(-1);
  }

  /** Back to the first page: another list is asked for. */
  reset() {
    this.#cursors = [null];
    this.#next = null;
  }

  /** The page has come; `next` is the list's cursor after it, or null. */
  show(next) {
    this.#next = next;
    const back = button(t("shop_page_back"), () => this.#turn(-1), { disabled: this.#cursors.length === 1 });
    const on = button(t("shop_page_next"), () => this.#turn(1), { disabled: next === null });
    this.#place.hidden = this.#cursors.length === 1 && next === null;
    const held = [...this.#place.children].indexOf(document.activeElement);
    this.#place.replaceChildren(back, on);
    if (held >= 0) this.#place.children[held].focus();
  }

  #turn(by) {
    if (by > 0) this.#cursors.push(this.#next);
    else this.#cursors.pop();
    this.#onTurn();
  }
}
