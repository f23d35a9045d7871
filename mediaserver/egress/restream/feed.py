"""What one connection is fed with: picture and sound of a room in a form that its target takes.

The picture is that of the room's stream or of one rendition, which is made while somebody reads it. The
sound is the stream's, or the rendition `aac` where the target does not take what the stream has. Streams
come and go, and change their codecs with their publishers: each kind follows for itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection

from mediaserver.egress.restream.interleaver import Interleaver
from mediaserver.egress.restream.push import Rejected
from mediaserver.hub import Hub, Reader, Stream, StreamEnded
from mediaserver.media import Codec, Packet

BRIDGE = "aac"  # the rendition in which the audio bridge brings AAC
RENDITION_WAIT_S = 15.0  # for the transcoder to look at the source, or to start again
KEYFRAME_ASK_S = 2.0
_NAMES: dict[Codec, str] = {"h265": "H.265", "vp8": "VP8", "vp9": "VP9", "av1": "AV1"}


class Feed:
    """`changed` is to be told of every change of the room's streams in the hub."""

    def __init__(
        self,
        hub: Hub,
        room: str,
        rendition: str,
        codecs: Collection[Codec],
        write: Callable[[Packet], None],
    ) -> None:
        self._hub = hub
        self._room = room
        self._rendition = rendition
        self._codecs = codecs
        self._interleaver = Interleaver(write)
        self._changes = asyncio.Event()
        self._sound: Reader | None = None

    def changed(self, *, online: bool) -> None:
        """A stream has come or gone; `online`: the room has a publisher, with whatever sound."""
        self._changes.set()
        if online and self._sound is not None and "/" in self._sound.stream.name:
            self._sound.close()

    async def picture(self) -> None:
        """Feed the picture; raises Rejected where there is none that the target takes."""
        while True:
            stream = await self._picture_stream()
            reader = stream.subscribe(kinds=frozenset({"video"}))
            try:
                await self._pictures(reader)
            except StreamEnded:
                continue
            finally:
                reader.close()

    async def sound(self) -> None:
        """Feed the sound, where there is any."""
        while True:
            stream = await self._sound_stream()
            reader = self._sound = stream.subscribe(kinds=frozenset({"audio"}))
            try:
                while self._take_sound(await reader.read()):
                    pass
            except StreamEnded:
                continue
            finally:
                reader.close()

    async def _pictures(self, reader: Reader) -> None:
        begun, asked_at = False, -KEYFRAME_ASK_S
        while True:
            for packet in await reader.read():
                codec = packet.track.codec
                if codec not in self._codecs:
                    raise Rejected("codec", _not_taken(codec))
                begun = begun or packet.keyframe
                if begun:
                    self._interleaver.put(packet)
            now = time.monotonic()
            if not begun and now - asked_at >= KEYFRAME_ASK_S:
                asked_at = now
                reader.stream.request_keyframe(now)

    def _take_sound(self, packets: list[Packet]) -> bool:
        for packet in packets:
            if packet.track.codec not in self._codecs:
                return False
            self._interleaver.put(packet)
        return True

    async def _picture_stream(self) -> Stream:
        name = f"{self._room}/{self._rendition}" if self._rendition else self._room
        while True:
            try:
                async with asyncio.timeout(RENDITION_WAIT_S):
                    return await self._stream(lambda: self._hub.get(name))
            except TimeoutError:
                source = self._hub.get(self._room)
                if source is None or source.live:  # else it comes with the publisher
                    words = f"this stream has no rendition {self._rendition} now"
                    raise Rejected("rendition", words) from None

    async def _sound_stream(self) -> Stream:
        def find() -> Stream | None:
            source = self._hub.get(self._room)
            track = source and source.tracks.get("audio")
            if not track or track.codec in self._codecs:
                return source
            return self._hub.get(f"{self._room}/{BRIDGE}")

        return await self._stream(find)

    async def _stream(self, find: Callable[[], Stream | None]) -> Stream:
        while (stream := find()) is None:
            self._changes.clear()
            await self._changes.wait()
        return stream


def _not_taken(codec: Codec) -> str:
    name = _NAMES.get(codec, codec)
    return (
        f"the picture is {name}, which this server does not say it takes:"
        " choose a rendition such as 720p, or Enhanced RTMP where the platform has it"
    )
