"""The slate: on the air when the publisher drops or falls silent, off it with his next keyframe."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import av
import pytest
from av.video.codeccontext import VideoCodecContext

from mediaserver.access import split_key
from mediaserver.hub import BACKUP, MAIN, Hub, Reader, Stream
from mediaserver.ingest.slate import CODECS, Slate
from mediaserver.media import Codec, Packet, Track
from mediaserver.protocol import h264, h265
from mediaserver.protocol.opus import opus_track
from mediaserver.transcode.slate import GOP_FRAMES, encode
from tests.protocol import encoded

PATIENCE_S = 20.0
OPUS = opus_track(2)
AAC = Track("audio", "aac", 48_000, b"\x11\x90", channels=2)


class Publisher:
    """Sends numbered pictures, and sound between them, when it is told to."""

    def __init__(
        self, hub: Hub, codec: Codec = "h264", audio: Track = OPUS, rank: int = MAIN
    ) -> None:
        self.ended: list[str] = []
        self.publication = hub.publish(
            "show", protocol="test", clock_rate=1000, rank=rank, on_close=self.ended.append
        )
        self._audio = audio
        self._pictures = encoded.packets(codec)
        self._sent = 0

    def send(self, *, keyframe: bool = True) -> None:
        now = time.monotonic()
        picture = self._pictures[0 if keyframe else 1]
        write = self.publication.write
        write(picture.track, self._sent * 40, picture.payload, keyframe=keyframe, arrival=now)
        write(self._audio, self._sent * 40, b"sound", keyframe=True, arrival=now)
        self._sent += 1


@asynccontextmanager
async def house(
    clock: Callable[[], float] = time.monotonic, grace_s: float = 30.0
) -> AsyncIterator[tuple[Hub, Slate]]:
    hub = Hub(grace_s)
    slate = Slate(hub, clock=clock)
    slate.start()
    try:
        yield hub, slate
    finally:
        await slate.close()
        hub.drain()


async def made(slate: Slate) -> None:
    """Wait until the pictures of a first codec and size are there."""
    async with asyncio.timeout(PATIENCE_S):
        while not slate._made:
            await asyncio.sleep(0.02)


async def read_until(reader: Reader, done: Callable[[Packet], bool]) -> list[Packet]:
    packets: list[Packet] = []
    async with asyncio.timeout(PATIENCE_S):
        while not packets or not done(packets[-1]):
            packets += await reader.read()
    return packets


def is_slate(stream: Stream) -> bool:
    return stream.protocol == "slate"


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_its_pictures_are_one_group_that_a_decoder_shows_over_and_over(codec: Codec) -> None:
    track, payloads = encode(codec, 320, 180)
    assert (track.codec, track.width, track.height) == (codec, 320, 180)
    assert len(payloads) == GOP_FRAMES
    decoder = av.CodecContext.create("hevc" if codec == "h265" else codec, "r")
    assert isinstance(decoder, VideoCodecContext)
    if codec == "h264":
        config = h264.AvcConfig.parse(track.config)
        sets = b"".join(b"\0\0\0\1" + each for each in (*config.sps, *config.pps))
    elif codec == "h265":
        record = h265.HevcConfig.parse(track.config)
        sets = b"".join(b"\0\0\0\1" + each for each in (*record.vps, *record.sps, *record.pps))
    shown: list[av.VideoFrame] = []
    for payload in payloads * 2:
        data = payload
        if codec in ("h264", "h265"):
            nals = h264.split_length_prefixed(payload)
            data = sets + b"".join(b"\0\0\0\1" + bytes(nal) for nal in nals)
        shown += decoder.decode(av.Packet(data))
    shown += decoder.decode(None)
    assert len(shown) == 2 * GOP_FRAMES
    first, last = (frame.to_ndarray(format="gray").astype(int) for frame in (shown[0], shown[-1]))
    assert abs(first - last).mean() < 3  # one still picture,
    assert first.std() > 5  # and something to see


@pytest.mark.parametrize("audio", [OPUS, AAC], ids=["opus", "aac"])
async def test_who_drops_is_stood_in_for_and_finds_everybody_when_he_returns(audio: Track) -> None:
    async with house() as (hub, slate):
        first = Publisher(hub, audio=audio)
        stream = first.publication.stream
        changes: list[tuple[str, str]] = []
        hub.listen(lambda change, each: changes.append((change, each.protocol)))
        reader = stream.subscribe()
        first.send()
        await made(slate)
        before = await reader.read()
        first.publication.close("connection lost")
        assert stream.live and is_slate(stream)
        shown = await read_until(reader, lambda last: last.media_time_ms > 500)
        pictures = [packet for packet in shown if packet.track.kind == "video"]
        silence = [packet for packet in shown if packet.track.kind == "audio"]
        assert pictures[0].keyframe
        assert (pictures[0].track.width, pictures[0].track.height) == encoded.SIZE
        assert {packet.track for packet in silence} == {audio}
        again = Publisher(hub, audio=audio)
        again.send(keyframe=False)
        assert is_slate(stream)  # until there is a picture to begin with
        again.send()
        assert stream.protocol == "test" and not again.ended
        after = await reader.read()
        every = [p for p in [*before, *shown, *after] if p.track.kind == "video"]
        assert [p.dts for p in every] == sorted({p.dts for p in every})
        assert changes == [("online", "test"), ("online", "slate"), ("online", "test")]


async def test_a_publisher_that_is_silent_is_stood_in_for_and_goes_on_with_a_keyframe() -> None:
    late_s = 0.0
    async with house(lambda: time.monotonic() + late_s) as (hub, slate):
        publisher = Publisher(hub)
        stream = publisher.publication.stream
        publisher.send()
        await made(slate)
        publisher.send(keyframe=False)
        assert not is_slate(stream)
        late_s = 2.5
        async with asyncio.timeout(PATIENCE_S):
            while not is_slate(stream):
                await asyncio.sleep(0.02)
        assert not publisher.ended  # his connection may only be slow
        publisher.send(keyframe=False)
        assert is_slate(stream)
        publisher.send()
        assert not is_slate(stream)


async def test_nobody_stands_in_for_who_has_said_that_it_is_the_end() -> None:
    async with house() as (hub, slate):
        publisher = Publisher(hub)
        publisher.send()
        await made(slate)
        publisher.publication.close("publisher finished", finished=True)
        assert not publisher.publication.stream.live
        assert not is_slate(publisher.publication.stream)


async def test_after_the_grace_the_slate_ends_with_its_stream() -> None:
    async with house(grace_s=0.2) as (hub, slate):
        publisher = Publisher(hub)
        publisher.send()
        await made(slate)
        removed = asyncio.Event()
        hub.listen(lambda change, stream: removed.set() if change == "removed" else None)
        publisher.publication.close("connection lost")
        assert is_slate(publisher.publication.stream)
        await asyncio.wait_for(removed.wait(), PATIENCE_S)
        assert not hub.streams and not slate._showing


async def test_a_viewers_wish_for_a_keyframe_is_granted_by_the_slate() -> None:
    async with house() as (hub, slate):
        publisher = Publisher(hub)
        publisher.send()
        await made(slate)
        stream = publisher.publication.stream
        publisher.publication.close("connection lost")
        reader = stream.subscribe(from_keyframe=False, kinds=frozenset({"video"}))
        await read_until(reader, lambda last: not last.keyframe)
        stream.request_keyframe(time.monotonic())
        wished = await read_until(reader, lambda last: last.keyframe)
        assert len(wished) < GOP_FRAMES - 2


def test_a_key_says_that_its_publisher_is_a_backup() -> None:
    assert split_key("key_abc.backup") == ("key_abc", True)
    assert split_key("key_abc") == ("key_abc", False)


async def test_a_backup_takes_over_from_who_drops_and_gives_way_when_he_returns() -> None:
    async with house() as (hub, slate):
        publisher, backup = Publisher(hub), Publisher(hub, rank=BACKUP)
        stream = publisher.publication.stream
        publisher.send()
        backup.send()
        await made(slate)
        assert hub.on_air("show") is publisher.publication
        publisher.publication.close("connection lost")
        assert not is_slate(stream)  # the backup is there
        backup.send(keyframe=False)
        assert hub.on_air("show") is None
        backup.send()
        assert hub.on_air("show") is backup.publication
        again = Publisher(hub)
        assert hub.on_air("show") is backup.publication
        again.send()
        assert hub.on_air("show") is again.publication
        assert not backup.ended
        backup.publication.close("gone", finished=True)
        assert stream.live
