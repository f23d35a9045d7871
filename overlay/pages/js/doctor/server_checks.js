// HTTP: does the server answer, how soon, and what time is it there.

import { Problem, request, requestJson } from "../problem.js";
import { finding, whole_ms } from "./finding.js";

const ASKED = 4; // the first one also opens the connection
const SLOW_MS = 400; // a tap on “Buy” is felt to hang
const APART_S = 2; // the header has whole seconds

/** {ms, ahead_s}: the usual time of an answer, and this clock's lead over the server's; null where not told. */
export async function askServer() {
  const times = [];
  let ahead_s = null;
  for (let asked = 0; asked < ASKED; asked += 1) {
    const began = performance.now();
    const response = await request("/static/icon.svg", { method: "HEAD", cache: "no-store" });
    times.push(performance.now() - began);
    ahead_s = lead_s(response.headers.get("Date"), times.at(-1));
  }
  const [, ...warm] = times;
  warm.sort((one, other) => one - other);
  return { ms: whole_ms(warm[Math.floor(warm.length / 2)]), ahead_s };
}

function lead_s(date, took_ms) {
  const told_ms = Date.parse(date ?? "");
  return Number.isNaN(told_ms) ? null : (Date.now() - took_ms / 2 - (told_ms + 500)) / 1000;
}

export function serverFinding(answer) {
  const scheme = location.protocol.slice(0, -1);
  if (!answer) return finding("bad", "doctor_server_none", { fix: "doctor_server_none_fix" });
  const values = { scheme, ms: answer.ms };
  if (answer.ms < SLOW_MS) return finding("ok", "doctor_server_ok", { values });
  return finding("warn", "doctor_server_slow", { values, fix: "doctor_server_slow_fix" });
}

export function clockFinding(answer) {
  if (!answer || answer.ahead_s === null) return finding("skip", "doctor_clock_unknown");
  const { ahead_s } = answer;
  if (Math.abs(ahead_s) <= APART_S) return finding("ok", "doctor_clock_ok");
  const values = { s: Math.round(Math.abs(ahead_s)) };
  const what = ahead_s > 0 ? "doctor_clock_ahead" : "doctor_clock_behind";
  return finding("warn", what, { values, fix: "doctor_clock_fix" });
}

/** A public room, one that is live if there is; null: none among the first of the list, undefined: no list came. */
export async function publicRoom() {
  try {
    const { items } = await requestJson("/v1/rooms");
    const open = items.filter((room) => room.access === "public");
    return open.find((room) => room.live) ?? open[0] ?? null;
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    return undefined;
  }
}
