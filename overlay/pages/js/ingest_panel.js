// What the server sees of the stream, and what could be better, for whoever has the admin token.

import { pick, t } from "./language.js";
import { Problem, bearer, requestJson } from "./problem.js";
import { recall, remember } from "./storage.js";

const EVERY_MS = 3000;
const KEPT = "hawker.admin";

const $ = (id) => document.getElementById(id);

export function startIngestPanel({ room }) {
  const field = $("admin");
  const url = `/v1/rooms/${encodeURIComponent(room)}/ingest`;
  let seen = null; // the last answer, or {denied: true}
  let timer = null;

  const showWords = () => {
    $("ingest").hidden = seen === null;
    if (seen === null) return;
    $("ingest-state").textContent = stateOf(seen);
    $("ingest-state").dataset.live = String(Boolean(seen.live));
    $("notices").replaceChildren(...(seen.notices ?? []).map(notice));
  };
  const ask = async () => {
    clearTimeout(timer);
    const token = field.value.trim();
    if (!token) seen = null;
    else if (!document.hidden) {
      try {
        seen = await requestJson(url, { headers: bearer(token) });
      } catch (error) {
        if (!(error instanceof Problem)) throw error;
        seen = error.status === 401 || error.status === 403 ? { denied: true } : seen;
      }
    }
    showWords();
    if (token && !seen?.denied) timer = setTimeout(ask, EVERY_MS);
  };

  field.value = recall(sessionStorage, KEPT) ?? "";
  field.addEventListener("change", () => {
    remember(sessionStorage, KEPT, field.value.trim());
    void ask();
  });
  void ask();
  return { showWords };
}

function stateOf({ denied, live, protocol, codecs, resolution, frame_rate, bitrate_bps, notices }) {
  if (denied) return t("ingest_denied");
  if (!live) return t("ingest_off");
  const parts = [
    t("ingest_live", { protocol: String(protocol ?? "?").toUpperCase() }),
    [codecs?.video, codecs?.audio].filter(Boolean).join(" + "),
    resolution && resolution.replace("x", " × "),
    frame_rate && `${frame_rate} fps`,
    bitrate_bps && `${(bitrate_bps / 1e6).toFixed(2)} Mbit/s`,
    notices?.length === 0 && t("ingest_fine"),
  ];
  return parts.filter(Boolean).join(" · ");
}

// Built from text nodes only: the server's words are never HTML.
function notice({ code, severity, text, fix }) {
  const item = document.createElement("li");
  item.dataset.code = code;
  item.dataset.severity = severity;
  const words = document.createElement("p");
  words.textContent = pick(text) || code;
  item.append(words);
  if (pick(fix)) {
    const remedy = document.createElement("p");
    remedy.className = "remedy";
    remedy.textContent = `${t("ingest_fix")} ${pick(fix)}`;
    item.append(remedy);
  }
  return item;
}
