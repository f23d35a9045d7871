"""SRT ingest over real sockets: ffmpeg and a caller of our own publish into a hub."""

from __future__ import annotations

import asyncio
import ctypes.util
import errno
import logging
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
import uvloop

from mediaserver.hub import Hub, Reader
from mediaserver.ingest.srt import SrtServer, Unavailable, gate, library, session
from mediaserver.ingest.srt.statistics import Statistics
from mediaserver.media import Packet
from mediaserver.protocol.mpegts import Demuxer
from tests.ingest.srt_caller import Caller, Changes, Keys, packets, run
from tests.protocol.ts_muxer import Muxer, by_ffmpeg
from tests.udp_relay import Direction, UdpRelay

KEY = "s3cret-key"
PASSPHRASE = "correct horse battery"
BADSECRET, UNSECURE = 10, 11  # SRT_REJ_…
X264 = ("-c:v", "libx264", "-preset", "veryfast", "-threads", "1", "-g", "25", "-x264-params")
H264_AAC = (*X264, "b-adapt=0:scenecut=0:bframes=2", "-c:a", "aac")
X265 = (
    "-c:v",
    "libx265",
    "-preset",
    "ultrafast",
    "-g",
    "25",
    "-x265-params",
    "log-level=none:pools=1",
)
H265_OPUS = (*X265, "-c:a", "libopus")


@pytest.fixture(autouse=True)
def libsrt() -> None:
    try:
        library.load()
    except Unavailable as why:
        pytest.skip(str(why))


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
async def server(hub: Hub, keys: Keys) -> AsyncIterator[SrtServer]:
    server = SrtServer(hub, keys, "127.0.0.1", 0)
    await server.start()
    yield server
    await server.stop()


def encode(ffmpeg: str, port: int, key: str, *options: str, query: str = "") -> tuple[str, ...]:
    """Two seconds of picture and tone, faster than real time."""
    return (
        *(ffmpeg, "-hide_banner", "-loglevel", "warning", "-nostdin"),
        *("-f", "lavfi", "-i", "testsrc2=size=160x120:rate=25"),
        *("-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000", "-t", "2"),
        *("-pix_fmt", "yuv420p", *(options or H264_AAC), "-f", "mpegts"),
        f"srt://127.0.0.1:{port}?streamid=publish:{key}&pkt_size=1316&linger=2{query}",
    )


def of_kind(kind: str, found: list[Packet]) -> list[Packet]:
    return [packet for packet in found if packet.track.kind == kind]


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.name == "hawker.srt"]


def check_two_seconds(found: list[Packet], codec: str = "h264") -> None:
    video, audio = of_kind("video", found), of_kind("audio", found)
    assert 30 <= len(video) <= 49  # ffmpeg ends without waiting for its last packets
    assert [each.keyframe for each in video] == [index % 25 == 0 for index in range(len(video))]
    assert {later.dts - earlier.dts for earlier, later in pairwise(video)} == {3600}
    assert {packet.track.codec for packet in video} == {codec}
    assert len({id(packet.track) for packet in video}) == 1
    assert (video[0].track.width, video[0].track.height) == (160, 120)
    shown = sorted(packet.pts for packet in video)
    assert shown != [packet.pts for packet in video]  # there are B-frames
    assert {later - earlier for earlier, later in pairwise(shown[:-3])} == {3600}
    step = {"aac": 1024, "opus": 960}[audio[0].track.codec]
    assert {later.dts - earlier.dts for earlier, later in pairwise(audio)} == {step}
    assert 50 <= len(audio) * step / 1024 <= 96
    apart = shown[0] * 1000 // 90_000 - audio[0].media_time_ms
    assert 0 <= apart <= 60  # the encoder's priming


@pytest.mark.parametrize(
    ("program", "options", "codec"),
    [("whip_ffmpeg", H264_AAC, "h264"), ("ffmpeg", H265_OPUS, "h265")],
    ids=["h264-aac", "h265-opus"],
)
async def test_what_ffmpeg_publishes_arrives_as_packets(
    server: SrtServer,
    changes: Changes,
    program: str,
    options: tuple[str, ...],
    codec: str,
    request: pytest.FixtureRequest,
) -> None:
    ffmpeg = request.getfixturevalue(program)
    code, _ = await run(*encode(ffmpeg, server.port, KEY, *options))
    assert code == 0
    check_two_seconds(await packets(changes.readers["show"]), codec)


def test_the_same_on_uvloop(ffmpeg: str) -> None:
    async def on_uvloop() -> list[Packet]:
        hub = Hub(grace_s=0.05)
        changes = Changes(hub)
        server = SrtServer(hub, Keys({KEY: "show"}), "127.0.0.1", 0)
        await server.start()
        assert (await run(*encode(ffmpeg, server.port, KEY)))[0] == 0
        found = await packets(changes.readers["show"])
        await server.stop()
        return found

    check_two_seconds(uvloop.run(on_uvloop()))


@pytest.mark.parametrize(
    ("stream_id", "reason"),
    [
        ("publish:wrong", 2401),
        ("#!::m=publish,r=wrong", 2401),
        ("", 2400),
        ("publish:", 2400),
        ("read:show", 2405),
        ("#!::r=show", 2405),
    ],
)
async def test_who_may_not_publish_is_told_why_in_the_handshake(
    server: SrtServer,
    hub: Hub,
    stream_id: str,
    reason: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caller = Caller()
    assert await caller.connect(server.port, stream_id) == reason
    assert all(line.startswith("publish from 127.0.0.1:") for line in lines(caplog))
    assert all(" refused: " in line for line in lines(caplog))
    assert lines(caplog)
    assert not hub.streams
    assert not server.sessions
    caller.close()


async def test_callers_beyond_so_many_a_second_are_not_asked_for_their_key(
    server: SrtServer, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "MAX_ASKED_PER_S", 0)
    caller = Caller()
    assert await caller.connect(server.port, f"publish:{KEY}") == 2429
    assert not keys.asked
    caller.close()


async def test_ffmpeg_with_a_wrong_key_ends_at_once(server: SrtServer, whip_ffmpeg: str) -> None:
    code, said = await run(*encode(whip_ffmpeg, server.port, "wrong"))
    assert code != 0
    assert "USERDEFINED:401" in said


@pytest.mark.parametrize("stream_id", [f"publish:{KEY}", f"#!::r={KEY},m=publish,t=stream"])
async def test_both_forms_of_stream_id_publish(
    server: SrtServer, changes: Changes, stream_id: str
) -> None:
    caller = Caller()
    assert await caller.connect(server.port, stream_id) == 0
    assert await changes.next() == ("online", "show")
    caller.close()
    assert await changes.next() == ("offline", "show")


async def test_without_an_answer_in_time_the_key_decides_after_the_handshake(
    server: SrtServer, changes: Changes, keys: Keys, hub: Hub
) -> None:
    keys.gate.clear()
    right, wrong = Caller(), Caller()
    assert await right.connect(server.port, f"publish:{KEY}") == 0
    assert await wrong.connect(server.port, "publish:wrong") == 0
    keys.gate.set()
    assert await changes.next() == ("online", "show")
    await wrong.closed()
    assert list(hub.streams) == ["show"]
    assert right.connected
    right.close()
    wrong.close()


@pytest.mark.parametrize(
    ("theirs", "reason"), [(PASSPHRASE, 0), ("another passphrase", BADSECRET), ("", UNSECURE)]
)
async def test_a_passphrase_must_be_the_same_on_both_sides(
    hub: Hub, keys: Keys, changes: Changes, theirs: str, reason: int
) -> None:
    server = SrtServer(hub, keys, "127.0.0.1", 0, passphrase=PASSPHRASE)
    await server.start()
    caller = Caller()
    assert await caller.connect(server.port, f"publish:{KEY}", theirs) == reason
    if not reason:
        caller.send(by_ffmpeg("libx264", "aac"))
        await changes.next()
        assert await changes.readers["show"].read()
    assert bool(hub.streams) == (not reason)
    caller.close()
    await server.stop()


async def test_a_return_goes_on_where_the_stream_was(keys: Keys) -> None:
    hub = Hub(grace_s=30)
    changes = Changes(hub)
    server = SrtServer(hub, keys, "127.0.0.1", 0)
    await server.start()
    times: list[int] = []
    for _ in range(2):
        caller = Caller()
        assert await caller.connect(server.port, f"publish:{KEY}") == 0
        assert await changes.next() == ("online", "show")
        caller.send(by_ffmpeg("libx264", "aac"))
        found = await changes.readers["show"].read()
        caller.close()
        assert await changes.next() == ("offline", "show")
        found += await changes.readers["show"].read()
        times += [packet.dts for packet in of_kind("video", found)]
    assert times == sorted(times)
    assert len(set(times)) == 2 * 49
    await server.stop()
    hub.drain()


async def test_a_second_publisher_takes_over(
    server: SrtServer, changes: Changes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    first, second = Caller(), Caller()
    assert await first.connect(server.port, f"publish:{KEY}") == 0
    assert await changes.next() == ("online", "show")
    assert await second.connect(server.port, f"publish:{KEY}") == 0
    while await changes.next() != ("online", "show"):
        pass
    await first.closed()
    assert second.connected
    assert any("ended: taken over" in line for line in lines(caplog))
    assert len(server.sessions) == 1
    first.close()
    second.close()


async def test_a_publisher_that_is_killed_is_missed_and_its_return_continues(
    keys: Keys, ffmpeg: str
) -> None:
    hub = Hub(grace_s=30)
    changes = Changes(hub)
    server = SrtServer(hub, keys, "127.0.0.1", 0)
    await server.start()
    program, *rest = encode(ffmpeg, server.port, KEY)
    process = await asyncio.create_subprocess_exec(program, "-re", *rest)
    assert await changes.next() == ("online", "show")
    found = await changes.readers["show"].read()
    process.kill()
    await process.wait()
    assert await changes.next() == ("offline", "show")
    assert (await run(program, *rest))[0] == 0
    found += await changes.readers["show"].read()
    video = of_kind("video", found)
    steps = [later.dts - earlier.dts for earlier, later in pairwise(video)]
    assert min(steps) > 0
    assert 3 * 90_000 < max(steps) < 15 * 90_000  # the connection is given up after 5 s
    assert len(video) > 30
    await server.stop()
    hub.drain()


async def until(payload: bytes, reader: Reader) -> list[Packet]:
    """All packets up to the one that holds this."""
    found: list[Packet] = []
    while payload not in [packet.payload for packet in found]:
        found += await reader.read()
    return found


async def test_two_packets_lost_in_a_hundred_are_sent_again(
    server: SrtServer, changes: Changes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    data = by_ffmpeg("libx264", "aac")
    sent = [frame.payload for frame in Demuxer().feed(data)]
    async with UdpRelay(("127.0.0.1", server.port), 5, 0.02, 0.02, delay_in_s=0.005) as relay:
        caller = Caller()
        assert await caller.connect(relay.port, f"publish:{KEY}") == 0
        await caller.play(data, 1.0)
        found = await until(sent[-1], changes.readers["show"])
        (held,) = server.sessions.values()
        caller.close()
        await changes.next()
        assert relay.counts_in.lost > 10
    assert [packet.payload for packet in found] == sent
    assert (held.damaged, held.statistics.dropped) == (0, 0)
    assert held.statistics.retransmitted >= held.statistics.lost > 5


async def test_what_never_came_is_left_out_and_nothing_damaged_is_handed_on(
    server: SrtServer, changes: Changes
) -> None:
    data = by_ffmpeg("libx264", "aac")
    sent = [frame.payload for frame in Demuxer().feed(data)]
    seen: dict[bytes, int] = {}

    def passes(direction: Direction, datagram: bytes) -> bool:
        """No data packet from the 200th to the 329th, however often it is sent."""
        control = datagram[0] & 0x80
        if direction == "out" or control:
            return True
        return not 200 <= seen.setdefault(datagram[:4], len(seen)) < 330

    async with UdpRelay(("127.0.0.1", server.port), 5, passes=passes) as relay:
        caller = Caller()
        assert await caller.connect(relay.port, f"publish:{KEY}") == 0
        await caller.play(data, 1.0)
        found = await until(sent[-1], changes.readers["show"])
        (held,) = server.sessions.values()
        caller.close()
    video = of_kind("video", found)
    assert {packet.payload for packet in found} <= set(sent)
    assert 20 < len(video) < 45
    (later,) = [b for a, b in pairwise(video) if b.dts - a.dts > 3600]
    assert later.keyframe
    assert held.damaged
    assert 100 < held.statistics.dropped <= 130
    assert held.statistics.lost >= held.statistics.dropped


async def test_the_figures_of_a_connection_are_libsrts(server: SrtServer, changes: Changes) -> None:
    caller = Caller()
    assert await caller.connect(server.port, f"publish:{KEY}") == 0
    await changes.next()
    (held,) = server.sessions.values()
    data = by_ffmpeg("libx264", "aac")
    caller.send(data)
    await changes.readers["show"].read()
    caller.close()
    await changes.next()
    found = held.statistics
    assert found.packets == -(-len(data) // 1316)
    assert found.bytes >= len(data)
    assert (found.lost, found.retransmitted, found.dropped, found.undecrypted) == (0, 0, 0, 0)
    assert 0 < found.rtt_ms < 1000
    assert found != Statistics()


async def test_sound_that_is_not_taken_is_noticed_and_the_picture_goes_on(
    server: SrtServer, changes: Changes, ffmpeg: str
) -> None:
    options = (*H264_AAC[:-1], "libmp3lame")
    assert (await run(*encode(ffmpeg, server.port, KEY, *options)))[0] == 0
    stream = changes.readers["show"].stream
    assert of_kind("video", await packets(changes.readers["show"]))
    (notice,) = stream.notices.values()
    assert notice.code == "UnsupportedAudio"
    assert "MPEG audio" in notice.text["en"]
    assert set(notice.text) == set(notice.fix) == {"en", "zh"}


async def test_a_stream_of_which_nothing_is_taken_is_closed_in_words(
    server: SrtServer, changes: Changes, caplog: pytest.LogCaptureFixture
) -> None:
    muxer = Muxer()
    caller = Caller()
    assert await caller.connect(server.port, f"publish:{KEY}") == 0
    await changes.next()
    caller.send(b"".join(muxer.pat() + muxer.pmt((0x02, 0x100, b""), (0x11, 0x101, b""))))
    assert await changes.next() == ("offline", "show")
    await caller.closed()
    assert "MPEG-2 video and AAC in LATM: not supported; choose H.264 and AAC" in lines(caplog)[-1]
    caller.close()


async def test_what_is_no_transport_stream_is_closed_in_words(
    server: SrtServer, changes: Changes, caplog: pytest.LogCaptureFixture
) -> None:
    caller = Caller()
    assert await caller.connect(server.port, f"publish:{KEY}") == 0
    await changes.next()
    caller.send(bytes(80_000))
    assert await changes.next() == ("offline", "show")
    assert "this is no MPEG transport stream" in lines(caplog)[-1]
    caller.close()


async def test_a_publisher_that_sends_nothing_is_closed(
    server: SrtServer, changes: Changes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "SILENCE_S", 0.1)
    caller = Caller()
    assert await caller.connect(server.port, f"publish:{KEY}") == 0
    assert await changes.next() == ("online", "show")
    assert await changes.next() == ("offline", "show")
    await caller.closed()
    caller.close()


async def test_connections_are_limited(hub: Hub, keys: Keys, changes: Changes) -> None:
    server = SrtServer(hub, keys, "127.0.0.1", 0, max_connections=1)
    await server.start()
    first, second = Caller(), Caller()
    assert await first.connect(server.port, f"publish:{KEY}") == 0
    await changes.next()
    assert await second.connect(server.port, "publish:other") == 0
    await second.closed()
    assert first.connected
    assert list(hub.streams) == ["show"]
    first.close()
    assert await changes.next() == ("offline", "show")
    third = Caller()
    assert await third.connect(server.port, "publish:other") == 0
    while await changes.next() != ("online", "other"):
        pass
    for caller in (second, third):
        caller.close()
    await server.stop()


async def test_a_stop_ends_publishers_and_frees_the_port(
    server: SrtServer, hub: Hub, keys: Keys, changes: Changes
) -> None:
    caller = Caller()
    assert await caller.connect(server.port, f"publish:{KEY}") == 0
    await changes.next()
    await server.stop()
    assert not server.listening
    assert not server.sessions
    assert await changes.next() == ("offline", "show")
    await caller.closed()
    caller.close()
    again = SrtServer(hub, keys, "127.0.0.1", server.port)
    await again.start()
    await again.stop()


async def test_who_asks_while_it_stops_holds_nothing_up(
    hub: Hub, keys: Keys, server: SrtServer
) -> None:
    keys.gate.clear()
    callers = [Caller() for _ in range(4)]
    asking = [asyncio.create_task(each.connect(server.port, f"publish:{KEY}")) for each in callers]
    while not keys.asked:
        await asyncio.sleep(0.01)
    await asyncio.wait_for(server.stop(), 5)
    keys.gate.set()
    await asyncio.gather(*asking)
    assert not hub.streams
    for caller in callers:
        caller.close()


async def test_without_publishers_nothing_runs_on_the_loop(
    server: SrtServer, changes: Changes, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert server._timer is None
    caller = Caller()
    assert await caller.connect(server.port, f"publish:{KEY}") == 0
    await changes.next()
    assert server._timer is not None
    server._expected_until = 0.0
    caller.close()
    await changes.next()
    while server._timer is not None:
        await asyncio.sleep(0.01)


async def test_a_taken_port_is_an_os_error(server: SrtServer, hub: Hub, keys: Keys) -> None:
    taken = asyncio.DatagramProtocol()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: taken, ("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    second = SrtServer(hub, keys, "127.0.0.1", port)
    with pytest.raises(OSError) as error:
        await second.start()
    await second.stop()
    assert error.value.errno == errno.EADDRINUSE
    transport.close()


def test_a_machine_without_libsrt_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    with pytest.raises(Unavailable, match="libsrt is not installed"):
        library.load()


def test_a_library_that_is_not_libsrt_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: "libc.so.6")
    with pytest.raises(Unavailable, match="cannot be used"):
        library.load()
