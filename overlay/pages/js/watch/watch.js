// The watch page: puts the player, what the server says about the room, the shop, and words on the screen together.

import { copy } from "../copy.js";
import { known, startLanguage, t } from "../language.js";
import { RoomFeed } from "../room_feed.js";
import { startToast } from "../toast.js";
import { ViewerToken } from "../viewer_token.js";
import { startAmbient } from "./ambient.js";
import { Player } from "./player/player.js";
import { startScreen } from "./screen.js";
import { LiveShop } from "./selling/live_shop.js";
import { startSound } from "./sound.js";

const PAUSED_MS = 700; // changing sources pauses for a moment; longer than that the browser wants a tap
const COUNT_SOON_MS = 800;
const NOT_FOR_US = new Set(["not_found", "unauthorized", "forbidden"]); // a room without events, too

const $ = (id) => document.getElementById(id);
const video = $("video");
const room = decodeURIComponent(location.pathname.split("/")[2]);
const force = { whep: "webrtc", hls: "hls" }[new URLSearchParams(location.search).get("player")] ?? null;

const token = new ViewerToken(room);
const feed = new RoomFeed({ room, token: () => token.get(), onChange: showRoom });
const shop = new LiveShop({ room, token, video, byFrame, onRoom: (news) => feed.tell(news) });
const onChannels = (channels) => shop.events.use(channels);
const player = new Player({ room, video, token, feed, force, onChange: showStatus, onChannels });
const toast = startToast($("toast"));

/**
 * For tests and the console. transport: "webrtc", "hls" or "". state: as in player/player.js. pc: the
 * RTCPeerConnection, or null. stats(): promises {framesDecoded, audioEnergy, width, height, …} of player/whep.js or
 * player/hls_player.js, or null. carrier: what brings the room's events: "channels", "websocket" or "".
 */
window.hawker = {
  get transport() {
    return player.status.transport;
  },
  get state() {
    return player.status.state;
  },
  get pc() {
    return player.pc;
  },
  get carrier() {
    return shop.events.carrier;
  },
  stats: () => player.stats(),
};

// Sound alone has no frames to wait for.
function byFrame() {
  return player.status.transport === "webrtc" && video.videoWidth > 0;
}

function showRoom(now, before) {
  $("title").textContent = now.title || now.id || room;
  document.title = `${now.title || room} · Hawker`;
  $("viewer-count").textContent = String(now.viewers ?? 0);
  $("viewers").hidden = false;
  if (now.live && !before?.live) player.nudge();
}

function showStatus({ state, transport, why }) {
  document.body.dataset.state = state;
  const shut = state === "refused" && NOT_FOR_US.has(why);
  $("show").dataset.shut = String(shut);
  if (shut) shop.events.stop();
  else shop.events.start();
  $("transport").textContent = transport;
  $("live").hidden = state !== "playing";
  $("retry").hidden = state !== "refused";
  showWords();
  showTap();
  feed.relax(state === "playing" || state === "refused");
  if (state === "playing") setTimeout(() => void feed.refresh(), COUNT_SOON_MS);
}

function showWords() {
  const { state, transport, why } = player.status;
  const general = state === "playing" ? `playing_${transport}` : state;
  $("veil").textContent = first(`veil_${state}_${why}`, `veil_${state}`);
  $("status").textContent = first(`${state}_${why}`, general);
  $("status").dataset.why = why ?? "";
  const notice = why === "has_b_frames";
  $("notice").hidden = !notice;
  $("notice").dataset.code = notice ? "HasBFrames" : "";
  $("notice-text").textContent = notice ? t("notice_has_b_frames") : "";
}

function first(specific, general) {
  return t(known(specific) ? specific : general);
}

function showTap() {
  const stuck = video.paused && player.status.state === "playing";
  if (!stuck) $("tap").hidden = true;
  else setTimeout(() => ($("tap").hidden = !(video.paused && player.status.state === "playing")), PAUSED_MS);
}

function showShape() {
  if (!video.videoWidth) return;
  document.body.dataset.shape = video.videoHeight > video.videoWidth ? "portrait" : "landscape";
  document.body.style.setProperty("--aspect", String(video.videoWidth / video.videoHeight));
}

async function share() {
  const url = `${location.origin}${location.pathname}`;
  if (navigator.share && matchMedia("(pointer: coarse)").matches) {
    await navigator.share({ title: document.title, url }).catch(() => {}); // the viewer changed their mind
  } else {
    toast((await copy(url)) ? t("link_copied") : url);
  }
}

function start() {
  startLanguage(() => {
    showWords();
    shop.refresh();
  });
  $("title").textContent = room;
  showWords();
  startSound(video, {
    unmute: $("unmute"),
    toggle: $("sound"),
    onToggle: (muted) => $("sound-icon").setAttribute("href", `/static/icons.svg#sound-${muted ? "off" : "on"}`),
  });
  startScreen({ stage: $("show"), video, fullscreen: $("fullscreen"), pip: $("pip") });
  startAmbient(video, $("ambient"), () => player.status.state === "playing");

  video.addEventListener("resize", showShape);
  video.addEventListener("loadedmetadata", showShape);
  for (const event of ["play", "playing", "pause"]) video.addEventListener(event, showTap);
  $("tap").addEventListener("click", () => void video.play());
  $("retry").addEventListener("click", () => player.nudge());
  $("share").addEventListener("click", () => void share());

  const nudge = () => {
    player.nudge();
    shop.nudge();
  };
  window.addEventListener("online", nudge);
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    void feed.refresh();
    nudge();
  });
  window.addEventListener("pagehide", () => {
    feed.close();
    shop.events.stop();
    player.close();
  });
  window.addEventListener("pageshow", ({ persisted }) => persisted && location.reload());

  void feed.refresh();
  shop.start();
  void player.run();
}

start();
