// What to type into OBS, for RTMP and for WHIP, ready to copy.

import { t } from "../../language.js";

const $ = (id) => document.getElementById(id);

/** info: the server's publish-info. readKey(): the stream key. */
export function startObsPanel({ info, readKey }) {
  let way = info.rtmp_server ? "rtmp" : "whip";

  const showWords = () => {
    const whip = way === "whip";
    $("obs-lead").textContent = t(whip ? "obs_lead_whip" : "obs_lead");
    $("obs-key-label").textContent = t(whip ? "obs_token" : "obs_key");
    $("recipe-audio").textContent = t(whip ? "recipe_audio_whip" : "recipe_audio_rtmp");
  };
  const showKey = () => ($("obs-key").value = readKey());
  const show = () => {
    $("obs-server").value = (way === "whip" ? info.whip_url : info.rtmp_server) ?? "";
    for (const button of document.querySelectorAll("[data-way]")) {
      button.setAttribute("aria-pressed", String(button.dataset.way === way));
    }
    showWords();
    showKey();
  };

  for (const button of document.querySelectorAll("[data-way]")) {
    button.hidden = button.dataset.way === "rtmp" && !info.rtmp_server;
    button.addEventListener("click", () => {
      way = button.dataset.way;
      show();
    });
  }
  show();
  return { showWords, showKey };
}
