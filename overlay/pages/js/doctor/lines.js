// The lines on the page, in their order: one each for what is looked at.

import { element } from "../elements.js";
import { t } from "../language.js";
import { stamp } from "../template.js";

export const TITLES = {
  server: "doctor_server",
  codecs: "doctor_codecs",
  udp: "doctor_udp",
  tcp: "doctor_tcp",
  dtls: "doctor_dtls",
  channel: "doctor_channel",
  events: "doctor_events",
  hls: "doctor_hls",
  secure: "doctor_secure",
  clock: "doctor_clock",
};
const LEVELS = { ok: "doctor_ok", warn: "doctor_warn", bad: "doctor_bad", skip: "doctor_skip", pending: "doctor_pending" };
const ICONS = {
  ok: "/static/icons.svg#check",
  warn: "/static/icons.svg#info",
  bad: "/static/icons.svg#close",
  skip: "/static/icons.svg#info",
  pending: "/static/icons.svg#info",
};

/** The level in words. */
export function levelWords(level) {
  return t(LEVELS[level]);
}

/** The element of a line; `found` is undefined while it is being looked at. */
export function line(id, found) {
  const level = found?.level ?? "pending";
  const made = stamp("line");
  const $ = (selector) => made.querySelector(selector);
  made.dataset.level = level;
  made.dataset.testid = `doctor-${id}`;
  $("use").setAttribute("href", ICONS[level]);
  $(".what").textContent = t(TITLES[id]);
  $(".level").textContent = levelWords(level);
  if (!found) return made;
  $(".fact").textContent = t(found.what, found.values);
  $(".details").append(...found.details.map(([key, values]) => element("li", {}, t(key, values))));
  if (found.fix) {
    $(".fix").hidden = false;
    $(".fix span").textContent = t(found.fix, found.values);
  }
  return made;
}
