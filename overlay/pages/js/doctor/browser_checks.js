// What this browser can do by itself: the camera, WebRTC, the codecs.

import { Problem, requestJson } from "../problem.js";
import { finding } from "./finding.js";

const WANTED = [
  ["video", "video/H264", "H.264"],
  ["audio", "audio/opus", "Opus"],
];

export function codecsFinding() {
  if (!("RTCPeerConnection" in window)) return finding("bad", "doctor_codecs_none", { fix: "doctor_codecs_none_fix" });
  if (!("RTCRtpReceiver" in window && "getCapabilities" in RTCRtpReceiver)) {
    return finding("warn", "doctor_codecs_unknown", { fix: "doctor_codecs_unknown_fix" });
  }
  const missing = WANTED.filter(([kind, type]) => !decodes(kind, type)).map(([, , name]) => name);
  if (missing.length === 0) return finding("ok", "doctor_codecs_ok");
  const values = { missing: missing.join(", ") };
  return finding("bad", "doctor_codecs_missing", { values, fix: "doctor_codecs_missing_fix" });
}

function decodes(kind, type) {
  const codecs = RTCRtpReceiver.getCapabilities(kind)?.codecs ?? [];
  return codecs.some(({ mimeType }) => mimeType.toLowerCase() === type.toLowerCase());
}

/** The fix names where https is, if the server has it. */
export async function secureFinding() {
  if (!window.isSecureContext) {
    const url = await httpsOrigin();
    const fix = url ? "doctor_secure_none_fix" : "doctor_secure_no_https_fix";
    return finding("warn", "doctor_secure_none", { values: { url }, fix });
  }
  if (navigator.mediaDevices?.getUserMedia) return finding("ok", "doctor_secure_ok");
  return finding("warn", "doctor_secure_no_camera", { fix: "doctor_secure_no_camera_fix" });
}

// Every room has its studio there, so any name does.
async function httpsOrigin() {
  try {
    const { https_studio_url } = await requestJson("/v1/rooms/show/publish-info");
    return https_studio_url && new URL(https_studio_url).origin;
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    return null;
  }
}
