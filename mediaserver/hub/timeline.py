"""The stream's one clock: publisher timestamps to media time, media time to UTC.

This is the one place where timestamps are rebased. What it makes good:

* wrap: RTMP and RTP timestamps are 32 bits; they are unwrapped by signed difference.
* return: a publisher that comes back starts anywhere; its first packet is placed at the media time
  that has passed meanwhile, never before what was already sent.
* jump: a step back of more than a second, or forward beyond what the wall clock explains, is closed
  and counted (`jumps`). A source that simply sends faster than real time is left as it is.
* two clocks: RTP tracks count separately; sender reports (`align`) tie audio to video, until then
  arrival does. Likewise layers of one picture (`place_layer`), each of which is a line of its own.
* rounding: RTMP rounds audio to milliseconds; frames within 3 ms of the sample grid are put on it.
* drift: UTC of media time follows the earliest arrivals, slewed by at most 0.5 ms per second, so that
  a publisher whose crystal is 100 ppm off stays true and a late burst moves nothing.
"""

from __future__ import annotations

import secrets

from mediaserver.media import AAC_FRAME_SAMPLES, Track

BACKWARD_JUMP_S = 1.0  # tracks of one RTMP connection interleave within less than this
FORWARD_JUMP_S = 2.0
GRID_TOLERANCE_S = 0.003  # RTMP rounding is 0.5 ms; encoders add a little
ALIGN_TOLERANCE_S = 0.005  # below what anybody hears
SLEW_S_PER_S = 0.0005
ARRIVAL_WINDOW_S = 5.0


class SourceClock:
    """Unwraps one publisher clock and maps its ticks to media seconds."""

    __slots__ = ("extended", "last_raw", "origin", "rate", "base_s")

    def __init__(self, rate: int, raw: int, base_s: float) -> None:
        self.rate = rate
        self.last_raw = raw
        self.extended = 0
        self.origin = 0
        self.base_s = base_s

    def extend(self, raw: int) -> int:
        delta = (raw - self.last_raw) & 0xFFFFFFFF
        if delta >= 0x80000000:
            delta -= 0x100000000
        return self.extended + delta

    def ticks(self, extended: int, clock_rate: int) -> int:
        """Media time of an extended timestamp, in ticks of `clock_rate`."""
        return round(self.base_s * clock_rate) + round(
            (extended - self.origin) * clock_rate / self.rate
        )


class Timeline:
    """Media time of one stream across its publications; `epoch_ms` is the UTC of media time 0."""

    def __init__(self, now: float, utc_ms: float, rtp_base: int | None = None) -> None:
        """`rtp_base` is given where this is a copy of another process's timeline."""
        # the RTP timestamp of media time 0 in what viewers get of any rendition (RFC 3550 §5.1)
        self.rtp_base = secrets.randbits(32) if rtp_base is None else rtp_base
        self._utc_minus_monotonic_s = utc_ms / 1000 - now
        self.epoch_ms = self._utc_minus_monotonic_s * 1000  # UTC of media time 0, drift followed
        self._offset_s: float | None = None  # arrival - media time of the earliest arrivals
        self._window_min_s = 0.0
        self._window_end = 0.0
        self._settled = False  # the first window is over
        self._slewed_at = now
        self._last_dts_s = -1.0
        # By line ("video", "audio", or "video/" and the layer); with the clock rate it counts in.
        self._last_dts: dict[str, tuple[int, int]] = {}
        self._clocks: dict[str, SourceClock] = {}
        self._reports: dict[str, tuple[int, float]] = {}
        self._reference = ""  # the line of video whose reports the others are tied to
        self._rate: int | None = None
        self._base_s = 0.0
        self._began_at: float | None = None
        self.jumps = 0
        self.dropped = 0

    def begin(self, clock_rate: int | None) -> None:
        """A publisher (re)starts; None means each track counts in its own clock rate."""
        self._rate = clock_rate
        self._clocks.clear()
        self._reports.clear()
        self._reference = ""
        for line in [line for line in self._last_dts if "/" in line]:
            del self._last_dts[line]  # the media time resumes after all of them
        self._began_at = None
        self.jumps = 0

    def place(
        self, track: Track, timestamp: int, composition: int, arrival: float
    ) -> tuple[int, int] | None:
        """(dts, pts) in ticks of the track, or None for a packet from before what was sent.

        A hot path: it takes 1 µs.
        """
        kind, rate = track.kind, track.clock_rate
        clock = self._clocks.get(kind) or self._clock(kind, track, timestamp, arrival)
        step = (timestamp - clock.last_raw + 0x80000000 & 0xFFFFFFFF) - 0x80000000
        if -BACKWARD_JUMP_S * clock.rate <= step <= FORWARD_JUMP_S * clock.rate:
            # as in `_ticks`, which does the rest
            clock.last_raw = timestamp & 0xFFFFFFFF
            clock.extended = extended = clock.extended + step
            since = round((extended - clock.origin) * rate / clock.rate)
            dts = round(clock.base_s * rate) + since
        else:
            dts = self._ticks(kind, track, timestamp, arrival)
        placed = self._last_dts.get(kind)
        if placed is not None:
            last = placed[0] if placed[1] == rate else placed[0] * rate // placed[1]
            if track.codec == "aac":
                expected = last + AAC_FRAME_SAMPLES
                if abs(dts - expected) <= GRID_TOLERANCE_S * rate:
                    dts = expected
            if dts <= last:
                self.dropped += 1
                return None
        self._last_dts[kind] = dts, rate
        dts_s = dts / rate
        if dts_s > self._last_dts_s:
            self._last_dts_s = dts_s
        lateness_s = arrival - dts_s
        if not self._settled or arrival >= self._window_end:
            self._follow_drift(lateness_s, arrival)
        elif lateness_s < self._window_min_s:
            self._window_min_s = lateness_s
        if not composition:
            return dts, dts
        return dts, dts + round(composition * rate / clock.rate)

    def place_layer(
        self, line: str, track: Track, timestamp: int, arrival: float, *, shown: bool
    ) -> int:
        """The dts of a picture of one of several layers, each with its own clock.

        `shown`: it goes to the stream itself, else to the layer's own rendition. Layers take turns in
        the stream, and pictures refer to earlier ones: so none is dropped, and one that would come at
        or before its predecessor comes a tick after it.
        """
        out = track.kind if shown else line
        last, _ = self._last_dts.get(out, (-1, 0))
        dts = max(self._ticks(line, track, timestamp, arrival), last + 1)
        self._last_dts[out] = dts, track.clock_rate
        dts_s = dts / track.clock_rate
        self._last_dts_s = max(self._last_dts_s, dts_s)
        if shown:
            self._follow_drift(arrival - dts_s, arrival)
        return dts

    def align(self, line: str, timestamp: int, ntp_s: float) -> None:
        """A sender report: the publisher's `timestamp` of this line was at its `ntp_s`.

        The first line of video that reports stays where it is; the others are moved to it.
        """
        clock = self._clocks.get(line)
        if clock is None or self._rate is not None:
            return
        self._reports[line] = (clock.extend(timestamp), ntp_s)
        if not self._reference and line != "audio":
            self._reference = line
        if not self._reference:
            return
        reference_s = self._media_s_of_ntp(self._reference, ntp_s)
        for other in self._reports:
            ahead_s = reference_s - self._media_s_of_ntp(other, ntp_s)
            if abs(ahead_s) > ALIGN_TOLERANCE_S:
                self._clocks[other].base_s += ahead_s

    def _media_s_of_ntp(self, line: str, ntp_s: float) -> float:
        clock = self._clocks[line]
        extended, at_ntp_s = self._reports[line]
        return clock.base_s + (extended - clock.origin) / clock.rate + (ntp_s - at_ntp_s)

    def _ticks(self, line: str, track: Track, timestamp: int, arrival: float) -> int:
        """Media time of the line's newest timestamp, in ticks of its track."""
        clock = self._clocks.get(line) or self._clock(line, track, timestamp, arrival)
        rate = clock.rate
        step = (timestamp - clock.last_raw) & 0xFFFFFFFF
        if step <= FORWARD_JUMP_S * rate:  # nearly always
            extended = clock.extended + step
        else:
            extended = clock.extend(timestamp)
            self._mend_jump(clock, extended, arrival)
        clock.extended, clock.last_raw = extended, timestamp & 0xFFFFFFFF
        if rate == track.clock_rate:
            return round(clock.base_s * rate) + extended - clock.origin
        return clock.ticks(extended, track.clock_rate)

    def _clock(self, line: str, track: Track, timestamp: int, arrival: float) -> SourceClock:
        if self._began_at is None:
            self._began_at = arrival
            self._base_s = self._resume_s(arrival)
        if self._rate is not None and self._clocks:
            clock = next(iter(self._clocks.values()))
        else:
            # what is read later may have come before it, by the kernel's stamps
            base_s = self._base_s + max(0.0, arrival - self._began_at)
            clock = SourceClock(self._rate or track.clock_rate, timestamp, base_s)
        self._clocks[line] = clock
        return clock

    def _resume_s(self, arrival: float) -> float:
        if self._offset_s is None:
            return 0.0
        return max(arrival - self._offset_s, self._last_dts_s + 0.04)

    def _mend_jump(self, clock: SourceClock, extended: int, arrival: float) -> None:
        step_s = (extended - clock.extended) / clock.rate
        media_s = clock.base_s + (extended - clock.origin) / clock.rate
        ahead = self._offset_s is not None and media_s + self._offset_s > arrival + FORWARD_JUMP_S
        if step_s < -BACKWARD_JUMP_S or (step_s > FORWARD_JUMP_S and ahead):
            self.jumps += 1
            self._reports.clear()  # they speak of the clock before the jump
            self._reference = ""
            clock.origin = extended
            clock.base_s = self._resume_s(arrival)

    def _follow_drift(self, lateness_s: float, arrival: float) -> None:
        offset_s = self._followed(lateness_s, arrival)
        self._offset_s = offset_s
        self.epoch_ms = (offset_s + self._utc_minus_monotonic_s) * 1000

    def _followed(self, lateness_s: float, arrival: float) -> float:
        if self._offset_s is None:
            self._window_min_s = lateness_s
            self._window_end = arrival + ARRIVAL_WINDOW_S
            self._slewed_at = arrival
            return lateness_s
        if lateness_s < self._window_min_s:
            self._window_min_s = lateness_s
        offset_s = self._offset_s
        if not self._settled:
            offset_s = self._window_min_s  # the first packets often come late, in a burst
        if arrival < self._window_end:
            return offset_s
        self._settled = True
        limit_s = SLEW_S_PER_S * (arrival - self._slewed_at)
        offset_s += max(-limit_s, min(limit_s, self._window_min_s - offset_s))
        self._slewed_at = arrival
        self._window_min_s = lateness_s
        self._window_end = arrival + ARRIVAL_WINDOW_S
        return offset_s
