// All lines as text, for whoever helps. Nothing of the address but the server's own: a link may carry a token.

import { t } from "../language.js";
import { TITLES, levelWords } from "./lines.js";

/** `found`: findings by line; those that are not there yet are left out. `said`: the verdict's sentences. */
export function report(found, said) {
  const head = [`Hawker · ${t("doctor_title")}`, location.origin, new Date().toISOString(), navigator.userAgent];
  return [...head, "", ...said, "", ...Object.keys(TITLES).flatMap((id) => (found[id] ? lines(id, found[id]) : []))].join("\n");
}

function lines(id, { level, what, fix, values, details }) {
  return [
    `[${levelWords(level)}] ${t(TITLES[id])}: ${t(what, values)}`,
    ...details.map(([key, blanks]) => `    ${t(key, blanks)}`),
    ...(fix ? [`    ${t("doctor_fix")} ${t(fix, values)}`] : []),
  ];
}
