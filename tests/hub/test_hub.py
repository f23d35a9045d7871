"""The registry: publishing, take-over, return within the grace, removal."""

from __future__ import annotations

import asyncio
import time

import pytest

from mediaserver.hub import Hub, Notice, Publication, Stream, StreamEnded
from mediaserver.media import Track

VIDEO = Track("video", "h264", 90_000, b"avcC", 1280, 720)
AUDIO = Track("audio", "aac", 48_000, b"\x11\x90", channels=2)


class Publisher:
    """Publishes and remembers why it was closed."""

    def __init__(self, hub: Hub, name: str = "show", clock_rate: int | None = 1000) -> None:
        self.reasons: list[str] = []
        self.publication: Publication = hub.publish(
            name, protocol="rtmp", clock_rate=clock_rate, on_close=self.reasons.append
        )

    def frame(self, timestamp: int, *, keyframe: bool = True, composition: int = 0) -> None:
        self.publication.write(
            VIDEO,
            timestamp,
            b"frame",
            keyframe=keyframe,
            composition=composition,
            arrival=time.monotonic(),
        )


def changes_of(hub: Hub) -> list[tuple[str, str]]:
    changes: list[tuple[str, str]] = []
    hub.listen(lambda change, stream: changes.append((change, stream.name)))
    return changes


async def test_packets_reach_a_reader_on_the_streams_timeline() -> None:
    hub = Hub()
    publisher = Publisher(hub)
    stream = publisher.publication.stream
    reader = stream.subscribe()
    before_ms = time.time() * 1000
    publisher.frame(70_000)
    publisher.frame(70_040, keyframe=False, composition=20)
    first, second = await reader.read()
    assert (first.dts, first.pts, first.keyframe) == (0, 0, True)
    assert (second.dts, second.pts, second.keyframe) == (3600, 5400, False)
    assert second.media_time_ms == 60
    assert first.wallclock_ms == pytest.approx(before_ms, abs=50)
    # the second came without delay, so the first was late: UTC follows the earliest arrivals
    assert second.wallclock_ms == pytest.approx(before_ms + 20, abs=50)
    assert stream.live
    assert hub.get("show") is stream
    hub.drain()


async def test_a_second_publisher_takes_over_and_the_readers_stay() -> None:
    hub = Hub()
    first = Publisher(hub)
    reader = first.publication.stream.subscribe()
    first.frame(0)
    second = Publisher(hub)
    assert first.reasons == ["taken over"]
    second.frame(0)
    first.frame(40)  # too late
    packets = await reader.read()
    assert len(packets) == 2
    assert packets[1].dts > packets[0].dts
    assert second.publication.stream is first.publication.stream
    assert second.reasons == []
    hub.drain()


async def test_who_returns_within_the_grace_finds_the_stream() -> None:
    hub = Hub()
    changes = changes_of(hub)
    first = Publisher(hub)
    first.publication.close("connection lost")
    first.publication.close("again")
    assert first.reasons == ["connection lost"]
    stream = hub.get("show")
    assert stream is first.publication.stream
    assert not stream.live
    second = Publisher(hub)
    assert second.publication.stream is stream
    assert stream.live
    assert changes == [("online", "show"), ("offline", "show"), ("online", "show")]
    hub.drain()


async def test_who_does_not_return_is_removed_with_every_rendition() -> None:
    hub = Hub(grace_s=0.01)
    changes = changes_of(hub)
    removed = asyncio.Event()

    def on_change(change: str, stream: Stream) -> None:
        if change == "removed" and stream.name == "show/opus":
            removed.set()

    hub.listen(on_change)
    publisher = Publisher(hub)
    reader = publisher.publication.stream.subscribe()
    rendition = hub.rendition(publisher.publication.stream, "opus")
    publisher.publication.close("connection lost")
    await asyncio.wait_for(removed.wait(), 5)
    assert hub.streams == {}
    assert rendition.removed
    assert changes[-2:] == [("removed", "show"), ("removed", "show/opus")]
    with pytest.raises(StreamEnded):
        await reader.read()


async def test_a_take_over_leaves_no_removal_behind() -> None:
    hub = Hub(grace_s=0.01)
    Publisher(hub)
    second = Publisher(hub)
    removed = asyncio.Event()
    hub.listen(lambda change, stream: removed.set() if change == "removed" else None)
    Publisher(hub, "later").publication.close("left")
    await asyncio.wait_for(removed.wait(), 5)
    assert list(hub.streams) == ["show"]
    assert hub.get("show") is second.publication.stream
    hub.drain()


async def test_a_listener_is_told_at_once_of_what_is_live() -> None:
    hub = Hub()
    Publisher(hub)
    gone = Publisher(hub, "gone")
    gone.publication.close("left")
    changes: list[tuple[str, str]] = []
    unlisten = hub.listen(lambda change, stream: changes.append((change, stream.name)))
    assert changes == [("online", "show")]
    unlisten()
    Publisher(hub, "later")
    assert changes == [("online", "show")]
    hub.drain()


async def test_a_rendition_appears_with_its_track_and_ends_alone() -> None:
    hub = Hub()
    parent = Publisher(hub).publication.stream
    seen: list[tuple[str, str, list[Track]]] = []
    hub.listen(lambda change, stream: seen.append((change, stream.name, [*stream.tracks.values()])))
    rendition = hub.rendition(parent, "aac", AUDIO)
    assert seen[-1] == ("online", "show/aac", [AUDIO])
    assert hub.rendition(parent, "aac") is rendition
    assert rendition.epoch_ms == parent.epoch_ms
    hub.end_rendition(rendition)
    hub.end_rendition(rendition)
    assert [each[:2] for each in seen[-2:]] == [("online", "show/aac"), ("removed", "show/aac")]
    assert hub.get("show") is parent
    hub.drain()


async def test_a_source_with_b_frames_is_noticed() -> None:
    hub = Hub()
    publisher = Publisher(hub)
    publisher.frame(0, composition=40)
    publisher.frame(40, composition=120)
    assert not publisher.publication.stream.reordered
    publisher.frame(80, composition=0)
    assert publisher.publication.stream.reordered
    assert not Publisher(hub).publication.stream.reordered
    hub.drain()


async def test_a_notice_is_kept_once_and_forgotten_with_the_publication() -> None:
    hub = Hub()
    publisher = Publisher(hub)
    notice = Notice("LongGop", "warning", {"en": "long"}, {"en": "shorter"})
    publisher.publication.stream.notice(notice)
    publisher.publication.stream.notice(Notice("LongGop", "error", {}, {}))
    assert publisher.publication.stream.notices == {"LongGop": notice}
    assert Publisher(hub).publication.stream.notices == {}
    hub.drain()


async def test_a_drain_tells_publishers_and_ends_every_stream() -> None:
    hub = Hub()
    publishers = [Publisher(hub, "one"), Publisher(hub, "two")]
    reader = publishers[0].publication.stream.subscribe()
    hub.drain()
    assert [publisher.reasons for publisher in publishers] == [["server is stopping"]] * 2
    assert hub.streams == {}
    with pytest.raises(StreamEnded):
        await reader.read()


async def test_totals_only_grow_also_when_a_stream_is_removed() -> None:
    hub = Hub(grace_s=0)
    publisher = Publisher(hub)
    publisher.frame(0)
    publisher.frame(40)
    assert hub.totals().packets == 2
    hub.drain()
    assert not hub.streams
    assert hub.totals().packets == 2
    assert hub.totals().bytes == 2 * len(b"frame")
