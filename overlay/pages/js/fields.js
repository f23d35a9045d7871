// Fields with a copy button or a show button: found by data-copy and data-show, which name the field's id.

import { copy } from "./copy.js";
import { t } from "./language.js";

const DONE_MS = 1500;

export function startFields(toast) {
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.addEventListener("click", () => void copyField(button, toast));
  }
  for (const button of document.querySelectorAll("[data-show]")) {
    const field = document.getElementById(button.dataset.show);
    button.addEventListener("click", () => {
      const shown = field.type === "password";
      field.type = shown ? "text" : "password";
      button.setAttribute("aria-pressed", String(shown));
    });
  }
}

async function copyField(button, toast) {
  const field = document.getElementById(button.dataset.copy);
  const text = field.value ?? field.textContent;
  if (!text || !(await copy(text))) return;
  toast(t("copied"));
  const icon = button.querySelector("use");
  icon.setAttribute("href", "/static/icons.svg#check");
  button.dataset.done = "";
  setTimeout(() => {
    icon.setAttribute("href", "/static/icons.svg#copy");
    delete button.dataset.done;
  }, DONE_MS);
}
