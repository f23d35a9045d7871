// The chat: lines as they come, a field to write one, and in words why a line was not taken.

import { element } from "../../elements.js";
import { t } from "../../language.js";
import { Problem } from "../../problem.js";

const LINES = 200;
const AT_END_PX = 40;
const NAME_CHARS = 4; // of a pseudonym

const $ = (id) => document.getElementById(id);

/** What to call the writer of a line: a name, or a short pseudonym from `by`. */
export function callName({ name, by }) {
  return name || t("chat_guest", { code: by.slice(0, NAME_CHARS) });
}

/** A hue for a writer, the same each time. */
export function hueOf(by) {
  return (Number.parseInt(by.slice(0, NAME_CHARS), 16) || 0) % 360;
}

export class Chat {
  #events;
  #refused = null; // the last Problem
  #following = true; // the reader is at the end

  /** events: RoomEvents. */
  constructor({ events }) {
    this.#events = events;
    $("chat-form").addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#send();
    });
    $("chat-input").addEventListener("input", () => this.#say(null));
    $("chat-newer").addEventListener("click", () => this.#toEnd());
    $("chat-log").addEventListener("scroll", () => this.#scrolled(), { passive: true });
    new ResizeObserver(() => this.#following && this.#toEnd()).observe($("chat-log"));
  }

  /** `chat`: lines of the last moment. */
  show(messages) {
    const log = $("chat-log");
    log.append(...messages.map((message) => line(message)));
    while (log.childElementCount > LINES) log.firstElementChild.remove();
    if (this.#following) this.#toEnd();
    else $("chat-newer").hidden = false;
  }

  /** The language is another. */
  refresh() {
    if (this.#refused) this.#say(this.#refused);
    for (const each of $("chat-log").children) nameIn(each);
  }

  async #send() {
    const field = $("chat-input");
    const text = field.value.trim();
    if (!text) return;
    field.value = "";
    this.#say(null);
    try {
      await this.#events.send("chat.send", { text });
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (!field.value) field.value = text; // to be sent again
      this.#say(error);
    }
  }

  #say(problem) {
    this.#refused = problem;
    $("chat-problem").hidden = problem === null;
    $("chat-problem").textContent = problem === null ? "" : chatRefusal(problem);
  }

  // Only the reader's own scrolling counts: the log that grows or shrinks is scrolled after.
  #scrolled() {
    const { scrollHeight, scrollTop, clientHeight } = $("chat-log");
    this.#following = scrollHeight - scrollTop - clientHeight < AT_END_PX;
    if (this.#following) $("chat-newer").hidden = true;
  }

  #toEnd() {
    $("chat-log").scrollTop = $("chat-log").scrollHeight;
    $("chat-newer").hidden = true;
  }
}

function chatRefusal({ code, detail }) {
  if (code === "rate_limited") return t("chat_slow");
  if (code === "token_missing" || code === "unauthorized") return t("chat_who");
  if (["no_carrier", "no_answer", "cut"].includes(code)) return t("chat_cut");
  return t("chat_refused", { detail });
}

function line({ id, by, name, text }) {
  const item = element("li", { "data-by": by, "data-id": id }, element("b", {}), element("span", {}, text));
  if (name) item.dataset.name = name;
  item.style.setProperty("--hue", String(hueOf(by)));
  nameIn(item);
  return item;
}

function nameIn(item) {
  item.querySelector("b").textContent = callName(item.dataset);
}
