"""A whole server's SRT: H.265 as it comes, and what the server says where SRT is off."""

from __future__ import annotations

import ctypes.util
import socket
from pathlib import Path

import pytest

from config import load
from mediaserver.app import App
from mediaserver.doctor import Finding, examine_machine
from mediaserver.ingest.srt import Unavailable
from mediaserver.ingest.srt import load as load_libsrt
from tests.e2e.server import Server, program, running, source


@pytest.fixture
def libsrt() -> None:
    try:
        load_libsrt()
    except Unavailable as why:
        pytest.skip(str(why))


H265 = (
    "-c:v",
    "libx265",
    "-preset",
    "ultrafast",
    "-g",
    "60",
    "-x265-params",
    "log-level=none:pools=1",
)


def srt(ffmpeg: str, server: Server, key: str, video: list[str]) -> list[str]:
    """The command of an SRT publisher: a picture, and sound by AAC."""
    to = f"{server.ready['srt']}?streamid=publish:{key}&latency=200000&pkt_size=1316"
    return [
        *source(ffmpeg),
        *video,
        "-c:a",
        "aac",
        "-b:a",
        "96k",
        "-ar",
        "48000",
        "-f",
        "mpegts",
        to,
    ]


async def test_h265_by_srt_is_in_the_hls_as_it_came(
    libsrt: None, tmp_path: Path, whip_ffmpeg: str
) -> None:
    async with running(tmp_path) as server:
        key = await server.room()
        async with program(*srt(whip_ffmpeg, server, key, [*H265, "-pix_fmt", "yuv420p"])):
            await server.live()
            text = ""
            while "hvc1." not in text:
                async with server.http.get(f"{server.url}/hls/show/index.m3u8") as reply:
                    text = await reply.text()
            assert "mp4a.40.2" in text


async def test_a_taken_port_turns_srt_off_and_is_named(libsrt: None, tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        async with running(tmp_path, f"srt.port={port}") as server:
            assert server.ready["srt"] is None
            assert server.logged(f"SRT is off: srt.port {port}: ")


async def test_without_libsrt_the_server_starts_and_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    ports = ("http.port=0", "http.https_port=-1", "rtmp.port=0", "webrtc.port=0")
    app = App(load(None, {}, [*ports, f"data.dir={tmp_path}", "transcode.enabled=false"]))
    try:
        await app.start()
        assert app.ready_line()["srt"] is None
    finally:
        await app.drain()
    said = "SRT is off: libsrt is not installed (apt install libsrt1.5-openssl)"
    assert [each.getMessage() for each in caplog.records if "SRT" in each.getMessage()] == [said]


def test_the_doctor_names_the_package_that_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    found = list(examine_machine(load(None, {}, [f"data.dir={tmp_path}"])))
    what, fix = "SRT is off: libsrt is not installed", "apt install libsrt1.5-openssl"
    assert Finding("warn", what, fix) in found
