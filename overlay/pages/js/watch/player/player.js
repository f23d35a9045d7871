// Which way the show is watched, and what happens when a way fails: WebRTC first, HLS where it can't be, back when it can.
//
// One session at a time is started, watched and ended; what its refusal or end leads to is the table AFTER.

import { Backoff, Sleep } from "../../backoff.js";
import { Problem } from "../../problem.js";
import { HlsPlayer } from "./hls_player.js";
import { StallWatch } from "./stall_watch.js";
import { WhepPlayer } from "./whep.js";

// state: what the viewer is told. next: the transport tried next (none: the viewer has to ask for another try).
// pause: "none", "backoff", or "host" (as long as the server says, cut short when the room turns live).
const AFTER = {
  not_live: { state: "waiting", next: "webrtc", pause: "host" },
  not_ready: { state: "connecting", next: "hls", pause: "backoff" },
  has_b_frames: { state: "connecting", next: "hls", pause: "none" },
  no_webrtc: { state: "connecting", next: "hls", pause: "none" },
  no_connection: { state: "connecting", next: "hls", pause: "none" },
  no_picture: { state: "connecting", next: "hls", pause: "none" },
  refused: { state: "connecting", next: "hls", pause: "none" },
  unavailable: { state: "connecting", next: "hls", pause: "none" },
  too_many: { state: "reconnecting", next: "webrtc", pause: "host" },
  unreachable: { state: "reconnecting", next: "webrtc", pause: "backoff" },
  failed: { state: "reconnecting", next: "webrtc", pause: "backoff" },
  disconnected: { state: "reconnecting", next: "webrtc", pause: "backoff" },
  closed: { state: "reconnecting", next: "webrtc", pause: "backoff" },
  stalled: { state: "reconnecting", next: "webrtc", pause: "backoff" },
  gone: { state: "reconnecting", next: "webrtc", pause: "backoff" }, // the server's process that had it has ended
  token_renewed: { state: "reconnecting", next: "webrtc", pause: "none" },
  hls_lost: { state: "reconnecting", next: "webrtc", pause: "backoff" },
  ended: { state: "waiting", next: "webrtc", pause: "host" },
  no_hls: { state: "refused" },
  no_decoder: { state: "refused" },
  not_found: { state: "refused" },
  unauthorized: { state: "refused" },
  forbidden: { state: "refused" },
};

const TRANSPORTS = { webrtc: WhepPlayer, hls: HlsPlayer };
const MAY_HEAL = new Set(["no_connection", "no_picture", "unavailable", "refused", "has_b_frames"]); // worth trying WebRTC again
const UPGRADE_FIRST_MS = 30_000;
const UPGRADE_MOST_MS = 300_000;
const STEADY_MS = 10_000; // a session that lasted so long was a good one: the next wait is short again
const RETRY_MS = 2000; // the server named no Retry-After
const HOST_MOST_MS = 15_000;
const LOOK_MS = 1000;
const FOREVER_MS = 2 ** 31 - 1;

export class Player {
  #room;
  #video;
  #token;
  #feed;
  #force;
  #onChange;
  #onChannels;
  #stop = new AbortController();
  #sleep = new Sleep();
  #backoff = new Backoff({ first_ms: 1000 });
  #current = null; // the transport in use
  #stall = null;
  #next = "webrtc";
  #whyHls = null;
  #played = false;
  #upgrade_ms = UPGRADE_FIRST_MS;
  #upgradeAt = Infinity;
  #renewed = false; // the session under way is the one try with a renewed token
  #status = { state: "connecting", transport: "", why: null };

  /**
   * token: a ViewerToken. feed: a RoomFeed. force: "webrtc", "hls" or null.
   * onChange({state, transport, why}): state is connecting, waiting, playing, reconnecting or refused;
   * transport is "webrtc" or "hls" while playing, else ""; why is the code of the cause, or null.
   * onChannels({reliable, live}): the data channels of a WebRTC session that begins; null: there are none now.
   */
  constructor({ room, video, token, feed, force, onChange, onChannels = () => {} }) {
    this.#room = room;
    this.#video = video;
    this.#token = token;
    this.#feed = feed;
    this.#force = force;
    this.#onChange = onChange;
    this.#onChannels = onChannels;
  }

  get status() {
    return this.#status;
  }

  get pc() {
    return this.#current?.pc ?? null;
  }

  async stats() {
    return this.#current ? this.#current.stats() : null;
  }

  async run() {
    while (!this.#stop.signal.aborted) {
      const problem = await this.#session();
      this.#current?.close();
      this.#current = null;
      this.#onChannels(null);
      if (!this.#stop.signal.aborted) await this.#follow(problem);
    }
  }

  /** Something changed for the better (network back, tab shown, room live): don't wait, look. */
  nudge() {
    this.#stall?.hurry();
    this.#sleep.wake();
  }

  close() {
    this.#stop.abort();
    this.#current?.close();
    this.#sleep.wake();
  }

  // One session from start to end; the Problem that ended it.
  async #session() {
    try {
      this.#current = this.#make(this.#force ?? this.#next, this.#video);
      if (this.#current.name === "hls") this.#onChannels(null);
      await this.#current.start(this.#stop.signal);
      const began = performance.now();
      const reason = await this.#watch();
      if (performance.now() - began > STEADY_MS) this.#backoff.reset();
      return new Problem(reason);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      return error;
    }
  }

  #make(name, video) {
    const token = () => this.#token.get();
    const onChannels = (channels) => this.#onChannels(channels);
    return new TRANSPORTS[name]({ room: this.#room, token, video, onChannels });
  }

  // Until playing ends; resolves with the reason.
  async #watch() {
    this.#began();
    for (;;) {
      const reason = await Promise.race([this.#current.ended, this.#sleep.wait(LOOK_MS)]);
      if (this.#stop.signal.aborted) return "aborted";
      if (reason) return reason;
      if (await this.#stalled()) return "stalled";
      if (await this.#current.gone()) return "gone";
      if (performance.now() > this.#upgradeAt && !document.hidden) await this.#upgrade();
    }
  }

  #began() {
    const { name, stall_ms } = this.#current;
    const upgradable = name === "hls" && this.#force === null && MAY_HEAL.has(this.#whyHls);
    this.#upgradeAt = upgradable ? performance.now() + this.#upgrade_ms : Infinity;
    this.#stall = new StallWatch(stall_ms);
    this.#played = true;
    this.#sayPlaying();
  }

  async #stalled() {
    const progress = await this.#current.progress();
    const now = performance.now();
    const stalled = this.#stall.stalled(progress, now);
    if (document.hidden || this.#video.paused) this.#stall.rest(now);
    else if (this.#stall.moving(now)) this.#sayPlaying();
    else if (stalled) {
      if ((await this.#feed.refresh()) !== "idle") return true;
      this.#say("waiting", "host_away"); // the session stays: pictures go on when the host is back
      this.#stall.rest(now);
    }
    return false;
  }

  // While HLS goes on playing, a WebRTC session starts unseen; it takes over once it has a picture.
  async #upgrade() {
    const whep = this.#make("webrtc", null);
    try {
      await whep.start(this.#stop.signal);
    } catch (error) {
      whep.close();
      this.#onChannels(null);
      if (!(error instanceof Problem)) throw error;
      this.#upgrade_ms = Math.min(this.#upgrade_ms * 2, UPGRADE_MOST_MS);
      this.#upgradeAt = performance.now() + this.#upgrade_ms;
      return;
    }
    this.#current.close();
    this.#current = whep;
    whep.attach(this.#video);
    this.#began();
  }

  async #follow(problem) {
    const code = await this.#translate(problem);
    const { state, next, pause } = AFTER[code] ?? AFTER.refused;
    this.#renewed = code === "token_renewed";
    console.info(`hawker: ${code}`, problem.detail);
    if (next === undefined) return this.#refuse(code);
    if (next === "hls" && code !== "not_ready") this.#whyHls = code;
    const repeats = this.#force !== null && this.#force !== next;
    this.#next = next;
    this.#say(state === "connecting" && repeats ? "reconnecting" : state, navigator.onLine ? code : "offline");
    if (pause === "host") await this.#sleep.wait(hostPause_ms(problem, this.#feed.room));
    else if (pause === "backoff" || repeats) await this.#sleep.wait(this.#backoff.next());
  }

  // The code as AFTER knows it.
  async #translate({ code }) {
    const hls = (this.#force ?? this.#next) === "hls";
    const absent = this.#played ? "ended" : "not_live";
    if (code === "not_live") return absent;
    if (hls && code === "not_found") {
      return { live: "not_ready", idle: absent, missing: "not_found", unknown: "unreachable" }[await this.#feed.refresh()];
    }
    if (hls && AFTER[code]?.next === "hls") return "hls_lost"; // whatever ails HLS, HLS is not the cure
    if ((code === "unauthorized" || code === "forbidden") && !this.#renewed) {
      // The token may only have been too old: one more try with a new one.
      await this.#token.renew().catch(() => null);
      return "token_renewed";
    }
    return code;
  }

  async #refuse(code) {
    this.#say("refused", code);
    this.#next = "webrtc";
    await this.#sleep.wait(FOREVER_MS);
  }

  #sayPlaying() {
    const { name } = this.#current;
    this.#say("playing", name === "hls" ? (this.#force ? "asked" : this.#whyHls) : null, name);
  }

  #say(state, why = null, transport = "") {
    const before = this.#status;
    if (before.state === state && before.why === why && before.transport === transport) return;
    this.#status = { state, transport, why };
    this.#onChange(this.#status);
  }
}

// A feed that answers "not live" will also say when it is: then WHEP needn't be asked as often.
function hostPause_ms({ retry_after_ms }, room) {
  if (room?.live === false) return HOST_MOST_MS;
  return Math.min(retry_after_ms ?? RETRY_MS, HOST_MOST_MS) * (1 + Math.random() / 2);
}
