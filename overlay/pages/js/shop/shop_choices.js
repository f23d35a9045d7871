// What a select offers, changed only where it differs: so a choice stays chosen, and an open list open.

import { element } from "../elements.js";

/** Show `wanted`, [value, text] each, in `select`. */
export function choices(select, wanted) {
  const [values, texts] = [wanted.map(([value]) => value), wanted.map(([, text]) => text)];
  const has = [...select.options];
  if (has.map((option) => option.value).join("\n") === values.join("\n") && has.every((option, at) => option.text === texts[at])) return;
  const chosen = select.value;
  select.replaceChildren(...wanted.map(([value, text]) => element("option", { value }, text)));
  if (values.includes(chosen)) select.value = chosen;
}
