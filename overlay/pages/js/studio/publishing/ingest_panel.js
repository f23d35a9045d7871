// What the server sees of the stream, and what could be better, for whoever has signed in and may look.

import { pick, t } from "../../language.js";
import { Problem } from "../../problem.js";

const EVERY_MS = 3000;

const $ = (id) => document.getElementById(id);

export function startIngestPanel({ room, session }) {
  const url = `/v1/rooms/${encodeURIComponent(room)}/ingest`;
  let seen = null; // the last answer
  let timer = null;

  const showWords = () => {
    $("ingest-hint").hidden = session.may("rooms.inspect");
    $("ingest-hint").textContent = t(session.who === null ? "sell_ingest_sign_in" : "ingest_lead");
    $("ingest").hidden = seen === null;
    if (seen === null) return;
    $("ingest-state").textContent = stateOf(seen);
    $("ingest-state").dataset.live = String(Boolean(seen.live));
    $("notices").replaceChildren(...(seen.notices ?? []).map(notice));
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
    if (session.may("rooms.inspect")) timer = setTimeout(ask, EVERY_MS);
  };

  session.onChange(() => void ask());
  showWords();
  return { showWords };
}

function stateOf({ live, protocol, codecs, resolution, frame_rate, bitrate_bps, notices }) {
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
