// The studio: the key that opens the room, and around it the panels that use it.

import { startCameraPanel } from "./camera_panel.js";
import { startFields } from "./fields.js";
import { startIngestPanel } from "./ingest_panel.js";
import { startLanguage, t } from "./language.js";
import { startObsPanel } from "./obs_panel.js";
import { Problem, requestJson } from "./problem.js";
import { RoomFeed } from "./room_feed.js";
import { recall, remember, takeFromFragment } from "./storage.js";
import { startToast } from "./toast.js";

const $ = (id) => document.getElementById(id);
const room = decodeURIComponent(location.pathname.split("/")[2]);
const kept = `hawker.key.${room}`;
const key = $("key");

function takeKey() {
  const given = takeFromFragment("key");
  if (given !== null) remember(sessionStorage, kept, given);
  key.value = recall(sessionStorage, kept) ?? "";
}

function showRoom({ title, live, viewers }) {
  $("title").textContent = title || room;
  document.title = `${t("studio")} · ${title || room}`;
  $("live").hidden = !live;
  $("viewers").hidden = false;
  $("viewer-count").textContent = String(viewers ?? 0);
}

async function publishInfo() {
  try {
    return await requestJson(`/v1/rooms/${encodeURIComponent(room)}/publish-info`);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    return { rtmp_server: null, whip_url: `${location.origin}/whip`, https_studio_url: null };
  }
}

async function start() {
  takeKey();
  const panels = [];
  startLanguage(() => panels.forEach(({ showWords }) => showWords()));
  startFields(startToast($("toast")));
  $("title").textContent = room;
  $("watch-url").value = `${location.origin}/watch/${encodeURIComponent(room)}`;
  $("watch-link").href = $("watch-url").value;
  void new RoomFeed({ room, token: async () => null, onChange: showRoom }).refresh();

  const info = await publishInfo();
  const readKey = () => key.value.trim();
  const obs = startObsPanel({ info, readKey });
  const camera = startCameraPanel({ room, info, readKey });
  panels.push(obs, camera, startIngestPanel({ room }));

  const changed = () => {
    remember(sessionStorage, kept, readKey());
    obs.showKey();
    camera.showKey();
  };
  key.addEventListener("input", changed);
  window.addEventListener("hashchange", () => {
    takeKey();
    changed();
  });
}

void start();
