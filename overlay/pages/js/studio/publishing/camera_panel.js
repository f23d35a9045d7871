// Going live from this device: the preview, the choice of devices, start and stop, and what is being sent.

import { known, t } from "../../language.js";
import { Problem } from "../../problem.js";
import { closeCamera, keepAwake, listDevices, mayAsk, openCamera } from "./camera.js";
import { Publishing } from "./publishing.js";

const STATS_MS = 1000;
const LIMITED_LOOKS = 20; // every session begins with a low rate and works its way up

const $ = (id) => document.getElementById(id);

/** info: the server's publish-info. readKey(): the stream key. */
export function startCameraPanel({ room, info, readKey }) {
  const panel = new CameraPanel({ room, readKey });
  if (mayAsk()) panel.start();
  else explainInsecure(info.https_studio_url, readKey);
  return {
    showWords: () => {
      panel.show();
      if (!mayAsk()) explainInsecure(info.https_studio_url, readKey);
    },
    showKey: () => {
      panel.forgive("no_key");
      if (!mayAsk()) explainInsecure(info.https_studio_url, readKey);
    },
  };
}

// Browsers give the camera to https and localhost only. The key goes along in the fragment, which no server gets.
function explainInsecure(url, readKey) {
  $("insecure").hidden = false;
  for (const id of ["preview", "acts"]) $(id).hidden = true;
  $("insecure-text").textContent = t(url ? "insecure" : "insecure_none");
  $("insecure-link").hidden = $("insecure-warning").hidden = !url;
  if (url) $("insecure-link").href = readKey() ? `${url}#key=${encodeURIComponent(readKey())}` : url;
}

class CameraPanel {
  #room;
  #readKey;
  #media = null;
  #publishing = null;
  #state = "idle";
  #problem = null;
  #limited = 0; // looks in a row at which less was sent than wanted
  #letSleep = () => {};

  constructor({ room, readKey }) {
    this.#room = room;
    this.#readKey = readKey;
    this.show();
  }

  start() {
    $("camera-on").addEventListener("click", () => void this.#turnOn());
    $("start").addEventListener("click", () => void this.#goLive());
    $("stop").addEventListener("click", () => this.#publishing?.stop());
    for (const id of ["camera", "microphone"]) $(id).addEventListener("change", () => void this.#turnOn());
    navigator.mediaDevices.addEventListener?.("devicechange", () => void this.#showDevices());
    window.addEventListener("online", () => this.#publishing?.nudge());
    window.addEventListener("pagehide", () => this.#publishing?.stop());
    setInterval(() => void this.#showFigures(), STATS_MS);
  }

  show() {
    const active = this.#publishing !== null;
    $("state").textContent = t(`publish_${this.#state}`);
    $("state").dataset.state = this.#state;
    $("preview").dataset.state = this.#state;
    $("camera-on").hidden = this.#media !== null;
    $("start").hidden = active;
    $("stop").hidden = !active;
    $("figures").hidden = !active;
    $("problem").hidden = this.#problem === null;
    $("problem-text").textContent = this.#problem === null ? "" : wordsOf(this.#problem);
    if (!active) $("limit").textContent = "";
  }

  /** The cause of a problem is gone. */
  forgive(code) {
    if (this.#problem?.code === code) this.#problem = null;
    this.show();
  }

  // Open the chosen devices, or others; while live they take over without a break.
  async #turnOn() {
    const chosen = { camera: $("camera").value, microphone: $("microphone").value };
    try {
      // Phones have one camera at a time: the old one goes first.
      closeCamera(this.#media);
      this.#media = await openCamera(chosen);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.#media = null;
      this.#set(this.#publishing ? this.#state : "idle", error);
      return false;
    }
    for (const track of this.#media.getTracks()) track.addEventListener("ended", () => this.#unplugged());
    const facing = this.#media.getVideoTracks()[0]?.getSettings().facingMode;
    $("preview-video").toggleAttribute("data-mirrored", facing !== "environment"); // oneself as in a mirror, goods as they are
    $("preview-video").srcObject = this.#media;
    void $("preview-video").play().catch(() => {}); // muted and asked for by a tap: refused only while another source comes
    await this.#publishing?.replace(this.#media);
    await this.#showDevices();
    this.#set(this.#publishing ? this.#state : "ready", null);
    return true;
  }

  async #goLive() {
    if (!this.#readKey()) {
      this.#set(this.#state, new Problem("no_key"));
      $("key").focus();
      return;
    }
    if (!this.#media && !(await this.#turnOn())) return;
    this.#publishing = new Publishing({
      room: this.#room,
      key: this.#readKey(),
      media: this.#media,
      onChange: (change) => this.#follow(change),
    });
    const letSleep = keepAwake();
    this.#letSleep = () => void letSleep.then((release) => release());
    await this.#publishing.run();
  }

  #follow({ state, problem }) {
    if (state === "stopped" || state === "failed") {
      this.#publishing = null;
      this.#letSleep();
    }
    this.#set(state === "stopped" ? (this.#media ? "ready" : "idle") : state, problem);
  }

  #unplugged() {
    closeCamera(this.#media);
    this.#media = null;
    this.#publishing?.stop();
    this.#set("idle", new Problem("unplugged"));
  }

  async #showDevices() {
    const { cameras, microphones } = await listDevices();
    const using = (kind) => this.#media?.getTracks().find((track) => track.kind === kind)?.getSettings().deviceId;
    fill($("camera"), cameras, using("video"), "camera_number");
    fill($("microphone"), microphones, using("audio"), "microphone_number");
    $("devices").hidden = this.#media === null;
  }

  async #showFigures() {
    const stats = await this.#publishing?.stats();
    if (!stats) return;
    const { bitrate_bps, fps, width, height, roundTrip_ms, limit } = stats;
    $("stat-bitrate").textContent = bitrate_bps === null ? "–" : `${(bitrate_bps / 1e6).toFixed(2)} Mbit/s`;
    $("stat-fps").textContent = fps === null ? "–" : String(Math.round(fps));
    $("stat-size").textContent = width === null ? "–" : `${width} × ${height}`;
    $("stat-rtt").textContent = roundTrip_ms === null ? "–" : `${Math.round(roundTrip_ms)} ms`;
    this.#limited = known(`limited_${limit}`) ? this.#limited + 1 : 0;
    $("limit").textContent = this.#limited > LIMITED_LOOKS ? t(`limited_${limit}`) : "";
  }

  #set(state, problem) {
    this.#state = state;
    this.#problem = problem;
    this.show();
  }
}

function wordsOf({ code, detail }) {
  if (["failed", "closed", "disconnected"].includes(code)) return t("reconnecting");
  const key = `problem_${code}`;
  if (known(key)) return t(key, { detail });
  return t(/Error$/.test(code) ? "problem_camera" : "problem_refused", { detail });
}

function fill(select, devices, chosen, numbered) {
  const options = devices.map(({ id, label }, index) => {
    const option = new Option(label || t(numbered, { number: index + 1 }), id);
    option.selected = id === chosen;
    return option;
  });
  select.replaceChildren(...options);
}
