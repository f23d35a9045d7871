"""One stream's renditions at the relay: declared when its first keyframe comes, made while wanted.

A source is followed when it comes on the air until it is known whether WebRTC viewers need it mended,
and from then on while a rendition of it is wanted. Making begins at a keyframe of the source, as a rule
one that the hub has kept: from there pictures are only decoded until the newest is reached, which is
the first of the rendition.

What comes faster than it can be made waits in the hub's bounded reader. Of pictures MAX_LATE_S behind
the newest one is made each SLIDE_S, so that who watches a starved machine sees slides and no still; a
group of pictures with a newer keyframe behind it is left out.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import av

from mediaserver.errors import ProtocolError
from mediaserver.hub import Notice, StreamEnded
from mediaserver.hub.relay import RelayClient
from mediaserver.media import Packet, Track
from mediaserver.transcode.encoder import Kind
from mediaserver.transcode.encoders import open_encoder
from mediaserver.transcode.frame_filter import Upright
from mediaserver.transcode.guard import OverloadGuard
from mediaserver.transcode.ladder import Form, Rung, Source, mended, plan
from mediaserver.transcode.looking import MendingJudge, look
from mediaserver.transcode.offers import Offers
from mediaserver.transcode.pictures import PictureLadder

log = logging.getLogger("hawker.transcode")

MAX_LATE_S = 2.0
SLIDE_S = 0.5  # of media
CATCH_UP_MAX_S = 2.0  # longer nobody waits for a first picture that is the newest
CAUGHT_UP_S = 0.1  # a few frames; what comes in bursts is never nearer

OVERLOADED = Notice(
    "LadderOverloaded",
    "warning",
    {
        "en": "This machine can't make all renditions in time: they have fewer frames, or the "
        "largest are left out. The stream itself is not touched.",
        "zh": "本机来不及生成全部清晰度：已降低帧率，或暂停较高的清晰度。原始直播流不受影响。",
    },
    {
        "en": "Take rungs out of transcode.ladder, set a faster preset for them, or give the server "
        "more cores.",
        "zh": "请减少 transcode.ladder 中的档位，为其设置更快的 preset，或为服务器增加 CPU 核心。",
    },
)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Workshop:
    """What all streams of a process share.

    `streams` runs one packet of each stream at a time, `encoders` their rungs.
    """

    rungs: tuple[Rung, ...]
    always: bool
    threads: int
    kind: Kind
    streams: ThreadPoolExecutor
    encoders: ThreadPoolExecutor


class StreamLadder:
    """One stream's pictures, through every change of its track."""

    def __init__(self, client: RelayClient, stream: str, workshop: Workshop) -> None:
        self._client = client
        self._stream = stream
        self._workshop = workshop
        self._wake = asyncio.Event()
        self._offers = Offers(
            client,
            stream,
            always=workshop.always,
            on_wanted=self._wake.set,
            on_keyframe=self._request_keyframe,
        )
        self._track: Track | None = None
        self._source: Source | None = None
        self._tracks_of: dict[Form, Track] = {}
        self._judge = MendingJudge()
        self._mends = False
        self._guard = OverloadGuard()
        self._ladder: PictureLadder | None = None
        self._catching_up = True
        self._opened_at = 0.0
        self._last_dts_s: float | None = None
        self._encoded_s: float | None = None  # the media time of the last picture that was made
        self._skipped = 0

    async def run(self) -> None:
        """Until the stream is removed."""
        try:
            while True:
                await self._follow()
                if not self._offers.wanted():
                    self._guard = OverloadGuard()
                    self._offers.leave_out(())
                    self._wake.clear()
                    await self._wake.wait()
        except StreamEnded:
            pass
        finally:
            self._offers.close()

    def look_again(self) -> None:
        """The publisher has come, or come back, with whatever picture."""
        self._track = None
        self._wake.set()

    async def _follow(self) -> None:
        """Take packets while they are needed, and until others than these are."""
        subscription = self._client.subscribe(self._stream, kinds=["video"])
        patient = bool(self._offers.wanted())  # else there may be a keyframe to begin at sooner
        try:
            while True:
                batch = await subscription.read()
                for index, packet in enumerate(batch):
                    await self._take(packet, [*batch[index + 1 :], *subscription.waiting])
                if self._ladder is None and self._offers.wanted():
                    if not patient:
                        return
                    subscription.request_keyframe()
                elif self._idle():
                    return
        finally:
            self._pause()
            subscription.close()

    def _idle(self) -> bool:
        known = self._track is not None and (self._source is None or self._judge.settled)
        return known and not self._offers.wanted()

    async def _take(self, packet: Packet, rest: Sequence[Packet]) -> None:
        if packet.track != self._track:
            if not packet.keyframe:
                return
            await self._begin(packet)
        if self._source is None:
            return
        self._judge.saw(packet)
        if self._mends != self._judge.needed and (self._judge.needed or self._judge.settled):
            await self._declare(self._source)
        if forms := self._offers.wanted():
            await self._make(packet, forms, rest)
        elif self._ladder is not None:
            self._pause()

    async def _begin(self, keyframe: Packet) -> None:
        """A track of the source begins: see what it is, and offer what can be made of it."""
        self._pause()
        self._track = keyframe.track
        self._source = source = await self._block(lambda: look(keyframe))
        if source is None:
            log.warning("stream %s: no decoder takes its picture", self._stream)
            return self._offers.declare(())
        self._judge.began(source, keyframe.track.codec)
        await self._declare(source)

    async def _declare(self, source: Source) -> None:
        forms = plan(self._workshop.rungs, source)
        self._mends = self._judge.needed
        if self._mends:
            forms.insert(0, mended(source))
        tracks = await self._block(lambda: self._tracks(forms))
        self._offers.declare(tracks)
        names = ", ".join(f"{form.suffix} {form.width}x{form.height}" for form, _ in tracks)
        log.info("stream %s: offers %s", self._stream, names or "no rendition")

    def _tracks(self, forms: Sequence[Form]) -> list[tuple[Form, Track]]:
        """What can be encoded; every encoder is opened once for its parameter sets."""
        workshop, known = self._workshop, self._tracks_of
        for form in forms:
            try:
                if form not in known:
                    known[form] = open_encoder(workshop.kind, form, workshop.threads).track
            except (av.FFmpegError, ProtocolError) as error:
                log.warning("stream %s: no %s: %s", self._stream, form.suffix, error)
        self._tracks_of = {form: known[form] for form in forms if form in known}
        return list(self._tracks_of.items())

    async def _make(self, packet: Packet, forms: list[Form], rest: Sequence[Packet]) -> None:
        if self._ladder is None:
            if not packet.keyframe:
                return
            self._open(packet.track)
        if (ladder := self._ladder) is None:
            return
        late_s = _seconds(rest[-1]) - _seconds(packet) if rest else 0.0
        if late_s > MAX_LATE_S and any(each.keyframe for each in rest):
            self._skipped += 1
            self._last_dts_s = _seconds(packet)
            return
        encode = self._in_turn(_seconds(packet), late_s)

        def work() -> list[tuple[str, Packet]]:
            ladder.set_forms(forms)
            return ladder.feed(packet, encode=encode)

        began_at = time.monotonic()
        for suffix, made in await self._block(work):
            await self._offers.write(suffix, made)
        self._guard_against(packet, time.monotonic() - began_at, late_s, forms)

    def _in_turn(self, media_s: float, late_s: float) -> bool:
        """Whether a picture that is `late_s` behind the newest is made, or decoded only."""
        waited_s = time.monotonic() - self._opened_at
        if late_s <= CAUGHT_UP_S or waited_s > CATCH_UP_MAX_S:
            self._catching_up = False
        if self._catching_up:
            return False
        made_s = self._encoded_s
        if late_s > MAX_LATE_S and made_s is not None and 0 <= media_s - made_s < SLIDE_S:
            return False
        self._encoded_s = media_s
        return True

    def _open(self, track: Track) -> None:
        assert self._source is not None
        workshop, rotation = self._workshop, self._source.rotation
        filters = [Upright(rotation)] if rotation else []
        try:
            self._ladder = PictureLadder(
                track,
                workshop.kind,
                workshop.encoders,
                threads=workshop.threads,
                filters=filters,
            )
        except (av.FFmpegError, ValueError) as error:
            log.warning("stream %s: no decoder for its picture: %s", self._stream, error)
            self._source = None
            self._offers.declare(())
        else:
            self._ladder.half_rate = self._guard.level > 0
            self._catching_up, self._last_dts_s, self._encoded_s = True, None, None
            self._opened_at = time.monotonic()

    def _guard_against(
        self, packet: Packet, busy_s: float, late_s: float, forms: Sequence[Form]
    ) -> None:
        now_s, last_s = _seconds(packet), self._last_dts_s
        self._last_dts_s = now_s
        media_s = 0.0 if last_s is None else min(max(0.0, now_s - last_s), MAX_LATE_S)
        out = self._offers.left_out()
        most = len(out) + len(forms)  # half of the frames, and all rungs but one
        gain = 2.0 if not out else 1 + _pixels(out[-1:]) / _pixels(forms)
        if self._guard.worked(time.monotonic(), media_s, busy_s, late_s, most, gain):
            self._relieve([*out, *forms])

    def _relieve(self, forms: Sequence[Form]) -> None:
        """Do what the guard has decided."""
        level = self._guard.level
        log.warning("stream %s: overload guard at level %d", self._stream, level)
        if level:
            self._offers.notice(OVERLOADED)
        if self._ladder is not None:
            self._ladder.half_rate = level > 0
        self._offers.leave_out(forms[: max(0, level - 1)])

    def _pause(self) -> None:
        if self._ladder is not None:
            if self._ladder.corrupt or self._skipped:
                log.info(
                    "stream %s: %d corrupt packets, %d skipped",
                    self._stream,
                    self._ladder.corrupt,
                    self._skipped,
                )
            self._ladder, self._skipped = None, 0
        self._catching_up = True
        self._offers.pause()

    def _request_keyframe(self) -> None:
        if self._ladder is not None:
            self._ladder.request_keyframe()

    async def _block(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._workshop.streams, work)


def _seconds(packet: Packet) -> float:
    return packet.dts / packet.track.clock_rate


def _pixels(forms: Sequence[Form]) -> int:
    return sum(form.width * form.height for form in forms)
