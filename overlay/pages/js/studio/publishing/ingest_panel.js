// What the server sees of the stream, and what could be better, for whoever has signed in and may look.

import { pick, t } from "../../language.js";
import { Problem } from "../../problem.js";
import { showQuality } from "./quality_figures.js";

const EVERY_MS = 3000;

const $ = (id) => document.getElementById(id);

export function startIngestPanel({ room, session }) {
  const url = `/v1/rooms/${encodeURIComponent(room)}/ingest`;
  let seen = null; // the last answer
  let timer = null;
  let told = ""; // the notices that are shown

  const showWords = () => {
    $("ingest-hint").hidden = session.may("rooms.inspect");
    $("ingest-hint").textContent = t(session.who === null ? "sell_ingest_sign_in" : "ingest_lead");
    $("ingest").hidden = seen === null;
    showQuality(seen);
    if (seen === null) return;
    put($("ingest-state"), stateOf(seen));
    $("ingest-state").dataset.live = seen.input === "slate" ? "slate" : String(Boolean(seen.live));
    showNotices(seen.notices ?? []);
  };
  // Anew only where they have changed: a screen reader says each once.
  const showNotices = (notices) => {
    const telling = JSON.stringify([document.documentElement.lang, notices]);
    if (telling === told) return;
    told = telling;
    $("notices").replaceChildren(...notices.map(notice));
  };
  const ask = async () => {
    clearTimeout(timer);
    if (!session.may("rooms.inspect")) seen = null;
    else if (!document.hidden) {
      try {
        seen = await session.send(url);
      } catch (error) {
        if (!(error instanceof Problem)) throw error;
      }
    }
    showWords();
    clearTimeout(timer); // another may have asked meanwhile
    if (session.may("rooms.inspect")) timer = setTimeout(ask, EVERY_MS);
  };

  session.onChange(() => void ask());
  showWords();
  return { showWords, refresh: () => void ask() };
}

function stateOf({ live, input, protocol, codecs, resolution, frame_rate, notices }) {
  if (!live) return t("ingest_off");
  if (input === "slate") return t("ingest_slate");
  const parts = [
    t("ingest_live", { protocol: String(protocol ?? "?").toUpperCase() }),
    [codecs?.video, codecs?.audio].filter(Boolean).join(" + "),
    resolution && resolution.replace("x", " × "),
    frame_rate && `${frame_rate} fps`,
    notices?.length === 0 && t("ingest_fine"),
  ];
  return parts.filter(Boolean).join(" · ");
}

function put(element, words) {
  if (element.textContent !== words) element.textContent = words;
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
