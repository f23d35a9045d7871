// One WebRTC session of werift with a server that speaks WHIP or WHEP (RFC 9725).
import { RTCPeerConnection, useH264 } from "werift";

export function peerConnection() {
  return new RTCPeerConnection({
    codecs: { video: [useH264()], audio: [] },
    iceAdditionalHostAddresses: ["127.0.0.1"], // the tests' server listens there
    iceServers: [],
    iceUseIpv6: false,
  });
}

/** POST the offer, take the answer, and wait until connected. */
export async function connect(pc, url, token) {
  await pc.setLocalDescription(await pc.createOffer());
  const headers = { "Content-Type": "application/sdp" };
  if (token) headers.Authorization = `Bearer ${token}`;
  const reply = await fetch(url, { method: "POST", headers, body: pc.localDescription.sdp });
  const sdp = await reply.text();
  if (reply.status !== 201) throw new Error(`${reply.status} ${sdp}`);
  await pc.setRemoteDescription({ type: "answer", sdp });
  if (pc.connectionState !== "connected") {
    await pc.connectionStateChange.watch((state) => state === "connected", 10_000);
  }
}
