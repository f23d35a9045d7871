"""One WebRTC viewer of a broadcast: its routes, its retransmissions and their budget.

A NACK is answered from the broadcast's ring: by RTX (RFC 4588) where the viewer takes it, else with the
very same packet (RFC 4585 §6.2.1). Each packet goes at most once per round trip and all of them within a
fifth of the stream's rate: without that budget a link that is too thin for the stream collapses under
its own mending. Over budget the viewer goes to the next keyframe; audio is kept, and mended first. So it
is when packets queue up in its link: the round trip has grown, and its own estimate (REMB) is below the
stream's rate; neither sign alone is enough.

A viewer that skips again and again has a link that is too thin, and its video costs it its audio. So it
stays without video for 2, 4, 8 s and so on, and only then asks for a keyframe, which the source makes
for everybody; and each time less mending is enough to tell that nothing has changed. Who was cut off for
a moment is told by its silence, and goes on at once.

NACKs are only noted when they come and answered in the sender's passes, so that many viewers who lost
packets at once don't hold the loop.

Under one key an SRTP index is never used for other bytes: an RTX index is spent before it is sealed,
whether the packet leaves or not, and a packet of before a pause never goes by the route of after it.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence

from mediaserver.protocol import rtcp, rtp_rtx
from mediaserver.rtc.broadcast import Broadcast, Line
from mediaserver.rtc.sender import Address, OutPacket, Route
from mediaserver.rtc.srtp import Srtp

WRAP_GUARD = 4096  # whoever would start closer to the wrap and lose packets would guess ROC wrong
NACK_SHARE = 0.2
NACK_BURST_BYTES = 48 << 10  # one damaged keyframe of a 720p stream can be mended at once
NACKED_AT_ONCE = 512  # sequence numbers noted of a viewer; one NACK can name 6,000
MIN_RESEND_S = 0.02
DEFAULT_RTT_S = 0.1
MAX_RTT_S = 10.0  # beyond it the report is wrong, or the viewer beyond help
SKIP_PAUSE_S = 1.0
ASK_S = 1.0  # between two requests for a keyframe; doubled with every skip
PAUSE_MAX_S = 16.0
CALM_S = 10.0  # this long without a skip, and it counts as the first again
BURST_HALVINGS = 3
CUT_OFF_S = 2.0  # reports come more often than this: whoever was silent longer had no link at all
QUEUE_S = 0.3  # how much longer than the shortest a round trip is when packets queue up
AUDIO_RESERVE_BYTES = 8 << 10  # for audio, when video has spent the budget: 0.5 s of it
RESENT_REMEMBERED = 1024
RENUMBER_AFTER = 0x4000  # packets unsent: at 0x8000 a viewer's guess at the roll-over count fails


class Rtx:
    """One viewer's stream of retransmissions: its own numbers on an SSRC of its own."""

    __slots__ = ("_next_index", "payload_type", "route", "ssrc")

    def __init__(self, srtp: Srtp, address: Address, payload_type: int, ssrc: int) -> None:
        # in the lower half, as Line: so that a viewer that loses the first guesses roll-over 0
        self._next_index = secrets.randbelow(0x4000) + 1
        self.payload_type = payload_type
        self.ssrc = ssrc
        self.route = Route(srtp, address, self._next_index)

    def wrap(self, packet: OutPacket, offset: int) -> OutPacket:
        """`packet` under the next number, which is thereby spent."""
        index = self._next_index
        self._next_index = index + 1
        payload = rtp_rtx.serialize(packet.index + offset, packet.payload, packet.padding)
        return OutPacket(
            index, packet.timestamp, payload, packet.marker, False, packet.at, packet.media_s, False
        )


class Viewer:
    """Where one viewer stands in a broadcast; created when its DTLS is connected."""

    def __init__(
        self,
        broadcast: Broadcast,
        srtp: Srtp,
        address: Address,
        payload_types: tuple[int, int],
        send: Callable[[bytes], None],
        rtx_payload_type: int = -1,
    ) -> None:
        """`rtx_payload_type` is -1 where the viewer takes no RTX for video."""
        self.broadcast = broadcast
        self.payload_types = payload_types  # video, audio; -1 where the viewer takes none
        self.video: Route | None = None
        self.audio: Route | None = None
        self.position = 0
        self.catch_up_media_s = 0.0
        self.catch_up_began = 0.0
        self.rtt_s = DEFAULT_RTT_S
        self.remb_bps = 0  # the viewer's estimate of its link; 0 until it has told
        self.nacked = 0
        self.resent = 0
        self.skips = 0
        self.plis = 0
        self._srtp = srtp
        self._address = address
        self._send = send
        self._first = {"video": 0, "audio": 0}
        self._paused_at = 0
        self._shortest_rtt_s = MAX_RTT_S
        self._rtx: Rtx | None = None
        if rtx_payload_type >= 0:
            self._rtx = Rtx(srtp, address, rtx_payload_type, broadcast.rtx_ssrc)
        self._noted: deque[tuple[Line, int]] = deque()  # sequence numbers asked for
        self._due: deque[tuple[Line, OutPacket]] = deque()  # what of them is to be sent
        self._mending = False  # whether the sender has us on its list
        self._tokens = float(NACK_BURST_BYTES)
        self._tokens_at = broadcast.clock()
        self._sent_again: dict[tuple[int, int], tuple[float, int]] = {}  # when, how often
        self._heard_at = broadcast.clock()
        self._skipped_at = -CALM_S - ASK_S
        self._skips_in_a_row = 0
        self._pause_s = ASK_S
        self._ask_at = 0.0  # no keyframe is asked for before
        self._paused_until = 0.0  # and none is shown

    def move(self, address: Address) -> None:
        """The viewer came from a new address (Wi-Fi to mobile)."""
        self._address = address
        for route in (self.video, self.audio):
            if route is not None:
                route.address = address
        if self._rtx is not None:
            self._rtx.route.address = address
        self._shortest_rtt_s = MAX_RTT_S

    def leave(self) -> None:
        """Nothing more is sent again."""
        self._noted.clear()
        self._due.clear()

    def begin_video(self, index: int) -> None:
        """Video goes on, or begins, at this index: nothing before it will be sent or sent again."""
        if self.payload_types[0] < 0:
            return
        if self.video is None:
            self.video = self._new_route(index)
        elif index - self._paused_at >= RENUMBER_AFTER:
            self.video = self.video.resumed(index, self._paused_at)
        self._first["video"] = index
        self._heard_at = self.broadcast.clock()  # who gets no video has little to report

    def pause_video(self, index: int) -> None:
        """Nothing from this index on was sent; `begin_video` says where it goes on."""
        self._paused_at = index

    def begin_audio(self, index: int) -> None:
        if self.payload_types[1] >= 0 and self.audio is None:
            self.audio = self._new_route(index)
            self._first["audio"] = index

    def catch_up_from(self, media_s: float, now: float) -> None:
        self.position = self._first["video"]
        self.catch_up_media_s = media_s
        self.catch_up_began = now

    def report(self, compound: bytes) -> None:
        """Send an RTCP compound."""
        if compound:
            self._send(self._srtp.protect_rtcp(compound))

    def on_rtcp(self, packets: Sequence[rtcp.RtcpPacket], now: float) -> None:
        """What the viewer reports; packets about other SSRCs are ignored."""
        if now - self._heard_at > CUT_OFF_S and not self.broadcast.waits(self):
            self._forgive(now)
        self._heard_at = now
        for packet in packets:
            match packet:
                case rtcp.ReceiverReport() | rtcp.SenderReport():
                    self._on_report(packet.reports, now)
                case rtcp.Nack():
                    self._on_nack(packet)
                case rtcp.Pli(media_ssrc=ssrc):
                    self._on_picture_loss([ssrc])
                case rtcp.Fir(entries=entries):
                    self._on_picture_loss([ssrc for ssrc, _ in entries])
                case rtcp.Remb():
                    self.remb_bps = packet.bitrate

    def _new_route(self, index: int) -> Route:
        near_wrap = (index & 0xFFFF) >= 0x10000 - WRAP_GUARD
        offset = 0x10000 - (index & 0xFFFF) if near_wrap else 0
        return Route(self._srtp, self._address, index, offset)

    def _on_picture_loss(self, ssrcs: Sequence[int]) -> None:
        if self.broadcast.video.ssrc in ssrcs:
            self.plis += 1
            self.broadcast.ask_keyframe(self)

    def _on_report(self, blocks: Sequence[rtcp.ReportBlock], now: float) -> None:
        ours = (self.broadcast.video.ssrc, self.broadcast.audio.ssrc)
        for block in blocks:
            if block.ssrc in ours:
                rtt_s = rtcp.round_trip_s(block, rtcp.ntp_from_utc_ms(time.time() * 1000))
                if rtt_s is not None and rtt_s < MAX_RTT_S:
                    self.rtt_s = 0.75 * self.rtt_s + 0.25 * rtt_s
                    self._watch_queue(rtt_s, now)

    def _watch_queue(self, rtt_s: float, now: float) -> None:
        """Skip when the link holds more and more of what was sent."""
        broadcast = self.broadcast
        if self.video is None or broadcast.waits(self):
            return
        self._shortest_rtt_s = min(self._shortest_rtt_s, rtt_s)
        queued = rtt_s - self._shortest_rtt_s > QUEUE_S
        if queued and 0 < self.remb_bps < 8 * broadcast.bytes_per_s and self._may_skip(now):
            self._skip(now)

    def _on_nack(self, nack: rtcp.Nack) -> None:
        broadcast = self.broadcast
        line = broadcast.video if nack.media_ssrc == broadcast.video.ssrc else broadcast.audio
        if nack.media_ssrc != line.ssrc:
            return
        room = NACKED_AT_ONCE - len(self._noted)
        self._noted.extend((line, sequence) for sequence in nack.sequences[:room])
        if self._noted and not self._mending:
            self._mending = True
            broadcast.sender.mend(self)

    def mend(self, deadline: float) -> bool:
        """Send again what was asked for, until the deadline; False when some is left."""
        clock = self.broadcast.clock
        while self._due or self._noted:
            if not self._due:
                self._look_up(clock())
            while self._due:
                if clock() > deadline:
                    return False
                if not self._resend(*self._due.popleft()):
                    self._due.clear()  # the socket is full, or the packet too old
        self._mending = False
        return True

    def _look_up(self, now: float) -> None:
        """Take what was noted; what the budget allows of it becomes due, audio first."""
        audio = self.broadcast.audio
        found = [
            each for line, sequence in self._noted if (each := self._find(line, sequence, now))
        ]
        self.nacked += len(self._noted)
        self._noted.clear()
        self._refill(now)
        video_bytes = sum(self._cost(*each) for each in found if each[0] is not audio)
        if video_bytes > self._tokens and self._may_skip(now):
            self._skip(now)  # what could be mended of its video would be of no use
            found = [each for each in found if each[0] is audio]
        found.sort(key=lambda each: each[0] is not audio)
        for line, packet in found:
            least = -AUDIO_RESERVE_BYTES if line is audio else 0
            cost = self._cost(line, packet)
            if self._tokens - cost < least:
                return
            self._tokens -= cost
            self._remember(line.ssrc, packet.index, now)
            self._due.append((line, packet))

    def _find(self, line: Line, sequence: int, now: float) -> tuple[Line, OutPacket] | None:
        """The packet that the viewer means, if it should have it again now."""
        route = self._route(line)
        if route is None:
            return None
        packet = line.ring.get(_index(sequence, line.released, route.offset))
        if packet is None or packet.index >= line.released or not self._had(line, packet):
            return None
        last = self._sent_again.get((line.ssrc, packet.index))
        if last is not None and now - last[0] < max(self.rtt_s, MIN_RESEND_S):
            return None
        return line, packet

    def _cost(self, line: Line, packet: OutPacket) -> int:
        """Bytes of the budget: double each time, for what was lost again was lost to a full queue."""
        _, times = self._sent_again.get((line.ssrc, packet.index), (0.0, 0))
        return len(packet.payload) << times

    def _route(self, line: Line) -> Route | None:
        return self.video if line is self.broadcast.video else self.audio

    def _had(self, line: Line, packet: OutPacket) -> bool:
        """Whether a packet belongs to what this viewer gets by its route of now."""
        if line is not self.broadcast.video:
            return packet.index >= self._first["audio"]
        return packet.index >= self._first["video"] and not self.broadcast.waits(self)

    def _resend(self, line: Line, packet: OutPacket) -> bool:
        """Send one packet again; False when it didn't leave. Looked at anew: it may have waited."""
        route = self._route(line)
        if route is None or not self._had(line, packet):
            return True
        send_one, video = self.broadcast.sender.send_one, line is self.broadcast.video
        if video and self._rtx is not None:
            rtx = self._rtx
            sent = send_one(rtx.wrap(packet, route.offset), rtx.payload_type, rtx.ssrc, rtx.route)
        else:
            sent = send_one(packet, self.payload_types[0 if video else 1], line.ssrc, route)
        self.resent += sent
        return sent

    def _refill(self, now: float) -> None:
        earned = NACK_SHARE * self.broadcast.bytes_per_s * (now - self._tokens_at)
        burst_bytes = NACK_BURST_BYTES >> min(self._skips_in_a_row, BURST_HALVINGS)
        self._tokens = min(self._tokens + earned, float(burst_bytes))
        self._tokens_at = now

    def _remember(self, ssrc: int, index: int, now: float) -> None:
        _, times = self._sent_again.pop((ssrc, index), (now, 0))
        self._sent_again[(ssrc, index)] = now, times + 1
        if len(self._sent_again) > RESENT_REMEMBERED:
            for key in list(self._sent_again)[: RESENT_REMEMBERED // 2]:
                del self._sent_again[key]

    def _may_skip(self, now: float) -> bool:
        return now - self._skipped_at >= SKIP_PAUSE_S

    def _skip(self, now: float) -> None:
        """To the next keyframe: at once the first time, then after ever longer pauses."""
        if now - self._skipped_at > CALM_S + self._pause_s:
            self._forgive(now)
        if self._skips_in_a_row:
            self._pause_s = min(2 * self._pause_s, PAUSE_MAX_S)
            self._ask_at = self._paused_until = now + self._pause_s
        self._skips_in_a_row += 1
        self._skipped_at = now
        self.skips += 1
        self.broadcast.skip_to_keyframe(self)

    def _forgive(self, now: float) -> None:
        """The next skip is the first again."""
        self._skips_in_a_row = 0
        self._pause_s = ASK_S
        self._ask_at = self._paused_until = now

    def may_ask(self, now: float) -> bool:
        """Whether a keyframe may be asked for on this viewer's account; then not again for a while."""
        if now < self._ask_at:
            return False
        self._ask_at = now + self._pause_s
        return True

    def may_resume(self, now: float) -> bool:
        """Whether video may go on with a keyframe of now."""
        return now >= self._paused_until


def _index(sequence: int, released: int, offset: int) -> int:
    """The cohort's index of a 16-bit sequence number as this viewer sees it."""
    newest = released + offset
    index = (newest & ~0xFFFF) | sequence
    return (index if index <= newest else index - 0x10000) - offset
