// A button that asks before it does what can't be taken back.

import { button } from "../elements.js";

/** The first tap asks with the words `sure`, the second one calls `act`; `name` says of what. */
export function sureButton(words, sure, name, act, attributes = {}) {
  let asked = false;
  const ask = (now) => {
    asked = now;
    made.classList.toggle("danger", asked);
    made.textContent = asked ? sure : words;
    made.setAttribute("aria-label", `${made.textContent}: ${name}`);
  };
  const tap = () => {
    if (asked) act();
    ask(!asked);
  };
  const made = button(words, tap, attributes);
  made.addEventListener("blur", () => ask(false));
  ask(false);
  return made;
}
