// The lobby: what is live now, kept fresh; and how to go live.

import { startFields } from "../fields.js";
import { startLanguage, t } from "../language.js";
import { Problem, requestJson } from "../problem.js";
import { stamp } from "../template.js";
import { startToast } from "../toast.js";

const EVERY_MS = 5000;
const STUDIOS_SHOWN = 3; // of rooms that wait for a host
const PAGES_MOST = 10; // of the list; a lobby of more than this many rooms wants a search

const $ = (id) => document.getElementById(id);
let shown = null; // the rooms, once they are known
let timer = null;

async function rooms() {
  const items = [];
  let cursor = null;
  for (let page = 0; page < PAGES_MOST; page += 1) {
    const answer = await requestJson(`/v1/rooms${cursor ? `?cursor=${encodeURIComponent(cursor)}` : ""}`);
    items.push(...answer.items);
    cursor = answer.next;
    if (!cursor) break;
  }
  return items;
}

async function refresh() {
  clearTimeout(timer);
  if (!document.hidden) {
    try {
      shown = await rooms();
      $("problem").hidden = true;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      $("problem").hidden = false;
    }
    show();
  }
  timer = setTimeout(() => void refresh(), EVERY_MS * (0.75 + Math.random() / 2));
}

function show() {
  if (shown === null) return;
  const live = shown.filter((room) => room.live && room.access !== "rehearsal").sort((one, other) => other.viewers - one.viewers);
  const idle = shown.filter((room) => !room.live);
  update($("live"), live, stall);
  update($("idle"), idle, door);
  $("empty").hidden = live.length > 0;
  $("others").hidden = idle.length === 0;
  $("try-watch").hidden = live.length === 0;
  $("try-none").hidden = live.length > 0;
  if (live.length) $("try-watch").href = `/watch/${encodeURIComponent(live[0].id)}`;
  update($("try-studios"), idle.slice(0, STUDIOS_SHOWN), studio);
  const count = live.length === 1 ? t("lobby_count_one") : t("lobby_count", { count: live.length });
  const words = live.length === 0 ? t("lobby_empty") : count;
  if ($("count").textContent !== words) $("count").textContent = words;
}

// Items stay the same elements from one look to the next, so that focus and hover do.
function update(list, rooms, make) {
  const kept = new Map([...list.children].map((item) => [item.dataset.room, item]));
  const items = rooms.map((room) => {
    const item = kept.get(room.id) ?? make(room);
    item.dataset.room = room.id;
    item.querySelector(".name").textContent = room.title || room.id;
    item.querySelector(".restricted").hidden = room.access !== "restricted";
    item.querySelector(".restricted").textContent = t("restricted");
    const badge = item.querySelector(".live-badge");
    if (badge) badge.textContent = t("live_badge");
    const viewers = item.querySelector(".count");
    if (viewers) viewers.textContent = String(room.viewers ?? 0);
    return item;
  });
  const same = items.length === list.children.length && items.every((item, at) => item === list.children[at]);
  if (!same) list.replaceChildren(...items);
}

function stall(room) {
  const item = $("stall").content.firstElementChild.cloneNode(true);
  item.querySelector("a").href = `/watch/${encodeURIComponent(room.id)}`;
  item.style.setProperty("--hue", String(hue(room.id)));
  return item;
}

function door(room) {
  const item = $("door").content.firstElementChild.cloneNode(true);
  item.querySelector("a").href = `/watch/${encodeURIComponent(room.id)}`;
  return item;
}

function studio(room) {
  const item = stamp("studio");
  item.querySelector("a").href = `/studio/${encodeURIComponent(room.id)}`;
  return item;
}

// Each room its own colour on the wheel, always the same.
function hue(id) {
  let hash = 7;
  for (const char of id) hash = (hash * 31 + char.codePointAt(0)) % 9973;
  return hash % 360;
}

function start() {
  startLanguage(show);
  startFields(startToast($("toast")));
  $("command").textContent =
    `curl ${location.origin}/v1/rooms -H 'Authorization: Bearer ADMIN_TOKEN' ` +
    `-H 'Content-Type: application/json' -d '{"id": "my-room", "title": "My first show"}'`;
  $("link").textContent = `${location.origin}/watch/my-room`;
  $("open").addEventListener("submit", (event) => {
    event.preventDefault();
    location.assign(`/studio/${encodeURIComponent($("room").value.trim())}`);
  });
  document.addEventListener("visibilitychange", () => document.hidden || void refresh());
  window.addEventListener("online", () => void refresh());
  void refresh();
}

start();
