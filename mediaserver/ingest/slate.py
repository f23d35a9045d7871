"""The slate: what viewers see while the publisher is away, made once per codec and size.

It is a publication like any other, of the last rank: on the air when the publisher has gone, or sends
nothing, until its next keyframe. Timestamps go on, in the codec and the size of the publisher, with
silence in place of its sound. The pictures are made when a publisher begins, by a process of its own
(`mediaserver.transcode.slate`), so they are there when they are needed; to show them is to write some
packets a second, whoever watches.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgpack

from mediaserver.hub import SLATE, STALL_S, Hub, Publication, Stream
from mediaserver.media import AAC_FRAME_SAMPLES, VIDEO_CLOCK_RATE, Codec, Track
from mediaserver.protocol.opus import packet_duration
from mediaserver.protocol.silence import silent_frame

log = logging.getLogger("hawker.slate")

LOOK_S = 0.25
TICK_S = 0.04  # two frames of Opus: more at once would lengthen the viewers' jitter buffers
BEHIND_S = 1.0  # more than this is left out, after a machine has slept
KEPT = 16  # groups of pictures of some 40 kB: codecs and sizes that publishers have
MAKE_S = 20.0
CODECS: frozenset[Codec] = frozenset({"h264", "h265", "vp8", "vp9"})


@dataclass(frozen=True, slots=True)
class Pictures:
    """A group of pictures to be shown over and over; the first is its keyframe."""

    track: Track
    fps: int
    payloads: Sequence[bytes]


class Slate:
    """Stands in for publishers of `hub`, from `start` to `close`; `picture` None is the built-in one."""

    def __init__(
        self, hub: Hub, picture: Path | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._hub = hub
        self._picture = picture
        self._clock = clock
        self._made: OrderedDict[tuple[Codec, int, int], Pictures | None] = OrderedDict()
        self._making: asyncio.Task[None] | None = None
        self._showing: dict[str, Showing] = {}
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._hub.stand_in = self.stand_in
        self._look()

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._hub.stand_in = lambda stream: False
        for showing in list(self._showing.values()):
            showing.publication.close("server is stopping", finished=True)
        if self._making is not None:
            self._making.cancel()
            await asyncio.wait([self._making])

    def stand_in(self, stream: Stream) -> bool:
        """Put the slate of this stream on the air; False where there is none to show."""
        video, audio = stream.tracks.get("video"), stream.tracks.get("audio")
        pictures = self._made.get(_key(video)) if video is not None else None
        silence = silent_frame(audio) if audio is not None else None
        if pictures is None and (video is not None or silence is None):
            return False
        sound = (audio, silence) if audio is not None and silence is not None else None
        name = stream.name
        showing = self._showing[name] = Showing(self._hub, stream, pictures, sound, self._clock)
        showing.on_end = lambda: self._showing.pop(name, None)
        return True

    def _look(self) -> None:
        now = self._clock()
        for name, stream in list(self._hub.streams.items()):
            if "/" in name or not stream.live:
                continue
            publication = self._hub.on_air(name)
            if publication is None or publication.rank == SLATE:
                if publication is None:
                    self.stand_in(stream)
                continue
            if stream.tracks and now - publication.heard_at > STALL_S:
                self.stand_in(stream)
            self._prepare(stream)
        self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._look)

    # -- pictures --------------------------------------------------------------------------------

    def _prepare(self, stream: Stream) -> None:
        video = stream.tracks.get("video")
        if video is None or video.codec not in CODECS or not video.width:
            return
        key = _key(video)
        if key in self._made:
            self._made.move_to_end(key)
        elif self._making is None:
            self._making = asyncio.create_task(self._make(*key))

    async def _make(self, codec: Codec, width: int, height: int) -> None:
        try:
            self._made[codec, width, height] = await self._run(codec, width, height)
        finally:
            self._making = None
        if len(self._made) > KEPT:
            self._made.popitem(last=False)

    async def _run(self, codec: Codec, width: int, height: int) -> Pictures | None:
        command = [
            sys.executable,
            "-m",
            "mediaserver.transcode.slate",
            codec,
            f"{width}",
            f"{height}",
        ]
        if self._picture is not None:
            command.append(str(self._picture))
        process = await asyncio.create_subprocess_exec(
            *command, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, start_new_session=True
        )
        try:
            async with asyncio.timeout(MAKE_S):
                out, said = await process.communicate()
        except TimeoutError:
            said = b"it took too long"
            process.kill()
            await process.wait()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
        if process.returncode:
            why = said.decode(errors="replace").strip().rpartition("\n")[2]
            log.warning("no slate in %s of %dx%d: %s", codec, width, height, why)
            return None
        track, fps, payloads = msgpack.unpackb(out)
        return Pictures(Track(*track), fps, payloads)


class Showing:
    """One stream's slate on the air, until its publication is closed."""

    def __init__(
        self,
        hub: Hub,
        stream: Stream,
        pictures: Pictures | None,
        sound: tuple[Track, bytes] | None,
        clock: Callable[[], float],
    ) -> None:
        self.on_end: Callable[[], object] = lambda: None
        self._pictures = pictures
        self._sound = sound
        self._clock = clock
        self._began_at = clock()
        self._frames = self._samples = self._place = 0
        self._keyframe_wanted = True
        self._timer: asyncio.TimerHandle | None = None
        self.publication: Publication = hub.publish(
            stream.name, protocol="slate", rank=SLATE, on_close=self._on_close
        )
        self.publication.on_keyframe_request = self._want_keyframe
        self._tick()

    def _on_close(self, reason: str) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.on_end()

    def _want_keyframe(self) -> None:
        self._keyframe_wanted = True

    def _tick(self) -> None:
        now = self._clock()
        elapsed_s = now - self._began_at
        if self._pictures is not None:
            self._show(self._pictures, elapsed_s, now)
        if self._sound is not None:
            self._be_silent(*self._sound, elapsed_s, now)
        if not self.publication.closed:
            self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def _show(self, pictures: Pictures, elapsed_s: float, now: float) -> None:
        fps, payloads = pictures.fps, pictures.payloads
        self._frames = max(self._frames, int((elapsed_s - BEHIND_S) * fps))
        while self._frames <= elapsed_s * fps:
            keyframe = self._keyframe_wanted or self._place == len(payloads)
            if keyframe:
                self._place, self._keyframe_wanted = 0, False
            self.publication.write(
                pictures.track,
                self._frames * VIDEO_CLOCK_RATE // fps,
                payloads[self._place],
                keyframe=keyframe,
                arrival=now,
            )
            self._place += 1
            self._frames += 1

    def _be_silent(self, track: Track, frame: bytes, elapsed_s: float, now: float) -> None:
        rate = track.clock_rate
        samples = packet_duration(frame) if track.codec == "opus" else AAC_FRAME_SAMPLES
        behind = int((elapsed_s - BEHIND_S) * rate) // samples * samples
        self._samples = max(self._samples, behind)
        while self._samples <= elapsed_s * rate:
            self.publication.write(track, self._samples, frame, keyframe=True, arrival=now)
            self._samples += samples


def _key(video: Track) -> tuple[Codec, int, int]:
    return video.codec, video.width, video.height
