"""A browser that publishes three layers (RFC 8853): the stream is the largest of them."""

from __future__ import annotations

import asyncio
import statistics
import time
from itertools import pairwise
from pathlib import Path

import pytest

from mediaserver.hub import Reader, Stream
from mediaserver.media import Packet
from tests.e2e.browser import FAKE_CAMERA, browser
from tests.e2e.server import program
from tests.e2e.test_whip_bitrate import camera_film
from tests.http_house import open_http_house
from tests.rtc.house import KEY, ROOM, House

WITHIN_S = 30.0  # a second on a machine with nothing else to do
IN_STEP_S = 1 / 60

PUBLISH = """async ([key, codec]) => {
  const media = await navigator.mediaDevices.getUserMedia({
    audio: true, video: { width: 1280, height: 720, frameRate: 30 },
  });
  const pc = window.pc = new RTCPeerConnection();
  const video = pc.addTransceiver(media.getVideoTracks()[0], {
    direction: "sendonly",
    sendEncodings: [
      { rid: "q", scaleResolutionDownBy: 4, maxBitrate: 150_000 },
      { rid: "h", scaleResolutionDownBy: 2, maxBitrate: 500_000 },
      { rid: "f", scaleResolutionDownBy: 1, maxBitrate: 1_500_000 },
    ],
  });
  const codecs = RTCRtpSender.getCapabilities("video").codecs;
  const first = codecs.filter(({ mimeType }) => mimeType === codec);
  video.setCodecPreferences([...first, ...codecs.filter((each) => !first.includes(each))]);
  pc.addTransceiver(media.getAudioTracks()[0], { direction: "sendonly" });
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
  window.activate = async (rid, active) => {
    const parameters = video.sender.getParameters();
    parameters.encodings.find((each) => each.rid === rid).active = active;
    await video.sender.setParameters(parameters);
  };
  return pc.remoteDescription.sdp;
}"""


def sizes(house: House) -> dict[str, tuple[int, int]]:
    """Width and height of every stream with a picture."""
    return {
        name: (track.width, track.height)
        for name, stream in house.hub.streams.items()
        if (track := stream.tracks.get("video")) is not None
    }


async def sized(house: House, wanted: dict[str, tuple[int, int]], within_s: float) -> None:
    until = time.monotonic() + within_s
    while (found := sizes(house)) != wanted:
        assert time.monotonic() < until, found
        await asyncio.sleep(0.05)


async def pictures(stream: Stream, count: int) -> list[Packet]:
    """So many pictures of a stream, from now on."""
    reader: Reader = stream.subscribe(from_keyframe=False, kinds=frozenset({"video"}))
    found: list[Packet] = []
    while len(found) < count:
        found += await reader.read()
    reader.close()
    return found


def nearest_s(one: list[Packet], other: list[Packet]) -> float:
    """How far pictures of one are from those of the other in the middle: encoders leave some out."""
    others = [packet.pts for packet in other]
    inner = [packet.pts for packet in one if others[0] <= packet.pts <= others[-1]]
    assert inner
    return statistics.median(min(abs(pts - each) for each in others) for pts in inner) / 90_000


ALL = {ROOM: (1280, 720), f"{ROOM}/h": (640, 360), f"{ROOM}/q": (320, 180)}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("codec", ["video/H264", "video/VP8"])
async def test_chromium_publishes_three_layers_and_the_largest_is_the_stream(
    codec: str, tmp_path: Path, whip_ffmpeg: str, chromium: str
) -> None:
    film = tmp_path / "film.mjpeg"
    async with program(*camera_film(whip_ffmpeg, film)) as filming:
        assert await filming.wait() == 0
    camera = [*FAKE_CAMERA, f"--use-file-for-fake-video-capture={film}"]
    async with open_http_house() as here, browser(chromium, *camera) as opened:
        page = await opened.new_page()
        await page.route("**/page", lambda route: route.fulfill(body="", content_type="text/html"))
        await page.goto(f"{here.url}/page")
        answer = await page.evaluate(PUBLISH, [KEY, codec])
        assert "a=simulcast:recv q;h;f" in answer
        begun = time.monotonic()
        await sized(here.house, ALL, WITHIN_S)
        print(f"{time.monotonic() - begun:.1f} s until all layers were there")
        streams = here.house.hub.streams
        seen = await asyncio.gather(*(pictures(streams[name], 60) for name in ALL))
        assert max(nearest_s(seen[0], other) for other in seen[1:]) < IN_STEP_S

        reader = streams[ROOM].subscribe(kinds=frozenset({"video"}))
        await page.evaluate("activate('f', false)")
        await sized(here.house, {ROOM: (640, 360), f"{ROOM}/q": (320, 180)}, WITHIN_S)
        await page.evaluate("activate('f', true)")
        await sized(here.house, ALL, WITHIN_S)
        shown = await reader.read()
        assert {packet.track.width for packet in shown} == {640, 1280}
        assert shown[-1].track.width == 1280
        assert all(after.pts > before.pts for before, after in pairwise(shown))
        changes = [after for before, after in pairwise(shown) if before.track != after.track]
        assert all(packet.keyframe for packet in changes)
        reader.close()
