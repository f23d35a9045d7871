// The lines that want a room: its events over WebSocket, its show over HLS.

import { Problem, request } from "../problem.js";
import { finding, whole_ms } from "./finding.js";

const OPEN_MS = 5000;
const PLAYLIST = "application/vnd.apple.mpegurl";
const SEGMENT = 'video/mp4; codecs="avc1.42E01E,mp4a.40.2"';

/** `room`: a public one; null: there is none, undefined: the server doesn't say. */
export async function eventsFinding(room) {
  if (!room) return finding("skip", room === null ? "doctor_no_room" : "doctor_needs_server");
  const began = performance.now();
  const values = { room: room.title || room.id };
  if (!(await hears(room))) return finding("bad", "doctor_events_none", { values, fix: "doctor_events_none_fix" });
  return finding("ok", "doctor_events_ok", { values: { ...values, ms: whole_ms(performance.now() - began) } });
}

// Whether a message comes: a proxy may open the socket and let nothing through.
function hears(room) {
  const url = new URL(`/v1/rooms/${encodeURIComponent(room.id)}/events`, location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(url.href, "hawker.v1.json");
  return new Promise((resolve) => {
    const end = (heard) => {
      clearTimeout(timer);
      resolve(heard);
      socket.close();
    };
    const timer = setTimeout(() => end(false), OPEN_MS);
    socket.addEventListener("message", () => end(true), { once: true });
    socket.addEventListener("close", () => end(false), { once: true });
  });
}

/** `room`: as above. */
export async function hlsFinding(room) {
  const native = playsItself(document.createElement("video"));
  if (!native && !playsSegments()) return finding("bad", "doctor_hls_none", { fix: "doctor_hls_none_fix" });
  const script = native ? null : await refusal("/static/vendor/hls.min.js", "HEAD");
  if (script?.status === 404) return finding("bad", "doctor_hls_script", { fix: "doctor_hls_script_fix" });
  if (script || room === undefined) return finding("skip", "doctor_needs_server");
  if (!room?.live) return finding("ok", "doctor_hls_idle");
  const refused = await refusal(`/hls/${encodeURIComponent(room.id)}/index.m3u8`, "GET");
  const values = { room: room.title || room.id, detail: refused?.detail };
  if (!refused) return finding("ok", "doctor_hls_ok", { values });
  return finding("warn", "doctor_hls_fetch", { values, fix: "doctor_hls_fetch_fix" });
}

// As the watch page chooses: Chromium says "maybe" too, but only Safari, with its presentation modes, plays HLS well.
function playsItself(video) {
  return "webkitSetPresentationMode" in video && video.canPlayType(PLAYLIST) !== "";
}

function playsSegments() {
  const source = window.ManagedMediaSource ?? window.MediaSource;
  return source?.isTypeSupported(SEGMENT) ?? false;
}

// The Problem why it can't be fetched; null: it can.
async function refusal(url, method) {
  try {
    await request(url, { method, cache: "no-store" });
    return null;
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    return error;
  }
}
