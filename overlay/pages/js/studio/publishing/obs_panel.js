// What to type into OBS, for RTMP, WHIP and SRT, ready to copy; or a profile that spares the typing.

import { t } from "../../language.js";
import { obsProfile } from "./obs_profile.js";

const $ = (id) => document.getElementById(id);

/** info: the server's publish-info. readKey(): the stream key. */
export function startObsPanel({ room, info, readKey }) {
  const servers = { rtmp: info.rtmp_server, whip: info.whip_url, srt: info.srt_server };
  let way = info.rtmp_server ? "rtmp" : "whip";

  const showWords = () => {
    const whip = way === "whip";
    $("obs-lead").textContent = t(whip ? "obs_lead_whip" : "obs_lead");
    $("obs-key-label").textContent = t(whip ? "obs_token" : "obs_key");
    $("recipe-audio").textContent = t(whip ? "recipe_audio_whip" : "recipe_audio_rtmp");
  };
  const showKey = () => {
    const key = readKey(), srt = way === "srt";
    $("obs-server").value = srt ? `${servers.srt}?streamid=publish:${key}` : (servers[way] ?? "");
    $("obs-server").type = srt ? "password" : "text"; // there the key stands in the address
    $("obs-key").value = srt ? "" : key;
    $("obs-key").closest(".field").hidden = srt;
    $("obs-profile").disabled = !key;
  };
  const show = () => {
    for (const button of document.querySelectorAll("[data-way]")) {
      button.setAttribute("aria-pressed", String(button.dataset.way === way));
    }
    showWords();
    showKey();
  };

  for (const button of document.querySelectorAll("[data-way]")) {
    button.hidden = !servers[button.dataset.way];
    button.addEventListener("click", () => {
      way = button.dataset.way;
      show();
    });
  }
  $("obs-profile").hidden = !info.rtmp_server;
  $("obs-profile").addEventListener("click", () => {
    const configurationUrl = new URL("/v1/obs/client-configuration", location.href).href;
    const file = obsProfile({ room, server: info.rtmp_server, key: readKey(), configurationUrl });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(file);
    link.download = `hawker-${room}-obs-profile.zip`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  });
  show();
  return { showWords, showKey };
}
