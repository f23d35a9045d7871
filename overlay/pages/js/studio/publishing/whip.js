// Publishing by WebRTC: one WHIP session (RFC 9725), from the offer to its end.

import { Problem } from "../../problem.js";
import { connectionLost } from "../../webrtc/connection.js";
import { carries } from "../../webrtc/sdp.js";
import { deleteSession, postOffer } from "../../webrtc/signalling.js";

const CONNECT_MS = 10_000;
const VIDEO_MAX_BPS = 2_500_000;

export class WhipPublisher {
  pc = null;
  ended = null; // a promise: why the session was lost

  #key;
  #media;
  #resource = null;
  #last = null; // the figures of the last look, for rates

  /** `media`: a MediaStream with a video and perhaps an audio track; it goes on living when this is closed. */
  constructor({ key, media }) {
    this.#key = key;
    this.#media = media;
  }

  /** Resolves once connected. Throws Problem: the server's, or no_webrtc, no_h264, no_connection. */
  async start(signal) {
    if (!("RTCPeerConnection" in window)) throw new Problem("no_webrtc");
    const offer = await this.#offer();
    const { answer, resource } = await postOffer("/whip", offer, this.#key, signal);
    this.#resource = resource;
    if (!carries(answer, "video")) throw new Problem("no_h264");
    await this.pc.setRemoteDescription({ type: "answer", sdp: answer });
    this.ended = connectionLost(this.pc);
    await this.#connected();
  }

  /** {bitrate_bps, fps, width, height, roundTrip_ms, limit}; null where the browser doesn't tell (yet). */
  async stats() {
    const found = {};
    for (const report of (await this.pc.getStats()).values()) {
      if (report.type === "outbound-rtp" && report.kind === "video") found.video = report;
      if (report.type === "outbound-rtp" && report.kind === "audio") found.audio = report;
      if (report.type === "candidate-pair" && report.nominated) found.pair = report;
    }
    const { video = {}, audio = {}, pair = {} } = found;
    return {
      bitrate_bps: this.#rate((video.bytesSent ?? 0) + (audio.bytesSent ?? 0)),
      fps: video.framesPerSecond ?? null,
      width: video.frameWidth ?? null,
      height: video.frameHeight ?? null,
      roundTrip_ms: pair.currentRoundTripTime === undefined ? null : pair.currentRoundTripTime * 1000,
      limit: video.qualityLimitationReason ?? "none",
    };
  }

  /** Send other tracks (another camera) in the same session. */
  async replace(media) {
    this.#media = media;
    for (const { sender, receiver } of this.pc.getTransceivers()) {
      await sender.replaceTrack(media.getTracks().find(({ kind }) => kind === receiver.track.kind) ?? null);
    }
  }

  /** End the session on the server, then here. Promises what the server knew: see deleteSession. */
  close() {
    const resource = this.#resource;
    this.#resource = null;
    const known = resource ? deleteSession(resource, this.#key) : Promise.resolve(null);
    void known.finally(() => this.pc?.close());
    return known;
  }

  async #offer() {
    const pc = new RTCPeerConnection();
    this.pc = pc;
    for (const track of this.#media.getTracks()) {
      const encoding = track.kind === "video" ? { maxBitrate: VIDEO_MAX_BPS } : {};
      const transceiver = pc.addTransceiver(track, {
        direction: "sendonly",
        streams: [this.#media],
        sendEncodings: [encoding],
      });
      if (track.kind === "video") preferH264(transceiver);
    }
    await pc.setLocalDescription(await pc.createOffer());
    // The server is ICE-lite and learns our address from our checks: candidates needn't be waited for.
    return pc.localDescription.sdp;
  }

  #connected() {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Problem("no_connection")), CONNECT_MS);
      const look = () => {
        if (this.pc.connectionState === "connected") resolve();
        if (this.pc.connectionState !== "connecting" && this.pc.connectionState !== "new") clearTimeout(timer);
      };
      this.pc.addEventListener("connectionstatechange", look);
      void this.ended.then(() => reject(new Problem("no_connection")));
      look();
    });
  }

  #rate(bytes) {
    const now = performance.now();
    const before = this.#last;
    this.#last = { bytes, now };
    return before ? ((bytes - before.bytes) * 8000) / (now - before.now) : null;
  }
}

// H.264 first, what all viewers' browsers decode (constrained baseline) before the rest; other codecs stay as a last resort.
function preferH264(transceiver) {
  const codecs = RTCRtpSender.getCapabilities?.("video")?.codecs ?? [];
  const rank = ({ mimeType, sdpFmtpLine = "" }) => {
    if (mimeType.toLowerCase() !== "video/h264") return 3;
    if (!sdpFmtpLine.includes("packetization-mode=1")) return 2;
    return /profile-level-id=42e0/i.test(sdpFmtpLine) ? 0 : 1;
  };
  const ranked = [...codecs].sort((one, other) => rank(one) - rank(other));
  try {
    transceiver.setCodecPreferences?.(ranked);
  } catch {
    // A browser that compares with what it can receive: its own order has to do, the server picks H.264 from it.
  }
}
