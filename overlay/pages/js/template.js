// Pieces of a page that are needed more than once: the HTML has them as <template>, here they are copied and worded.

import { t } from "./language.js";

const PLACES = { "data-t-label": "aria-label", "data-t-title": "title", "data-t-placeholder": "placeholder" };

/** A copy of the only element of the template `id`; the language switch finds its words like all others. */
export function stamp(id) {
  const made = document.getElementById(id).content.firstElementChild.cloneNode(true);
  for (const element of made.querySelectorAll("[data-t]")) element.textContent = t(element.getAttribute("data-t"));
  for (const [marker, attribute] of Object.entries(PLACES)) {
    for (const element of made.querySelectorAll(`[${marker}]`)) {
      element.setAttribute(attribute, t(element.getAttribute(marker)));
    }
  }
  return made;
}

/** Make the children of `list` these elements, moving none that stands right, and keep the focus. */
export function arrange(list, items) {
  const same = items.length === list.children.length && items.every((item, at) => item === list.children[at]);
  if (same) return;
  const focused = document.activeElement;
  list.replaceChildren(...items);
  if (list.contains(focused)) focused.focus();
}
