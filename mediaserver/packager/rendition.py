"""One rendition: samples of one track become fragments, segments and a media playlist.

When to begin a segment is the segmenter's to say. A fragment ends with its segment, or after
`part_ms`: a segment is a list of parts from the start, so low-latency playlists need no other
writer.
"""

from __future__ import annotations

from dataclasses import dataclass

from mediaserver.media import VIDEO_CLOCK_RATE, Kind, Track
from mediaserver.packager import fmp4
from mediaserver.packager.playlist import media_playlist
from mediaserver.packager.segment import Opening, Part, Segment
from mediaserver.packager.storage import MIN_LISTED, Storage
from mediaserver.packager.target import TargetDuration


@dataclass(frozen=True, slots=True)
class HlsSettings:
    """How a stream is cut and listed.

    `segment_ms`: a segment ends at the first keyframe after this. `part_ms`: a fragment lasts at most
    this long; 0 makes a segment one fragment. `window_s`: how far back a playlist reaches.
    """

    segment_ms: int = 2000
    part_ms: int = 0
    window_s: float = 60.0


class Rendition:
    """The open segment, the stored ones, and their playlist's text (None before the first)."""

    def __init__(
        self,
        kind: Kind,
        session: str,
        settings: HlsSettings,
        target: TargetDuration,
        track: Track,
    ) -> None:
        self.name = kind
        self.storage = Storage()
        self.playlist: bytes | None = None
        self.end_dts: int | None = None  # of the last sample written, None before the first
        self.segment_bytes = 0
        self._settings = settings
        self._target = target
        self._prefix = f"{kind[0]}{session}"
        self._sequence = 0
        self._fragments = 0
        self._inits = 0
        self._init_name = ""
        self._init_track: Track | None = None
        self._listed_discontinuity: int | None = None
        self._opening: Opening | None = None
        self._segment: Segment | None = None
        self._start_dts = 0
        self._samples: list[fmp4.Sample] = []
        self._part_dts = 0
        self.track = track

    @property
    def is_open(self) -> bool:
        return self._opening is not None

    @property
    def is_empty(self) -> bool:
        return self._segment is None

    @property
    def is_dependent(self) -> bool:
        """Whether the open segment begins with a frame that needs earlier ones."""
        return self._segment is not None and not self._segment.independent

    def elapsed(self, dts: int) -> int:
        """Ticks from the open segment's first sample to `dts`, 0 while it is empty."""
        return 0 if self._segment is None else dts - self._start_dts

    def open(self, opening: Opening, track: Track) -> None:
        """Begin a segment with the next sample; another track than before wants a discontinuity."""
        self._opening = opening
        self.track = track

    def append(self, sample: fmp4.Sample) -> None:
        """Write the next sample in decoding order into the open segment."""
        if self._segment is None:
            self._begin(sample)
        part_ticks = self._settings.part_ms * self.track.clock_rate // 1000
        end_dts = sample.dts + sample.duration
        if part_ticks and self._samples and end_dts - self._part_dts > part_ticks:
            self._flush()
        if not self._samples:
            self._part_dts = sample.dts
        self._samples.append(sample)
        self.segment_bytes += len(sample.payload)
        self.end_dts = end_dts

    def stretch(self, dts: int) -> None:
        """Let the last sample last until `dts`, if it is not written yet; tfdt tells the rest."""
        if self._samples:
            self._samples[-1].duration = dts - self._samples[-1].dts
        self.end_dts = dts

    def finish(self) -> None:
        """Close the open segment and list it; an empty one leaves no trace."""
        self._opening = None
        segment, self._segment = self._segment, None
        if segment is None:
            return
        self._flush_into(segment)
        assert self.end_dts is not None
        segment.duration_s = (self.end_dts - self._start_dts) / self.track.clock_rate
        segment.data = b"".join(part.data for part in segment.parts)
        segment.parts.clear()
        self._sequence += 1
        self._listed_discontinuity = segment.discontinuity
        target_s = self._target.fix(segment.duration_s)
        self.storage.add(segment, max(self._settings.window_s, MIN_LISTED * target_s))
        self._render(target_s)

    def end(self) -> None:
        """Say in the playlist that no more segments come."""
        if self._target.seconds is not None:
            self._render(self._target.seconds, ended=True)

    def _render(self, target_s: int, *, ended: bool = False) -> None:
        if self.storage.listed:
            self.playlist = media_playlist(target_s, self.storage.listed, ended=ended)

    def _begin(self, sample: fmp4.Sample) -> None:
        opening = self._opening
        assert opening is not None
        if self.track != self._init_track:
            self._make_init()
        wallclock_ms = opening.wallclock_ms
        if self.name == "audio":
            media_time = sample.dts * VIDEO_CLOCK_RATE / self.track.clock_rate
            wallclock_ms += (media_time - opening.media_time) * 1000 / VIDEO_CLOCK_RATE
        before = self._listed_discontinuity
        self._segment = Segment(
            sequence=self._sequence,
            name=f"{self._prefix}_{self._sequence}.m4s",
            init_name=self._init_name,
            wallclock_ms=wallclock_ms,
            independent=sample.keyframe,
            discontinuity=opening.discontinuity,
            new_discontinuities=0 if before is None else opening.discontinuity - before,
        )
        self._start_dts = sample.dts
        self.segment_bytes = 0

    def _flush(self) -> None:
        assert self._segment is not None
        self._flush_into(self._segment)

    def _flush_into(self, segment: Segment) -> None:
        samples, self._samples = self._samples, []
        ticks = samples[-1].dts + samples[-1].duration - samples[0].dts
        self._fragments += 1
        segment.parts.append(
            Part(
                data=fmp4.fragment(self.track, self._fragments, samples),
                duration_s=ticks / self.track.clock_rate,
                independent=samples[0].keyframe,
            )
        )
        segment.samples += len(samples)

    def _make_init(self) -> None:
        self._init_track = self.track
        self._init_name = f"{self._prefix}_init{self._inits}.mp4"
        self._inits += 1
        self.storage.add_init(self._init_name, fmp4.init_segment(self.track))
