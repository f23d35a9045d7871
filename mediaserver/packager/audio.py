"""The audio rendition: frames on their sample grid, cut where the segmenter says.

A frame belongs to the segment in which it begins. Frames follow each other by 1,024 samples whatever
the rounding of their timestamps; only beyond RESYNC_S are they moved: silence and a longer last frame
bridge a hole, and what overlaps is dropped. Audio that lags is waited for AUDIO_WAIT_S, then
silence takes its place (silence.py): a muted phone stops no player.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from mediaserver.media import AAC_FRAME_SAMPLES, VIDEO_CLOCK_RATE, Packet, Track
from mediaserver.packager.fmp4 import Sample
from mediaserver.packager.rendition import HlsSettings, Rendition
from mediaserver.packager.segment import Opening
from mediaserver.packager.target import TargetDuration
from mediaserver.protocol.silence import silent_frame

AUDIO_WAIT_S = 1.0  # phones interleave by up to 0.5 s, an audio bridge adds 0.2 s
RESYNC_S = 0.030  # a lip-sync error nobody sees; RTMP rounds by 0.5 ms, encoders by a few

_AUDIO_WAIT = int(AUDIO_WAIT_S * VIDEO_CLOCK_RATE)


@dataclass(frozen=True, slots=True)
class _Cut:
    """The open segment ends at `end`, the next begins with `opening`; either may be absent."""

    end: int | None
    opening: Opening | None


class AudioFollower:
    """Queues frames and cuts until each knows the other; media times are in 90 kHz ticks."""

    def __init__(self, session: str, settings: HlsSettings, target: TargetDuration) -> None:
        self.rendition: Rendition | None = None
        self.changed = False  # another configuration came: it waits for a discontinuity
        self._session = session
        self._settings = settings
        self._target = target
        self._queue: deque[Packet] = deque()
        self._cuts: deque[_Cut] = deque()
        self._run: Opening | None = None  # the opening of the current run of the stream
        self._position = 0  # where the next frame goes, in track ticks
        self._exact = False  # the next frame is the first of its run: it sets the grid
        self._unwritten = False  # not even silence is written of the run
        self._silence: bytes | None = None

    @property
    def queued_s(self) -> float:
        """How much audio waits, by its frames rather than its timestamps."""
        if not self._queue:
            return 0.0
        return len(self._queue) * AAC_FRAME_SAMPLES / self._queue[0].track.clock_rate

    def queued(self) -> tuple[Packet, ...]:
        return tuple(self._queue)

    def push(self, packet: Packet) -> None:
        if self.rendition is None:
            self.rendition = Rendition(
                "audio", self._session, self._settings, self._target, packet.track
            )
        self._queue.append(packet)

    def cut(self, end: int | None, opening: Opening | None) -> None:
        """A segment ends at `end`, another begins with `opening`; later cuts are at later times."""
        if self.rendition is None:
            self._cuts.clear()  # audio that comes later begins with the segment it comes in
        self._cuts.append(_Cut(end, opening))

    def advance(self, horizon: int, *, last: bool = False) -> None:
        """Write what is known to come before every later cut; `last`: no more frames will come."""
        if self.rendition is None:
            return
        while self._cuts:
            if not self._carry_out(self.rendition, self._cuts[0], horizon, last):
                return
            self._cuts.popleft()
        if self.rendition.is_open:
            self._append_before(self.rendition, horizon)
            self._fill(self.rendition, _ticks(horizon - _AUDIO_WAIT, self.rendition.track))

    def clear(self) -> None:
        """Forget the frames that wait."""
        self._queue.clear()

    def _carry_out(self, rendition: Rendition, cut: _Cut, horizon: int, last: bool) -> bool:
        if cut.end is not None and rendition.is_open:
            self._append_before(rendition, cut.end)
            if not (self._queue or last or horizon - cut.end > _AUDIO_WAIT):
                return False
            self._fill(rendition, _ticks(cut.end, rendition.track))
            rendition.finish()
        if cut.opening is not None:
            self._open(rendition, cut.opening)
        return True

    def _open(self, rendition: Rendition, opening: Opening) -> None:
        if self._run is None or opening.discontinuity != self._run.discontinuity:
            self._run = opening
            self._begin_run(rendition, opening, rendition.track)
        else:
            rendition.open(opening, rendition.track)

    def _begin_run(self, rendition: Rendition, opening: Opening, track: Track) -> None:
        """A discontinuity: another configuration may begin, and a grid of its own does."""
        while self._queue and _before(self._queue[0], opening.media_time):
            track = self._queue.popleft().track
        if self._queue:
            track = self._queue[0].track
        start = _ticks(opening.media_time, track)
        if rendition.end_dts is not None:
            end = -(-rendition.end_dts * track.clock_rate // rendition.track.clock_rate)
            start = max(start, end)
        self._position = start
        self._exact = self._unwritten = True
        self._silence = silent_frame(track)
        self.changed = False
        rendition.open(opening, track)

    def _append_before(self, rendition: Rendition, media_time: int) -> None:
        while self._queue and _before(self._queue[0], media_time):
            self._append(rendition, self._queue.popleft())

    def _append(self, rendition: Rendition, packet: Packet) -> None:
        if packet.track != rendition.track:
            if self._run is None or not self._unwritten:
                self.changed = True
                return
            self._begin_run(rendition, self._run, packet.track)
        tolerance = 0 if self._exact else round(RESYNC_S * packet.track.clock_rate)
        late = packet.pts - self._position
        if late < -tolerance:
            return
        if late > tolerance:
            self._fill(rendition, packet.pts)
            rendition.stretch(packet.pts)
            self._position = packet.pts
        self._exact = False
        self._write(rendition, packet.payload)

    def _fill(self, rendition: Rendition, until: int) -> None:
        """Bridge whole missing frames up to `until`: by silence, else by a longer last frame."""
        while self._position + AAC_FRAME_SAMPLES <= until:
            if self._silence is not None:
                self._write(rendition, self._silence)
            else:
                rendition.stretch(until)
                self._position = until

    def _write(self, rendition: Rendition, payload: bytes) -> None:
        rendition.append(Sample(self._position, AAC_FRAME_SAMPLES, 0, True, payload))
        self._position += AAC_FRAME_SAMPLES
        self._unwritten = False


def _ticks(media_time: int, track: Track) -> int:
    """The first tick of a track at or after a media time of 90 kHz."""
    return -(-media_time * track.clock_rate // VIDEO_CLOCK_RATE)


def _before(packet: Packet, media_time: int) -> bool:
    return packet.pts * VIDEO_CLOCK_RATE < media_time * packet.track.clock_rate
