// The page's language: chosen by ?lang=, by what was chosen before, by the browser; kept in <html lang>.

import { recall, remember } from "./storage.js";
import { strings } from "./strings/strings.js";

const KEPT = "hawker.language";
const TAGS = { en: "en", zh: "zh-CN" };
const PLACES = { "data-t": null, "data-t-label": "aria-label", "data-t-title": "title", "data-t-placeholder": "placeholder" };

const language = () => document.documentElement.lang.slice(0, 2);

/** The string of `key` with {name} filled in from `values`. */
export function t(key, values = {}) {
  return strings[language()][key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

/** Whether there is such a string. */
export function known(key) {
  return key in strings.en;
}

/** A text given as {en, zh} by the server; its English if ours is missing. */
export function pick(texts) {
  return texts?.[language()] ?? texts?.en ?? "";
}

/** Choose the language, fill in the page, and wire its switch; `onChange` is called at each later choice. */
export function startLanguage(onChange = () => {}) {
  use(chosen());
  for (const button of document.querySelectorAll("[data-language]")) {
    button.addEventListener("click", () => {
      remember(localStorage, KEPT, button.dataset.language);
      dropFromAddress();
      use(button.dataset.language);
      onChange();
    });
  }
}

function chosen() {
  const asked = [new URLSearchParams(location.search).get("lang"), recall(localStorage, KEPT), ...navigator.languages];
  return asked.map((tag) => tag?.toLowerCase().slice(0, 2)).find((tag) => tag in strings) ?? "en";
}

function use(name) {
  document.documentElement.lang = TAGS[name];
  for (const [marker, attribute] of Object.entries(PLACES)) {
    for (const element of document.querySelectorAll(`[${marker}]`)) {
      const text = t(element.getAttribute(marker));
      if (attribute === null) element.textContent = text;
      else element.setAttribute(attribute, text);
    }
  }
  for (const button of document.querySelectorAll("[data-language]")) {
    button.setAttribute("aria-pressed", String(button.dataset.language === name));
  }
  document.documentElement.dataset.ready = "";
}

// ?lang= would win over the switch at the next reload.
function dropFromAddress() {
  const url = new URL(location.href);
  url.searchParams.delete("lang");
  history.replaceState(history.state, "", url);
}
