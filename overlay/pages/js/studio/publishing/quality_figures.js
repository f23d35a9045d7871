// The figures of what arrives: rates, keyframes, outages, and how loud it is.

import { t } from "../../language.js";

const QUIETEST_LUFS = -48; // the left end of the bar; the right one is 0

const INPUTS = {
  main: "quality_input_main",
  backup: "quality_input_backup",
  slate: "quality_input_slate",
  channel: "quality_input_channel",
};

const $ = (id) => document.getElementById(id);

/** `seen`: the answer of GET …/ingest, null where there is none. */
export function showQuality(seen) {
  const quality = seen?.live ? seen.quality : null;
  $("quality").hidden = !quality;
  showLoudness(seen?.input === "slate" ? null : quality);
  if (!quality) return;
  const input = INPUTS[seen.protocol === "channel" ? "channel" : seen.input];
  const figures = {
    input: input && t(input),
    fps: quality.frame_rate > 0 && quality.frame_rate.toFixed(0),
    keyframes: quality.keyframe_interval_s > 0 && t("quality_every", { seconds: quality.keyframe_interval_s.toFixed(1) }),
    video: bitrate(quality.video_bps),
    audio: bitrate(quality.audio_bps),
    outages: outages(quality),
  };
  for (const [name, words] of Object.entries(figures)) $(`quality-${name}`).textContent = words || "–";
}

function outages({ outages, away_s }) {
  return outages === 0 ? "0" : t("quality_outages_some", { count: outages, seconds: Math.round(away_s) });
}

function bitrate(bps) {
  if (!bps) return "";
  return bps < 1e6 ? `${Math.round(bps / 1000)} kbit/s` : `${(bps / 1e6).toFixed(2)} Mbit/s`;
}

function showLoudness(quality) {
  const now = quality?.loudness_now_lufs ?? null;
  $("loudness").hidden = now === null;
  if (now === null) return;
  const minute = quality.loudness_lufs;
  const words = { now: Math.round(now), minute: minute === null ? "" : Math.round(minute) };
  $("loudness-figure").textContent = t(minute === null ? "quality_loudness_now" : "quality_loudness_figure", words);
  const shown = Math.min(0, Math.max(QUIETEST_LUFS, now));
  $("loudness-bar").setAttribute("aria-valuenow", String(shown));
  $("loudness-bar").setAttribute("aria-valuetext", $("loudness-figure").textContent);
  $("loudness-level").style.width = `${100 * (1 - shown / QUIETEST_LUFS)}%`;
  $("loudness-level").dataset.good = String(now >= -24 && now <= -12);
}
