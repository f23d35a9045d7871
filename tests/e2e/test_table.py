"""Publisher by viewer: whatever publishes is seen and heard, by WebRTC, by hls.js and by ffmpeg.

One server and one publisher a row; its viewers watch at the same time. Picture and sound have to be
together within LIMIT_S as they leave the server. Debian has every publisher: the set-up installs them.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser

from benchmarks.webrtc_client import Refused
from mediaserver.ingest.srt import Unavailable
from mediaserver.ingest.srt import load as load_libsrt
from tests.e2e import obs
from tests.e2e.browser import FAKE_CAMERA, browser, plays, transport, until
from tests.e2e.server import Server, program, running
from tests.e2e.sync import Ended, by_hls, by_whep, flash_and_beep

LIMIT_S = 0.040
FLASHES = 5
WATCH_S = 7.0
DECODED_S = 3
LIVE_S = 30.0
SYNC_S = 60.0
FRAMES = 30
FILM_S = 90  # longer than a row takes
PASSPHRASE = "correct horse"

# libx264 as it comes: B-frames, and a keyframe every 250 frames; cut into slices, as some encoders do
X264 = ("-c:v", "libx264", "-slices", "4", "-threads", "1", "-b:v", "1200k")
LIVE = ("-preset", "ultrafast", "-tune", "zerolatency", "-profile:v", "baseline", "-g", "60")
B_FRAMES = ("-preset", "ultrafast", "-bf", "2", "-g", "60")
X265 = ("-c:v", "libx265", "-preset", "ultrafast", "-g", "60")
QUIET = ("-x265-params", "log-level=none:pools=1")
AAC = ("-c:a", "aac", "-b:a", "96k")
OPUS = ("-c:a", "libopus", "-b:a", "64k")

Publisher = Callable[["Studio"], AbstractAsyncContextManager[object]]


@dataclass(frozen=True, slots=True)
class Studio:
    """What a publisher needs to begin."""

    server: Server
    key: str
    ffmpeg: str
    chromium: str
    folder: Path

    def run(self, *coding_and_target: str) -> AbstractAsyncContextManager[object]:
        return program(*flash_and_beep(self.ffmpeg, "-re"), *coding_and_target)

    def srt(self, more: str = "") -> str:
        return f"{self.server.ready['srt']}?streamid=publish:{self.key}{more}"


@dataclass(frozen=True, slots=True)
class Row:
    """A publisher; `video` is the codec that it sends, `notices` what the host is told about it.

    `apart_s` is how far apart its own sound and picture may be, `settles_s` how long they still move;
    `heavy`: it takes so much of a small machine that its viewers watch one after the other.
    """

    publish: Publisher
    protocol: str
    settings: tuple[str, ...] = ()
    video: str = "h264"
    notices: tuple[str, ...] = ()
    flashes: bool = True  # else it shows something else
    apart_s: float = 0.0
    settles_s: float = 0.0
    heavy: bool = False


def _rtmp(studio: Studio) -> AbstractAsyncContextManager[object]:
    return studio.run(*X264, *AAC, "-f", "flv", f"{studio.server.ready['rtmp']}/{studio.key}")


def _rtmps(studio: Studio) -> AbstractAsyncContextManager[object]:
    to = f"{studio.server.ready['rtmps']}/{studio.key}"
    return studio.run(*X264, *LIVE, *AAC, "-tls_verify", "0", "-f", "flv", to)


def _enhanced_rtmp(studio: Studio) -> AbstractAsyncContextManager[object]:
    to = f"{studio.server.ready['rtmp']}/{studio.key}"
    return studio.run(*X265, *QUIET, *AAC, "-f", "flv", to)


def _srt(studio: Studio) -> AbstractAsyncContextManager[object]:
    to = studio.srt(f"&latency=200000&pkt_size=1316&passphrase={PASSPHRASE}")
    return studio.run(*X264, *B_FRAMES, *AAC, "-f", "mpegts", to)


def _whip(studio: Studio) -> AbstractAsyncContextManager[object]:
    muxer = ["-f", "whip", "-authorization", studio.key, f"{studio.server.url}/whip"]
    return studio.run(*X264, *LIVE, *OPUS, *muxer)


@asynccontextmanager
async def _chromium(studio: Studio) -> AsyncIterator[None]:
    async with browser(studio.chromium, *FAKE_CAMERA) as opened:
        page = await opened.new_page()
        await page.goto(f"{studio.server.url}/studio/show#key={studio.key}")
        await page.get_by_test_id("publish-start").click()
        yield
        await page.get_by_test_id("publish-stop").click()


@asynccontextmanager
async def _obs(studio: Studio, server: str, key: str) -> AsyncIterator[None]:
    obs.require()
    film = studio.folder / "film.mp4"
    size = f"{obs.WIDTH}x{obs.HEIGHT}"
    coding = (*X264, *LIVE, *AAC, "-t", str(FILM_S), str(film))
    async with program(*flash_and_beep(studio.ffmpeg, size=size), *coding) as filming:
        assert await filming.wait() == 0
    home = studio.folder / "obs"
    home.mkdir()
    async with obs.streaming(home, film, server, key):
        yield


def _obs_rtmp(studio: Studio) -> AbstractAsyncContextManager[object]:
    return _obs(studio, str(studio.server.ready["rtmp"]), studio.key)


def _obs_srt(studio: Studio) -> AbstractAsyncContextManager[object]:
    return _obs(studio, studio.srt("&mode=caller&latency=200000"), "")


# its player of files finds its pace in some seconds, on a busy machine some pictures off
OBS: dict[str, Any] = {
    "notices": ("HasBFrames", "LongKeyFrameInterval"),
    "apart_s": 0.25,
    "settles_s": 5.0,
    "heavy": True,
}
ROWS = {
    "ffmpeg-rtmp": Row(_rtmp, "rtmp", notices=("HasBFrames", "LongKeyFrameInterval")),
    "ffmpeg-rtmps": Row(_rtmps, "rtmp", ("rtmps.port=0",)),
    "ffmpeg-enhanced-rtmp-h265": Row(_enhanced_rtmp, "rtmp", video="h265"),
    "ffmpeg-srt": Row(_srt, "srt", (f"srt.passphrase={PASSPHRASE}",), notices=("HasBFrames",)),
    "ffmpeg-whip": Row(_whip, "whip"),
    "chromium-whip": Row(_chromium, "whip", flashes=False),
    "obs-rtmp": Row(_obs_rtmp, "rtmp", **OBS),
    "obs-srt": Row(_obs_srt, "srt", **OBS),
}


def _needs_srt() -> None:
    try:
        load_libsrt()
    except Unavailable as why:
        if obs.DEBIAN.exists():
            pytest.fail(str(why))
        pytest.skip(str(why))


@pytest.mark.parametrize("publisher", ROWS)
async def test_every_viewer_has_picture_and_sound_together(
    publisher: str, tmp_path: Path, whip_ffmpeg: str, ffmpeg: str, chromium: str, hls_js: Path
) -> None:
    row = ROWS[publisher]
    if publisher.endswith("srt"):
        _needs_srt()
    async with running(tmp_path / "data", *row.settings) as server:
        studio = Studio(server, await server.room(), whip_ffmpeg, chromium, tmp_path)
        async with row.publish(studio), browser(chromium) as opened:
            async with asyncio.timeout(LIVE_S):
                await server.live()
            viewers = [_webrtc(opened, server), _hls_js(opened, server), _ffmpeg(ffmpeg, server)]
            if row.flashes:
                viewers.append(_together(server, publisher, row))
            at_once = asyncio.Semaphore(1 if row.heavy else len(viewers))
            async with asyncio.TaskGroup() as watching:
                for viewer in viewers:
                    watching.create_task(_in_turn(at_once, viewer))
            ingest = await server.api("GET", "/v1/rooms/show/ingest")
    assert ingest["codecs"]["video"] == row.video
    assert {each["code"] for each in ingest["notices"]} >= set(row.notices)
    assert ingest["protocol"] == row.protocol
    assert server.logged(f"online by {row.protocol} from 127.0.0.1")
    assert not server.logged(studio.key) and not server.logged(PASSPHRASE)


async def test_what_this_browser_cannot_decode_is_said_where_nobody_encodes_it_anew(
    tmp_path: Path, whip_ffmpeg: str, chromium: str, hls_js: Path
) -> None:
    async with running(tmp_path, "transcode.enabled=false") as server:
        studio = Studio(server, await server.room(), whip_ffmpeg, chromium, tmp_path)
        async with _enhanced_rtmp(studio), browser(chromium) as opened:
            await server.live()
            page = await opened.new_page()
            await page.goto(f"{server.url}/watch/show?player=hls&lang=en")
            said = page.get_by_text("This browser can’t decode the picture")
            await said.wait_for(timeout=LIVE_S * 1000)


async def _in_turn(at_once: asyncio.Semaphore, viewer: Coroutine[None, None, None]) -> None:
    async with at_once:
        await viewer


async def _webrtc(opened: Browser, server: Server) -> None:
    page = await opened.new_page()
    await page.goto(f"{server.url}/watch/show?player=whep&lang=en")
    await transport(page, "webrtc")
    await plays(page, frames=FRAMES)
    await until(page, "(await hawker.stats()).audioEnergy > 0")
    await page.close()


async def _hls_js(opened: Browser, server: Server) -> None:
    page = await opened.new_page()
    await page.goto(f"{server.url}/watch/show?player=hls&lang=en")
    await transport(page, "hls")
    await plays(page, frames=FRAMES)
    await page.close()


async def _ffmpeg(ffmpeg: str, server: Server) -> None:
    """What its demuxer takes from the first of the list: so many frames of each track."""
    url = f"{server.url}/hls/show/index.m3u8"
    await _playlist(server, url)
    process = await asyncio.create_subprocess_exec(
        *(ffmpeg, "-hide_banner", "-loglevel", "error", "-i", url, "-t", str(DECODED_S)),
        *("-map", "0:v:0", "-map", "0:a:0", "-f", "framecrc", "-"),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    tracks = [line.partition(b",")[0] for line in said.splitlines() if not line.startswith(b"#")]
    assert tracks.count(b"0") > DECODED_S * 15, said
    assert tracks.count(b"1") > DECODED_S * 40, said


async def _playlist(server: Server, url: str) -> None:
    async with asyncio.timeout(30):
        while True:
            async with server.http.get(url) as reply:
                if reply.status == 200:
                    return
            await asyncio.sleep(0.1)


async def _together(server: Server, publisher: str, row: Row) -> None:
    """What comes together goes together; what comes apart goes no further apart, on either way."""
    whep = await _enough(lambda: _whep(server))
    hls = await _enough(lambda: _hls(server, row.settles_s))
    for way, offsets in (("WHEP", whep), ("HLS", hls)):
        print(publisher, way, [round(each * 1000, 1) for each in offsets])
    middles = statistics.median(whep), statistics.median(hls)
    assert all(abs(each) <= LIMIT_S + row.apart_s for each in middles), (whep, hls)
    # one is looked at after the other: what moves meanwhile is in it
    assert abs(middles[0] - middles[1]) <= 2 * (LIMIT_S + row.apart_s), (whep, hls)


async def _enough(measure: Callable[[], Awaitable[list[float]]]) -> list[float]:
    """A busy machine's OBS leaves pictures out: look once more."""
    async with asyncio.timeout(SYNC_S):
        while True:
            offsets = await measure()
            if len(offsets) >= FLASHES:
                return offsets


async def _whep(server: Server) -> list[float]:
    async with asyncio.timeout(60):
        while True:
            try:
                return await by_whep(server, WATCH_S)
            except (Refused, Ended):  # the stream begins: it is not known yet what it needs
                await asyncio.sleep(0.2)


async def _hls(server: Server, skip_s: float) -> list[float]:
    for rendition in ("video", "audio"):
        await _playlist(server, f"{server.url}/hls/show/{rendition}.m3u8")
    return await asyncio.to_thread(by_hls, f"{server.url}/hls/show", WATCH_S, skip_s)
