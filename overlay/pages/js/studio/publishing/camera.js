// The camera and the microphone of this device.

import { Problem } from "../../problem.js";

const VIDEO = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30, max: 30 } };
const AUDIO = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };

/** Whether the page may ask for the camera at all (a secure context). */
export function mayAsk() {
  return Boolean(navigator.mediaDevices?.getUserMedia);
}

/** A MediaStream of the chosen devices ("" or undefined: the browser's choice). Throws Problem with the DOMException's name. */
export async function openCamera({ camera, microphone } = {}) {
  try {
    const media = await navigator.mediaDevices.getUserMedia({
      video: { ...VIDEO, ...(camera ? { deviceId: { exact: camera } } : { facingMode: "user" }) },
      audio: { ...AUDIO, ...(microphone && { deviceId: { exact: microphone } }) },
    });
    for (const track of media.getVideoTracks()) track.contentHint = "motion";
    for (const track of media.getAudioTracks()) track.contentHint = "speech";
    return media;
  } catch (error) {
    throw new Problem(error.name, { detail: error.message });
  }
}

export function closeCamera(media) {
  for (const track of media?.getTracks() ?? []) track.stop();
}

/** {cameras, microphones}, each [{id, label}]; labels are empty until the browser was allowed to use one. */
export async function listDevices() {
  const devices = await navigator.mediaDevices.enumerateDevices();
  const of = (kind) =>
    devices.filter((device) => device.kind === kind).map(({ deviceId, label }) => ({ id: deviceId, label }));
  return { cameras: of("videoinput"), microphones: of("audioinput") };
}

/** Keep the screen on until the function that this promises is called; where that can't be had it does nothing. */
export async function keepAwake() {
  try {
    const lock = await navigator.wakeLock.request("screen");
    return () => void lock.release();
  } catch {
    return () => {};
  }
}
