"""Restreams: to nginx-rtmp, to our own server, and to addresses that no room may reach."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path

import pytest

from mediaserver.api.tls import CERT_FILE, own_certificate
from mediaserver.egress.restream import Address, Restreams, Target, UnusableUrl, push
from mediaserver.egress.restream.address import is_public
from mediaserver.egress.restream.feed import RENDITION_WAIT_S
from mediaserver.egress.restream.health import Figures
from mediaserver.egress.restream.interleaver import HELD_S, Interleaver
from mediaserver.egress.restream.restream import Restream
from mediaserver.egress.restream.states import TABLE, Event, State, after
from mediaserver.errors import Unauthorized
from mediaserver.hub import Hub, Publication
from mediaserver.ingest.rtmp import RtmpServer
from mediaserver.media import Packet, Track
from mediaserver.protocol.aac import audio_track
from mediaserver.protocol.h264 import join_length_prefixed, video_track
from mediaserver.protocol.opus import opus_track
from tests.egress.nginx_rtmp import free_port, platform, recorded
from tests.protocol.rtmp_client import IDR, PPS, SLICE, SPS
from tests.virtual_time import virtual_time

ROOM = "show"
KEY = "a-secret-key-of-theirs"
H264 = video_track((SPS,), (PPS,))
H265 = Track("video", "h265", 90_000, b"\1" + bytes(22), 160, 120)
AAC = audio_track(b"\x11\x90")
OPUS = opus_track(2, 312)
GOP = 25
FRAME_MS = 40
WAIT_S = 40.0  # more than the longest between two tries
AUDIO, VIDEO = 8, 9


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.01)


class Show:
    """A publisher of numbered pictures, a keyframe every second, with sound."""

    def __init__(self, hub: Hub, track: Track = H264, sound: Track = AAC) -> None:
        self.hub = hub
        self.sent = 0
        self._tracks = track, sound
        self._publication: Publication | None = None
        self.publish()

    def publish(self) -> None:
        self._publication = self.hub.publish(
            ROOM, protocol="rtmp", clock_rate=1000, on_close=lambda reason: None
        )
        self._first = self.sent

    def leave(self) -> None:
        assert self._publication is not None
        self._publication.close("connection lost")

    def frames(self, count: int) -> None:
        assert self._publication is not None
        track, sound = self._tracks
        for _ in range(count):
            number = self.sent - self._first
            key = number % GOP == 0
            mark = self.sent.to_bytes(4, "big")
            now, at = time.monotonic(), number * FRAME_MS
            picture = join_length_prefixed([(IDR if key else SLICE) + mark])
            self._publication.write(track, at, picture, keyframe=key, arrival=now)
            self._publication.write(sound, at, b"\x21" * 60, keyframe=True, arrival=now)
            self.sent += 1

    async def go_on(self, condition: Callable[[], bool], pause_s: float = 0.01) -> None:
        """Publish until the condition holds."""
        async with asyncio.timeout(WAIT_S):
            while not condition():
                self.frames(1)
                await asyncio.sleep(pause_s)


@dataclass
class Studio:
    """A hub and its restreams; `targets` are those of ROOM."""

    targets: list[Target] = field(default_factory=list)
    hub: Hub = field(default_factory=Hub)
    restreams: Restreams = field(init=False)

    async def lookup(self, room: str) -> list[Target]:
        return list(self.targets) if room == ROOM else []

    def figures(self, id: str) -> Figures:
        found = self.restreams.figures(ROOM, id)
        assert found is not None
        return found

    def state(self, id: str) -> str:
        found = self.restreams.figures(ROOM, id)
        return "" if found is None else found.state


@asynccontextmanager
async def studio(
    *targets: Target, allow_private: bool = True, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Studio]:
    made = Studio(list(targets))
    made.restreams = Restreams(made.hub, made.lookup, allow_private=allow_private, tls=tls)
    made.restreams.start()
    try:
        yield made
    finally:
        await made.restreams.close()
        made.hub.drain()


class Keys:
    async def publish(self, key: str) -> str:
        if key != KEY:
            raise Unauthorized(f"the key {key} is not known here")
        return "theirs"

    async def watch(self, stream: str, token: str | None) -> None:
        """Everybody may."""


@asynccontextmanager
async def own_server(
    tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[RtmpServer]:
    """Our own ingest as the other platform."""
    server = RtmpServer(Hub(), Keys(), host, 0, tls_port=0, tls=tls)
    await server.start()
    server.start_tls()
    try:
        yield server
    finally:
        await server.stop()
        server.hub.drain()


def target(port: int, id: str = "rst_1", key: str = KEY, rendition: str = "") -> Target:
    return Target(id, f"rtmp://127.0.0.1:{port}/live", key, rendition)


def numbers(tags: list[tuple[int, int, bytes]]) -> list[int]:
    """Of the pictures among a recording's tags."""
    return [
        int.from_bytes(body[-4:], "big") for kind, _, body in tags if kind == VIDEO and body[1] == 1
    ]


def sounds(folder: Path) -> list[bytes]:
    """The bodies of a recording's tags of sound."""
    recordings = recorded(folder, KEY)
    return [body for kind, _, body in recordings[0] if kind == AUDIO] if recordings else []


async def test_one_of_two_targets_dies_and_returns_and_the_other_misses_no_frame(
    tmp_path: Path,
) -> None:
    kept, dying = tmp_path / "kept", tmp_path / "dying"
    ports = free_port(), free_port()
    targets = [target(port, f"rst_{port}", f"key{port}") for port in ports]
    a, b = (each.id for each in targets)
    async with platform(kept, ports[0]), studio(*targets) as house:
        async with platform(dying, ports[1]) as process:
            show = Show(house.hub)
            await show.go_on(lambda: house.state(a) == house.state(b) == "live")
            first = house.figures(b).bytes
            await show.go_on(lambda: house.figures(b).bytes > first + 20_000)
            process.kill()  # by its pid
            await process.wait()
            await show.go_on(lambda: house.state(b) == "retrying")
            assert house.state(a) == "live"
        async with platform(dying, ports[1]):
            await show.go_on(lambda: house.state(b) == "live")
            again = house.figures(b).bytes
            await show.go_on(lambda: house.figures(b).bytes > again + 20_000)
            last = show.sent - 1
            show.frames(1 + int(HELD_S * 1000 / FRAME_MS))
            await until(lambda: last in numbers(recorded(kept, targets[0].key)[0]))
            await until(lambda: last in numbers(recorded(dying, targets[1].key)[-1]))
        assert house.figures(a).reconnects == 0 and house.figures(a).frames_skipped == 0
        assert house.figures(b).reconnects == 1 and house.figures(b).last_error
    (whole,) = recorded(kept, targets[0].key)
    seen = numbers(whole)
    assert seen == list(range(seen[0], seen[-1] + 1)) and seen[0] == 0
    before, after_return = recorded(dying, targets[1].key)
    came_back = numbers(after_return)
    assert numbers(before) and came_back[0] % GOP == 0 and came_back[0] > numbers(before)[-1] - GOP
    assert came_back == list(range(came_back[0], came_back[-1] + 1))


async def test_pictures_and_sound_arrive_as_they_were_published() -> None:
    async with own_server() as theirs, studio(target(theirs.port)) as house:
        show = Show(house.hub)
        await show.go_on(lambda: theirs.hub.get("theirs") is not None)
        stream = theirs.hub.get("theirs")
        assert stream is not None
        await show.go_on(lambda: len(stream.tracks) == 2)
        assert stream.tracks == {"video": H264, "audio": AAC}
        figures = house.figures("rst_1")
        assert (figures.state, figures.reconnects, figures.last_error) == ("live", 0, "")


async def test_a_publisher_who_comes_back_goes_on_in_the_same_connection() -> None:
    async with own_server() as theirs, studio(target(theirs.port)) as house:
        show = Show(house.hub)
        await show.go_on(lambda: theirs.hub.get("theirs") is not None)
        stream = theirs.hub.get("theirs")
        assert stream is not None
        reader = stream.subscribe(kinds=frozenset({"video"}))
        await show.go_on(lambda: stream.counters.packets > 20)
        show.leave()
        show.publish()
        count = stream.counters.packets
        await show.go_on(lambda: stream.counters.packets > count + 60)
        packets = await reader.read()
        assert all(a.dts < b.dts for a, b in pairwise(packets))
        assert house.figures("rst_1").reconnects == 0 and stream.timeline.jumps == 0


async def test_a_refused_key_is_said_in_words_without_the_key(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "hawker.restream")
    wrong = "their-old-key-0123456789"
    async with own_server() as theirs, studio(target(theirs.port, key=wrong)) as house:
        await Show(house.hub).go_on(lambda: house.state("rst_1") == "failed")
        words = house.figures("rst_1").last_error
        assert words.endswith("(NetStream.Publish.Denied: the key … is not known here)")
        assert house.figures("rst_1").error_code == "key_refused"
    own = [each.getMessage() for each in caplog.records if each.name == "hawker.restream"]
    assert own and wrong not in str(own)


async def test_sound_that_the_target_does_not_take_comes_from_the_bridge(tmp_path: Path) -> None:
    port = free_port()
    async with platform(tmp_path, port), studio(target(port)) as house:
        show = Show(house.hub, sound=OPUS)
        show.frames(1)
        source = house.hub.get(ROOM)
        assert source is not None
        bridge = house.hub.rendition(source, "aac", AAC)
        await show.go_on(lambda: bridge.readers == 1)
        for number in range(100):
            bridge.write(Packet(AAC, number * 1024, number * 1024, 0, True, b"\x21" * 60))
        show.frames(100)
        await until(lambda: len(sounds(tmp_path)) > 50)
        assert sounds(tmp_path)[0] == b"\xaf\x00" + AAC.config


async def test_opus_is_sent_as_it_is_to_a_server_that_lists_it() -> None:
    async with own_server() as theirs, studio(target(theirs.port)) as house:
        show = Show(house.hub, sound=OPUS)
        await show.go_on(lambda: theirs.hub.get("theirs") is not None)
        stream = theirs.hub.get("theirs")
        assert stream is not None
        await show.go_on(lambda: stream.tracks.get("audio") == OPUS)


async def test_a_rendition_is_read_while_it_is_sent() -> None:
    async with own_server() as theirs, studio(target(theirs.port, rendition="720p")) as house:
        show = Show(house.hub, track=H265)
        show.frames(1)
        source = house.hub.get(ROOM)
        assert source is not None
        wanted: list[bool] = []
        rung = house.hub.rendition(source, "720p", H264)
        rung.on_read = wanted.append
        await until(lambda: wanted == [True])
        house.targets.clear()
        await house.restreams.refresh(ROOM)
        assert wanted == [True, False] and house.state("rst_1") == ""


async def test_a_codec_that_is_not_taken_fails_with_the_remedy(tmp_path: Path) -> None:
    port = free_port()
    async with platform(tmp_path, port), studio(target(port)) as house:
        await Show(house.hub, track=H265).go_on(lambda: house.state("rst_1") == "failed")
        assert "the picture is H.265" in house.figures("rst_1").last_error


async def test_a_target_that_is_not_there_is_tried_again_and_stopped_at_once() -> None:
    async with studio(target(free_port())) as house:
        await Show(house.hub).go_on(lambda: house.state("rst_1") == "retrying")
        assert house.figures("rst_1").last_error == "nothing listens there"
        house.targets.clear()
        await house.restreams.refresh(ROOM)
        assert house.restreams.figures(ROOM, "rst_1") is None


async def test_a_slow_target_skips_to_a_keyframe_and_is_given_up_when_it_takes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(push, "MAX_WAITING_BYTES", 10_000)
    monkeypatch.setattr(push, "STALL_S", 0.5)
    async with own_server() as theirs, studio(target(theirs.port)) as house:
        show = Show(house.hub)
        await show.go_on(lambda: theirs.hub.get("theirs") is not None)
        (session,) = theirs.sessions
        session._transport.pause_reading()
        while not house.figures("rst_1").frames_skipped:
            show.frames(500)
            await asyncio.sleep(0)
        await show.go_on(lambda: house.state("rst_1") == "retrying")
        assert house.figures("rst_1").last_error == "it takes nothing any more"


@pytest.mark.parametrize(
    ("host", "trusted", "state"),
    [
        ("127.0.0.1", True, "live"),
        ("127.0.0.2", True, "retrying"),  # the certificate does not name it
        ("127.0.0.1", False, "retrying"),
    ],
)
async def test_rtmps_is_held_to_the_name_of_the_host(
    tmp_path: Path, host: str, trusted: bool, state: str
) -> None:
    server_side = own_certificate(tmp_path, ["127.0.0.1"])
    client_side = ssl.create_default_context()
    if trusted:
        client_side.load_verify_locations(tmp_path / CERT_FILE)
    async with own_server(server_side, "0.0.0.0") as theirs:
        made = Target("rst_1", f"rtmps://{host}:{theirs.tls_port}/live", KEY)
        async with studio(made, tls=client_side) as house:
            await Show(house.hub).go_on(lambda: house.state("rst_1") in ("live", "retrying"))
            figures = house.figures("rst_1")
            assert figures.state == state
            assert figures.error_code == ("" if state == "live" else "certificate")


@virtual_time
async def test_a_rendition_that_is_not_made_is_said_but_not_while_the_publisher_is_away() -> None:
    async with own_server() as theirs, studio(target(theirs.port, rendition="720p")) as house:
        show = Show(house.hub)
        show.frames(1)
        await until(lambda: house.state("rst_1") == "live")
        show.leave()
        await asyncio.sleep(RENDITION_WAIT_S + 5)
        assert house.state("rst_1") == "live"
        show.publish()
        show.frames(1)
        await until(lambda: house.state("rst_1") == "failed")
        assert house.figures("rst_1").error_code == "rendition"


@virtual_time
async def test_tries_come_less_and_less_often_and_end_with_the_show() -> None:
    loop, hub = asyncio.get_running_loop(), Hub()
    show = Show(hub)
    show.frames(1)
    tries: list[float] = []

    def chance() -> float:
        """Asked for after each try."""
        tries.append(loop.time())
        return 0.5

    tls = ssl.create_default_context()
    nowhere = target(free_port())
    restream = Restream(hub, ROOM, nowhere, tls, allow_private=True, chance=chance)
    await asyncio.sleep(1 + 2 + 4 + 8 + 16 + 30 + 30 + 1)
    waits = [round(b - a) for a, b in pairwise(tries)]
    assert waits == [1, 2, 4, 8, 16, 30, 30]
    show.leave()
    await until(lambda: restream.health.state is State.IDLE)
    await restream.stop()
    assert restream.health.state is State.STOPPED
    hub.drain()


# -- addresses ------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
async def test_no_room_reaches_this_machine_unless_it_is_allowed(host: str) -> None:
    made = Target("rst_1", f"rtmp://{host}:1935/live", KEY)
    async with studio(made, allow_private=False) as house:
        await Show(house.hub).go_on(lambda: house.state("rst_1") == "failed")
        assert "in a private network" in house.figures("rst_1").last_error


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "fec0::1",
        "::127.0.0.1",
        "::ffff:0:127.0.0.1",
        "64:ff9b:1::7f00:1",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fd00::1",
        "ff02::1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "2002:a00:1::",
    ],
)
def test_addresses_of_private_networks_are_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700::1111", "64:ff9b::101:101"])
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        "http://host/app",
        "rtmp://host",
        "rtmp://host/",
        "rtmp:///app",
        "rtmp://host:0/app",
        "rtmp://host:99999/app",
        "rtmp://me:word@host/app",
        "rtmp://host/app?key=1",
        "rtmp://host/app#x",
        "file:///etc/passwd",
        "host/app",
        "rtmp://[::1/app",
        "rtmp://hóst/app",
    ],
)
def test_a_url_of_something_else_is_refused(url: str) -> None:
    with pytest.raises(UnusableUrl):
        Address.parse(url)


def test_the_parts_of_a_url() -> None:
    plain = Address.parse("rtmp://live.example.com/app/instance/")
    assert plain == Address(
        False, "live.example.com", 1935, "app/instance", "rtmp://live.example.com/app/instance"
    )
    assert Address.parse("rtmps://x.example:8443/a").port == 8443
    assert Address.parse("rtmps://x.example/a").port == 443


# -- states and order -----------------------------------------------------------------------------


def test_every_state_can_be_stopped_and_none_is_left_by_what_cannot_happen() -> None:
    assert all(after(state, Event.STOP) is State.STOPPED for state in State)
    assert {state for _, state in TABLE.items()} == set(State) - {State.IDLE} | {State.IDLE}
    with pytest.raises(RuntimeError, match="accepted while idle"):
        after(State.IDLE, Event.ACCEPTED)


def test_two_streams_are_sent_in_one_order_and_nothing_twice() -> None:
    written: list[Packet] = []
    both = Interleaver(written.append)
    pictures = [Packet(H264, at, at, 0, True, b"p") for at in range(0, 90_000, 9000)]
    sounds = [Packet(AAC, at, at, 0, True, b"s") for at in range(2400, 48_000, 4800)]
    for packet in (*pictures, *sounds, *pictures):
        both.put(packet)
    times = [each.dts / each.track.clock_rate for each in written]
    assert times == sorted(times) and len(written) == 19  # the newest waits for the other kind


def test_pictures_without_sound_go_on_alone() -> None:
    written: list[Packet] = []
    alone = Interleaver(written.append)
    for second in range(10):
        alone.put(Packet(H264, second * 90_000, second * 90_000, 0, True, b"p"))
    assert len(written) == 10 - HELD_S - 1
