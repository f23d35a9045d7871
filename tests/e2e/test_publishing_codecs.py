"""What Chromium publishes in each codec it has: every frame decodes, and Chromium shows it again."""

from __future__ import annotations

import asyncio
import io
import time
from typing import Any

import av
import pytest
from av.video.codeccontext import VideoCodecContext

from mediaserver.media import Packet
from mediaserver.packager.muxer import VIDEO
from mediaserver.packager.video_codecs import VIDEO_CODECS
from mediaserver.protocol import rtp_video
from tests.e2e.browser import FAKE_CAMERA, browser
from tests.http_house import open_http_house
from tests.packager.reading import playlist
from tests.packager.streams import mux
from tests.rtc.house import KEY, ROOM, House

PICTURES = 60
WITHIN_S = 20.0
DECODERS = {"h264": "h264", "vp8": "libvpx", "vp9": "libvpx-vp9", "av1": "libdav1d"}

PUBLISH = """async ([key, codec, scalabilityMode]) => {
  const media = await navigator.mediaDevices.getUserMedia({
    video: { width: 640, height: 360, frameRate: 30 },
  });
  const pc = window.pc = new RTCPeerConnection();
  const video = pc.addTransceiver(media.getVideoTracks()[0], {
    direction: "sendonly", sendEncodings: [{ scalabilityMode, maxBitrate: 800_000 }],
  });
  const codecs = RTCRtpSender.getCapabilities("video").codecs;
  const chosen = codecs.filter(({ mimeType }) => mimeType === codec || mimeType === "video/rtx");
  video.setCodecPreferences(chosen);
  const parameters = video.sender.getParameters();
  parameters.degradationPreference = "maintain-resolution"; // whatever else the machine does
  await video.sender.setParameters(parameters);
  await pc.setLocalDescription();
  const reply = await fetch("/whip", {
    method: "POST",
    headers: { "Content-Type": "application/sdp", Authorization: `Bearer ${key}` },
    body: pc.localDescription.sdp,
  });
  await pc.setRemoteDescription({ type: "answer", sdp: await reply.text() });
}"""

WATCH = """async ([room]) => {
  const pc = window.watching = new RTCPeerConnection();
  pc.addTransceiver("video", { direction: "recvonly" });
  const player = document.body.appendChild(document.createElement("video"));
  pc.ontrack = ({ streams, track }) => {
    player.srcObject = streams[0] ?? new MediaStream([track]);
    player.muted = true;
    player.play();
  };
  await pc.setLocalDescription();
  const reply = await fetch(`/whep/${room}`, {
    method: "POST",
    headers: { "Content-Type": "application/sdp" },
    body: pc.localDescription.sdp,
  });
  await pc.setRemoteDescription({ type: "answer", sdp: await reply.text() });
}"""
SHOWN = """async () => {
  const stats = [...(await watching.getStats()).values()];
  const inbound = stats.find(({ type, kind }) => type === "inbound-rtp" && kind === "video") ?? {};
  const codec = stats.find(({ id }) => id === inbound.codecId);
  return [codec?.mimeType ?? "", inbound.framesDecoded ?? 0, inbound.frameWidth ?? 0];
}"""


async def published(house: House) -> list[Packet]:
    """The first pictures of the stream, from a keyframe of full size on."""
    until = time.monotonic() + WITHIN_S
    while (stream := house.hub.get(ROOM)) is None or "video" not in stream.tracks:
        assert time.monotonic() < until
        await asyncio.sleep(0.05)
    reader = stream.subscribe(kinds=frozenset({"video"}))
    found: list[Packet] = []
    async with asyncio.timeout(WITHIN_S):
        while len(found) < PICTURES:
            found += await reader.read()
    reader.close()
    return found


def decoded(packets: list[Packet]) -> list[tuple[int, int]]:
    """Sizes of what a decoder shows of them."""
    track = packets[0].track
    context = av.CodecContext.create(DECODERS[track.codec], "r")
    assert isinstance(context, VideoCodecContext)
    if track.codec == "h264":
        context.extradata = track.config
    sizes: list[tuple[int, int]] = []
    for packet in packets:
        sizes += [(f.width, f.height) for f in context.decode(av.Packet(packet.payload))]
    return sizes + [(f.width, f.height) for f in context.decode(None)]


def there_and_back(packets: list[Packet]) -> list[bytes]:
    """Their payloads after one more passage through RTP."""
    depacketizer = rtp_video.depacketizer(packets[0].track.codec)
    frames: list[Any] = []
    for packet in packets:
        for payload, padding, marker in rtp_video.packetize(packet, 1100):
            whole = payload[: -payload[-1]] if padding else payload
            frames += depacketizer.feed(whole, marker, packet.pts)
    return [frame.payload for frame in frames]


def by_hls(packets: list[Packet]) -> list[int]:
    """The times of what FFmpeg decodes of their HLS."""
    muxer = mux(packets)
    entries = playlist(muxer, VIDEO).entries
    parts = [muxer.segment(name) for name in (entries[0].init, *(each.uri for each in entries))]
    with av.open(io.BytesIO(b"".join(part for part in parts if part))) as container:
        return [frame.pts or 0 for frame in container.decode(video=0)]


@pytest.mark.parametrize(
    ("mime", "mode"),
    [
        ("video/H264", "L1T1"),
        ("video/VP8", "L1T3"),
        ("video/VP9", "L1T1"),
        ("video/VP9", "L3T3_KEY"),
        ("video/AV1", "L1T1"),
        ("video/AV1", "L2T2"),
    ],
)
@pytest.mark.timeout(90)
async def test_chromiums_frames_decode_and_pass_through(
    chromium: str, mime: str, mode: str
) -> None:
    async with open_http_house() as here, browser(chromium, *FAKE_CAMERA) as opened:
        page = await opened.new_page()
        await page.route("**/page", lambda route: route.fulfill(body="", content_type="text/html"))
        await page.goto(f"{here.url}/page")
        await page.evaluate(PUBLISH, [KEY, mime, mode])
        packets = await published(here.house)
    assert {packet.track.codec for packet in packets} == {mime.partition("/")[2].lower()}
    assert packets[0].keyframe
    sizes = decoded(packets)
    assert len(sizes) >= len(packets) - 2
    assert set(sizes) == {(packet.track.width, packet.track.height) for packet in packets}
    assert there_and_back(packets) == [packet.payload for packet in packets]
    if packets[0].track.codec in VIDEO_CODECS:
        assert len(by_hls(packets)) >= len(packets) - 2


@pytest.mark.parametrize(
    ("mime", "mode"),
    [
        ("video/H264", "L1T1"),
        ("video/VP8", "L1T3"),
        ("video/VP9", "L1T1"),
        ("video/VP9", "L3T3_KEY"),
        ("video/AV1", "L1T1"),
    ],
)
@pytest.mark.timeout(90)
async def test_chromium_watches_what_chromium_publishes(
    chromium: str, mime: str, mode: str
) -> None:
    async with open_http_house() as here, browser(chromium, *FAKE_CAMERA) as opened:
        page = await opened.new_page()
        await page.route("**/page", lambda route: route.fulfill(body="", content_type="text/html"))
        await page.goto(f"{here.url}/page")
        await page.evaluate(PUBLISH, [KEY, mime, mode])
        await published(here.house)
        await page.evaluate(WATCH, [ROOM])
        until = time.monotonic() + WITHIN_S
        while (shown := await page.evaluate(SHOWN))[1] < PICTURES:
            assert time.monotonic() < until, shown
            await asyncio.sleep(0.1)
    assert shown == [mime, shown[1], 640]
