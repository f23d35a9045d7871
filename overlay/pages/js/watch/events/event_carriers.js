// What carries a room's events: the data channels of the WHEP session that plays, or a WebSocket.
//
// Both speak alike: JSON goes out, JSON text or binary msgpack comes in.

import { decode } from "./msgpack.js";

const PROTOCOL = "hawker.v1.json";
const GOODBYE = 1000;

/** `channels`: {reliable, live}. Calls onMessage(envelope), and onClosed() once when it is over. */
export class ChannelCarrier {
  name = "channels";

  #channels;
  #listeners = new AbortController();

  constructor(channels, { onOpen, onMessage, onClosed }) {
    this.#channels = channels;
    const { signal } = this.#listeners;
    for (const channel of [channels.reliable, channels.live]) {
      channel.binaryType = "arraybuffer";
      channel.addEventListener("message", ({ data }) => deliver(data, onMessage), { signal });
    }
    channels.reliable.addEventListener("open", onOpen, { signal });
    channels.reliable.addEventListener("close", onClosed, { signal });
  }

  get open() {
    return this.#channels.reliable.readyState === "open";
  }

  send(text) {
    this.#channels.reliable.send(text);
  }

  /** Listen no longer; the channels end with their session. */
  close() {
    this.#listeners.abort();
  }
}

export class SocketCarrier {
  name = "websocket";

  #socket;
  #listeners = new AbortController();

  constructor(url, { onOpen, onMessage, onClosed }) {
    this.#socket = new WebSocket(url, PROTOCOL);
    this.#socket.binaryType = "arraybuffer";
    const { signal } = this.#listeners;
    this.#socket.addEventListener("open", onOpen, { signal });
    this.#socket.addEventListener("message", ({ data }) => deliver(data, onMessage), { signal });
    this.#socket.addEventListener("close", onClosed, { signal });
  }

  get open() {
    return this.#socket.readyState === WebSocket.OPEN;
  }

  send(text) {
    this.#socket.send(text);
  }

  close() {
    this.#listeners.abort();
    this.#socket.close(GOODBYE);
  }
}

/** Where the WebSocket of a room is; what is null is left out. */
export function eventsUrl(room, { token, after, safter }) {
  const url = new URL(`/v1/rooms/${encodeURIComponent(room)}/events`, location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  for (const [name, value] of Object.entries({ token, after, safter })) {
    if (value !== null) url.searchParams.set(name, String(value));
  }
  return url.href;
}

function deliver(data, onMessage) {
  let envelope;
  try {
    envelope = typeof data === "string" ? JSON.parse(data) : decode(data);
  } catch (error) {
    console.warn("hawker: an event that can't be read", error);
    return;
  }
  if (envelope?.v === 1) onMessage(envelope);
}
