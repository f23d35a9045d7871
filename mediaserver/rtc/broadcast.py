"""One rendition as RTP: packetised once, numbered once, paced, kept for a second, and sent to cohorts.

All viewers of a broadcast get the same SSRCs, sequence numbers and timestamps. Those who also share
payload types form a cohort, for which headers are built once per packet. A joiner starts at the
keyframe of the cached group of pictures, sent at three times real time, and moves into its cohort when
it has caught up; where the group is too long or too large to replay, it waits for the next keyframe.
Nothing is ever renumbered: a keyframe followed by a jump would leave references missing that draw no
picture loss indication.
"""

from __future__ import annotations

import asyncio
import secrets
import statistics
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mediaserver.media import OPUS_CLOCK_RATE, VIDEO_CLOCK_RATE, Packet, Track
from mediaserver.protocol import rtcp
from mediaserver.protocol.h264 import AvcConfig, split_length_prefixed
from mediaserver.protocol.rtp_h264 import packetize
from mediaserver.rtc.sender import (
    HEADER_BYTES,
    SLICE_S,
    TAG_BYTES,
    OutPacket,
    Route,
    Run,
    Sender,
    lay_out,
)

if TYPE_CHECKING:
    from mediaserver.rtc.viewer import Viewer

DATAGRAM_BYTES = 1216  # 53 of them are the most that one GSO send takes; passes every usual path
MAX_PAYLOAD_BYTES = DATAGRAM_BYTES - HEADER_BYTES - TAG_BYTES
RING_S = 1.5  # a retransmission later than this comes too late for any player
RING_BYTES = 16 << 20
GOP_S = 2.5
GOP_BYTES = 2 << 20
GROUP_PACKETS = 16  # what leaves back to back
TICK_S = 0.0025
DRAIN_TICKS = 8  # a keyframe is spread over at most 20 ms
CATCH_UP_SPEED = 3.0
CATCH_UP_PACKETS = 12  # per tick: 45 Mbit/s at most
ASK_AGAIN_S = 0.5  # between two looks at who still waits for a keyframe
REPLAYS = 512  # pieces of a group of pictures laid out for joiners: 7 MB at most


@dataclass(slots=True)
class Line:
    """One SSRC of a broadcast: its numbering and its ring of sent packets."""

    clock_rate: int
    ssrc: int = field(default_factory=lambda: secrets.randbits(31) | 1)
    # starts in the lower half, so that no viewer meets a wrap soon
    next_index: int = field(default_factory=lambda: secrets.randbelow(0x4000) + 1)
    timestamp_offset: int = field(default_factory=lambda: secrets.randbits(32))
    ring: dict[int, OutPacket] = field(default_factory=dict)
    ring_bytes: int = 0
    released: int = 0
    keyframe_index: int = -1
    gop_bytes: int = 0
    packets: int = 0
    octets: int = 0
    bytes_per_s: float = 0.0
    last_pts: int = 0
    _oldest: int = 0
    _rate_octets: int = 0
    _rate_at: float = 0.0

    def __post_init__(self) -> None:
        self._oldest = self.released = self.next_index

    def append(
        self, packet: Packet, payload: bytes, marker: bool, padding: bool, start: bool, now: float
    ) -> OutPacket:
        """Number one payload; `padding`: its last byte counts the padding in it."""
        index = self.next_index
        if start:
            self.keyframe_index = index
            self.gop_bytes = 0
        timestamp = (packet.pts + self.timestamp_offset) & 0xFFFFFFFF
        media_s = packet.dts / packet.track.clock_rate
        out = OutPacket(index, timestamp, payload, marker, padding, now, media_s, start)
        self.ring[index] = out
        self.next_index = index + 1
        self.ring_bytes += len(payload)
        self.gop_bytes += len(payload)
        self.packets += 1
        self.octets += len(payload) - (payload[-1] if padding else 0)
        return out

    def prune(self, now: float, hold: int) -> None:
        """Let go of what no viewer can ask for any more; a joiner still needs what follows `hold`."""
        keep = min(hold, self.keyframe_index if self.replayable() else self.next_index)
        while self._oldest < self.released:
            oldest = self.ring[self._oldest]
            fresh = oldest.at > now - RING_S or self._oldest >= keep
            if fresh and self.ring_bytes < RING_BYTES:
                return
            del self.ring[self._oldest]
            self.ring_bytes -= len(oldest.payload)
            self._oldest += 1

    def replayable(self) -> bool:
        """Whether a joiner may start at the last keyframe."""
        start = self.ring.get(self.keyframe_index)
        if start is None or self.gop_bytes > GOP_BYTES:
            return False
        return self.ring[self.next_index - 1].media_s - start.media_s <= GOP_S

    def measure(self, now: float) -> None:
        """Update the rate; called about once a second."""
        elapsed = now - self._rate_at
        if self._rate_at and elapsed > 0.2:
            rate = (self.octets - self._rate_octets) / elapsed
            self.bytes_per_s = rate if not self.bytes_per_s else (self.bytes_per_s + rate) / 2
        self._rate_at, self._rate_octets = now, self.octets

    def report(self, utc_s: float, epoch_ms: float) -> rtcp.SenderReport:
        """Ties RTP time to UTC by the publisher's clock, never by arrival (RFC 3550 §6.4.1).

        `epoch_ms` is the UTC of media time 0, the same for both lines: so their sync is exact.
        """
        ticks = round((utc_s * 1000 - epoch_ms) * self.clock_rate / 1000)
        timestamp = (ticks + self.timestamp_offset) & 0xFFFFFFFF
        ntp = rtcp.ntp_from_utc_ms(utc_s * 1000)
        return rtcp.SenderReport(
            self.ssrc, ntp, timestamp, self.packets & 0xFFFFFFFF, self.octets & 0xFFFFFFFF
        )


@dataclass(frozen=True, slots=True)
class Estimates:
    """What the viewers' links carry by their own account (REMB), in bit/s."""

    viewers: int  # who have told
    min_bps: int
    median_bps: int


class Cohort:
    """Viewers that get the same bytes before encryption; the lists are replaced, never changed."""

    __slots__ = ("audio", "audio_payload_type", "video", "video_payload_type")

    def __init__(self, video_payload_type: int, audio_payload_type: int) -> None:
        self.video_payload_type = video_payload_type
        self.audio_payload_type = audio_payload_type
        self.video: list[Route] = []
        self.audio: list[Route] = []


class Broadcast:
    """The RTP side of one stream for all its WebRTC viewers."""

    def __init__(
        self,
        sender: Sender,
        request_keyframe: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        rtp_base: int | None = None,
    ) -> None:
        """`rtp_base` is the RTP timestamp of media time 0 in the video; None picks one."""
        self.sender = sender
        self.request_keyframe = request_keyframe
        self.clock = clock
        self.cname = secrets.token_hex(8)
        self.video = Line(VIDEO_CLOCK_RATE)
        if rtp_base is not None:
            self.video.timestamp_offset = rtp_base
        # never the SSRC of video: with one key, that would be the same nonces for other bytes;
        # nor may the two be `rtx_ssrc`
        self.audio = Line(OPUS_CLOCK_RATE, self.video.ssrc ^ 2)
        self.viewers: set[Viewer] = set()
        self._cohorts: dict[tuple[int, int], Cohort] = {}
        self._pending: deque[OutPacket] = deque()
        self._catching_up: set[Viewer] = set()
        self._turn = 0  # which of them comes first
        self._replays: dict[tuple[int, int, int], list[Run]] = {}
        self._waiting: set[Viewer] = set()
        self._asking: set[Viewer] = set()  # those whose wish for a keyframe is still open
        self._timer: asyncio.TimerHandle | None = None
        self._ask_timer: asyncio.TimerHandle | None = None
        self._epoch_ms = 0.0  # UTC of media time 0
        self._track: Track | None = None
        self._parameter_sets: list[bytes] = []

    # -- what comes in ---------------------------------------------------------------------------

    def feed(self, packet: Packet) -> None:
        """Packetise one access unit or audio frame and send it on its way; raises ProtocolError."""
        self._epoch_ms = packet.wallclock_ms - packet.pts * 1000 / packet.track.clock_rate
        if packet.track.kind == "video":
            self._feed_video(packet)
        elif packet.track.codec == "opus":
            now = self.clock()
            line = self.audio
            out = line.append(packet, bytes(packet.payload), False, False, False, now)
            line.last_pts = packet.pts
            self._release(line, [out])

    def _feed_video(self, packet: Packet) -> None:
        now = self.clock()
        line = self.video
        nals: list[bytes | memoryview] = list(split_length_prefixed(packet.payload))
        if packet.keyframe:
            if packet.track is not self._track:
                config = AvcConfig.parse(packet.track.config)
                self._parameter_sets = [*config.sps, *config.pps]
                self._track = packet.track
            nals = [*self._parameter_sets, *nals]
            self._release_pending(len(self._pending))
            self._replays.clear()
        start = packet.keyframe
        frame: list[OutPacket] = []
        for payload, padding, marker in packetize(nals, MAX_PAYLOAD_BYTES):
            frame.append(line.append(packet, payload, marker, padding, start, now))
            start = False
        line.last_pts = packet.pts
        if packet.keyframe and frame:
            entering = {viewer for viewer in self._waiting if viewer.may_resume(now)}
            for viewer in entering:
                self._enter(viewer, frame[0].index)
            self._waiting -= entering
            self._asking &= self._waiting  # the others have what they asked for
        self._pending.extend(frame)
        self._release_group()

    # -- who watches -----------------------------------------------------------------------------

    def add(self, viewer: Viewer) -> None:
        """A connected viewer starts: audio now, video from the cached keyframe or the next one."""
        self.viewers.add(viewer)
        viewer.begin_audio(self.audio.next_index)
        if viewer.audio is not None:
            cohort = self._cohort(viewer)
            cohort.audio = [*cohort.audio, viewer.audio]
        if viewer.payload_types[0] < 0:
            return
        if self.video.replayable():
            start = self.video.ring[self.video.keyframe_index]
            viewer.begin_video(start.index)
            viewer.catch_up_from(start.media_s, self.clock())
            if not self._catch_up(viewer, self.clock()):
                self._catching_up.add(viewer)
                self._arm()
        else:
            self._wait(viewer)

    def remove(self, viewer: Viewer) -> None:
        """A viewer leaves; batches in flight may still reach it."""
        self.viewers.discard(viewer)
        self._catching_up.discard(viewer)
        self._waiting.discard(viewer)
        self._asking.discard(viewer)
        viewer.leave()
        cohort = self._cohort(viewer)
        cohort.video = [route for route in cohort.video if route is not viewer.video]
        cohort.audio = [route for route in cohort.audio if route is not viewer.audio]
        if not cohort.video and not cohort.audio:
            self._cohorts.pop(viewer.payload_types, None)

    def skip_to_keyframe(self, viewer: Viewer) -> None:
        """A viewer whose link can't carry the mending: no video until the next keyframe."""
        if viewer in self._waiting:
            return
        sent = viewer.position if viewer in self._catching_up else self.video.released
        self._catching_up.discard(viewer)
        cohort = self._cohort(viewer)
        cohort.video = [route for route in cohort.video if route is not viewer.video]
        viewer.pause_video(sent)
        self._wait(viewer)

    def ask_keyframe(self, viewer: Viewer) -> None:
        """A viewer needs a keyframe: asked for as soon as it may, and again until there is one."""
        if viewer not in self.viewers:
            return  # it has left meanwhile
        self._asking.add(viewer)
        if viewer.may_ask(self.clock()):
            self.request_keyframe()
        if self._ask_timer is None:
            self._arm_asking()

    @property
    def rtx_ssrc(self) -> int:
        """Of the retransmissions of video; each viewer's have a numbering of their own."""
        return self.video.ssrc ^ 4

    def estimates(self) -> Estimates | None:
        """The viewers' own estimates of their links; None while nobody has told one."""
        told = [viewer.remb_bps for viewer in self.viewers if viewer.remb_bps]
        if not told:
            return None
        return Estimates(len(told), min(told), statistics.median_low(told))

    @property
    def bytes_per_s(self) -> float:
        """What one viewer gets."""
        return self.video.bytes_per_s + self.audio.bytes_per_s

    def waits(self, viewer: Viewer) -> bool:
        """Whether the viewer is between a skip, or its join, and the next keyframe."""
        return viewer in self._waiting

    def sender_reports(self, utc_s: float) -> bytes:
        """The RTCP compound for every viewer, before encryption (RFC 3550 §6.1)."""
        return b"".join(
            rtcp.serialize_sender_report(line.report(utc_s, self._epoch_ms), self.cname)
            for line in (self.video, self.audio)
            if line.packets
        )

    def housekeep(self, now: float) -> None:
        """About once a second: rates and rings."""
        for line in (self.video, self.audio):
            line.measure(now)
            self._prune(line, now)

    def close(self) -> None:
        for timer in (self._timer, self._ask_timer):
            if timer is not None:
                timer.cancel()
        self._timer = self._ask_timer = None
        self._pending.clear()

    def _wait(self, viewer: Viewer) -> None:
        self._waiting.add(viewer)
        self.ask_keyframe(viewer)

    def _arm_asking(self) -> None:
        self._ask_timer = asyncio.get_running_loop().call_later(ASK_AGAIN_S, self._ask_again)

    def _ask_again(self) -> None:
        """The first request may have been lost on its way, or a viewer had to be patient."""
        self._ask_timer = None
        if not self._asking:
            return
        now = self.clock()
        if [viewer for viewer in self._asking if viewer.may_ask(now)]:
            self.request_keyframe()
        self._arm_asking()

    def _cohort(self, viewer: Viewer) -> Cohort:
        cohort = self._cohorts.get(viewer.payload_types)
        if cohort is None:
            cohort = self._cohorts[viewer.payload_types] = Cohort(*viewer.payload_types)
        return cohort

    def _enter(self, viewer: Viewer, index: int) -> None:
        viewer.begin_video(index)
        if viewer.video is not None:
            cohort = self._cohort(viewer)
            cohort.video = [*cohort.video, viewer.video]

    # -- what goes out ---------------------------------------------------------------------------

    def _release(self, line: Line, packets: Sequence[OutPacket]) -> None:
        line.released = packets[-1].index + 1
        for cohort in self._cohorts.values():
            if line is self.video:
                routes, payload_type = cohort.video, cohort.video_payload_type
            else:
                routes, payload_type = cohort.audio, cohort.audio_payload_type
            if routes:
                self.sender.submit(lay_out(packets, payload_type, line.ssrc), routes)
        self._prune(line, packets[-1].at)

    def _prune(self, line: Line, now: float) -> None:
        joiners = self._catching_up if line is self.video else ()
        line.prune(now, min((viewer.position for viewer in joiners), default=line.next_index))

    def _release_group(self) -> None:
        share = -(-len(self._pending) // DRAIN_TICKS)
        self._release_pending(max(GROUP_PACKETS, share))
        if self._pending:
            self._arm()

    def _release_pending(self, count: int) -> None:
        pending = self._pending
        group = [pending.popleft() for _ in range(min(count, len(pending)))]
        if group:
            self._release(self.video, group)

    def _serve_joiners(self, now: float) -> None:
        """One step for each joiner, or for as many as fit in a pass; the others come first next."""
        joiners = list(self._catching_up)
        for number in range(len(joiners)):
            viewer = joiners[(self._turn + number) % len(joiners)]
            if self._catch_up(viewer, now):
                self._catching_up.discard(viewer)
            if self.clock() - now > SLICE_S:
                self._turn += number + 1
                return

    def _catch_up(self, viewer: Viewer, now: float) -> bool:
        """Send what is due to a joiner; True when it has reached its cohort."""
        line, route = self.video, viewer.video
        if route is None:
            return True
        due_s = viewer.catch_up_media_s + CATCH_UP_SPEED * (now - viewer.catch_up_began)
        packets: list[OutPacket] = []
        while viewer.position < line.released and len(packets) < CATCH_UP_PACKETS:
            packet = line.ring.get(viewer.position)
            if packet is None:  # let go of meanwhile: the ring is bounded
                viewer.pause_video(viewer.position)
                self._wait(viewer)
                return True
            if packet.media_s > due_s:
                break
            packets.append(packet)
            viewer.position += 1
            if packet.marker:  # so that joiners stop at the same packets
                break
        if packets:
            self.sender.submit(self._replay(packets, viewer.payload_types[0]), [route])
        if viewer.position < line.released:
            return False
        cohort = self._cohort(viewer)
        cohort.video = [*cohort.video, route]
        return True

    def _replay(self, packets: Sequence[OutPacket], payload_type: int) -> list[Run]:
        """Laid out once for all who join in this group of pictures."""
        key = payload_type, packets[0].index, len(packets)
        runs = self._replays.get(key)
        if runs is None:
            if len(self._replays) >= REPLAYS:
                self._replays.clear()
            runs = self._replays[key] = lay_out(packets, payload_type, self.video.ssrc)
        return runs

    def _arm(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = self.clock()
        self._release_pending(max(GROUP_PACKETS, -(-len(self._pending) // DRAIN_TICKS)))
        self._serve_joiners(now)
        if self._pending or self._catching_up:
            self._arm()
