// node publish.mjs URL KEY FILE: publish by WHIP what is in FILE, over and over, until stdin ends.
//
// FILE holds access units of H.264 in RTP: each packet behind its length in two bytes, a frame ends at a
// packet with the marker. Keyframes that the server asks for are printed, one line each.
import { readFileSync } from "node:fs";
import { MediaStreamTrack, RtpPacket } from "werift";
import { connect, peerConnection } from "./session.mjs";

const FRAME_TICKS = 3000;
const [url, key, file] = process.argv.slice(2);

const data = readFileSync(file);
const frames = [[]];
for (let offset = 0; offset < data.length; ) {
  const size = data.readUInt16BE(offset);
  const packet = data.subarray(offset + 2, offset + 2 + size);
  frames.at(-1).push(packet);
  if (packet[1] & 0x80) frames.push([]);
  offset += 2 + size;
}
frames.pop();

const pc = peerConnection();
const track = new MediaStreamTrack({ kind: "video" });
const { sender } = pc.addTransceiver(track, { direction: "sendonly" });
sender.onPictureLossIndication.subscribe(() => console.log("keyframe"));
await connect(pc, url, key);
console.log("connected");

let [number, sequence] = [0, 0];
const timer = setInterval(() => {
  for (const each of frames[number % frames.length]) {
    const packet = RtpPacket.deSerialize(each);
    packet.header.sequenceNumber = sequence++ & 0xffff;
    packet.header.timestamp = (number * FRAME_TICKS) >>> 0;
    track.writeRtp(packet);
  }
  number++;
}, 1000 / 30);

process.stdin.resume().on("end", async () => {
  clearInterval(timer);
  await pc.close();
  process.exit(0);
});
