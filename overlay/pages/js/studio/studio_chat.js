// The chat as the host reads it: the latest lines, and the newest in sight unless somebody has scrolled up.

import { t } from "../language.js";

const LINES_MOST = 200;
const NEAR_PX = 60;

const $ = (id) => document.getElementById(id);

export class StudioChat {
  #seen = new Set(); // ids of the lines shown

  /** Take what an event `chat` brought: [{id, by, name, text, ts}]. */
  take(messages) {
    const log = $("chat-log");
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < NEAR_PX;
    for (const message of messages) {
      if (this.#seen.has(message.id)) continue;
      this.#seen.add(message.id);
      log.append(line(message));
    }
    while (log.children.length > LINES_MOST) {
      this.#seen.delete(log.firstElementChild.dataset.id);
      log.firstElementChild.remove();
    }
    $("chat-empty").hidden = log.children.length > 0;
    if (atEnd) log.scrollTop = log.scrollHeight;
  }

  /** Say whether the line to the room is there. */
  showOpen(open) {
    this.open = open;
    this.showWords();
  }

  showWords() {
    $("chat-state").textContent = this.open === false ? t("sell_chat_away") : "";
    $("chat-state").hidden = this.open !== false;
    for (const name of $("chat-log").querySelectorAll("[data-guest]")) name.textContent = guest(name.dataset.guest);
  }
}

function guest(by) {
  return t("sell_guest", { number: by.slice(-4) });
}

function line({ id, by, name, text, ts }) {
  const item = document.createElement("li");
  item.dataset.id = id;
  const who = document.createElement("b");
  if (!name) who.dataset.guest = by;
  who.textContent = name || guest(by);
  const when = document.createElement("time");
  when.dateTime = new Date(ts).toISOString();
  when.textContent = new Date(ts).toLocaleTimeString("en", { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  const words = document.createElement("span");
  words.textContent = text;
  item.append(who, words, when);
  return item;
}
