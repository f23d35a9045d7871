// The connection check: all ways to the server tried from this browser, each with what to do where it fails.

import { copy } from "../copy.js";
import { startLanguage, t } from "../language.js";
import { Problem } from "../problem.js";
import { startToast } from "../toast.js";
import { codecsFinding, secureFinding } from "./browser_checks.js";
import { TITLES, line } from "./lines.js";
import { mediaFindings } from "./media_checks.js";
import { report } from "./report.js";
import { eventsFinding, hlsFinding } from "./room_checks.js";
import { askServer, clockFinding, publicRoom, serverFinding } from "./server_checks.js";
import { verdict } from "./verdict.js";

const $ = (id) => document.getElementById(id);
let found = {}; // findings by line
let running = false;
let toast = null;

function show() {
  $("lines").replaceChildren(...Object.keys(TITLES).map((id) => line(id, found[id])));
  const { level, watching, hosting } = summary();
  $("verdict").dataset.level = level;
  $("watching").textContent = t(watching);
  $("hosting").textContent = hosting ? t(hosting) : "";
  $("again").disabled = $("copy").disabled = running;
}

function summary() {
  return running ? { level: "pending", watching: "doctor_checking", hosting: null } : verdict(found);
}

function take(findings) {
  Object.assign(found, findings);
  show();
}

async function check() {
  running = true;
  found = {};
  show();
  take({ codecs: codecsFinding() });
  const room = publicRoom();
  await Promise.all([
    askedServer().then((answer) => take({ server: serverFinding(answer), clock: clockFinding(answer) })),
    mediaFindings().then(take),
    room.then(eventsFinding).then((events) => take({ events })),
    room.then(hlsFinding).then((hls) => take({ hls })),
    secureFinding().then((secure) => take({ secure })),
  ]);
  running = false;
  show();
}

async function askedServer() {
  try {
    return await askServer();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    return null;
  }
}

async function copyReport() {
  const { watching, hosting } = summary();
  const said = [watching, hosting].filter((key) => key !== null).map((key) => t(key));
  if (await copy(report(found, said))) toast(t("copied"));
}

function start() {
  startLanguage(show);
  toast = startToast($("toast"));
  $("again").addEventListener("click", () => void check());
  $("copy").addEventListener("click", () => void copyReport());
  void check();
}

start();
