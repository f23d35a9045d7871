// Watching by HLS (RFC 8216): Safari plays it itself, elsewhere hls.js does, loaded only when it is needed.

import { Problem, bearer, request } from "../../problem.js";
import { play } from "./autoplay.js";

const HLS_JS = "/static/vendor/hls.min.js";
const FIRST_FRAME_MS = 15_000;
const RECOVERIES = 3; // in a row, each without a new frame since: beyond that a fresh start is better
const RECOVER_AFTER_MS = 1000;

export class HlsPlayer {
  name = "hls";
  stall_ms = 12_000; // two or three segments
  pc = null;
  ended; // a promise: why playing was lost

  #room;
  #token;
  #video;
  #hls = null;
  #listeners = new AbortController();
  #end;
  #recoveries = 0;
  #framesAtRecovery = 0;
  #recovering = null;

  /** `token()` promises a viewer token or null. */
  constructor({ room, token, video }) {
    this.#room = room;
    this.#token = token;
    this.#video = video;
    this.ended = new Promise((resolve) => (this.#end = resolve));
  }

  /** Resolves when the first frame is there. Throws Problem: the server's, or no_hls, no_decoder, no_picture. */
  async start(signal) {
    const token = await this.#token();
    const url = `/hls/${encodeURIComponent(this.#room)}/index.m3u8`;
    await request(url, { headers: bearer(token), signal }); // asked first: a refusal has a code here, in a player's error none
    this.#video.srcObject = null;
    this.#listen("ended", () => this.#end("ended"));
    if (playsItself(this.#video)) this.#playNatively(url, token);
    else await this.#playByScript(url);
    void play(this.#video);
    await this.#firstFrame(signal);
  }

  /** Grows while all is well. */
  async progress() {
    return this.#video.currentTime;
  }

  /** There is no session on the server that could be gone. */
  async gone() {
    return false;
  }

  /** Figures so far; null where HLS or the browser doesn't tell. */
  async stats() {
    const quality = this.#video.getVideoPlaybackQuality?.();
    return {
      transport: this.name,
      framesDecoded: this.#frames(),
      framesDropped: quality?.droppedVideoFrames ?? 0,
      width: this.#video.videoWidth,
      height: this.#video.videoHeight,
      audioEnergy: null,
      audioBytesDecoded: this.#video.webkitAudioDecodedByteCount ?? null,
      currentTime_s: this.#video.currentTime,
      latency_s: this.#hls?.latency ?? null,
    };
  }

  close() {
    clearTimeout(this.#recovering);
    this.#listeners.abort();
    this.#hls?.destroy();
    this.#hls = null;
    this.#video.removeAttribute("src");
    this.#video.load();
  }

  // Safari asks for playlists and segments itself, and can be given the token only in the address.
  #playNatively(url, token) {
    this.#listen("error", () => this.#end("hls_lost"));
    this.#video.src = token ? `${url}?token=${encodeURIComponent(token)}` : url;
  }

  async #playByScript(url) {
    const Hls = await loadHlsJs();
    if (!Hls.isSupported()) throw new Problem("no_hls");
    const authorize = async (xhr, target) => {
      const headers = bearer(await this.#token());
      xhr.open("GET", target, true);
      for (const [name, value] of Object.entries(headers)) xhr.setRequestHeader(name, value);
    };
    const hls = new Hls({ lowLatencyMode: true, backBufferLength: 30, xhrSetup: authorize });
    this.#hls = hls;
    // The first of the list is the source: the others would have to be made first.
    hls.on(Hls.Events.MANIFEST_PARSED, () => (hls.startLevel = hls.firstLevel));
    hls.on(Hls.Events.ERROR, (_, error) => {
      if (error.fatal) this.#recover(Hls, error);
    });
    hls.loadSource(url);
    hls.attachMedia(this.#video);
  }

  #recover(Hls, { type, details, response }) {
    const foreign = details === Hls.ErrorDetails.MANIFEST_INCOMPATIBLE_CODECS_ERROR;
    if ([401, 403, 404, 410].includes(response?.code)) return this.#end("hls_lost");
    if (this.#frames() > this.#framesAtRecovery) this.#recoveries = 0;
    this.#framesAtRecovery = this.#frames();
    this.#recoveries += 1;
    if (this.#recoveries > RECOVERIES) return this.#end(foreign ? "no_decoder" : "hls_lost");
    // A list of nothing but what this browser can't decode: the server may be about to make something else of it.
    if (foreign) this.#soon((hls) => hls.loadSource(hls.url));
    else if (type === Hls.ErrorTypes.MEDIA_ERROR) this.#hls.recoverMediaError();
    else if (type === Hls.ErrorTypes.NETWORK_ERROR) this.#soon((hls) => hls.startLoad());
    else this.#end("hls_lost");
  }

  #soon(act) {
    this.#recovering = setTimeout(() => this.#hls && act(this.#hls), RECOVER_AFTER_MS);
  }

  #frames() {
    return this.#video.getVideoPlaybackQuality?.().totalVideoFrames ?? 0;
  }

  #firstFrame(signal) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Problem("no_picture")), FIRST_FRAME_MS);
      const settle = (action) => {
        clearTimeout(timer);
        action();
      };
      this.#listen("loadeddata", () => settle(resolve));
      void this.ended.then((why) => settle(() => reject(new Problem(why))));
      signal?.addEventListener("abort", () => settle(() => reject(new Problem("aborted"))));
    });
  }

  #listen(event, listener) {
    this.#video.addEventListener(event, listener, { signal: this.#listeners.signal });
  }
}

// canPlayType doesn't tell: Chromium says "maybe" too. Only Safari has presentation modes, and only its HLS is good.
function playsItself(video) {
  return "webkitSetPresentationMode" in video && video.canPlayType("application/vnd.apple.mpegurl") !== "";
}

function loadHlsJs() {
  if (window.Hls) return Promise.resolve(window.Hls);
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = HLS_JS;
    script.addEventListener("load", () => resolve(window.Hls));
    script.addEventListener("error", () => {
      script.remove();
      reject(new Problem("no_hls"));
    });
    document.head.append(script);
  });
}
