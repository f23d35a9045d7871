// node play.mjs URL PACKETS: play by WHEP until so many packets were decrypted, then print what they were:
// {"packets", "frames", "keyframes", "gaps"} as JSON.
import { connect, peerConnection } from "./session.mjs";

const [url, wanted] = process.argv.slice(2);
const [FU_A, IDR] = [28, 5];

const pc = peerConnection();
pc.addTransceiver("video", { direction: "recvonly" });
const seen = { packets: 0, frames: 0, keyframes: 0, gaps: 0 };
let previous = null;

function beginsKeyframe(payload) {
  const type = payload[0] & 0x1f;
  if (type === FU_A) return (payload[1] & 0x80) !== 0 && (payload[1] & 0x1f) === IDR;
  return type === IDR;
}

const done = new Promise((resolve) => {
  pc.onTrack.subscribe((track) => {
    track.onReceiveRtp.subscribe(({ header, payload }) => {
      if (previous !== null && header.sequenceNumber !== ((previous + 1) & 0xffff)) seen.gaps++;
      previous = header.sequenceNumber;
      seen.packets++;
      if (header.marker) seen.frames++;
      if (beginsKeyframe(payload)) seen.keyframes++;
      if (seen.packets >= Number(wanted)) resolve();
    });
  });
});
await connect(pc, url, "");
await done;
console.log(JSON.stringify(seen));
await pc.close();
process.exit(0);
