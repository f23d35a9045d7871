// Watching by WebRTC: one WHEP session (draft-ietf-wish-whep), from the offer to the first decoded frame and to its end.

import { Problem, bearer, request } from "../../problem.js";
import { connectionLost } from "../../webrtc/connection.js";
import { carries, withStereo } from "../../webrtc/sdp.js";
import { deleteSession, postOffer } from "../../webrtc/signalling.js";
import { play } from "./autoplay.js";

const CONNECT_MS = 5000; // no media by then: this network doesn't let WebRTC through
const KEYFRAME_MS = 12_000; // media arrives but no picture: the host's keyframes are rare, a joiner has to wait for one
const LOOK_MS = 100;
const SILENT_MS = 2500; // the server says something over the data channels every second
const ANSWER_MS = 2000; // for a look at the session
const SOUND_ALONE_MS = 20_000; // on a link too thin for the picture the server keeps the sound, for 16 s at a time

export class WhepPlayer {
  name = "webrtc";
  stall_ms = 4000; // no new frame for so long while connected: something is wrong
  pc = null;
  channels = null; // {reliable, live}: the room's events (contract: negotiated, ids 0 and 1)
  ended = null; // a promise: why the session was lost

  #room;
  #token;
  #video;
  #onChannels;
  #session = null; // {resource, token}
  #media = new MediaStream();
  #expects = "video";
  #frames = { count: 0, since: 0 }; // when the last new frame was seen
  #heardAt = Infinity; // the last message over the data channels

  /**
   * `token()` promises a viewer token or null. Without `video` it plays unseen until `attach`.
   * `onChannels(channels)` is told of the data channels before they can open.
   */
  constructor({ room, token, video = null, onChannels = () => {} }) {
    this.#room = room;
    this.#token = token;
    this.#video = video;
    this.#onChannels = onChannels;
  }

  /** Resolves when the first frame is decoded. Throws Problem: the server's, or no_webrtc, no_connection, no_picture. */
  async start(signal) {
    if (!("RTCPeerConnection" in window)) throw new Problem("no_webrtc");
    const [offer, token] = await Promise.all([this.#offer(), this.#token()]);
    const url = `/whep/${encodeURIComponent(this.#room)}`;
    const { answer, resource } = await postOffer(url, offer, token, signal);
    this.#session = { resource, token };
    this.#expects = carries(answer, "video") ? "video" : "audio";
    this.#onChannels(this.channels);
    await this.#accept(answer);
    this.ended = connectionLost(this.pc).then((why) => {
      if (why === "closed") this.#session = null; // by the server: nothing is left there to delete
      return why;
    });
    if (this.#video) this.attach(this.#video);
    await this.#firstFrame(signal);
  }

  attach(video) {
    this.#video = video;
    video.srcObject = this.#media;
    void play(video);
  }

  /** A count that grows while all is well: frames, and sound alone for a while; of a stream without video, sound. */
  async progress() {
    const { framesDecoded, audioSamples, audioPackets } = await this.stats();
    if (this.#expects === "audio") return audioSamples;
    const now = performance.now();
    if (framesDecoded !== this.#frames.count) this.#frames = { count: framesDecoded, since: now };
    return now - this.#frames.since < SOUND_ALONE_MS ? framesDecoded + audioPackets : framesDecoded;
  }

  /** Whether the server has no such session any more. It is asked when the data channels have fallen silent. */
  async gone() {
    const silent = this.channels.reliable.readyState === "open" && performance.now() - this.#heardAt > SILENT_MS;
    if (!silent || !this.#session?.resource) return false;
    try {
      const { resource, token } = this.#session;
      await request(resource, { headers: bearer(token), signal: AbortSignal.timeout(ANSWER_MS) });
      return false;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      const gone = error.code === "not_found";
      if (gone) this.#session = null; // nothing is left there to delete
      return gone;
    }
  }

  /** Figures of the session so far; 0 where nothing was received yet, null where the browser doesn't tell. */
  async stats() {
    const found = { video: {}, audio: {}, pair: {} };
    for (const report of (await this.pc.getStats()).values()) {
      if (report.type === "inbound-rtp") found[report.kind] = report;
      if (report.type === "candidate-pair" && report.nominated) found.pair = report;
    }
    const { video, audio, pair } = found;
    return {
      transport: this.name,
      framesDecoded: video.framesDecoded ?? 0,
      framesDropped: video.framesDropped ?? 0,
      framesPerSecond: video.framesPerSecond ?? 0,
      width: video.frameWidth ?? 0,
      height: video.frameHeight ?? 0,
      freezes: video.freezeCount ?? null,
      audioEnergy: audio.totalAudioEnergy ?? 0,
      audioSamples: audio.totalSamplesReceived ?? 0,
      audioPackets: audio.packetsReceived ?? 0,
      bytesReceived: (video.bytesReceived ?? 0) + (audio.bytesReceived ?? 0),
      packetsLost: (video.packetsLost ?? 0) + (audio.packetsLost ?? 0),
      roundTrip_ms: pair.currentRoundTripTime === undefined ? null : pair.currentRoundTripTime * 1000,
    };
  }

  /** End the session here and on the server. The last picture stays on the screen until another comes. */
  close() {
    this.pc?.close();
    const session = this.#session;
    this.#session = null;
    if (session?.resource) void deleteSession(session.resource, session.token);
  }

  async #offer() {
    const pc = new RTCPeerConnection();
    this.pc = pc;
    pc.addEventListener("track", ({ track }) => this.#media.addTrack(track));
    pc.addTransceiver("video", { direction: "recvonly" });
    pc.addTransceiver("audio", { direction: "recvonly" });
    this.channels = {
      reliable: pc.createDataChannel("hawker", { negotiated: true, id: 0, ordered: true }),
      live: pc.createDataChannel("hawker-live", { negotiated: true, id: 1, ordered: false, maxRetransmits: 0 }),
    };
    for (const channel of Object.values(this.channels)) {
      channel.addEventListener("message", () => (this.#heardAt = performance.now()));
    }
    const offer = await pc.createOffer();
    await pc.setLocalDescription({ type: "offer", sdp: withStereo(offer.sdp) });
    // The server is ICE-lite and learns our address from our checks: candidates needn't be waited for.
    return pc.localDescription.sdp;
  }

  async #accept(sdp) {
    try {
      await this.pc.setRemoteDescription({ type: "answer", sdp });
    } catch (error) {
      throw new Problem("refused", { detail: String(error) });
    }
  }

  async #firstFrame(signal) {
    const began = performance.now();
    let lost = null;
    void this.ended.then((why) => (lost = why));
    for (;;) {
      const stats = await this.stats();
      if (this.#expects === "video" ? stats.framesDecoded : stats.audioSamples) return;
      if (signal?.aborted) throw new Problem("aborted");
      const connected = this.pc.connectionState === "connected";
      const patience_ms = stats.bytesReceived > 0 ? KEYFRAME_MS : CONNECT_MS;
      if (lost !== null || performance.now() - began > patience_ms) {
        throw new Problem(connected ? "no_picture" : "no_connection");
      }
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
  }
}
