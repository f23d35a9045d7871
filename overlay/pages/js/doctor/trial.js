// A WebRTC session without media, to see how far it comes: which addresses of the server answer, DTLS, SCTP.

import { postOffer } from "../webrtc/signalling.js";

const CONNECT_MS = 7000;
const SETTLE_MS = 1500; // connected: the other addresses get so long to answer
const LOOK_MS = 100;
const HELLO = "hello";
const CANDIDATE = /^a=candidate:\S+ 1 (udp|tcp) \d+ (\S+) (\d+) /i;

/**
 * Try the server's candidates of one protocol, "udp" or "tcp". {candidates, reached, connected, echo_ms}: the candidates with
 * {host, port, address, roundTrip_ms} (null: no answer), whether any answered, whether DTLS connected, and when a
 * message came back (null: it didn't). Throws Problem when the server refuses the session.
 */
export async function trySession(protocol) {
  const pc = new RTCPeerConnection();
  try {
    const echo = echoOf(pc.createDataChannel("hawker", { negotiated: true, id: 0 }));
    await pc.setLocalDescription(await pc.createOffer());
    const { answer } = await postOffer("/v1/connectivity", pc.localDescription.sdp);
    await pc.setRemoteDescription({ type: "answer", sdp: only(answer, protocol) });
    return await watch(pc, candidatesOf(answer, protocol), echo);
  } finally {
    pc.close();
  }
}

// {ms}: null until the message has come back.
function echoOf(channel) {
  const echo = { ms: null };
  let sent;
  channel.addEventListener("open", () => {
    sent = performance.now();
    channel.send(HELLO);
  });
  channel.addEventListener("message", () => (echo.ms ??= performance.now() - sent));
  return echo;
}

/** The candidates of one protocol in an answer (RFC 8839 §5.1), each once: {host, port, address: "host:port"}. */
export function candidatesOf(sdp, protocol) {
  const found = sdp.split(/\r?\n/).map((line) => CANDIDATE.exec(line));
  const told = found.filter((each) => each?.[1].toLowerCase() === protocol);
  const byAddress = told.map(([, , host, port]) => [addressOf(host, port), { host, port, address: addressOf(host, port) }]);
  return [...new Map(byAddress).values()];
}

function only(sdp, protocol) {
  const other = (line) => (CANDIDATE.exec(line)?.[1].toLowerCase() ?? protocol) !== protocol;
  return sdp.split("\r\n").filter((line) => !other(line)).join("\r\n");
}

function addressOf(host, port) {
  return host.includes(":") && !host.startsWith("[") ? `[${host}]:${port}` : `${host}:${port}`;
}

async function watch(pc, told, echo) {
  const began = performance.now();
  let connectedAt = null;
  for (;;) {
    const answered = await roundTrips(pc);
    const candidates = told.map((each) => ({ ...each, roundTrip_ms: answered.get(each.address) ?? null }));
    const now = performance.now();
    if (pc.connectionState === "connected") connectedAt ??= now;
    const all = echo.ms !== null && candidates.every(({ roundTrip_ms }) => roundTrip_ms !== null);
    const settled = connectedAt !== null && now - connectedAt > SETTLE_MS;
    const over = told.length === 0 || pc.connectionState === "failed" || now - began > CONNECT_MS;
    if (all || settled || over) {
      return { candidates, reached: answered.size > 0, connected: connectedAt !== null, echo_ms: echo.ms };
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

// By the server's addresses that answered a check: the shortest round trip, ms.
async function roundTrips(pc) {
  const stats = await pc.getStats();
  const shortest = new Map();
  for (const pair of stats.values()) {
    if (pair.type !== "candidate-pair" || !(pair.state === "succeeded" || pair.responsesReceived > 0)) continue;
    const remote = stats.get(pair.remoteCandidateId);
    const address = addressOf(remote?.address ?? remote?.ip ?? "", remote?.port);
    shortest.set(address, Math.min(roundTrip_ms(pair), shortest.get(address) ?? Infinity));
  }
  return shortest;
}

function roundTrip_ms({ currentRoundTripTime, totalRoundTripTime, responsesReceived }) {
  const mean_s = responsesReceived ? totalRoundTripTime / responsesReceived : 0;
  return (currentRoundTripTime ?? mean_s) * 1000;
}
