"""RTMP ingest over real sockets: ffmpeg and our own encoder publish into a hub."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import uvloop

from mediaserver.access import Access
from mediaserver.errors import Unauthorized
from mediaserver.hub import Hub, Reader, Stream, StreamEnded
from mediaserver.ingest import rtmp, rtmp_session
from mediaserver.ingest.connections import ConnectionCounts
from mediaserver.ingest.rtmp import RtmpServer
from mediaserver.media import Packet
from mediaserver.protocol.flv import DATA, VideoTag
from mediaserver.protocol.h264 import AvcConfig, join_length_prefixed
from mediaserver.protocol.rtmp import connection
from tests.ingest import librtmp_program
from tests.protocol.rtmp_client import AAC_FRAME, IDR_TAG, SLICE_TAG, Encoder, status_codes

KEY = "s3cret-key"


class Keys:
    """The keys that may publish, and what each publishes."""

    def __init__(self, streams: dict[str, str]) -> None:
        self._streams = streams
        self.gate = asyncio.Event()
        self.gate.set()

    async def publish(self, key: str) -> str:
        await self.gate.wait()
        if key not in self._streams:
            raise Unauthorized("the stream key is not known")
        return self._streams[key]

    async def watch(self, stream: str, token: str | None) -> None:
        """Everybody may."""


class Changes:
    """What the hub has told: wait for a change, and read each stream from its first packet."""

    def __init__(self, hub: Hub) -> None:
        self.readers: dict[str, Reader] = {}
        self._told: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        hub.listen(self._change)

    async def next(self) -> tuple[str, str]:
        return await self._told.get()

    def _change(self, change: str, stream: Stream) -> None:
        if change == "online" and stream.name not in self.readers:
            self.readers[stream.name] = stream.subscribe()
        self._told.put_nowait((change, stream.name))


class Client:
    """Our own encoder on a socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.encoder = Encoder()
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int) -> Client:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    async def statuses(self) -> list[str]:
        """The status codes that the server has sent by the time it closed."""
        try:
            return status_codes(await self._reader.read())
        finally:
            self.close()

    async def until(self, marker: bytes) -> None:
        """Read on until the server has sent this."""
        await self._reader.readuntil(marker)

    async def end(self) -> None:
        """Return when the server sends no more; this side stays open."""
        with suppress(ConnectionResetError):
            await self._reader.read()

    async def closed(self) -> None:
        """Return when the server has closed, in whatever way."""
        await self.end()
        self.close()

    def close(self) -> None:
        self._writer.close()


@pytest.fixture
def hub() -> Hub:
    return Hub(grace_s=0.05)


@pytest.fixture
def changes(hub: Hub) -> Changes:
    return Changes(hub)


@pytest.fixture
def keys() -> Keys:
    return Keys({KEY: "show", "other": "other"})


@pytest.fixture
async def server(hub: Hub, keys: Keys) -> AsyncIterator[RtmpServer]:
    server = RtmpServer(hub, keys, "127.0.0.1", 0)
    await server.start()
    yield server
    await server.stop()


async def publish(ffmpeg: str, port: int, key: str, *options: str) -> tuple[int, str]:
    """Two seconds of picture and tone from ffmpeg; its exit code and what it said."""
    return await run(*encode(ffmpeg, *options), f"rtmp://127.0.0.1:{port}/live/{key}")


def encode(ffmpeg: str, *options: str) -> tuple[str, ...]:
    """ffmpeg's command line up to where the FLV goes."""
    return (
        *(ffmpeg, "-hide_banner", "-loglevel", "warning", "-nostdin", "-y"),
        *("-f", "lavfi", "-i", "testsrc2=size=160x120:rate=25"),
        *("-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000", "-t", "2"),
        *("-c:v", "libx264", "-preset", "ultrafast", "-threads", "1", "-g", "25"),
        *("-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "32k", *options, "-f", "flv"),
    )


async def run(*command: str) -> tuple[int, str]:
    """A program's exit code and what it said."""
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    _, said = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def packets(reader: Reader) -> list[Packet]:
    """All packets until the stream is removed."""
    found: list[Packet] = []
    try:
        while True:
            found += await reader.read()
    except StreamEnded:
        return found


def of_kind(kind: str, found: list[Packet]) -> list[Packet]:
    return [packet for packet in found if packet.track.kind == kind]


def steps(found: list[Packet]) -> set[int]:
    return {later.dts - earlier.dts for earlier, later in pairwise(found)}


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.name == "hawker.rtmp"]


def check_two_seconds(found: list[Packet]) -> None:
    video, audio = of_kind("video", found), of_kind("audio", found)
    assert [each.keyframe for each in video] == [index % 25 == 0 for index in range(50)]
    assert steps(video) == {3600}
    assert len({id(each.track) for each in video}) == 1
    track = video[0].track
    assert (track.codec, track.width, track.height) == ("h264", 160, 120)
    assert AvcConfig.parse(track.config).length_size == 4
    assert len(audio) in (94, 95, 96)
    assert steps(audio) == {1024}
    assert (audio[0].track.codec, audio[0].track.clock_rate) == ("aac", 48_000)
    apart = video[0].media_time_ms - audio[0].media_time_ms
    assert 0 <= apart <= 101  # the encoder's priming of 1,024 samples, and B-frames' delay


@pytest.mark.parametrize("program", ["ffmpeg", "whip_ffmpeg"])
async def test_what_ffmpeg_publishes_arrives_as_packets(
    server: RtmpServer, changes: Changes, program: str, request: pytest.FixtureRequest
) -> None:
    ffmpeg = request.getfixturevalue(program)
    code, _ = await publish(ffmpeg, server.port, KEY + "?token=x", "-bf", "0")
    assert code == 0
    found = await packets(changes.readers["show"])
    check_two_seconds(found)
    assert all(each.pts == each.dts for each in found)


async def test_b_frames_arrive_in_decode_order_with_their_display_times(
    server: RtmpServer, changes: Changes, ffmpeg: str
) -> None:
    options = ("-preset", "veryfast", "-bf", "2", "-x264-params", "b-adapt=0:scenecut=0")
    code, _ = await publish(ffmpeg, server.port, KEY, *options)
    assert code == 0
    found = await packets(changes.readers["show"])
    check_two_seconds(found)
    video = of_kind("video", found)
    assert all(each.pts >= each.dts for each in video)
    shown = sorted(each.pts for each in video)
    assert shown != [each.pts for each in video]
    assert {later - earlier for earlier, later in pairwise(shown)} == {3600}


async def test_timestamps_pass_24_bits_without_a_gap(
    server: RtmpServer, changes: Changes, ffmpeg: str
) -> None:
    options = ("-bf", "0", "-output_ts_offset", str(0xFFFFFF / 1000 - 1), "-crf", "5")
    code, _ = await publish(ffmpeg, server.port, KEY, *options)
    assert code == 0
    found = await packets(changes.readers["show"])
    check_two_seconds(found)
    later = of_kind("video", found)[25:]
    assert max(len(each.payload) for each in later) > 4096  # so there are type 3 chunks


async def test_what_librtmp_publishes_arrives_as_packets(
    server: RtmpServer, changes: Changes, ffmpeg: str, tmp_path: Path
) -> None:
    try:
        ctypes.CDLL(librtmp_program.LIBRARY)
    except OSError:
        pytest.skip("librtmp is not installed")
    flv = tmp_path / "two-seconds.flv"
    assert await run(*encode(ffmpeg, "-bf", "0"), str(flv)) == (0, "")
    url = f"rtmp://127.0.0.1:{server.port}/live"
    program = (sys.executable, librtmp_program.__file__)
    assert (await run(*program, f"{url}/wrong", str(flv)))[0] == 1
    assert (await run(*program, f"{url}/{KEY}", str(flv)))[0] == 0
    check_two_seconds(await packets(changes.readers["show"]))


def test_the_same_on_uvloop(ffmpeg: str) -> None:
    async def on_uvloop() -> list[Packet]:
        hub = Hub(grace_s=0.05)
        changes = Changes(hub)
        server = RtmpServer(hub, Keys({KEY: "show"}), "127.0.0.1", 0)
        await server.start()
        _, refusal = await publish(ffmpeg, server.port, "wrong")
        assert "NetStream.Publish.Denied" in refusal
        await publish(ffmpeg, server.port, KEY, "-bf", "0")
        found = await packets(changes.readers["show"])
        await server.stop()
        return found

    check_two_seconds(uvloop.run(on_uvloop()))


async def test_a_wrong_key_is_denied_and_never_logged(
    server: RtmpServer, hub: Hub, ffmpeg: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    code, said = await publish(ffmpeg, server.port, "wr0ng-key?pass=word")
    assert code != 0
    assert "NetStream.Publish.Denied: the stream key is not known" in said
    assert hub.streams == {}
    [line] = lines(caplog)
    assert line.startswith("publish from 127.0.0.1:")
    assert line.endswith(" refused: the stream key is not known")
    assert "wr0ng" not in caplog.text
    assert "word" not in caplog.text


async def test_a_publication_is_logged_at_its_start_and_its_end_without_its_key(
    server: RtmpServer, changes: Changes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    client = await Client.open(server.port)
    client.send(client.encoder.opening(KEY) + client.encoder.media())
    assert await changes.next() == ("online", "show")
    client.send(client.encoder.closing())
    assert await changes.next() == ("offline", "show")
    client.close()
    started, ended = lines(caplog)
    assert started.startswith("stream show: publish from 127.0.0.1:")
    assert started.endswith(" started")
    assert ended.endswith(" ended: publisher finished")
    assert KEY not in caplog.text


async def test_a_publisher_that_just_leaves_ends_its_publication(
    server: RtmpServer, changes: Changes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    client = await Client.open(server.port)
    client.send(client.encoder.opening(KEY) + client.encoder.media())
    assert await changes.next() == ("online", "show")
    client.close()
    assert await changes.next() == ("offline", "show")
    assert lines(caplog)[-1].endswith(" ended: publisher left")


async def test_junk_costs_one_log_line_and_disturbs_nobody(
    server: RtmpServer, changes: Changes, caplog: pytest.LogCaptureFixture
) -> None:
    host = await Client.open(server.port)
    host.send(host.encoder.opening(KEY) + host.encoder.media())
    assert await changes.next() == ("online", "show")
    reader = changes.readers["show"]
    await reader.read()
    handshake = Encoder().handshake()
    for junk, reason in (
        (b"GET / HTTP/1.1\r\n\r\n", "HTTP on the RTMP port"),
        (handshake + b"\xff" * 100, "chunk stream 63 began without a message header"),
        (Encoder().opening(KEY)[:-20] + b"\x03" * 900, "before the one before it ended"),
    ):
        caplog.clear()
        client = await Client.open(server.port)
        client.send(junk)
        await client.closed()
        [line] = lines(caplog)
        assert reason in line
        assert caplog.records[0].levelno == logging.WARNING
    host.send(host.encoder.video(200, SLICE_TAG))
    [packet] = await reader.read()
    assert packet.payload == SLICE_TAG[5:]
    host.close()


async def test_who_comes_with_the_same_key_takes_over(
    server: RtmpServer,
    hub: Hub,
    changes: Changes,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rtmp_session, "LINGER_S", 1000)  # who is told gets the end at once
    caplog.set_level(logging.INFO)
    first = await Client.open(server.port)
    first.send(first.encoder.opening(KEY) + first.encoder.media())
    assert await changes.next() == ("online", "show")
    stream = hub.get("show")
    second = await Client.open(server.port)
    second.send(second.encoder.opening(KEY) + second.encoder.media())
    assert await first.statuses() == ["NetStream.Publish.Start", "NetStream.Failed"]
    assert any(line.endswith(" ended: taken over") for line in lines(caplog))
    assert await changes.next() == ("online", "show")
    assert hub.get("show") is stream
    assert stream is not None
    assert stream.live
    second.close()


async def test_what_cannot_be_taken_is_said_to_the_publisher_and_in_the_log(
    server: RtmpServer, changes: Changes, caplog: pytest.LogCaptureFixture
) -> None:
    client = await Client.open(server.port)
    client.send(client.encoder.opening(KEY) + client.encoder.video(0, b"\x90vvc1" + bytes(50)))
    assert await client.statuses() == ["NetStream.Publish.Start", "NetStream.Publish.Rejected"]
    warning = next(each for each in caplog.records if each.name == "hawker.rtmp")
    assert "VVC video is not supported: in OBS choose an H.264 encoder" in warning.getMessage()
    assert [await changes.next(), await changes.next()] == [("online", "show"), ("offline", "show")]


async def test_media_sent_before_the_key_was_looked_up_is_not_lost(
    server: RtmpServer, keys: Keys, changes: Changes, hub: Hub
) -> None:
    keys.gate.clear()
    client = await Client.open(server.port)
    client.send(client.encoder.opening(KEY) + client.encoder.media(frames=2))
    await client.until(b"_result")  # so the server has read them
    assert hub.streams == {}
    keys.gate.set()
    assert await changes.next() == ("online", "show")
    found: list[Packet] = []
    while len(found) < 4:
        found += await changes.readers["show"].read()
    assert [each.payload for each in found] == [
        *(IDR_TAG[5:], AAC_FRAME[2:]),
        *(SLICE_TAG[5:], AAC_FRAME[2:]),
    ]
    client.close()


async def test_while_the_key_is_looked_up_more_waits_in_the_network_and_not_in_memory(
    server: RtmpServer, keys: Keys, changes: Changes
) -> None:
    keys.gate.clear()
    client = await Client.open(server.port)
    encoder = client.encoder
    client.send(encoder.opening(KEY) + encoder.media(frames=1))
    await client.until(b"_result")
    body = VideoTag(DATA, False, 0, join_length_prefixed([b"\x41" + bytes(60_000)])).serialize()
    client.send(b"".join(encoder.video(40 + 40 * index, body) for index in range(100)))
    for _ in range(30):  # meanwhile the server reads from everybody it wants to read from
        other = await Client.open(server.port)
        other.send(other.encoder.handshake() + other.encoder.connect())
        await other.until(b"_result")
        other.close()
    keys.gate.set()
    found: list[Packet] = []
    assert await changes.next() == ("online", "show")
    while len(found) < 102:
        found += await changes.readers["show"].read()
    client.close()


async def test_a_connection_may_publish_one_stream_after_another(
    server: RtmpServer, changes: Changes
) -> None:
    client = await Client.open(server.port)
    encoder = client.encoder
    client.send(encoder.opening(KEY) + encoder.media() + encoder.closing())
    early = VideoTag(DATA, True, 0, join_length_prefixed([b"\x65 too early"])).serialize()
    client.send(encoder.publish("other") + encoder.video(0, early) + encoder.media())
    told = [await changes.next() for _ in range(3)]
    assert told == [("online", "show"), ("offline", "show"), ("online", "other")]
    found: list[Packet] = []
    while len(found) < 8:
        found += await changes.readers["other"].read()
    assert found[0].payload == IDR_TAG[5:]  # the other came before its sequence header
    client.close()


async def test_after_a_publication_the_next_must_come_soon(
    server: RtmpServer, changes: Changes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "PUBLISH_TIMEOUT_S", 0.2)
    monkeypatch.setattr(connection, "IDLE_TIMEOUT_S", 1000)
    client = await Client.open(server.port)
    client.send(client.encoder.opening(KEY) + client.encoder.media())
    assert await changes.next() == ("online", "show")
    client.send(client.encoder.closing())
    await client.closed()


async def test_a_server_that_stops_during_a_look_up_publishes_nothing_after(
    hub: Hub, keys: Keys
) -> None:
    server = RtmpServer(hub, keys, "127.0.0.1", 0)
    await server.start()
    keys.gate.clear()
    client = await Client.open(server.port)
    client.send(client.encoder.opening(KEY))
    await client.until(b"_result")
    stopping = asyncio.create_task(server.stop())
    await client.end()
    keys.gate.set()
    await stopping
    client.close()
    assert server.counts.total == 0
    assert hub.streams == {}


async def test_a_stopping_server_tells_publishers_and_closes_everything(
    hub: Hub, keys: Keys, changes: Changes
) -> None:
    server = RtmpServer(hub, keys, "127.0.0.1", 0)
    await server.start()
    client, idle = await Client.open(server.port), await Client.open(server.port)
    client.send(client.encoder.opening(KEY) + client.encoder.media())
    idle.send(idle.encoder.handshake() + idle.encoder.connect())
    assert await changes.next() == ("online", "show")
    await idle.until(b"_result")
    ends = asyncio.gather(client.statuses(), idle.closed())
    await server.stop()
    statuses, _ = await ends
    assert statuses == ["NetStream.Publish.Start", "NetStream.Failed"]
    assert await changes.next() == ("offline", "show")
    assert server.counts.total == 0
    with pytest.raises(ConnectionRefusedError):
        await Client.open(server.port)


async def test_what_comes_while_a_connection_is_being_closed_is_ignored(
    hub: Hub, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    server = RtmpServer(hub, keys, "127.0.0.1", 0)
    await server.start()
    idle = await Client.open(server.port)
    idle.send(idle.encoder.handshake() + idle.encoder.connect())
    await idle.until(b"_result")
    stopping = asyncio.create_task(server.stop())
    await idle.end()
    idle.send(idle.encoder.command("createStream", None) + idle.encoder.publish(KEY))
    idle.close()
    await stopping
    assert caplog.records == []


async def test_a_draining_server_takes_nobody_new_and_keeps_who_is_there(
    server: RtmpServer, changes: Changes
) -> None:
    client = await Client.open(server.port)
    client.send(client.encoder.opening(KEY) + client.encoder.media())
    assert await changes.next() == ("online", "show")
    await changes.readers["show"].read()
    server.drain()
    with pytest.raises(ConnectionRefusedError):
        await Client.open(server.port)
    client.send(client.encoder.video(200, SLICE_TAG))
    assert len(await changes.readers["show"].read()) == 1
    client.close()


async def test_where_there_is_no_epoll_asyncio_reads(
    hub: Hub, keys: Keys, changes: Changes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rtmp, "HAS_POLLER", False)
    server = RtmpServer(hub, keys, "127.0.0.1", 0)
    await server.start()
    client = await Client.open(server.port)
    client.send(client.encoder.opening(KEY) + client.encoder.media())
    await changes.next()
    assert len(await changes.readers["show"].read()) > 0
    await server.stop()
    await client.closed()


async def test_connections_beyond_the_most_are_refused(
    hub: Hub, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    server = RtmpServer(hub, keys, "127.0.0.1", 0, max_connections=1)
    await server.start()
    first = await Client.open(server.port)
    first.send(first.encoder.handshake() + first.encoder.connect())
    await first.until(b"_result")
    second = await Client.open(server.port)
    await second.closed()
    [line] = lines(caplog)
    assert line.endswith(" refused: too many connections")
    first.close()
    await server.stop()
    assert server.counts.total == 0


def test_one_address_may_not_take_all_connections_but_loopback_may() -> None:
    counts = ConnectionCounts(5, 2)
    assert [counts.admit("192.0.2.1") for _ in range(3)] == [True, True, False]
    assert counts.admit("192.0.2.2")
    counts.release("192.0.2.1")
    assert counts.admit("192.0.2.1")
    assert [counts.admit("127.0.0.1") for _ in range(3)] == [True, True, False]
    counts = ConnectionCounts(5, 2)
    assert [counts.admit("::1") for _ in range(6)] == [True] * 5 + [False]


@pytest.mark.parametrize(
    ("limit", "sent", "reason"),
    [
        ("HANDSHAKE_TIMEOUT_S", b"\x03", "the handshake took too long"),
        ("PUBLISH_TIMEOUT_S", Encoder().handshake(), "it did not publish"),
        ("IDLE_TIMEOUT_S", Encoder().opening(KEY), "silent for"),
    ],
)
async def test_who_keeps_us_waiting_is_closed(
    server: RtmpServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    limit: str,
    sent: bytes,
    reason: str,
) -> None:
    monkeypatch.setattr(connection, "HANDSHAKE_TIMEOUT_S", 0.05)
    monkeypatch.setattr(connection, limit, 0.1)
    client = await Client.open(server.port)
    client.send(sent)
    await client.closed()
    assert any(reason in line for line in lines(caplog))


async def test_a_refused_publisher_that_stays_is_cut_off(
    server: RtmpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rtmp_session, "LINGER_S", 0.05)
    client = await Client.open(server.port)
    client.send(client.encoder.opening("wrong") + client.encoder.media())
    await client.until(b"NetStream.Publish.Denied")
    [session] = server.sessions
    await session.lost
    assert server.counts.total == 0
    client.close()


async def test_a_bug_in_the_look_up_closes_the_connection_and_surfaces(hub: Hub) -> None:
    class Broken(Keys):
        async def publish(self, key: str) -> str:
            raise ZeroDivisionError

    broken: Access = Broken({})
    server = RtmpServer(hub, broken, "127.0.0.1", 0)
    await server.start()
    surfaced: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: surfaced.append(context))
    client = await Client.open(server.port)
    client.send(client.encoder.opening(KEY))
    await client.closed()
    await server.stop()
    assert [type(each["exception"]) for each in surfaced] == [ZeroDivisionError]


def test_the_tags_of_the_test_are_real() -> None:
    tag = VideoTag.parse(IDR_TAG)
    assert tag is not None
    assert (tag.packet_type, tag.keyframe) == (DATA, True)
