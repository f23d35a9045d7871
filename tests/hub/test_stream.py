"""A stream and its readers: nobody waits for the slow, joiners begin at a keyframe."""

from __future__ import annotations

import asyncio

import pytest

from mediaserver.hub import Stream, StreamEnded
from mediaserver.hub.stream import GOP_BYTES, GOP_S, READER_BYTES, READER_PACKETS, Reader
from mediaserver.hub.timeline import Timeline
from mediaserver.media import Packet, Track

VIDEO = Track("video", "h264", 90_000, b"avcC", 1280, 720)
AUDIO = Track("audio", "aac", 48_000, b"\x11\x90", channels=2)


def make_stream() -> Stream:
    return Stream("show", Timeline(0.0, 0.0))


def video(number: int, *, keyframe: bool = False, payload: bytes = b"v") -> Packet:
    return Packet(VIDEO, number * 3000, number * 3000, number * 33, keyframe, payload)


def audio(number: int) -> Packet:
    return Packet(AUDIO, number * 1024, number * 1024, number * 21, True, b"a")


def waiting(reader: Reader) -> list[Packet]:
    """What a reader has, without waiting."""
    packets = list(reader._queue)
    reader._queue.clear()
    reader._bytes = 0
    return packets


async def test_a_joiner_gets_the_group_of_pictures_and_then_what_follows() -> None:
    stream = make_stream()
    early = [video(0, keyframe=True), video(1), audio(1)]
    for packet in early:
        stream.write(packet)
    reader = stream.subscribe()
    late = video(2)
    stream.write(late)
    assert await reader.read() == [*early, late]


async def test_a_new_keyframe_replaces_the_group() -> None:
    stream = make_stream()
    for packet in [video(0, keyframe=True), video(1), video(2, keyframe=True), video(3)]:
        stream.write(packet)
    assert [packet.dts for packet in await stream.subscribe().read()] == [6000, 9000]


def test_a_joiner_who_does_not_want_the_past_gets_none() -> None:
    stream = make_stream()
    stream.write(video(0, keyframe=True))
    assert waiting(stream.subscribe(from_keyframe=False)) == []


def test_nothing_before_the_first_keyframe_is_replayed() -> None:
    stream = make_stream()
    stream.write(audio(0))
    stream.write(video(0))
    assert waiting(stream.subscribe()) == []


@pytest.mark.parametrize(
    ("frames", "payload"),
    [(int(GOP_S * 30) + 2, b"v"), (3, bytes(GOP_BYTES // 2))],
    ids=["too long", "too big"],
)
def test_a_group_not_worth_replaying_is_not(frames: int, payload: bytes) -> None:
    stream = make_stream()
    for number in range(frames):
        stream.write(video(number, keyframe=number == 0, payload=payload))
    assert waiting(stream.subscribe()) == []
    stream.write(video(frames, keyframe=True))
    assert len(waiting(stream.subscribe())) == 1


def test_a_reader_of_one_kind_is_offered_no_other() -> None:
    stream = make_stream()
    stream.write(video(0, keyframe=True))
    stream.write(audio(0))
    reader = stream.subscribe(kinds=frozenset({"audio"}))
    stream.write(video(1))
    stream.write(audio(1))
    assert [packet.track for packet in waiting(reader)] == [AUDIO, AUDIO]


def test_a_slow_reader_skips_to_the_next_keyframe_and_it_is_counted() -> None:
    stream = make_stream()
    slow, other = stream.subscribe(), stream.subscribe()
    for number in range(READER_PACKETS):
        stream.write(video(number, keyframe=number == 0))
        waiting(other)
    stream.write(video(2000))  # one too many
    stream.write(audio(2001))
    stream.write(video(2001))
    assert slow.skipped == READER_PACKETS + 2
    assert [packet.track for packet in slow._queue] == [AUDIO]
    stream.write(video(2002, keyframe=True))
    stream.write(video(2003))
    assert [packet.dts // 3000 for packet in waiting(slow) if packet.track is VIDEO] == [2002, 2003]
    assert other.skipped == 0
    assert stream.counters.skipped == slow.skipped


def test_a_slow_reader_that_overflows_on_sound_waits_for_a_picture_it_can_show() -> None:
    stream = make_stream()
    reader = stream.subscribe()
    for number in range(READER_PACKETS):
        stream.write(video(number, keyframe=number == 0))
    stream.write(audio(1))
    stream.write(video(2000))
    stream.write(video(2001, keyframe=True))
    assert [packet.dts for packet in waiting(reader)] == [1024, 2001 * 3000]


def test_a_slow_reader_holds_a_bounded_number_of_bytes() -> None:
    stream = make_stream()
    reader = stream.subscribe()
    payload = bytes(1 << 20)
    for number in range(64):
        stream.write(video(number, keyframe=True, payload=payload))
        assert reader._bytes <= READER_BYTES + len(payload)
    assert reader.skipped > 0


def test_a_slow_reader_of_sound_alone_goes_on_at_once() -> None:
    stream = make_stream()
    reader = stream.subscribe()
    for number in range(READER_PACKETS + 3):
        stream.write(audio(number))
    assert [packet.dts // 1024 for packet in waiting(reader)] == [1024, 1025, 1026]


async def test_a_read_waits_for_the_first_packet() -> None:
    stream = make_stream()
    reader = stream.subscribe()
    read = asyncio.create_task(reader.read())
    await asyncio.sleep(0)
    assert not read.done()
    stream.write(audio(0))
    assert len(await read) == 1


async def test_a_removed_stream_ends_its_readers_after_what_waits() -> None:
    stream = make_stream()
    reader = stream.subscribe()
    stream.write(audio(0))
    stream.remove()
    assert len(await reader.read()) == 1
    with pytest.raises(StreamEnded):
        await reader.read()
    assert stream.readers == 0


async def test_a_removed_stream_ends_a_read_that_waits() -> None:
    stream = make_stream()
    read = asyncio.create_task(stream.subscribe().read())
    await asyncio.sleep(0)
    stream.remove()
    with pytest.raises(StreamEnded):
        await read


def test_a_closed_reader_leaves_the_stream() -> None:
    stream = make_stream()
    reader = stream.subscribe()
    assert stream.readers == 1
    reader.close()
    reader.close()
    assert stream.readers == 0
    stream.write(audio(0))
    assert waiting(reader) == []


def test_keyframe_requests_of_many_viewers_are_merged() -> None:
    stream = make_stream()
    asked: list[float] = []
    now = 0.0
    stream.on_keyframe_request = lambda: asked.append(now)
    for milliseconds in range(0, 1200, 10):
        now = milliseconds / 1000
        stream.request_keyframe(now)
    assert asked == [0.0, 0.5, 1.0]


def test_the_tracks_are_those_of_the_last_packets() -> None:
    stream = make_stream()
    stream.write(audio(0))
    other = Track("audio", "aac", 44_100, b"\x12\x10", channels=2)
    stream.write(Packet(other, 1024, 1024, 0, True, b"a"))
    assert stream.tracks == {"audio": other}


async def test_whether_anybody_reads_is_told_at_each_change() -> None:
    stream = make_stream()
    told: list[bool] = []
    stream.on_read = told.append
    first, second = stream.subscribe(), stream.subscribe()
    assert told == [True]
    first.close()
    first.close()
    second.close()
    assert told == [True, False]
    stream.subscribe()
    stream.remove()
    assert told == [True, False, True, False]
