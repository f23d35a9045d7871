"""Where HLS segments begin: one stream's packets in, two renditions cut at the same media times.

**Demuxed audio.** Video and audio are renditions of their own (EXT-X-MEDIA), not muxed: every
picture quality of a ladder shares one audio rendition, low-latency parts of each get their own
length, hls.js and Safari feed separate source buffers anyway, and audio-only or video-only need no
other path.

**Who leads.** Video does: a segment begins at the first keyframe `segment_ms` after the one before,
or earlier if the next keyframe may come too late for EXT-X-TARGETDURATION, which never changes
(target.py). A publisher that sends keyframes on request, as browsers do, is asked (`wants_keyframe`).
Audio that runs ahead of the picture waits, since a cut may still come, and audio that lags is waited
for (audio.py). After AUDIO_LEADS_AFTER_S of audio without video the audio leads: it is cut by its own
length, until a keyframe comes.

**A GOP that is too long** for the target is cut before a frame that is no keyframe: the standard wants a
keyframe in each segment only where the playlist promises it, so EXT-X-INDEPENDENT-SEGMENTS is absent
while such a segment is listed; the next keyframe ends it, however short. Who is watching sees no gap;
who joins there sees nothing until the next keyframe, or until the player gives up. It takes a publisher
whose interval is neither even, nor said by its encoder, nor on request, or is over MAX_GOP_S: the host
is told elsewhere to set two seconds.

**Discontinuities** are counted for the stream and come at the same cut in both renditions: another
video configuration, a gap of more than GAP_S, a publisher that went and came back (`flush`). For
another audio configuration the next keyframe is waited for, in silence; the picture goes on.
"""

from __future__ import annotations

from mediaserver.media import AAC_FRAME_SAMPLES, VIDEO_CLOCK_RATE, Packet, Track
from mediaserver.packager.audio import AudioFollower
from mediaserver.packager.fmp4 import Sample
from mediaserver.packager.gop import KeyframeIntervals, promised_interval_s
from mediaserver.packager.rendition import HlsSettings, Rendition
from mediaserver.packager.segment import Opening
from mediaserver.packager.target import TargetDuration
from mediaserver.packager.video_codecs import VIDEO_CODECS

GAP_S = 3.0  # no video for so long is a discontinuity; screen shares send a frame a second
AUDIO_LEADS_AFTER_S = 3.0  # of waiting audio; a WHIP publisher's first keyframe comes within 2 s
EARLY_S = 0.1  # a keyframe so little before segment_ms ends the segment too
MAX_SEGMENT_BYTES = 32 << 20  # 10 s of 25 Mbit/s
DEFAULT_FRAME_TICKS = VIDEO_CLOCK_RATE // 30  # of a run's only frame


class Segmenter:
    """Cuts one stream; media times are in 90 kHz ticks, as the video's are."""

    def __init__(self, session: str, settings: HlsSettings, discontinuity: int = 0) -> None:
        """`discontinuity` is the number of the first run of packets."""
        self.target = TargetDuration(settings.segment_ms)
        self.video: Rendition | None = None
        self._session = session
        self._settings = settings
        self._segment_ticks = settings.segment_ms * VIDEO_CLOCK_RATE // 1000
        self._due_ticks = self._segment_ticks - int(EARLY_S * VIDEO_CLOCK_RATE)
        self._follower = AudioFollower(session, settings, self.target)
        self._discontinuity = discontinuity - 1  # each run of packets counts
        self._horizon = 0  # every later cut is here or after
        # The last video packet waits for the next, which tells how long it lasts.
        self._held: Packet | None = None
        self._frame_ticks = DEFAULT_FRAME_TICKS
        self._shift = 0  # presentation minus decode time of the latest keyframe that cut
        self._intervals = KeyframeIntervals()
        self._refused = False  # a frame came that needs a keyframe before it
        # The audio's own run, when it leads.
        self._audio_track: Track | None = None
        self._audio_start = 0

    @property
    def discontinuity(self) -> int:
        """The number of the run of packets that is written now."""
        return max(0, self._discontinuity)

    @property
    def audio(self) -> Rendition | None:
        return self._follower.rendition

    def write(self, packet: Packet) -> None:
        """Take the next packet of a track; what HLS has no place for (VP8, Opus) is left out."""
        if packet.track.codec in VIDEO_CODECS:
            self._write_video(packet)
        elif packet.track.codec == "aac":
            self._write_audio(packet)
        self._follower.advance(self._horizon)

    def flush(self) -> None:
        """End the open segments: the publisher is gone, at least for now."""
        self._end_video()
        self._end_audio()
        self._follower.advance(self._horizon, last=True)
        self._follower.clear()

    @property
    def wants_keyframe(self) -> bool:
        """Whether the open segment could end, or one could begin, if only a keyframe came."""
        if self._held is None or self.video is None:
            return self._refused
        return self.video.elapsed(self._held.dts) >= self._due_ticks

    # Video leads

    def _write_video(self, packet: Packet) -> None:
        held = self._held
        if held is None:
            self._refused = not packet.keyframe
            if packet.keyframe:
                self._begin_video(packet)
            return
        ticks = packet.dts - held.dts
        if ticks <= 0:
            return
        # Another Track object is another publication, even of the same configuration.
        broken = packet.track is not held.track and not packet.keyframe
        if broken or ticks > min(GAP_S, self.target.limit_s) * VIDEO_CLOCK_RATE:
            self._end_video()
            self._write_video(packet)
            return
        self._append_video(held, ticks)
        self._held, self._frame_ticks = packet, ticks
        if packet.keyframe:
            self._cut_at_keyframe(packet, changed=packet.track != held.track)
        self._horizon = packet.dts + self._shift

    def _begin_video(self, packet: Packet) -> None:
        self._end_audio()
        if self.video is None:
            self.video = Rendition(
                "video", self._session, self._settings, self.target, packet.track
            )
            self.target.expect_interval(promised_interval_s(packet))
        self._intervals.begin(packet.dts)
        self._discontinuity += 1
        self._held = packet
        self._horizon = packet.pts
        self._shift = packet.pts - packet.dts
        self._open_video(self.video, packet, end=None)

    def _end_video(self) -> None:
        if self._held is None or self.video is None:
            return
        held, self._held = self._held, None
        self._append_video(held, self._frame_ticks)
        self._horizon = held.dts + self._frame_ticks + self._shift
        self.video.finish()
        self._follower.cut(self._horizon, None)

    def _append_video(self, packet: Packet, ticks: int) -> None:
        video = self.video
        assert video is not None
        too_long = video.elapsed(packet.dts + ticks) > self.target.limit_s * VIDEO_CLOCK_RATE
        too_large = video.segment_bytes + len(packet.payload) > MAX_SEGMENT_BYTES
        if (too_long or too_large) and not video.is_empty:
            self._cut(video, packet)
        composition = packet.pts - packet.dts
        video.append(Sample(packet.dts, ticks, composition, packet.keyframe, packet.payload))

    def _cut_at_keyframe(self, packet: Packet, *, changed: bool) -> None:
        assert self.video is not None
        self._intervals.add(packet.dts)
        elapsed = self.video.elapsed(packet.dts)
        limit = self.target.limit_s * VIDEO_CLOCK_RATE
        if changed or self._follower.changed:
            self._discontinuity += 1
        elif (
            elapsed < self._due_ticks
            and elapsed + self._intervals.longest <= limit
            and not self.video.is_dependent
        ):
            return
        self._shift = packet.pts - packet.dts
        self._cut(self.video, packet)

    def _cut(self, video: Rendition, packet: Packet) -> None:
        video.finish()
        self._open_video(video, packet, end=packet.dts + self._shift)

    def _open_video(self, video: Rendition, packet: Packet, end: int | None) -> None:
        start = packet.dts + self._shift
        wallclock_ms = packet.wallclock_ms - (packet.pts - start) * 1000 / VIDEO_CLOCK_RATE
        opening = Opening(start, wallclock_ms, self._discontinuity)
        video.open(opening, packet.track)
        self._follower.cut(end, opening)

    # Audio leads

    def _write_audio(self, packet: Packet) -> None:
        self._follower.push(packet)
        if self._audio_track is not None:
            self._lead(packet)
        elif self._follower.queued_s > AUDIO_LEADS_AFTER_S:
            self._end_video()
            self._follower.advance(self._horizon, last=True)
            for waiting in self._follower.queued():
                self._lead(waiting)
                self._follower.advance(self._horizon)  # what ends fixes the target

    def _lead(self, packet: Packet) -> None:
        track = packet.track
        start = packet.pts * VIDEO_CLOCK_RATE // track.clock_rate
        gap = start - self._horizon > GAP_S * VIDEO_CLOCK_RATE
        too_long = start - self._audio_start > self.target.limit_s * VIDEO_CLOCK_RATE
        if self._audio_track is None or track != self._audio_track or gap or too_long:
            self._end_audio()
            self._discontinuity += 1
            self._open_audio(packet, start, end=None)
        elif start - self._audio_start >= self._segment_ticks:
            self._open_audio(packet, start, end=start)
        self._audio_track = track
        self._horizon = start + AAC_FRAME_SAMPLES * VIDEO_CLOCK_RATE // track.clock_rate

    def _open_audio(self, packet: Packet, start: int, end: int | None) -> None:
        self._audio_start = start
        self._follower.cut(end, Opening(start, packet.wallclock_ms, self._discontinuity))

    def _end_audio(self) -> None:
        if self._audio_track is not None:
            self._audio_track = None
            self._follower.cut(self._horizon, None)
