"""The HLS of each codec that Chromium can decode, appended to its Media Source as hls.js does."""

from __future__ import annotations

import base64
import re

import pytest

from mediaserver.media import Codec
from mediaserver.packager.muxer import INDEX, VIDEO
from mediaserver.packager.playlist import with_query
from tests.e2e.browser import browser
from tests.packager.reading import playlist
from tests.packager.streams import mux
from tests.protocol import encoded

FRAMES = 150

PLAY = """async ([codecs, parts]) => {
  const type = `video/mp4; codecs="${codecs}"`;
  if (!MediaSource.isTypeSupported(type)) return "not supported: " + type;
  const player = document.body.appendChild(document.createElement("video"));
  player.muted = true;
  const source = new MediaSource();
  player.src = URL.createObjectURL(source);
  await new Promise((done) => source.addEventListener("sourceopen", done, { once: true }));
  const buffer = source.addSourceBuffer(type);
  for (const part of parts) {
    buffer.appendBuffer(Uint8Array.from(atob(part), (each) => each.charCodeAt(0)));
    await new Promise((done) => buffer.addEventListener("updateend", done, { once: true }));
  }
  source.endOfStream();
  player.currentTime = buffer.buffered.start(0);
  player.playbackRate = 4;
  await player.play();
  await new Promise((done, failed) => {
    player.onended = done;
    player.onerror = () => failed(player.error.message);
  });
  const { totalVideoFrames } = player.getVideoPlaybackQuality();
  return [player.videoWidth, player.videoHeight, player.duration, totalVideoFrames];
}"""


@pytest.mark.parametrize("codec", ["h264", "vp9", "av1"])
@pytest.mark.timeout(60)
async def test_chromium_plays_it_to_the_end(chromium: str, codec: Codec) -> None:
    muxer = mux(encoded.packets(codec, FRAMES))
    index = muxer.playlist(INDEX)
    assert index is not None
    found = re.search(r'CODECS="([^"]+)"', with_query(index, "").decode())
    assert found
    entries = playlist(muxer, VIDEO).entries
    names = (entries[0].init, *(entry.uri for entry in entries))
    parts = [base64.b64encode(muxer.segment(name) or b"").decode() for name in names]
    async with browser(chromium) as opened:
        page = await opened.new_page()
        await page.route("**/page", lambda route: route.fulfill(body="", content_type="text/html"))
        await page.goto("http://127.0.0.1/page")
        shown = await page.evaluate(PLAY, [found[1], parts])
    assert shown[:2] == list(encoded.SIZE)
    assert shown[2] == pytest.approx(15, abs=0.1)  # ten of them before media time 0
    assert shown[3] > FRAMES // 2
